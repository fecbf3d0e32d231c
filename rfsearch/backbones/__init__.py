"""Networks with named slots, and what may fill them: one operator each, or a mixture of all.

To add a backbone: one module with ``build(**arguments) -> nn.Module`` and ``slots(network)``, and
one line in `BACKBONES`. The contract tests find it there. Any other network is a backbone too, by
the name of where it comes from (`sources`): its slots are found in its graph (`anatomy`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from rfsearch import spaces
from rfsearch.backbones import foreign, mobilenetv2, resnet18, rfnet6
from rfsearch.backbones.replaceable import choosable, none_replaceable
from rfsearch.backbones.slots import Slot
from rfsearch.backbones.sources import ALIASES, is_source
from rfsearch.errors import UserError, unknown
from rfsearch.spaces.architecture import LARGEST
from rfsearch.spaces.checks import number, positive

STEMS = ("published", "small")
WIDEST = 64
"""Times its published channels."""


@dataclass(frozen=True)
class Entry:
    """A backbone of the table: how it is built, its slots, and by stem the smallest image side
    (pixels) that leaves the last map one pixel of its own."""

    build: Callable[..., nn.Module]
    slots: Callable[[nn.Module], tuple[Slot, ...]]
    smallest_image: dict[str, int]


BACKBONES: dict[str, Entry] = {
    "mobilenetv2": Entry(mobilenetv2.build, mobilenetv2.slots, mobilenetv2.SMALLEST_IMAGE),
    "resnet18": Entry(resnet18.build, resnet18.slots, resnet18.SMALLEST_IMAGE),
    "rfnet6": Entry(rfnet6.build, rfnet6.slots, rfnet6.SMALLEST_IMAGE),
}
PUBLISHED: dict[str, str] = {
    "mobilenetv2": "torchvision:mobilenet_v2",
    "resnet18": "torchvision:resnet18",
}
"""For those of `BACKBONES` that have one, the network whose published weights fit."""


def check(name: str) -> None:
    """An error where no backbone has that name or a name of that form."""
    if name not in BACKBONES and not is_source(name):
        error = unknown("backbone", name, [*BACKBONES, *ALIASES])
        raise UserError(f"{error}, torchvision:NAME, timm:NAME or package.module:factory")


def build(backbone: spaces.Backbone) -> nn.Module:
    """The plain backbone."""
    check(backbone.name)
    if backbone.name not in BACKBONES:
        return foreign.build(backbone)
    arguments = dict(backbone.arguments)
    if arguments.get("stem", "published") not in STEMS:
        raise unknown("stem", str(arguments["stem"]), STEMS)
    where = f"backbone {backbone.name!r}:"
    for name, most in LARGEST.items():
        if name in arguments:
            positive(arguments[name], f"{where} {name}", most)
    if not 0 < number(arguments.get("width", 1.0), f"{where} width") <= WIDEST:
        raise UserError(f"{where} width must be above 0 and at most {WIDEST}")
    try:
        return BACKBONES[backbone.name].build(**arguments)
    except TypeError as error:
        raise UserError(
            f"backbone {backbone.name!r} does not take these arguments: {error}"
        ) from error


def slots_of(
    backbone: spaces.Backbone, network: nn.Module, space: spaces.Space | None = None
) -> tuple[Slot, ...]:
    """The slots of a network that `build` made, in network order: for an operator of ``space``
    each; without a space those that can be enhanced.

    Raises:
        UserError: there is none.
    """
    return slots_and_rest(backbone, network, space)[0]


def slots_and_rest(
    backbone: spaces.Backbone, network: nn.Module, space: spaces.Space | None = None
) -> tuple[tuple[Slot, ...], tuple[tuple[str, str], ...]]:
    """What `slots_of` gives; and of the convolutions that are no slots why."""
    if space is None or not space.replacements:
        ours = backbone.name in BACKBONES
        left = () if ours else foreign.read(backbone).anatomy.left_out
        return _enhance_slots(backbone, network), left
    found, left = replaceable(backbone, network, space)
    if not found:
        raise none_replaceable(backbone.name, space, left)
    return found, left


def _enhance_slots(backbone: spaces.Backbone, network: nn.Module) -> tuple[Slot, ...]:
    if backbone.name in BACKBONES:
        return BACKBONES[backbone.name].slots(network)
    return foreign.slots(backbone)


def convolutions(backbone: spaces.Backbone, network: nn.Module) -> tuple[str, ...]:
    """The convolutions that may be replaced, in network order."""
    if backbone.name in BACKBONES:
        return tuple(slot.name for slot in BACKBONES[backbone.name].slots(network))
    return foreign.read(backbone).anatomy.convolutions


def unread(backbone: spaces.Backbone) -> str:
    """Why the layers of a network cannot be told; empty where they can, as those of ours can."""
    return "" if backbone.name in BACKBONES else foreign.read(backbone).unread


def replaceable(
    backbone: spaces.Backbone, network: nn.Module, space: spaces.Space
) -> tuple[tuple[Slot, ...], tuple[tuple[str, str], ...]]:
    """The slots of a space that replaces convolutions; and of those left out why."""
    enhanced = () if space.form == "replace" else _enhance_slots(backbone, network)
    return choosable(network, enhanced, convolutions(backbone, network), space)


def slots(backbone: spaces.Backbone, space: spaces.Space | None = None) -> tuple[Slot, ...]:
    """The slots of a backbone in network order."""
    check(backbone.name)
    if backbone.name not in BACKBONES and (space is None or not space.replacements):
        return foreign.slots(backbone)
    with torch.random.fork_rng(devices=[]):
        return slots_of(backbone, build(backbone), space)
