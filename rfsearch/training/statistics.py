"""BatchNorm's running statistics: left alone, or estimated again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rfsearch.data.augmentation import Augmentation
from rfsearch.data.images import Images
from rfsearch.training.batches import epoch_batches
from rfsearch.training.randomness import seeded

SCORED = 16
"""Batches behind the statistics of a network that is scored by shared weights."""


def norms_of(network: nn.Module) -> list[_BatchNorm]:
    """Its BatchNorms, of any dimension: a network that was given may have one in its head."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


@contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """Inside, batches are normalised by their own statistics and no running ones change."""
    tracking = [norm for norm in norms_of(network) if norm.track_running_stats]
    for norm in tracking:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in tracking:
            norm.track_running_stats = True


@torch.no_grad()
def estimate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics by the plain mean over ``batches`` of images (N, C, H, W).

    A sub-network of a supernet is scored only after this: the statistics it inherited belong to
    the mixture.
    """
    norms = norms_of(network)
    momenta = [norm.momentum for norm in norms]
    was_training = network.training
    network.train()
    for index, images in enumerate(batches):
        for norm in norms:
            # A weight of 1/n for batch n makes the running value the mean of all n.
            norm.momentum = 1.0 / (index + 1)
        network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(was_training)


def settled(
    network: nn.Module,
    images: Images,
    augmentation: Augmentation,
    size: int,
    seed: int,
    most: int | None = None,
) -> nn.Module:
    """The network in evaluation mode, its statistics estimated by batches of training.

    Args:
        size: of a batch.
        most: batches; None takes an epoch.
    """
    with seeded(seed) as generator:
        batches = epoch_batches(images, augmentation, size, generator)
        estimate(network, (pixels for pixels, _ in islice(batches, most)))
    return network.eval()
