"""The slots of a module that was given, whatever it returns: its training is its owner's."""

from __future__ import annotations

from torch import nn

from rfsearch.analysis.capture import capture
from rfsearch.analysis.inputs import channels_of
from rfsearch.backbones.anatomy import anatomy
from rfsearch.backbones.foreign import no_slot
from rfsearch.backbones.replaceable import choosable, none_replaceable
from rfsearch.backbones.slots import Slot
from rfsearch.spaces import Space


def slots_in(network: nn.Module, image_size: tuple[int, int], space: Space) -> tuple[Slot, ...]:
    """In network order: for an operator of ``space`` each.

    Raises:
        UserError: there is none, or torch.export cannot capture the network.
    """
    name = type(network).__name__
    found = anatomy(network, capture(network, image_size, channels_of(network)))
    if not space.replacements:
        if not found.slots:
            raise no_slot(name, image_size, found)
        return found.slots
    slots, left = choosable(network, found.slots, found.convolutions, space)
    if not slots:
        raise none_replaceable(name, space, left)
    return slots
