"""The forms of an enhancer: one operator in a final network, the mixture in a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from rfsearch.operators.enhancer import PaperEnhancer, ResidualEnhancer
from rfsearch.operators.mixture import Mixture, PaperMixture, ResidualMixture


def _residual(channels: int, operators: Sequence[nn.Module]) -> nn.Module:
    branches = [operator for operator in operators if not isinstance(operator, nn.Identity)]
    return ResidualEnhancer(channels, branches) if branches else nn.Identity()


@dataclass(frozen=True)
class Form:
    """How an operator stands at its slot: ``enhancer(channels, operators)`` and its mixture."""

    enhancer: Callable[[int, Sequence[nn.Module]], nn.Module]
    mixture: Callable[[int, Sequence[nn.Module]], Mixture]


FORMS: dict[str, Form] = {
    "residual": Form(_residual, ResidualMixture),
    "paper": Form(PaperEnhancer, PaperMixture),
}
