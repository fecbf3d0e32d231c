"""The mixture of operators in the place of a convolution (notation: `enhancer`).

    y = Σ_k p_k · BN_k(o_k(x)),   BN without affine, where the network's own norm follows: that
                                  norm takes back scale and shift, so an operator that is kept
                                  runs alone, without BN_k, to the same map (ours);
    y = Σ_k p_k · o_k(x)          where none does.

In a slot that may be enhanced or replaced one α is for both: the mixture of enhancers owns it, and
`Shadow` runs at the convolution by it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rfsearch.operators.mixture import Mixture
from rfsearch.operators.replacements import Sum


class ReplaceMixture(Mixture):
    """The candidates of a replace slot.

    Args:
        channels: C' of the maps they give out.
        normed: whether the network's own norm follows.
    """

    def __init__(self, channels: int, operators: Sequence[nn.Module], normed: bool) -> None:
        super().__init__(channels, operators)
        norms = [nn.BatchNorm2d(channels, affine=False) if normed else nn.Identity()
                 for _ in operators]  # fmt: skip
        self.norms = nn.ModuleList(norms)
        self.path = "plain: operators stand in place of convolutions"

    def mix(self, x: Tensor, p: Tensor) -> Tensor:
        return self.mix_some(x, p, range(len(self.operators)))

    def mix_some(self, x: Tensor, weights: Tensor, drawn: Sequence[int]) -> Tensor:
        """The sum over the drawn candidates with these weights, (D,)."""
        terms = [
            w * self.norms[k](self.operators[k](x)) for w, k in zip(weights, drawn, strict=True)
        ]
        return torch.stack(terms).sum(0)

    def run(self, x: Tensor, kept: Sequence[int]) -> Tensor:
        first, *others = (self.operators[k](x) for k in kept)
        return sum(others, first)

    def extract(self) -> nn.Module:
        return together([self.operators[k] for k in self.kept])


class Shadow(nn.Module):
    """What stands at the convolution of a slot that may be enhanced or replaced.

    Args:
        owner: the mixture of enhancers, whose first candidates leave the convolution.
        conv: the convolution.
        replacements: the candidates after them.
        normed: whether the network's own norm follows.
    """

    def __init__(
        self, owner: Mixture, conv: nn.Module, replacements: Sequence[nn.Module],
        channels: int, normed: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self._owner = (owner,)  # a tuple: it is no child, its place is elsewhere
        self.first = len(owner.operators) - len(replacements)
        self.operators = nn.ModuleList([conv, *replacements])
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(channels, affine=False) if normed else nn.Identity()
            for _ in self.operators
        )

    @property
    def owner(self) -> Mixture:
        """The mixture whose choice this follows."""
        return self._owner[0]

    def place(self, index: int) -> int:
        """Of a candidate of the owner among the operators here."""
        return max(0, index - self.first + 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        owner = self.owner
        if kept := owner.kept or owner.alone():
            return self.operators[self.place(kept[0])](x)
        p = owner.probabilities()
        shares = [p[: self.first].sum(), *p[self.first :]]
        terms = [share * norm(operator(x)) for share, norm, operator
                 in zip(shares, self.norms, self.operators, strict=True)]  # fmt: skip
        return torch.stack(terms).sum(0)

    def extract(self) -> nn.Module:
        """The kept operator."""
        return self.operators[self.place(self.owner.kept[0])]


def together(operators: Sequence[nn.Module]) -> nn.Module:
    """One operator as it is, two added."""
    return operators[0] if len(operators) == 1 else Sum(operators)
