"""Rolling-Pointwise convolution beside grouped 1×1 convolution and shuffle: milliseconds on CPU.

    python benchmarks/rolling_speed.py

One thread, median of 30 passes taken in turns, so that other work on the machine hits both alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rfsearch.operators.rolling import RollingPointwise

ROUNDS = 30
LIMIT = 1.3
SIZES = [  # images, channels, pixels a side, groups, overlap
    (32, 64, 32, 2, 0.5), (32, 64, 32, 4, 0.5), (32, 128, 16, 8, 0.5), (32, 256, 8, 8, 0.5),
    (32, 96, 16, 4, 0.33), (1, 64, 56, 4, 0.5), (1, 256, 14, 8, 0.75),
]  # fmt: skip


class GroupedShuffle(nn.Module):
    """What ShuffleNet does: a grouped 1×1 convolution, then the groups dealt out."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, groups=groups, bias=False)
        self.shuffle = nn.ChannelShuffle(groups)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return self.shuffle(self.conv(x))


def forward(layer: nn.Module, x: Tensor) -> None:
    """Without gradients, as in use."""
    with torch.no_grad():
        layer(x)


def both_ways(layer: nn.Module, x: Tensor) -> None:
    """With gradients, as in training."""
    layer(x).sum().backward()


def milliseconds(
    layers: list[nn.Module], x: Tensor, work: Callable[[nn.Module, Tensor], None]
) -> list[float]:
    """Median per layer."""
    taken: list[list[float]] = [[] for _ in layers]
    for number in range(ROUNDS + 3):
        for layer, found in zip(layers, taken, strict=True):
            began = time.perf_counter()
            work(layer, x)
            if number >= 3:
                found.append(time.perf_counter() - began)
    return [1000 * statistics.median(found) for found in taken]


def main() -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    print("images channels side  g  overlap filters     grouped  rolling  ratio | with backward")
    for images, channels, side, groups, overlap in SIZES:
        x = torch.randn(images, channels, side, side, requires_grad=True)
        for filters in ("block", "cyclic"):
            layers = [GroupedShuffle(channels, groups),
                      RollingPointwise(channels, channels, groups, overlap, filters)]  # fmt: skip
            (one, two), (three, four) = (milliseconds(layers, x, work)
                                         for work in (forward, both_ways))  # fmt: skip
            kept = "kept" if two <= LIMIT * one else "broken"
            print(f"{images:6} {channels:8} {side:4} {groups:2}  {overlap:7} {filters:8} "
                  f"{one:10.2f} {two:8.2f} {two / one:6.2f} | {four / three:.2f}  "
                  f"limit {LIMIT}: {kept}")  # fmt: skip


if __name__ == "__main__":
    main()
