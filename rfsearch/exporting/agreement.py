"""Whether what was written gives the outputs of what was trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rfsearch.exporting.subject import Subject
from rfsearch.seeds import stream

BATCHES = (1, 2, 5)
"""Images of the batches that both are given: N is free."""
TOLERANCE = 1e-4
"""Largest difference, in units of the largest output: float32 sums in another order."""


class Disagreement(RuntimeError):
    """A file would give other outputs; it is not left behind."""


@dataclass(frozen=True)
class Agreement:
    """``difference``: largest absolute one; ``largest``: absolute output; over all ``images``."""

    difference: float
    largest: float
    images: int

    @property
    def holds(self) -> bool:
        """Whether it is no more than rounding."""
        return self.difference <= TOLERANCE * self.largest


def checked(subject: Subject, what: str, other: Callable[[Tensor], Tensor]) -> Agreement:
    """How far ``other`` is from the network on random images, as a normalised batch has them.

    Args:
        what: the file, for the message.

    Raises:
        Disagreement: further than rounding goes.
    """
    difference = largest = 0.0
    for size in BATCHES:
        images = noise(subject, size)
        with torch.no_grad():
            expected = subject.trained(images)
            found = other(images)
        if found.shape != expected.shape:
            raise Disagreement(f"{what} gives {tuple(found.shape)}, not {tuple(expected.shape)}")
        gap = float((found - expected).abs().nan_to_num(nan=float("inf")).max())
        difference = max(difference, gap)
        largest = max(largest, float(expected.abs().max()))
    agreement = Agreement(difference, largest, sum(BATCHES))
    if not agreement.holds:
        raise Disagreement(
            f"{what} was not written: its outputs differ by {difference:.3g}, where the largest "
            f"output is {largest:.3g}"
        )
    return agreement


def noise(subject: Subject, size: int) -> Tensor:
    """Random normal images, the same every time, float32 (size, C, H, W)."""
    generator = torch.Generator().manual_seed(stream(0, "export", size))
    return torch.randn(
        size, subject.taken.channels, *subject.taken.image_size, generator=generator
    )
