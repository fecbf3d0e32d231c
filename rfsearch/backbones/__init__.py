"""Networks with named slots, and what may fill them: one operator each, or a mixture of all.

To add a backbone: one module with ``build(**arguments) -> nn.Module`` and ``slots(network)``, and
one line in `BACKBONES`. The contract tests find it there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from rfsearch import spaces
from rfsearch.backbones import mobilenetv2, resnet18, rfnet6
from rfsearch.backbones.slots import Slot
from rfsearch.errors import UserError, unknown

STEMS = ("published", "small")


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


def entry(name: str) -> Entry:
    """The table's entry, or an error that lists what is known."""
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    return BACKBONES[name]


def build(backbone: spaces.Backbone) -> nn.Module:
    """The plain backbone."""
    found = entry(backbone.name)
    arguments = dict(backbone.arguments)
    if arguments.get("stem", "published") not in STEMS:
        raise unknown("stem", str(arguments["stem"]), STEMS)
    try:
        return found.build(**arguments)
    except TypeError as error:
        raise UserError(
            f"backbone {backbone.name!r} does not take these arguments: {error}"
        ) from error


def slots(backbone: spaces.Backbone) -> tuple[Slot, ...]:
    """The slots of a backbone in network order."""
    return entry(backbone.name).slots(build(backbone))
