"""Go programs that are compared with, or that hold ours to something: built by the Go client, by version, where Go is present.

Kept in ``~/.cache/dpukit/go``, static, so that they run in the lab's virtual machine as well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

CACHE = Path.home() / ".cache/dpukit/go"
CNITOOL = "github.com/containernetworking/cni/cnitool@v1.3.0"
SRIOV_CNI = "github.com/k8snetworkplumbingwg/sriov-cni/cmd/sriov@1b7acc5b"
"""A commit after its v2.10.0: its module path lacks the ``/v2`` that Go wants for addressing a tag of that major version."""


class GoError(Exception):
    """A program could not be had; the text says why, in the Go client's words where it said something."""


def build(program: str, *, seconds: float = 600) -> Path:
    """Return the executable of `program`, ``<package>@<version>``; what was built before is taken.

    Raises:
        GoError: Go is not here, or its proxy does not have it, or the build failed.
    """
    package, _, version = program.partition("@")
    folder = CACHE / f"{package.replace('/', '+')}@{version}"
    executable = folder / package.rpartition("/")[2]
    if executable.exists():
        return executable
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if go is None:
        raise GoError("there is no Go here")
    folder.mkdir(parents=True, exist_ok=True)
    # Beside its place first: whoever builds the same at the same time must not meet half of it.
    draft = folder / f"draft-{os.getpid()}"
    try:
        environment = {**os.environ, "GOBIN": str(draft), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
        done = subprocess.run(
            [go, "install", program], env=environment, cwd="/", capture_output=True, text=True, timeout=seconds,
            check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise GoError(f"{program}: {' '.join(done.stderr.split())[-400:]}")
        (draft / executable.name).replace(executable)
    except subprocess.TimeoutExpired as error:
        raise GoError(f"{program}: not built in {seconds:.0f} s") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return executable
