"""Busy cores: a step that is timed alone is faster than one that is made beside others."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from rfsearch.engine import allocator
from rfsearch.engine.children import child

CHANNELS, PIXELS, BATCH = 96, 24, 32
"""Of the neighbours' maps, which fill the caches as a small network's training does."""
PATIENCE = 60.0
"""Seconds in which a neighbour must have begun."""


def _train(begun: Any, end: Any) -> None:
    torch.set_num_threads(1)
    allocator.settle("auto", "cpu")
    layers = nn.Sequential(
        nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS, bias=False),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU6(),
        nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False),
    ).to(memory_format=torch.channels_last)
    images = torch.rand(BATCH, CHANNELS, PIXELS, PIXELS).to(memory_format=torch.channels_last)
    while not end.is_set():
        layers(images).sum().backward()
        begun.set()


@contextmanager
def company(num: int) -> Iterator[None]:
    """``num`` processes train something on a thread each until the block ends."""
    context = multiprocessing.get_context("spawn")
    begun, end = [context.Event() for _ in range(num)], context.Event()
    neighbours = [child(f"{__name__}:{_train.__name__}", (), event, end) for event in begun]
    try:
        for neighbour in neighbours:
            neighbour.start()
        for event in begun:
            event.wait(PATIENCE)
        yield
    finally:
        end.set()
        for neighbour in neighbours:
            neighbour.terminate()
            neighbour.join()
