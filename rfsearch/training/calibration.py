"""The loss at its best temperature: what a network tells apart, not how loudly it says so.

Scaling all logits changes the cross-entropy without changing one decision. On images that the
weights have not seen, over-confident logits pay a price, and any choice that merely damps them,
such as identity in place of a branch, is rewarded. At the temperature that fits the batch best
the loss does not change with the scale, to first order, so α gets no gradient from it (ours).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_REACH = 3.0
_HALVINGS = 30


@torch.no_grad()
def best_scale(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """The s in [e⁻³, e³] with the smallest cross-entropy of s · logits; a scalar.

    Args:
        logits: (N, classes).
        labels: (N,) int64.
        weight: of each class, (classes,); None weighs all images the same.

    The loss is convex in s, so halving finds where its slope is zero; at an end of the range
    where it is not.
    """
    low, high = torch.tensor(-_REACH), torch.tensor(_REACH)
    right = logits.gather(1, labels[:, None]).squeeze(1)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected = ((middle.exp() * logits).softmax(1) * logits).sum(1)
        slopes = expected - right if weight is None else weight[labels] * (expected - right)
        if slopes.mean() > 0:
            high = middle
        else:
            low = middle
    return ((low + high) / 2).exp()


def calibrated_cross_entropy(
    logits: Tensor, labels: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Cross-entropy of logits (N, classes) at their best scale, which counts as a constant."""
    scale = best_scale(logits.detach(), labels, weight)
    return F.cross_entropy(scale * logits, labels, weight)
