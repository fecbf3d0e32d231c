"""Checks of plain data that came from a file.

Each takes a value and ``where`` it stands, such as ``architecture.json: choices[3].slot``, and
returns the value with its type, or says in one line what is wrong there and what would be right.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rfsearch.errors import UserError


@contextmanager
def standing(where: str) -> Iterator[None]:
    """Begin the message of a mistake found inside with where it stands."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def shown(value: object) -> str:
    """The value as a message shows it: short, on one line."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = f"a {type(value).__name__} too long to write"
    return text if len(text) <= 40 else f"{text[:37]}..."


def listed(names: Iterable[str]) -> str:
    """Names as a message lists them: those that would not stand on one line as text in quotes."""
    return ", ".join(name if name and name.isprintable() else shown(name) for name in names)


def table(value: object, where: str, known: Sequence[str]) -> dict[str, object]:
    """A table with exactly the keys ``known``."""
    entries = any_table(value, where)
    unknown = [key for key in entries if key not in known]
    if unknown:
        raise UserError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(known)}")
    missing = [key for key in known if key not in entries]
    if missing:
        raise UserError(f"{where}: {missing[0]!r} is missing; needed: {', '.join(known)}")
    return entries


def any_table(value: object, where: str) -> dict[str, object]:
    """A table with any keys, which are text."""
    if not isinstance(value, Mapping):
        raise UserError(f"{where} must be a table of names and values, not {shown(value)}")
    for key in value:
        text(key, f"{where}, key {shown(key)}")
    return dict(value)


def sequence(value: object, where: str) -> list[object]:
    """A list."""
    if not isinstance(value, list | tuple):
        raise UserError(f"{where} must be a list, not {shown(value)}")
    return list(value)


def text(value: object, where: str) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value:
        raise UserError(f"{where} must be text, not {shown(value)}")
    return value


def positive(value: object, where: str, most: int | None = None) -> int:
    """A whole number from 1 on, up to ``most``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{where} must be a whole number from 1 on, not {shown(value)}")
    if most is not None and value > most:
        raise UserError(f"{where} must be at most {most}, not {shown(value)}")
    return value


def size(value: object, where: str, most: int | None = None) -> tuple[int, int]:
    """Two whole numbers from 1 on, each up to ``most``."""
    sides = value if isinstance(value, list | tuple) else ()
    if len(sides) != 2:
        raise UserError(f"{where} must be [height, width], not {shown(value)}")
    height, width = (positive(side, where, most) for side in sides)
    return height, width


def number(value: object, where: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        raise UserError(f"{where} must be a finite number, not {shown(value)}")
    return float(value)


def small(value: object, where: str) -> float:
    """A finite number, a whole one of 64 bits at most."""
    found = number(value, where)
    if isinstance(value, int) and abs(value) >= 2**63:
        raise UserError(f"{where} must be a whole number of 64 bits, not {shown(value)}")
    return found


def scalar(value: object, where: str) -> int | float | str | bool:
    """One of the values an operator's argument may take."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float) and _finite(value):
        return value
    raise UserError(f"{where} must be a number, text, true or false, not {shown(value)}")


def _finite(value: float) -> bool:
    """Whether it is a number that a float can hold, which a whole number of a file may not be."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def format_number(value: object, where: str, newest: int) -> None:
    """The format of a file: a whole number up to the newest this version reads."""
    if positive(value, f"{where}: format") > newest:
        raise UserError(f"{where} has format {value}; this version reads up to {newest}")
