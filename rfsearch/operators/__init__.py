"""Candidate operators, the enhancers that carry one, and the mixtures that carry them all.

To add an operator: one function ``name(channels, **arguments) -> nn.Module`` that keeps the shape
(N, C, H, W), and one line in `OPERATORS`. The contract tests find it there.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from rfsearch.operators.attention import SpatialSeparablePooling
from rfsearch.operators.building import build_from
from rfsearch.operators.pooling import avg_pool, identity, max_pool
from rfsearch.operators.rolling import dw_rpw

OPERATORS: dict[str, Callable[..., nn.Module]] = {
    "identity": identity,
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "ssp": SpatialSeparablePooling,
    "dw_rpw": dw_rpw,
}


def build_operator(name: str, channels: int, arguments: dict[str, object]) -> nn.Module:
    """The operator called ``name`` on maps of ``channels`` channels."""
    return build_from(OPERATORS, "operator", name, channels, arguments)
