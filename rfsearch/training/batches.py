"""An epoch of augmented batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rfsearch.data.augmentation import Augmentation, normalise
from rfsearch.data.images import Images
from rfsearch.training.shares import ALONE, Shares


def epoch_batches(
    images: Images,
    augmentation: Augmentation,
    size: int,
    generator: torch.Generator,
    shares: Shares = ALONE,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Full batches of one epoch: images (size, C, H, W) float32 and labels (size,). Of several
    processes each is given its share of the images, and all labels.

    Order and augmentation are drawn at once and by sample index, so that they do not depend on
    how the epoch is cut into batches and shares. The images left over wait for another epoch's
    order.
    """
    count = len(images)
    order = torch.randperm(count, generator=generator)
    draws = augmentation.draw(count, generator).to(images.labels.device)
    for start in range(0, count - size + 1, size):
        index = order[start : start + size].to(images.labels.device)
        own = shares.part(index)
        pixels = augmentation.apply(images.pixels[own], draws.at(own), channels_last=True)
        yield pixels, images.labels[index]


def plain_batches(
    images: Images, augmentation: Augmentation, size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """All images in order, normalised and not augmented; the last batch may be smaller."""
    for start in range(0, len(images), size):
        pixels = images.pixels[start : start + size]
        mean, std = augmentation.mean, augmentation.std
        yield normalise(pixels, mean, std, channels_last=True), images.labels[start : start + size]
