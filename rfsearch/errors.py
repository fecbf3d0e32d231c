"""The user's mistakes, told in one or two lines."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Something the user can put right: the message says what is wrong and what would be right.

    The command line prints the message alone and exits with code 2.
    """


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that stands in no table.

    >>> print(unknown("space", "poling", ["pmpl", "pooling"]))
    unknown space 'poling'; did you mean 'pooling'? Known: pmpl, pooling
    """
    names = list(known)
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"unknown {kind} {name!r}; {hint}Known: {', '.join(names)}")
