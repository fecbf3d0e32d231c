"""Images in memory, the splits a search may see, and the data set that also holds the test split.

Small data lives as uint8 tensors on the device. A strategy is handed ``SearchSplits`` only: no
reference and no shared storage leads from there to the test images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images.

    ``pixels`` uint8 (N, C, H, W); ``labels`` int64 (N,); ``sources`` int64 (N,): the independent
    source each image was made from (a handwritten digit, or the image itself), numbered over the
    whole data set, so that two splits are disjoint exactly when their sources are.
    """

    pixels: Tensor
    labels: Tensor
    sources: Tensor

    def __post_init__(self) -> None:
        assert self.pixels.dtype == torch.uint8
        assert self.pixels.ndim == 4
        assert self.labels.dtype == self.sources.dtype == torch.int64
        assert self.labels.shape == self.sources.shape == self.pixels.shape[:1]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_sources(self) -> int:
        """The number of independent sources, which is what an interval must count."""
        return int(self.sources.unique().numel())

    def to(self, device: torch.device | str) -> Images:
        """The same images on a device."""
        return Images(self.pixels.to(device), self.labels.to(device), self.sources.to(device))

    def take(self, index: Tensor) -> Images:
        """A copy of the images at ``index`` (int64, (M,)), in that order."""
        return Images(self.pixels[index], self.labels[index], self.sources[index])


def join(*parts: Images) -> Images:
    """Several sets of images as one, in order."""
    return Images(
        torch.cat([part.pixels for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.sources for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class SearchSplits:
    """All the data a strategy ever gets: three disjoint splits, and no way to the test split."""

    weights: Images
    alpha: Images
    selection: Images

    def to(self, device: torch.device | str) -> SearchSplits:
        """The same splits on a device."""
        return SearchSplits(
            self.weights.to(device), self.alpha.to(device), self.selection.to(device)
        )

    def training(self) -> Images:
        """The weights and alpha splits together, on which final networks are trained."""
        return join(self.weights, self.alpha)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set cut into its four splits.

    ``image_size`` is (height, width); ``mean`` and ``std`` are per channel, of pixels scaled to
    0..1, measured on the weights and alpha splits; ``flips`` says whether a mirrored image keeps
    its label. ``data_hash`` covers pixels and labels of all splits, ``split_hash`` which source
    is in which split (both sha256, hexadecimal).
    """

    name: str
    root: str
    classes: tuple[str, ...]
    channels: int
    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flips: bool
    search: SearchSplits
    test: Images
    data_hash: str
    split_hash: str

    @property
    def sizes(self) -> dict[str, dict[str, int]]:
        """Images and independent sources of every split."""
        splits = {
            "weights": self.search.weights,
            "alpha": self.search.alpha,
            "selection": self.search.selection,
            "test": self.test,
        }
        return {
            name: {"images": len(split), "sources": split.num_sources}
            for name, split in splits.items()
        }


def measure(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 pixels (N, C, H, W) scaled to 0..1.

    Counted from histograms, so exact and the same on every machine. A channel without contrast
    gets the standard deviation 1, which leaves it at zero when normalised.
    """
    values = np.arange(256)
    means, stds = [], []
    for channel in range(pixels.shape[1]):
        counts = np.bincount(pixels[:, channel].numpy().ravel(), minlength=256)
        total = int(counts.sum())
        first, second = int(counts @ values), int(counts @ values**2)
        variance = (second * total - first * first) / (total * total)
        means.append(first / total / 255)
        stds.append(variance**0.5 / 255 if variance > 0 else 1.0)
    return tuple(means), tuple(stds)


def resized(pixels: Tensor, image_size: tuple[int, int] | None) -> Tensor:
    """uint8 pixels (N, C, H, W) at ``image_size``: scaled until they cover it, antialiased, then
    cropped about the centre. None leaves them as they are."""
    height, width = pixels.shape[-2:]
    if image_size is None or image_size == (height, width):
        return pixels
    factor = max(image_size[0] / height, image_size[1] / width)
    cover = [max(a, round(b * factor)) for a, b in zip(image_size, (height, width), strict=True)]
    top, left = ((a - b) // 2 for a, b in zip(cover, image_size, strict=True))
    parts = []
    for part in pixels.split(1024):  # float copies of a whole data set would not fit
        scaled = F.interpolate(part.float(), cover, mode="bilinear", antialias=True)
        whole = scaled.round_().clamp_(0, 255).to(torch.uint8)
        parts.append(whole[..., top : top + image_size[0], left : left + image_size[1]])
    return torch.cat(parts).contiguous()
