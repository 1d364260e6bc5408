"""How fast this machine's time stamp counter runs, which an emulated guest has to be told.

Under emulation the guest reads the machine's own counter (QEMU's cpu_get_host_ticks()), but measures its speed against an emulated timer.
On a busy machine that goes wrong by a factor of ten and more (seen: 60 MHz for 2.6 GHz), and then the guest's clock runs that much too fast:
time-outs expire at once and RCU reports stalls. What `tsc_early_khz` says is believed (arch/x86/kernel/tsc.c, determine_cpu_tsc_frequencies()).
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import time

READ_COUNTER = bytes.fromhex("0f31 48c1e220 4809d0 c3")
"""rdtsc; shl rdx, 32; or rax, rdx; ret"""
WHILE = 0.1


def measure_khz() -> int | None:
    """Return the counter's speed in kHz, or None where it cannot be read."""
    if platform.machine() != "x86_64":
        return None
    try:
        code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:  # a policy against writable code
        return None
    code.write(READ_COUNTER)
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    begin, ticks = time.monotonic(), read()
    time.sleep(WHILE)
    elapsed, ticks = time.monotonic() - begin, read() - ticks
    khz: int = round(ticks / elapsed / 1000)
    return khz
