"""A price for what candidates see, which α goes down beside the loss (ours).

The growth of a candidate is the share of its map's side, and so of the image's, by which it widens
the field of all that comes after it: 0 for identity, (7 − 1) / 20 for a max-pool of 7 on a map of
20 pixels, no more than the map allows. Its price is the loss that a growth of 1 has to save.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from rfsearch.analysis.walk import walk
from rfsearch.backbones.supernet import Supernet
from rfsearch.operators.replaced import Shadow

Shape = tuple[int, int, int]
"""(C, H, W)."""


def growths(supernet: Supernet, run: Callable[[], object]) -> dict[str, Tensor]:
    """Slot → growth of every candidate, (K,); of those that stand at two places, of both together.

    Args:
        run: passes a batch through the supernet.
    """
    parts = {slot: supernet.parts(slot) for slot in supernet.slots}
    shapes = taken((part for several in parts.values() for part in several), run)
    known: dict[tuple[str, str, Shape], float] = {}

    def read(label: str, operator: nn.Module, shape: Shape) -> float:
        key = label, repr(operator), shape
        if key not in known:  # a walk takes a tenth of a second
            known[key] = growth(operator, shape)
        return known[key]

    return {
        slot: torch.tensor([sum(read(label, _at(part, k), shapes[part]) for part in several)
                            for k, label in enumerate(supernet.space.labels)])
        for slot, several in parts.items()
    }  # fmt: skip


def slope(alpha: Tensor, growth: Tensor) -> Tensor:
    """The gradient by α, (K,), of the expected growth Σ_k p_k g_k: p_k (g_k − Σ_j p_j g_j)."""
    p, growth = alpha.detach().softmax(0), growth.to(alpha)
    return p * (growth - (p * growth).sum())


def taken(parts: Iterable[nn.Module], run: Callable[[], object]) -> dict[nn.Module, Shape]:
    """The map that each part takes while something runs."""
    shapes: dict[nn.Module, Shape] = {}

    def look(part: nn.Module, given: tuple[Tensor, ...]) -> None:
        channels, *sides = given[0].shape[1:]
        height, width = sides if len(sides) == 2 else (1, *sides)
        shapes[part] = channels, height, width

    hooks = [part.register_forward_pre_hook(look) for part in parts]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def growth(operator: nn.Module, shape: Shape) -> float:
    """Of an operator on maps of this shape, the mean of both axes."""
    channels, *sides = shape
    rows = walk(copy.deepcopy(operator).cpu(), (sides[0], sides[1]), channels).layers
    if not rows:
        return 0.0
    tall, wide = rows[-1].field_clipped_h, rows[-1].field_clipped_w
    assert tall is not None, "an operator of a slot makes a map of a map"
    assert wide is not None
    return ((tall - 1) / sides[0] + (wide - 1) / sides[1]) / 2


def _at(part: nn.Module, candidate: int) -> nn.Module:
    """The operator that stands here where the slot keeps this candidate."""
    operators = part.operators
    assert isinstance(operators, nn.ModuleList)
    return operators[part.place(candidate) if isinstance(part, Shadow) else candidate]
