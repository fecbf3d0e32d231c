"""A run folder for one process at a time.

The lock is the kernel's (`filelock`): it ends with the process that holds it, however that ends,
so what a killed process leaves is taken over without asking. The file beside it only names the
holder.
"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from rfsearch.errors import UserError
from rfsearch.trials.run_folder import read_json, write_json

LOCK, HOLDER = ".lock", ".lock.json"
FILES = (LOCK, HOLDER, f"{HOLDER}.partial")
"""What a claim may leave in a folder; the lock itself stays, for to remove it would be a race."""


class Claim:
    """A folder for this process alone, from `take` to the end of the ``with`` block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / LOCK, timeout=0)

    def __enter__(self) -> Claim:
        return self

    def take(self) -> None:
        """Make the folder where it is missing, and hold it.

        Another process that holds it is a `UserError` that names it. A file system without locks
        is taken as it is.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise UserError(
                f"{self.folder} is in use by {self._holder()}; wait for its end or stop it, "
                "or name another folder by --out"
            ) from None
        except NotImplementedError:
            return
        began = datetime.now(UTC).isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": platform.node(), "since": began}
        write_json(self.folder / HOLDER, holder)

    def _holder(self) -> str:
        try:
            told = read_json(self.folder / HOLDER)
            return f"process {told['pid']} on {told['host']}, since {told['since']}"
        except (UserError, KeyError):  # it has the lock and has not told its name yet
            return "another process"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._lock.is_locked:
            return
        removed = not (self.folder / LOCK).exists()
        (self.folder / HOLDER).unlink(missing_ok=True)
        self._lock.release()
        if removed and isinstance(error, Exception):
            raise UserError(
                f"{self.folder} was removed while this process was at work in it; begin again, "
                "or restore it and go on by --resume"
            ) from error
