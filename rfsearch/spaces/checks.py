"""Checks of plain data that came from a file.

Each takes a value and ``where`` it stands, such as ``architecture.json: choices[3].slot``, and
returns the value with its type, or says in one line what is wrong there and what would be right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


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


def positive(value: object, where: str) -> int:
    """A whole number from 1 on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{where} must be a whole number from 1 on, not {shown(value)}")
    return value


def number(value: object, where: str) -> float:
    """A finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise UserError(f"{where} must be a finite number, not {shown(value)}")
    return float(value)


def scalar(value: object, where: str) -> int | float | str | bool:
    """One of the values an operator's argument may take."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float) and math.isfinite(value):
        return value
    raise UserError(f"{where} must be a number, text, true or false, not {shown(value)}")


def format_number(value: object, where: str, newest: int) -> None:
    """The format of a file: a whole number up to the newest this version reads."""
    if positive(value, f"{where}: format") > newest:
        raise UserError(f"{where} has format {value}; this version reads up to {newest}")
