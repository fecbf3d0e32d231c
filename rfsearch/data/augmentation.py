"""Random shifts, mirroring and scaling of whole batches, on the device the images are on.

What happens to an image in an epoch is drawn beforehand, by its index in the split: neither the
order of batches nor how many processes share them changes it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rfsearch.setting import check, setting

PADDINGS = ("reflect", "zero")


@dataclass(frozen=True)
class AugmentationSettings:
    """How far images are varied while training."""

    shift: int = setting(4, "largest random shift, in pixels, in each direction", least=0)
    flip: bool = setting(
        True, "mirror half of the images, where the data set says labels allow it"
    )
    scale: float = setting(0.0, "zoom by a random factor from 1/(1+scale) to 1+scale", least=0)
    padding: str = setting(
        "reflect", "what a shift uncovers: reflect (mirror) or zero", among=PADDINGS
    )

    def __post_init__(self) -> None:
        check(self, "augment")


@dataclass(frozen=True, eq=False)
class Draws:
    """What happens to each image: ``shift`` int64 (N, 2), how far the content moves down and to
    the right; ``flip`` bool (N,), mirrored left to right; ``zoom`` float32 (N,), enlargement."""

    shift: Tensor
    flip: Tensor
    zoom: Tensor

    def __len__(self) -> int:
        return len(self.flip)

    def at(self, index: Tensor) -> Draws:
        """The draws of the images at ``index`` (int64, (M,))."""
        return Draws(self.shift[index], self.flip[index], self.zoom[index])

    def to(self, device: torch.device | str) -> Draws:
        """The same draws on a device."""
        return Draws(self.shift.to(device), self.flip.to(device), self.zoom.to(device))


@dataclass(frozen=True)
class Augmentation:
    """Augmentation and normalisation of one data set's batches."""

    settings: AugmentationSettings
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flips: bool = False

    def draw(self, num_images: int, generator: torch.Generator) -> Draws:
        """One epoch's draws for all images of a split, from a generator on the CPU."""
        reach, scale = self.settings.shift, self.settings.scale
        shift = torch.randint(-reach, reach + 1, (num_images, 2), generator=generator)
        flip = torch.rand(num_images, generator=generator) < 0.5
        exponent = torch.rand(num_images, generator=generator) * 2 - 1
        return Draws(shift, flip & (self.flips and self.settings.flip), (1 + scale) ** exponent)

    def apply(self, pixels: Tensor, draws: Draws, channels_last: bool = False) -> Tensor:
        """The varied, normalised batch, float32 (N, C, H, W), of uint8 pixels (N, C, H, W)."""
        if self.settings.scale:
            varied = _zoomed(pixels, draws, self.settings.padding)
        else:
            varied = _moved(pixels, draws, self.settings.padding)
        return normalise(varied, self.mean, self.std, channels_last)


def normalise(
    pixels: Tensor,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    channels_last: bool = False,
) -> Tensor:
    """Pixels 0..255 (N, C, H, W) as float32 with ``mean`` 0 and ``std`` 1, where these are per
    channel and of pixels scaled to 0..1; contiguous, in memory order NHWC if asked."""
    shape = (1, -1, 1, 1)
    factor = torch.tensor([1 / (255 * s) for s in std], device=pixels.device).view(shape)
    offset = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=pixels.device)
    # A copy, never the caller's, and in place from here on: fresh memory costs most of it.
    scaled = pixels.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    scaled.mul_(factor).add_(offset.view(shape))
    return scaled.clone(memory_format=torch.channels_last) if channels_last else scaled


def _moved(pixels: Tensor, draws: Draws, padding: str) -> Tensor:
    """Whole-pixel shifts and mirroring, by index: uint8 in, uint8 out."""
    num_images, channels, height, width = pixels.shape
    rows = torch.arange(height, device=pixels.device) - draws.shift[:, :1]
    columns = torch.arange(width, device=pixels.device) - draws.shift[:, 1:]
    columns = torch.where(draws.flip[:, None], width - 1 - columns, columns)
    index = _reflected(rows, height)[:, :, None] * width + _reflected(columns, width)[:, None, :]
    index = index.view(num_images, 1, -1).expand(-1, channels, -1)
    moved = pixels.reshape(num_images, channels, -1).gather(2, index).view(pixels.shape)
    if padding == "zero":
        seen = _within(rows, height)[:, :, None] & _within(columns, width)[:, None, :]
        moved = moved * seen[:, None]
    return moved


def _reflected(index: Tensor, length: int) -> Tensor:
    """Indices beyond 0..length-1 mirrored at the edge pixels, which are not repeated."""
    period = max(1, 2 * (length - 1))
    inside = index.remainder(period)
    return torch.minimum(inside, period - inside)


def _within(index: Tensor, length: int) -> Tensor:
    return (index >= 0) & (index < length)


def _zoomed(pixels: Tensor, draws: Draws, padding: str) -> Tensor:
    """Zoom about the centre, then shift and mirror, bilinear: uint8 in, float32 out."""
    num_images, _, height, width = pixels.shape
    mirror = 1 - 2 * draws.flip.to(torch.float32)
    theta = torch.zeros(num_images, 2, 3, device=pixels.device)
    theta[:, 0, 0] = mirror / draws.zoom
    theta[:, 1, 1] = 1 / draws.zoom
    theta[:, 0, 2] = -theta[:, 0, 0] * draws.shift[:, 1] * 2 / width
    theta[:, 1, 2] = -theta[:, 1, 1] * draws.shift[:, 0] * 2 / height
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    mode = "reflection" if padding == "reflect" else "zeros"
    return F.grid_sample(pixels.to(torch.float32), grid, "bilinear", mode, align_corners=False)
