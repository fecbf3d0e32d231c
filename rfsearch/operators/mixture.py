"""Mixtures: every candidate of a slot at once, weighted by p = softmax(α) (notation: `enhancer`).

A mixture computes; it never decides. Which operators stay is told to it by `keep`: none means
mixing all, one runs that operator alone with weight 1, two are an unweighted sum (PMPL's pair).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfsearch.operators import fused
from rfsearch.operators.enhancer import PaperEnhancer, ResidualEnhancer
from rfsearch.operators.pooling import max_pyramid


class Mixture(nn.Module, ABC):
    """The candidates of one slot and their α, (K,).

    Args:
        channels: C of the maps (N, C, H, W).
        operators: the K candidates, modules that keep the shape.

    Attributes:
        fuse: whether pools may be mixed by compiled code (`fused`): the same numbers, sooner.
        path: how the last mixing went: "fused", or "plain: " and why.
    """

    fuse = True
    path = "plain: nothing was mixed yet"

    def __init__(self, channels: int, operators: Sequence[nn.Module]) -> None:
        super().__init__()
        self.channels = channels
        self.operators = nn.ModuleList(operators)
        self.alpha = nn.Parameter(torch.zeros(len(operators)))
        self.weights: Tensor | None = None
        self.kept: tuple[int, ...] = ()
        self.blend: Callable[[Mixture, Tensor], Tensor] | None = None
        """Mixes in place of `mix`, for ablations; None mixes all."""

    def keep(self, indices: Sequence[int]) -> None:
        """Run these candidates only, from now on; none means mixing all."""
        assert all(0 <= index < len(self.operators) for index in indices), indices
        self.kept = tuple(indices)
        self.alpha.requires_grad_(not self.kept)

    @contextmanager
    def handed(self, weights: Tensor) -> Iterator[None]:
        """Inside, these weights, (K,), stand in the place of softmax(α)."""
        self.weights = weights
        try:
            yield
        finally:
            self.weights = None

    def probabilities(self) -> Tensor:
        """p, (K,): the weights handed to the mixture, else softmax(α)."""
        return self.alpha.softmax(0) if self.weights is None else self.weights

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        kept = self.kept or self.alone()
        if not kept and self.blend is not None and self.weights is None:
            return self.blend(self, x)
        return self.run(x, kept) if kept else self.mix(x, self.probabilities())

    def alone(self) -> tuple[int, ...]:
        """The candidate to which handed weights give everything, if they do."""
        if self.weights is None or not torch.equal(
            self.weights, self.weights.eq(1).to(self.weights)
        ):
            return ()
        ones = self.weights.nonzero().flatten().tolist()
        return tuple(ones) if len(ones) == 1 else ()

    def candidate_outputs(self, x: Tensor, only: Collection[int] | None = None
                          ) -> dict[int, Tensor]:  # fmt: skip
        """o_k(x) for every k, of ``only`` if that is given, that is no identity; max-pools share a
        pyramid."""
        operators = {k: o for k, o in enumerate(self.operators) if only is None or k in only}
        pools = {
            k: int(operator.kernel_size)
            for k, operator in operators.items()
            if isinstance(operator, nn.MaxPool2d) and isinstance(operator.kernel_size, int)
        }
        order = sorted(pools, key=pools.__getitem__)
        outputs = dict(zip(order, max_pyramid(x, [pools[k] for k in order]), strict=True))
        for k, operator in operators.items():
            if k not in pools and not isinstance(operator, nn.Identity):
                outputs[k] = operator(x)
        return outputs

    @abstractmethod
    def mix(self, x: Tensor, p: Tensor) -> Tensor:
        """The weighted sum over all candidates."""

    @abstractmethod
    def run(self, x: Tensor, kept: Sequence[int]) -> Tensor:
        """These operators alone."""

    @abstractmethod
    def extract(self) -> nn.Module:
        """The enhancer of the kept operators, sharing this mixture's weights."""


