"""An operator by its name in a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from rfsearch.errors import UserError, unknown


def build_from(
    table: Mapping[str, Callable[..., nn.Module]],
    kind: str,
    name: str,
    given: object,
    arguments: Mapping[str, object],
) -> nn.Module:
    """What the function called ``name`` makes of what it is ``given`` and its arguments.

    Raises:
        UserError: no such ``kind`` of operator, or no such argument.
    """
    if name not in table:
        raise unknown(kind, name, table)
    try:
        return table[name](given, **arguments)
    except TypeError as error:
        raise UserError(f"operator {name!r} does not take these arguments: {error}") from error
