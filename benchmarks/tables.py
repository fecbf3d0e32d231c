"""Tables of measurements: a row is on disk as soon as it is made, so that scripts go on."""

from __future__ import annotations

import csv
import gzip
import io
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any


def read(path: Path) -> list[dict[str, str]]:
    """The rows so far, of a packed table (.gz) too."""
    if not path.exists():
        return []
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def resumed(path: Path) -> list[dict[str, str]]:
    """The rows so far, for a script that goes on: a torn last line is cut off the file."""
    from rfsearch.trials.history import cut_torn_line

    cut_torn_line(path)
    return read(path)


def append(path: Path, columns: Sequence[str], row: Mapping[str, object]) -> None:
    """One more; a new file gets its heading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


def write(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """The whole table anew, in a folder that may be new too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(columns, rows), encoding="utf-8", newline="")


def text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """The table as it stands in a file."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def markdown(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table on a page."""
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def shown(path: Path) -> str:
    """All of a table for a page."""
    rows = read(path)
    if not rows:
        return "Not measured yet."
    return "\n".join(markdown(list(rows[0]), [list(row.values()) for row in rows]))


def made(
    make: Callable[..., Any], todo: Iterable[Sequence[Any]], num_processes: int
) -> Iterator[Any]:
    """``make(*one)`` for all of ``todo``, as they finish, so many at a time in processes; the
    first error ends all."""
    pool = ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn"))
    try:
        for future in as_completed([pool.submit(make, *one) for one in todo]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
