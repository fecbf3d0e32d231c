"""A user's own module as a supernet, for a training loop of their own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from rfsearch.analysis.diagnosis import first_line
from rfsearch.backbones.given import slots_in
from rfsearch.backbones.supernet import Supernet, choose_slots
from rfsearch.engine.config import checked_space
from rfsearch.engine.sizes import parse_size
from rfsearch.errors import UserError


def supernet(
    model: nn.Module,
    space: str | Path = "pooling",
    image_size: str | int | tuple[int, int] = 224,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
) -> Supernet:
    """A copy of a module with a mixture of all operators of a space in every slot.

    Args:
        model: takes images (N, C, H, W); what it returns is its owner's, and so is the loss. It is
            not changed; its weights, its device and its mode are copied.
        space: its name, or a ``.toml`` file.
        image_size: pixels a side or (height, width) at which slots are looked for.
        include, exclude: full names of convolutions; by default every slot is searched.

    Returns:
        A module that is called as the model is, with `weights`, for the optimizer; `slots`; and
        `export`, once `PMPL`, or ``keep``, has left one operator in every slot. In the residual
        form `begin_plain` makes it begin with the model's own outputs, number for number.

    Raises:
        UserError: no slot, a name of none, or a module that torch.export cannot capture.
    """
    _check(model)
    candidates = checked_space(str(space))
    network = _copied(model)
    slots = slots_in(network, parse_size(image_size), candidates)
    chosen = choose_slots(slots, _names("include", include), _names("exclude", exclude))
    return Supernet(network, chosen, candidates)


def _check(model: object) -> None:
    if isinstance(model, Supernet):
        raise UserError(
            "this is a supernet already; give the module it was made from, or export()"
        )
    if not isinstance(model, nn.Module):
        hint = "; networks are named for `rfsearch run`" if isinstance(model, str) else ""
        raise UserError(f"supernet takes a torch.nn.Module, not {_told(model)}{hint}")


def _told(model: object) -> str:
    if isinstance(model, type):
        return f"the class {model.__name__}: call it first"
    return f"a {type(model).__name__}"


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise UserError(
            f"{type(model).__name__} cannot be copied by copy.deepcopy: {first_line(error)}"
        ) from error


def _names(what: str, names: Sequence[str] | None) -> list[str] | None:
    if isinstance(names, str):
        raise UserError(f"{what} is a list of names, such as [{names!r}]")
    return None if names is None else list(names)
