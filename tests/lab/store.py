"""The cache of what the lab builds: each thing under its kind and the hash of its inputs, made once, whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

KEEP = 3
"""Things kept of each kind; older ones are removed when a new one is made."""


class LabError(Exception):
    """The lab cannot be built or run; the text says what to do."""


@dataclass(slots=True)
class Progress:
    """One line per step on standard error, with the time it took."""

    started: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Print one line, with the time since the beginning."""
        print(f"[{time.monotonic() - self.started:5.0f} s] {text}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Announce a step, and its end with the time it took."""
        begin = time.monotonic()
        self.say(f"{text} ...")
        yield
        self.say(f"{text}: done in {time.monotonic() - begin:.0f} s")


def digest(parts: Iterable[str | bytes]) -> str:
    """Hash inputs, each with its length, so that no two lists look the same."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(f"{len(data)}:".encode())
        total.update(data)
    return total.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of finished things, and the logs of how they were made."""

    root: Path
    progress: Progress

    @classmethod
    def default(cls) -> Store:
        """Open the user's cache."""
        store = cls(Path.home() / ".cache" / "dpukit" / "lab", Progress())
        store.root.mkdir(parents=True, exist_ok=True)
        return store

    def get(self, kind: str, key: str, make: Callable[[Path], None]) -> Path:
        """Return the thing, and make it first if it is not there: `make` fills a new folder, which is then renamed."""
        final = self.root / f"{kind}-{key}"
        with self._lock(kind):
            if not final.exists():
                self._make(final, make)
                self._prune(kind)
            os.utime(final)
        return final

    def log(self, name: str) -> Path:
        """Where the output of a step goes."""
        return self.root / f"{name}.log"

    def _make(self, final: Path, make: Callable[[Path], None]) -> None:
        draft = final.with_name(f"draft-{final.name}")
        remove_tree(draft)  # of a build that was killed; we hold the lock, so nobody is at work in it
        draft.mkdir()
        try:
            make(draft)
        except BaseException:
            remove_tree(draft)
            raise
        draft.rename(final)

    def _prune(self, kind: str) -> None:
        found = [path for path in self.root.glob(f"{kind}-*") if path.is_dir()]
        for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[KEEP:]:
            remove_tree(path)

    @contextlib.contextmanager
    def _lock(self, kind: str) -> Iterator[None]:
        with (self.root / f"{kind}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.progress.say(f"{kind}: waiting for another build of it to end")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def remove_tree(path: Path) -> None:
    """Remove a folder, files of other users of our user namespace included (an ordinary user's roots have such)."""
    if not path.exists():
        return
    if os.geteuid() == 0:
        shutil.rmtree(path)
    else:
        subprocess.run(["unshare", "--map-root-user", "--map-auto", "rm", "-rf", "--", path], check=True)


def run_logged(command: Sequence[str | Path], log: Path, env: dict[str, str] | None = None) -> None:
    """Run a command with its output in a file; when it fails, show the end of the file and its path."""
    with log.open("w") as out:
        done = subprocess.run(
            [str(word) for word in command],
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=env,
            check=False,
        )
    if done.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise LabError(
            f"{command[0]} failed with exit code {done.returncode}; its last lines:\n{tail}\nAll of it: {log}"
        )
