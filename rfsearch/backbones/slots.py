"""Slots: the places of a backbone where an operator may stand."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Slot:
    """A place for a stride-1 operator after a spatial convolution, its norm and activation.

    Attributes:
        name: full module name of the spatial convolution.
        place: full module name under which the enhancer stands.
        channels: C of the maps (N, C, H, W) at the slot.
        stride: of the spatial convolution; the enhancer runs at the reduced resolution.
    """

    name: str
    place: str
    channels: int
    stride: int


def install(network: nn.Module, slot: Slot, enhancer: nn.Module) -> None:
    """Put ``enhancer`` at the slot; no other module changes its name.

    An nn.Identity is the plain layer: in a sequence nothing is added for it.
    """
    path, _, leaf = slot.place.rpartition(".")
    parent = network.get_submodule(path)
    if isinstance(enhancer, nn.Identity) and isinstance(parent, nn.Sequential):
        parent._modules.pop(leaf, None)
    else:
        parent.add_module(leaf, enhancer)


def conv_slot(network: nn.Module, name: str, place: str) -> Slot:
    """The slot after the convolution called ``name``."""
    conv = network.get_submodule(name)
    assert isinstance(conv, nn.Conv2d), name
    return Slot(name, place, conv.out_channels, conv.stride[0])