class ResidualMixture(Mixture):
    """y = x + Σ_k p_k · (γ ⊙ BN_k(o_k(x)) + β) while candidates are mixed (ours).

    BatchNorm is scale-free, so every share stands outside of it. γ and β are shared: candidates
    are told apart by p and by their own statistics alone. Identity has its term too, o(x) = x: an
    affine of x, which the convolution that follows absorbs, so it stands for the plain layer.
    Without that term identity would be the only candidate that weakens the branch, and α, which
    sees images the weights have not, would choose it for that alone. Kept, identity is x itself.
    """

    def __init__(self, channels: int, operators: Sequence[nn.Module], gamma: float = 0.1) -> None:
        super().__init__(channels, operators)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels, affine=False) for _ in operators)
        self.gamma = nn.Parameter(torch.full((channels,), gamma))
        self.beta = nn.Parameter(torch.zeros(channels))
        reaches = {k: fused.reach(operator) for k, operator in enumerate(operators)}
        self.pools = {k: reach for k, reach in reaches.items() if reach is not None}

    def mix(self, x: Tensor, p: Tensor) -> Tensor:
        return self.mix_some(x, p, range(len(p)))

    def mix_some(self, x: Tensor, weights: Tensor, drawn: Sequence[int]) -> Tensor:
        """The sum over the drawn candidates with these weights, (D,)."""
        together = self._together(x, drawn)
        y = self._fused(x, weights, drawn, together) if together else x
        if len(together) == len(drawn):
            return y
        outputs = self.candidate_outputs(x, only=[k for k in drawn if k not in together])
        for weight, k in zip(weights, drawn, strict=True):
            if k not in together:
                output = outputs.get(k, x)  # identity's
                y = y + _normalise(self.norms[k], output, weight * self.gamma, weight * self.beta)
        return y

    def _together(self, x: Tensor, drawn: Sequence[int]) -> list[int]:
        """The drawn candidates that are mixed by compiled code now."""
        if not self.fuse:
            against = "asked for"
        elif not self.pools:
            against = "no candidate is a pool"
        else:
            against = fused.obstacle(x, (self.gamma, self.beta), self._norms_of(self.pools))
        self.path = f"plain: {against}" if against else "fused"
        return [] if against else [k for k in drawn if k in self.pools]

    def _fused(
        self, x: Tensor, weights: Tensor, drawn: Sequence[int], together: Sequence[int]
    ) -> Tensor:
        all_of_them = len(together) == len(drawn)
        share = weights if all_of_them else weights[[k in together for k in drawn]]
        reaches = tuple(self.pools[k] for k in together)
        return fused.mix(x, share, self.gamma, self.beta, reaches, self._norms_of(together))

    def _norms_of(self, candidates: Iterable[int]) -> list[nn.BatchNorm2d]:
        norms = list(self.norms._modules.values())  # their attributes take ten times as long
        return [norms[k] for k in candidates]  # type: ignore[misc]

    def run(self, x: Tensor, kept: Sequence[int]) -> Tensor:
        y = x
        for k in kept:
            if not isinstance(self.operators[k], nn.Identity):
                y = y + _normalise(self.norms[k], self.operators[k](x), self.gamma, self.beta)
        return y

    def extract(self) -> nn.Module:
        branches = [k for k in self.kept if not isinstance(self.operators[k], nn.Identity)]
        if not branches:
            return nn.Identity()
        enhancer = ResidualEnhancer(self.channels, [self.operators[k] for k in branches])
        enhancer.to(self.gamma)  # its dtype and device
        for k, norm in zip(branches, enhancer.norms, strict=True):
            norm.load_state_dict(
                {
                    **self.norms[k].state_dict(),
                    "weight": self.gamma.detach(),
                    "bias": self.beta.detach(),
                }
            )
        return enhancer


class PaperMixture(Mixture):
    """y = h-swish(BN(Σ_k p_k · o_k(x))) (PMPL's code)."""

    def __init__(self, channels: int, operators: Sequence[nn.Module]) -> None:
        super().__init__(channels, operators)
        self.norm = nn.BatchNorm2d(channels)
        self.activation = nn.Hardswish()
        self.path = "plain: the paper's form normalises the sum"

    def mix(self, x: Tensor, p: Tensor) -> Tensor:
        outputs = self.candidate_outputs(x)
        mixed = (
            torch.stack([p[k] for k in range(len(p)) if k not in outputs]).sum() * x
            if len(outputs) < len(p)
            else torch.zeros_like(x)
        )
        for k, output in outputs.items():
            mixed = mixed + p[k] * output
        return self.activation(self.norm(mixed))

    def run(self, x: Tensor, kept: Sequence[int]) -> Tensor:
        outputs = [self.operators[k](x) for k in kept]
        return self.activation(self.norm(sum(outputs[1:], outputs[0])))

    def extract(self) -> nn.Module:
        enhancer = PaperEnhancer(self.channels, [self.operators[k] for k in self.kept])
        enhancer.to(self.alpha)  # its dtype and device
        enhancer.norm.load_state_dict(self.norm.state_dict())
        return enhancer


def _normalise(norm: nn.Module, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """BatchNorm with the statistics of ``norm`` and this scale and shift, (C,) each."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.momentum is not None
    tracked = norm.track_running_stats or not norm.training
    mean, variance = (norm.running_mean, norm.running_var) if tracked else (None, None)
    return F.batch_norm(x, mean, variance, weight, bias, norm.training, norm.momentum, norm.eps)
