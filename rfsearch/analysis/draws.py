"""Finite values in place of NaN, for operators in which a NaN disappears or spreads too far.

The operator alone is run several times, each time on other values wherever its arguments depend on
the NaN. Where the results differ, they depend on it too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def holds_nan(value: Tensor) -> bool:
    """Whether a tensor of this type can say by itself where it depends on the NaN."""
    return value.is_floating_point() or value.is_complex()


def nan(value: Tensor) -> Tensor:
    """Where it is NaN: nowhere, for integers and booleans."""
    if holds_nan(value):
        return value.isnan()
    return torch.zeros(value.shape, dtype=torch.bool)


class Given:
    """A tensor whose NaN, or whose elements in ``hit``, may be anything."""

    def __init__(self, value: Tensor, hit: Tensor | None) -> None:
        self.value, self.hit = value, nan(value) if hit is None else hit
        clean = value[~self.hit]
        self.pool = clean[torch.isfinite(clean)] if value.is_floating_point() else clean

    def draw(self, generator: torch.Generator, i: int, wide: bool) -> Tensor:
        """Finite values of the tensor's own type; integers in its own range, or in a wider one.

        The first draw leaves integers and booleans as they are: its result is passed on.
        """
        value = self.value
        if not self.hit.any() or (i == 0 and not holds_nan(value)):
            return value.clone()
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            size = float(self.pool.abs().mean()) if self.pool.numel() else 1.0
            other = (noise * max(size, 1e-3) * 10.0 ** (i % 3)).to(value.dtype)
        elif value.dtype == torch.bool:
            other = torch.rand(value.shape, generator=generator) < 0.5
        else:
            low, high = int(value.min()), int(value.max()) + 7 * wide
            other = torch.randint(low, high + 1, value.shape, generator=generator).to(value.dtype)
        return torch.where(self.hit, other, value)


def coded(results: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The first result with NaN where the others differ, and where that is."""
    first, hit = results[0], torch.zeros(results[0].shape, dtype=torch.bool)
    for other in results[1:]:
        hit |= (first != other) & ~(nan(first) & nan(other))
    if holds_nan(first):
        first = torch.where(hit, torch.full_like(first, torch.nan), first)
    return first, hit
