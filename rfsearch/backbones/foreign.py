"""Backbones that others made: any network of images, its slots found in its graph.

Its arguments are ``classes``, ``channels`` and ``image_size`` (height, width). Libraries are asked
for a network like that; where they do not build one, as for a factory or published weights, the
first convolution and the last layer are replaced by new ones that fit.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from rfsearch.analysis.capture import capture
from rfsearch.analysis.diagnosis import first_line
from rfsearch.analysis.follow import follow
from rfsearch.analysis.inputs import channels_of
from rfsearch.backbones.anatomy import Anatomy, anatomy
from rfsearch.backbones.slots import Slot
from rfsearch.backbones.sources import Wish, load
from rfsearch.errors import UserError
from rfsearch.spaces import Backbone
from rfsearch.spaces.architecture import LARGEST
from rfsearch.spaces.checks import positive, size

ARGUMENTS = ("channels", "classes", "image_size")
IMAGE_SIZE = (224, 224)
"""Where none is told."""
REMEMBERED = 64
"""Backbones whose anatomy is kept; to find it takes an export, which takes seconds."""


@dataclass(frozen=True)
class Body:
    """What is known of a backbone once it was built and read.

    Attributes:
        classes: outputs it was made with, before its head is replaced.
        unread: why its layers cannot be told; empty where they can.
    """

    anatomy: Anatomy
    classes: int
    unread: str


def wish(backbone: Backbone) -> Wish:
    """The arguments of a backbone, checked."""
    given = dict(backbone.arguments)
    if wrong := sorted(set(given) - set(ARGUMENTS)):
        raise UserError(
            f"backbone {backbone.name!r} does not take these arguments: {', '.join(wrong)}; "
            f"it takes {', '.join(ARGUMENTS)}"
        )
    where = f"backbone {backbone.name!r}:"
    classes, channels = (
        positive(given[name], f"{where} {name}", LARGEST[name]) if name in given else None
        for name in ("classes", "channels")
    )
    image_size = size(given.get("image_size", IMAGE_SIZE), f"{where} image_size", LARGEST["side"])
    return Wish(classes, channels, image_size)


def build(backbone: Backbone) -> nn.Module:
    """The plain network, its weights drawn from torch's global generator unless a factory brings
    its own."""
    wished, body = wish(backbone), read(backbone)
    network = _made(backbone.name, wished)
    if wished.classes is not None and wished.classes != body.classes:
        _fit_head(network, body.anatomy.head, wished.classes)
    return network


def slots(backbone: Backbone) -> tuple[Slot, ...]:
    """In network order.

    Raises:
        UserError: there is none; told is what was looked for and what was found.
    """
    found = read(backbone).anatomy
    if not found.slots:
        raise no_slot(backbone.name, wish(backbone).image_size or (), found)
    return found.slots


@lru_cache(REMEMBERED)
def read(backbone: Backbone) -> Body:
    """The backbone built once and read; its weights are forgotten, and no generator moves."""
    wished = wish(backbone)
    assert wished.image_size is not None
    found, unread = _anatomy(backbone.name, wished.image_size)
    with torch.random.fork_rng(devices=[]):
        network = _made(backbone.name, wished)
        images = torch.zeros(2, channels_of(network), *wished.image_size)
        classes = _outputs(backbone.name, network, images)
    if wished.classes not in (None, classes) and not found.head:
        raise UserError(
            f"{backbone.name} gives {classes} outputs for {wished.classes} classes, and no linear "
            "layer or convolution at its end could be replaced; let it give as many as classes"
        )
    return Body(found, classes, unread)


@lru_cache(REMEMBERED)
def _anatomy(name: str, image_size: tuple[int, int]) -> tuple[Anatomy, str]:
    """Of the network with its own channels and classes: others change the first convolution and
    the last layer, and neither their names nor any slot. And why its layers cannot be told."""
    with torch.random.fork_rng(devices=[]):
        network = load(name, wish=Wish(image_size=image_size)).module
        program = capture(network, image_size, channels_of(network))
        return anatomy(network, program), _unread(program)


def _unread(program: ExportedProgram) -> str:
    """Why the walk stops; empty where it does not."""
    try:
        deque(follow(program), maxlen=0)
    except UserError as error:
        return str(error)
    return ""


def _made(name: str, wished: Wish) -> nn.Module:
    """Built as far as its library can, for images of so many channels."""
    network = load(name, wish=wished).module
    if wished.channels is not None:
        _fit_channels(name, network, wished.channels)
    return network


def first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """The convolution that is registered first: it is taken for the one that reads images."""
    named = network.named_modules()
    return next(((name, one) for name, one in named if isinstance(one, nn.Conv2d)), None)


def _fit_channels(name: str, network: nn.Module, channels: int) -> None:
    found = first_convolution(network)
    if found is None or found[1].in_channels == channels:
        return
    path, old = found
    if old.groups != 1:
        raise UserError(f"{name} takes {old.in_channels} channels, and the data have {channels}")
    new = _like(old, channels, old.out_channels)
    nn.init.kaiming_normal_(new.weight, mode="fan_out")
    put(network, path, new.to(old.weight))


def _fit_head(network: nn.Module, path: str, classes: int) -> None:
    old = network.get_submodule(path)
    bias = old.bias is not None
    if isinstance(old, nn.Linear):
        new: nn.Module = nn.Linear(old.in_features, classes, bias)
    else:
        assert isinstance(old, nn.Conv2d), path
        new = _like(old, old.in_channels, classes)
    put(network, path, new.to(next(old.parameters())))


def _like(conv: nn.Conv2d, inputs: int, outputs: int) -> nn.Conv2d:
    """A new convolution that moves as another one does."""
    same: dict[str, Any] = {
        name: getattr(conv, name)
        for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
    }
    return nn.Conv2d(inputs, outputs, **same, bias=conv.bias is not None)


def put(network: nn.Module, path: str, module: nn.Module) -> None:
    """A module in the place of another."""
    parent, _, leaf = path.rpartition(".")
    network.get_submodule(parent).register_module(leaf, module)


def _outputs(name: str, network: nn.Module, images: Tensor) -> int:
    """How many numbers it gives for an image, in evaluation and in training.

    Raises:
        UserError: it gives anything else than one tensor (N, classes).
    """
    for training in (False, True):
        try:
            with torch.no_grad():
                output = copy.deepcopy(network).train(training)(images)
        except Exception as error:
            mode = "training" if training else "evaluation"
            raise UserError(
                f"{name} fails in {mode} on two images: {first_line(error)}"
            ) from error
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != 2:
            raise UserError(
                f"{name} returns {_shown(output)}{' in training' if training else ''}; a network "
                "to be searched returns one tensor of logits (N, classes): wrap it in a factory "
                "that picks them"
            )
    return int(output.shape[1])


def _shown(output: object) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape ({', '.join(map(str, output.shape))}) for two images"
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} of {', '.join(map(str, output))}"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {len(output)}"
    return f"a {type(output).__name__}"


def no_slot(name: str, image_size: Sequence[int], found: Anatomy) -> UserError:
    """What was looked for, and what was found."""
    size = "×".join(map(str, image_size))
    wanted = (
        f"{name} has no slot at {size} pixels: looked for convolutions of images with a "
        "kernel above 1"
    )
    if found.left_out:
        name, why = found.left_out[0]
        more = f", and {len(found.left_out) - 1} more" if len(found.left_out) > 1 else ""
        return UserError(f"{wanted}, found {name or 'one'} ({why}){more}")
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.kinds) or "no layer"
    return UserError(f"{wanted}, found {kinds}")
