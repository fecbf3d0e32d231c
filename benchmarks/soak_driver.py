"""Carries out one command of rfsearch and kills itself at a chosen call of the file system.

    SOAK_KILL="before rename 7" SOAK_TOLD=FILE python benchmarks/soak_driver.py run --backbone ...

The moment is "before rename", "after rename" (of the n-th file that takes its place), "before
disk" (at the n-th ``fsync``: written, and not brought to disk) or "torn" (the same, and a part of
what was written last is gone, as after a power cut); "none 0" lets it live. What was met there, or
how many calls there were, goes into the file that is told.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOMENT, _, NUMBER = os.environ["SOAK_KILL"].rpartition(" ")
TOLD = Path(os.environ["SOAK_TOLD"])
REPLACE: Callable[..., None] = os.replace
FSYNC = os.fsync
calls = {"rename": 0, "disk": 0}


def tell(**record: object) -> None:
    """Leave it to whoever began this process."""
    TOLD.write_text(json.dumps({**calls, **record}))


def end(name: str) -> None:
    """As by ``kill -9``: nothing is tidied up."""
    tell(file=name)
    os.kill(os.getpid(), signal.SIGKILL)


def replace(source: Any, target: Any, **places: Any) -> None:
    """`os.replace`, in the middle of which this process may end."""
    calls["rename"] += 1
    due = calls["rename"] == int(NUMBER)
    if due and MOMENT == "before rename":
        end(Path(target).name)
    REPLACE(source, target, **places)
    if due and MOMENT == "after rename":
        end(Path(target).name)


def fsync(handle: int) -> None:
    """`os.fsync`, before which this process may end."""
    calls["disk"] += 1
    if calls["disk"] == int(NUMBER) and MOMENT in ("before disk", "torn"):
        path = Path(f"/proc/self/fd/{handle}").readlink()
        if MOMENT == "torn" and path.is_file():
            tear(path)
        end(path.name)
    FSYNC(handle)


def tear(path: Path) -> None:
    """Cut a file that is being written anywhere, one that grows by lines within its last one."""
    written = path.read_bytes()
    first = 0 if path.suffix == ".partial" else written.rfind(b"\n", 0, len(written) - 1) + 1
    size = random.Random(f"{NUMBER}/{len(written)}").randint(first, max(first, len(written) - 1))
    os.truncate(path, size)


if __name__ == "__main__":
    os.replace, os.fsync = replace, fsync
    atexit.register(tell)

    from rfsearch.cli import app

    app(prog_name="rfsearch")
