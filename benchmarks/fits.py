"""Trainings by one recipe on the CPU, and what they cost."""

from __future__ import annotations

import time

import torch
from torch import nn

from rfsearch import data
from rfsearch.training.fit import Fit
from rfsearch.training.processes import fabric
from rfsearch.training.recipe import Recipe

TIMED = 4
"""Steps behind a cost that is told first."""


def begin(network: nn.Module, made: data.Dataset, epochs: int, seed: int) -> Fit:
    """A training at its start; of one seed all networks get the same batches in the same order."""
    settings = data.AugmentationSettings()
    augmentation = data.Augmentation(settings, made.mean, made.std, made.flips)
    network.to(memory_format=torch.channels_last)
    return Fit(network, made.search.training(), augmentation, Recipe(), epochs=epochs, seed=seed,
               fabric=fabric("cpu"))  # fmt: skip


def expected(fit: Fit, made: data.Dataset) -> float:
    """CPU minutes of a training, by a few of its steps; it is of no use afterwards."""
    size = Recipe().batch_size
    batch = torch.rand(size, made.channels, *made.image_size)
    labels = torch.zeros(size, dtype=torch.int64)
    fit.network.train()
    for number in range(TIMED + 1):
        if number == 1:  # the first one makes what the others use
            began = time.process_time()
        fit.descent.step(batch, labels)
    return (time.process_time() - began) / TIMED * fit.steps * fit.epochs / 60
