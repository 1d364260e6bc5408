"""The lab: a virtual machine with two hosts and two DPUs, to try dpukit on real kernel objects without hardware.

Two halves share this package. Outside, on the developer's machine: `__main__` (the commands), `store`, `roots`, `kernel`, `image`
(what is built and cached) and `machine`, `session` (QEMU). Inside the virtual machine: `inside` (its first Python process), `topology`
and what it stands on (`netns`, `fabric`, `switch`, `eswitch`), and `cases`, the tests. `model` is the plan that both halves read.
See README.md.
"""
