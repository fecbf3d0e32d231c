"""Other ways to mix the candidates of a slot, for ablations (notation: `enhancer`).

    all       Σ_k p_k …, p = softmax(α), every candidate at every step
    subset    the same sum over n candidates drawn evenly, p = softmax of their α
    sampled   one candidate k drawn by Gumbel noise g, k = arg max(α + g), with the weight
              1 + p_k − stop(p_k), p = softmax(α + g): one in value, with the slope of p_k
              (straight-through, Jang et al., arXiv 1611.01144; one path as in GDAS,
              arXiv 1910.04465)
    even      one candidate alone, drawn evenly whatever p is, so that a pass runs one network of
              the space (Guo et al., arXiv 1904.00420); with ``plain_share`` that of a plain slot
              is drawn so often, and else evenly (ours)

``norms=False`` puts one BatchNorm over the residual form's sum in place of one for each candidate.
It has the batch's statistics and keeps none, for a mixture is never run without a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rfsearch.operators.mixture import Mixture, PaperMixture, ResidualMixture
from rfsearch.operators.replaced import ReplaceMixture

MIXINGS = ("all", "subset", "sampled", "even")
OF_ONE = ("sampled", "even")
"""Those that run one candidate of a slot."""


@dataclass(frozen=True)
class Blend:
    """How a mixture is run while it is open; draws come from torch's global generator.

    Attributes:
        mixing: one of `MIXINGS`.
        subset: candidates of a step under ``subset``.
        norms: whether each candidate of the residual form is normalised on its own.
        plain, plain_share: a candidate, and how often ``even`` draws it before it draws evenly.
    """

    mixing: str = "all"
    subset: int = 2
    norms: bool = True
    plain: int = 0
    plain_share: float = 0.0

    def __call__(self, mixture: Mixture, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        drawn, weights = self.draw(mixture.alpha)
        if self.mixing == "even":
            return mixture.run(x, drawn)
        if isinstance(mixture, ReplaceMixture | ResidualMixture) and self.norms:
            return mixture.mix_some(x, torch.stack(weights), drawn)
        outputs = [mixture.operators[k](x) for k in drawn]
        if isinstance(mixture, ReplaceMixture):
            return _sum(outputs, weights)
        if isinstance(mixture, ResidualMixture):
            gamma, beta, mixed = mixture.gamma, mixture.beta, _sum(outputs, weights)
            return x + F.batch_norm(mixed, None, None, gamma, beta, training=True)
        assert isinstance(mixture, PaperMixture)
        activated: Tensor = mixture.activation(mixture.norm(_sum(outputs, weights)))
        return activated

    def draw(self, alpha: Tensor) -> tuple[list[int], list[Tensor]]:
        """Candidates of this step and their weights, scalars that α has slopes of."""
        if self.mixing == "sampled":
            noise = -torch.empty(len(alpha)).exponential_().log().to(alpha)
            p = (alpha + noise).softmax(0)
            k = int(p.argmax())
            return [k], [1 + p[k] - p[k].detach()]
        if self.mixing == "even":
            return [self._draw_one(len(alpha))], [torch.ones_like(alpha[0])]
        num = len(alpha) if self.mixing == "all" else min(self.subset, len(alpha))
        drawn = sorted(torch.randperm(len(alpha))[:num].tolist())
        return drawn, list(alpha[drawn].softmax(0))

    def _draw_one(self, num: int) -> int:
        if self.plain_share and float(torch.rand(())) < self.plain_share:
            return self.plain
        return int(torch.randint(num, ()))


@contextmanager
def one_draw(mixtures: Iterable[Mixture]) -> Iterator[None]:
    """Inside, open mixtures that draw one candidate for every pass keep to a draw made now, so
    that passes can be compared; those that are handed weights keep to these."""
    with ExitStack() as handed:
        for mixture in mixtures:
            blend, alpha = mixture.blend, mixture.alpha.detach()
            undrawn = not mixture.kept and mixture.weights is None
            if undrawn and isinstance(blend, Blend) and blend.mixing in OF_ONE:
                (k,), _ = blend.draw(alpha)
                one = torch.zeros_like(alpha)
                one[k] = 1
                handed.enter_context(mixture.handed(one))
        yield


def _sum(outputs: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    terms = [weight * output for weight, output in zip(weights, outputs, strict=True)]
    return sum(terms[1:], terms[0])
