"""Which convolutions of a network the operators of a space may replace."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from rfsearch.backbones.slots import Slot
from rfsearch.errors import UserError
from rfsearch.operators.replacements import build_replacement
from rfsearch.spaces import Operator, Space

TRIED = (24, 25)
"""Height and width of the map on which sizes are compared: even and odd, for strides."""


def replace_slots(
    network: nn.Module, names: Iterable[str], operators: Sequence[Operator]
) -> tuple[tuple[Slot, ...], tuple[tuple[str, str], ...]]:
    """The convolutions among ``names`` in whose place each of the operators may stand, in that
    order; and of the others why not."""
    slots, left = [], []
    for name in names:
        module = network.get_submodule(name)
        if why := obstacle(module, operators):
            left.append((name, why))
        else:
            assert isinstance(module, nn.Conv2d)
            slots.append(Slot(name, name, module.out_channels, module.stride[0], "instead"))
    return tuple(slots), tuple(left)


def choosable(
    network: nn.Module, enhanced: Iterable[Slot], names: Iterable[str], space: Space
) -> tuple[tuple[Slot, ...], tuple[tuple[str, str], ...]]:
    """The slots of a space that replaces convolutions, or enhances or replaces them by choice;
    and of those left out why.

    Args:
        enhanced: the slots that can be enhanced.
        names: of the convolutions that may be replaced.
    """
    found, left = replace_slots(network, names, space.replacements)
    if space.form == "replace":
        return found, left
    both = {slot.name for slot in found}
    return tuple(one for one in enhanced if one.name in both), left


def none_replaceable(name: str, space: Space, left: Sequence[tuple[str, str]]) -> UserError:
    """For a network with no slot for such a space."""
    slot, why = left[0] if left else ("it", "it has no spatial convolution")
    return UserError(
        f"{name} has no slot in which every operator of space {space.name} may stand; "
        f"{slot}: {why}"
    )


def obstacle(module: nn.Module, operators: Sequence[Operator]) -> str:
    """Why not every operator may stand in the place of a module; empty where each may."""
    if not isinstance(module, nn.Conv2d):
        return f"it is a {type(module).__name__} and no torch.nn.Conv2d"
    old = copy.deepcopy(module).to("meta")
    with torch.device("meta"):
        images = torch.zeros(1, old.in_channels, *TRIED)
        for operator in operators:
            try:
                new = build_replacement(operator.name, old, dict(operator.arguments))
            except UserError as error:
                return str(error)
            if new(images).shape != old(images).shape:
                return f"{operator.label} gives a map of another size"
    return ""
