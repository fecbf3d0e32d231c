"""Lines that are only ever added: ``history.jsonl``, one JSON record per epoch.

A process may be killed at any byte. A line counts once its newline is on disk, so what a kill
leaves behind the last newline never happened: readers pass over it, the next writer cuts it off.
Every other line that is no record is damage, and loud.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rfsearch.errors import UserError
from rfsearch.trials.run_folder import parsed


class History:
    """The records of one file, written by one process and read by any."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, object]) -> None:
        """Add one record; it is on disk when this returns. NaN and infinity are refused."""
        line = json.dumps(record, allow_nan=False) + "\n"
        cut_torn_line(self.path)
        with self.path.open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[dict[str, Any]]:
        """All whole records; none where there is no file yet."""
        lines = self._lines()
        return [self._parse(line, number) for number, line in enumerate(lines, 1)]

    def truncate(self, num_lines: int) -> None:
        """Keep the first ``num_lines`` records: what a checkpoint knew of when it was written."""
        lines = self._lines()
        if len(lines) < num_lines:
            raise UserError(
                f"{self.path} holds {len(lines)} lines, but its checkpoint was written after "
                f"{num_lines}; restore the file or begin a new run"
            )
        if self.path.exists():
            _cut(self.path, sum(len(line) for line in lines[:num_lines]))

    def _lines(self) -> list[bytes]:
        """The lines that end, newline included."""
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().splitlines(keepends=True)
        return lines if not lines or lines[-1].endswith(b"\n") else lines[:-1]

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            found = parsed(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.path}, line {number} is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise UserError(f"{self.path}, line {number} is no record: {line.decode()[:40]!r}")
        return found


def cut_torn_line(path: Path) -> int:
    """Cut off what stands behind the last newline; returns how many bytes that was."""
    if not path.exists():
        return 0
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        _cut(path, end)
    return len(data) - end


def _cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())
