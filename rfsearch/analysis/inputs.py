"""What a network takes: images, or signals and volumes, which are read as images.

A signal (N, C, L) is an image of height 1. A volume (N, C, D, H, W), such as a video, is an image
(N, C·D, H, W): fields are told along height and width, and nothing along depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod

import torch
from torch import Tensor, nn

from rfsearch.analysis.capture import evaluating
from rfsearch.analysis.diagnosis import first_failure
from rfsearch.errors import UserError

Sides = tuple[int, ...]
"""(length,), (height, width) or (depth, height, width)."""

CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}


def as_image(sides: Sides) -> tuple[int, int]:
    """(height, width) of the image that an input is read as."""
    return (1, sides[0]) if len(sides) == 1 else (sides[-2], sides[-1])


def channels_of(module: nn.Module, num_sides: int = 2) -> int:
    """Channels of what a network takes: what its first such convolution reads, else three."""
    kind = CONVOLUTIONS[num_sides]
    first = next((part for part in module.modules() if isinstance(part, kind)), None)
    return 3 if first is None else first.in_channels


@contextmanager
def taking_images(module: nn.Module, sides: Sides) -> Iterator[None]:
    """For a while the module takes the images that its inputs are read as."""

    def unfold(_module: nn.Module, given: tuple[Tensor]) -> Tensor:
        (image,) = given
        return image[:, :, 0] if len(sides) == 1 else torch.unflatten(image, 1, (-1, sides[0]))

    if len(sides) == 2:
        yield
        return
    hook = module.register_forward_pre_hook(unfold)
    try:
        yield
    finally:
        hook.remove()


def settle(module: nn.Module, sides: Sides) -> Sides:
    """The sides of what the network takes; one number is that many pixels a side, or a length.

    Only where the first convolution is one of signals or volumes is the network run to find out.

    Raises:
        UserError: a network of volumes, or of signals, with sides that are no such thing's.
    """
    image = sides * 2 if len(sides) == 1 else sides
    found = _num_sides(module)
    if len(image) == 3 or found == 2 or _runs(module, image):
        return image
    size, kind = "×".join(map(str, image)), type(module).__name__
    if found == 3:
        raise UserError(
            f"{kind} begins with a 3-D convolution and takes no images of {size} pixels; for "
            "volumes the size is depth x height x width, such as 16x112x112"
        )
    if len(sides) == 2:
        raise UserError(
            f"{kind} begins with a 1-D convolution and takes no images of {size} pixels; for "
            "signals the size is one number, their length"
        )
    return sides


def _num_sides(module: nn.Module) -> int:
    """By the first convolution; two where there is none."""
    kinds: dict[type[nn.Module], int] = {kind: number for number, kind in CONVOLUTIONS.items()}
    return next((kinds[type(part)] for part in module.modules() if type(part) in kinds), 2)


def _runs(module: nn.Module, image: Sequence[int]) -> bool:
    # More images than a 3-D convolution has channels, or it takes them for one volume.
    batch = channels_of(module, 3) + 1 if _num_sides(module) == 3 else 1
    example = torch.zeros(batch, channels_of(module), *image)
    like = next((p for p in module.parameters() if p.is_floating_point()), example)
    with evaluating(module):
        return first_failure(module, example.to(like.device, like.dtype)) is None


def num_channels(channels: int, sides: Sides) -> int:
    """Of the image that an input of so many channels is read as."""
    return channels * prod(sides[:-2])
