"""Slots: the places of a backbone where an operator may stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rfsearch.analysis.capture import evaluating

LEAVES = {"after": "enhance", "before": "enhance_input"}
"""What an enhancer is called inside a module that does not know of it, by the way it is run."""
WAYS = ("child", "instead", *LEAVES)
"""child: its parent runs it, as a sequence does. instead: in the place of the convolution itself.
after, before: it is a child of a module that does not know of it, and a hook there runs it on what
the module gives out, or on what it takes in. Hooks need no code of the network to change and no
module to be renamed, and are copied with the network."""

Shape = tuple[int, int, int]
"""(channels, height, width) of a map."""


@dataclass(frozen=True)
class Slot:
    """A place for an operator: of stride 1 after a spatial convolution, its norm and activation
    (an enhance slot), or in the place of the convolution (a replace slot).

    Attributes:
        name: full module name of the spatial convolution.
        place: full module name under which the enhancer stands.
        channels: C of the maps (N, C, H, W) at the slot.
        stride: of the spatial convolution; the enhancer runs at the reduced resolution.
        way: how it comes to be run, one of `WAYS`.
    """

    name: str
    place: str
    channels: int
    stride: int
    way: str = "child"


def _after(module: nn.Module, _given: Any, output: Any) -> Any:
    return module.get_submodule(LEAVES["after"])(output)


def _before(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return (module.get_submodule(LEAVES["before"])(given[0]), *given[1:])


def install(network: nn.Module, slot: Slot, enhancer: nn.Module) -> None:
    """Put ``enhancer`` at the slot; no other module changes its name.

    An nn.Identity is the plain layer: nothing is added for it, unless a parent asks for it.
    """
    path, _, leaf = slot.place.rpartition(".")
    parent = network.get_submodule(path)
    empty = isinstance(enhancer, nn.Identity) and slot.way != "instead"
    unhook(parent, slot.way)
    if empty and (slot.way != "child" or isinstance(parent, nn.Sequential)):
        parent._modules.pop(leaf, None)
    else:
        _put(parent, leaf, enhancer, slot.way)


def mark_ends(network: nn.Module, slots: Iterable[Slot]) -> None:
    """Give every slot a module whose output leaves it, also where the plain layer stands and the
    slot ends at no module: an nn.Identity."""
    modules = dict(network.named_modules())
    for slot in slots:
        if slot.way == "before" and slot.place not in modules:
            path, _, leaf = slot.place.rpartition(".")
            _put(modules[path], leaf, nn.Identity(), slot.way)


def _put(parent: nn.Module, leaf: str, module: nn.Module, way: str) -> None:
    parent.add_module(leaf, module)
    if way == "after":
        parent.register_forward_hook(_after)
    if way == "before":
        parent.register_forward_pre_hook(_before)


def unhook(parent: nn.Module, way: str) -> bool:
    """Let what stands there not be run any more; whether a hook ran it."""
    both = {"after": parent._forward_hooks, "before": parent._forward_pre_hooks}
    hooks: dict[int, Any] = both.get(way, {})
    found = [key for key, hook in hooks.items() if hook in (_after, _before)]
    for key in found:
        del hooks[key]
    return bool(found)


def conv_slot(network: nn.Module, name: str, place: str) -> Slot:
    """The slot after the convolution called ``name``."""
    conv = network.get_submodule(name)
    assert isinstance(conv, nn.Conv2d), name
    return Slot(name, place, conv.out_channels, conv.stride[0])


def map_shapes(
    network: nn.Module, slots: Iterable[Slot], images: Tensor
) -> dict[str, tuple[Shape, Shape]]:
    """Slot → shapes of the maps that its convolution takes in and gives out.

    Args:
        images: (N, C, H, W); run in evaluation mode.
    """
    seen: dict[str, tuple[Shape, Shape]] = {}

    def look(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = _shape(given[0]), _shape(output)

        return hook

    names = [slot.name for slot in slots]
    hooks = [network.get_submodule(name).register_forward_hook(look(name)) for name in names]
    try:
        with torch.no_grad(), evaluating(network):
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: seen[name] for name in names}


def _shape(images: Tensor) -> Shape:
    _, channels, height, width = images.shape
    return channels, height, width
