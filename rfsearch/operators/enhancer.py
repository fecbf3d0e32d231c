"""Parameterized spatial enhancers: one operator at a slot, in the form `residual` or `paper`.

Notation, here and in `mixture`
    x       map at the slot, (N, C, H, W), after the spatial convolution, its norm and activation
    o_k     candidate operator k, same shape
    p       softmax(α), (K,)
    γ, β    scale and shift of the branch's BatchNorm, (C,)

paper     h-swish(BN(o(x)))               PMPL's code: even identity changes the network
residual  x + γ ⊙ BN(o(x)) + β            ours: γ = 0 starts as the plain network, and identity
                                          is the plain layer itself: no branch, no cost
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class ResidualEnhancer(nn.Module):
    """x + Σ_k γ_k ⊙ BN_k(o_k(x)) + β_k over its operators, normally one, never identity (ours)."""

    def __init__(self, channels: int, operators: Sequence[nn.Module], gamma: float = 0.0) -> None:
        super().__init__()
        self.operators = nn.ModuleList(operators)
        norms = [nn.BatchNorm2d(channels) for _ in operators]
        for norm in norms:
            nn.init.constant_(norm.weight, gamma)
        self.norms = nn.ModuleList(norms)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        y = x
        for operator, norm in zip(self.operators, self.norms, strict=True):
            y = y + norm(operator(x))
        return y


class PaperEnhancer(nn.Module):
    """h-swish(BN(Σ_k o_k(x))) over the kept operators, normally one (PMPL's code)."""

    def __init__(self, channels: int, operators: Sequence[nn.Module]) -> None:
        super().__init__()
        self.operators = nn.ModuleList(operators)
        self.norm = nn.BatchNorm2d(channels)
        self.activation = nn.Hardswish()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        outputs = [operator(x) for operator in self.operators]
        return self.activation(self.norm(sum(outputs[1:], outputs[0])))
