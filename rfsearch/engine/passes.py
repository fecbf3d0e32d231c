"""How long one image takes through networks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median

import torch
from torch import Tensor, nn

WARM_UP = 5
"""Passes that nobody times."""


@torch.no_grad()
def seconds(networks: Mapping[str, nn.Module], image: Tensor, runs: int) -> dict[str, list[float]]:
    """Of each timed pass of ``image``, the networks by turns, so that all meet the same machine.

    Args:
        image: (1, C, H, W) on the networks' device.
    """
    taken: dict[str, list[float]] = {name: [] for name in networks}
    for number in range(runs + WARM_UP):
        for name, network in networks.items():
            began = time.perf_counter()
            network(image)
            if image.device.type == "cuda":
                torch.cuda.synchronize()
            if number >= WARM_UP:
                taken[name].append(time.perf_counter() - began)
    return taken


def latency(taken: Sequence[float], device: torch.device) -> dict[str, object]:
    """What is recorded of them: the median, and how it came about."""
    return {
        "seconds": median(taken),
        "batch": 1,
        "runs": len(taken),
        "threads": torch.get_num_threads(),
        "device": str(device),
    }
