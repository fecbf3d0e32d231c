"""A setting: a field of a frozen dataclass with a line of help and with what it may be."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

from rfsearch.errors import UserError, unknown

T = TypeVar("T")
NEEDED: Any = MISSING
"""The default of a setting that has none."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a value may be: one of some words, or a number in a range, which is told in words.

    >>> print(Limits(above=0), Limits(least=2), Limits(least=0, below=1), sep="; ")
    more than 0; 2 or more; 0 or more and below 1
    >>> print(Limits(above=0, below=1), Limits(least=0, most=1), sep="; ")
    more than 0 and below 1; from 0 to 1
    """

    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf
    among: Collection[str] = ()

    def __str__(self) -> str:
        if self.most < math.inf:
            return f"from {self.least:g} to {self.most:g}"
        most = f" and below {self.below:g}" if self.below < math.inf else ""
        least = (
            f"more than {self.above:g}" if self.above > -math.inf else f"{self.least:g} or more"
        )
        return least + most

    def check(self, name: str, value: Any) -> None:
        """An error where the value is none of them."""
        if self.among:
            if value not in self.among:
                raise unknown(name, value, self.among)
        elif self != ANY and not (self.least <= value <= self.most
                                  and self.above < value < self.below):  # fmt: skip
            raise UserError(f"{name} must be {self}, not {value}")


ANY = Limits()


def setting(default: T, text: str, **limits: Any) -> T:
    """A dataclass field with a line of help, which `rfsearch settings` prints.

    Args:
        default: or `NEEDED`.
        text: the help.
        limits: of `Limits`.
    """
    return field(default=default, metadata={"help": text, "limits": Limits(**limits)})


def meaning(item: Field[Any]) -> str:
    """The help of a setting, with the range that a number may be in."""
    limits = item.metadata["limits"]
    told = "" if limits == ANY or limits.among else f"; {limits}"
    return f"{item.metadata['help']}{told}"


def check(owner: Any, group: str, table: Any = None) -> None:
    """An error that names the first value of a dataclass that is outside its limits.

    Args:
        owner: its instance.
        group: what its settings' names begin with.
        table: the dataclass that has the limits, where it is another.
    """
    limits = {item.name: item.metadata["limits"] for item in fields(table or owner)}
    for item in fields(owner):
        limits[item.name].check(f"{group}.{item.name}", getattr(owner, item.name))
