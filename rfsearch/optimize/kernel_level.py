"""The kernel level: the cheapest operators that keep what a stage sees and earns.

Ours (the idea of cheap kernels chosen by gain is 3DRF's, arXiv 2009.05236). Of each stage as few
parameters as possible, while it keeps

    at least (1 − ε) of its trainable score           Σ Δ log field + log(C_in/g)
    full channel reach at its end                     along its main path
    its spatial field                                 every candidate keeps kernel and stride
    at least `SHARE` of its spatial gain trainable    so that pooling cannot take over

A network with one operator everywhere is no choice: it is refused, and the cheapest that is none
is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import inf

import numpy as np

from rfsearch.errors import UserError
from rfsearch.optimize.operators import CANDIDATES, DENSE, Kernel
from rfsearch.optimize.staged import Seen, Staged, seen

SHARE = 0.5
EPSILONS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
SMALLEST = 16
"""Channels below which a convolution is left as it is."""


@dataclass(frozen=True)
class Choice:
    """An operator in place of a convolution.

    Attributes:
        earned, before: trainable score with it and with the dense convolution.
    """

    row: Seen
    kernel: Kernel
    earned: float
    before: float

    @property
    def name(self) -> str:
        """Full name of the convolution."""
        return self.row.layer.name

    @property
    def saved(self) -> int:
        """Parameters."""
        return DENSE.params(self.row.layer) - self.kernel.params(self.row.layer)


@dataclass(frozen=True)
class Proposal:
    """Operators for all convolutions that may be replaced, in network order."""

    epsilon: float
    choices: tuple[Choice, ...]

    @property
    def kernels(self) -> dict[str, Kernel]:
        """Those that change something, by convolution."""
        return {one.name: one.kernel for one in self.choices if one.kernel != DENSE}

    @property
    def params_saved(self) -> int:
        """Of the whole network."""
        return sum(one.saved for one in self.choices)

    @property
    def macs_saved(self) -> int:
        """Of the whole network."""
        return sum(DENSE.macs(c.row.layer, _pixels(c.row)) - c.kernel.macs(c.row.layer,
                   _pixels(c.row)) for c in self.choices)  # fmt: skip

    @property
    def is_uniform(self) -> bool:
        """Whether one operator stands everywhere."""
        return len({one.kernel for one in self.choices}) < 2 < len(self.choices)


def _pixels(row: Seen) -> int:
    return row.size[0] * row.size[1]


def optimize_kernels(net: Staged, image_size: tuple[int, int], epsilon: float) -> Proposal:
    """The cheapest operators at one ε.

    Raises:
        UserError: ε outside [0, 1), or nothing that could be replaced.
    """
    if not 0 <= epsilon < 1:
        raise UserError(f"--epsilon is a share of the score, from 0 to below 1, not {epsilon:g}")
    rows = [row for row in seen(net, image_size) if is_open(row)]
    if not rows:
        raise UserError("no convolution of this network is wide enough to be replaced")
    by_stage: dict[int, list[Seen]] = {}
    for row in rows:
        by_stage.setdefault(row.layer.stage, []).append(row)
    try:
        return _varied(epsilon, [_stage(stage, epsilon) for stage in by_stage.values()])
    except UserError:
        raise _uniform(by_stage.values(), epsilon) from None


def curve(net: Staged, image_size: tuple[int, int]) -> list[Proposal]:
    """Proposals for growing ε, from the first that allows one."""
    found = []
    for epsilon in EPSILONS:
        with suppress(UserError):
            found.append(optimize_kernels(net, image_size, epsilon))
    return found


def _uniform(by_stage: Collection[Sequence[Seen]], epsilon: float) -> UserError:
    """Why there is no proposal, and the first ε of the curve at which there is one."""
    for larger in (one for one in EPSILONS if one > epsilon):
        with suppress(UserError):
            _varied(larger, [_stage(stage, larger) for stage in by_stage])
            return UserError(
                f"at --epsilon {epsilon:g} one operator everywhere is all that keeps every "
                f"stage's score, which is no proposal; {larger:g} allows one"
            )
    return UserError("no choice of operators but one everywhere keeps every stage's score")


def is_open(row: Seen) -> bool:
    """Whether a convolution may be replaced: dense, on the main path, of the stages, wide."""
    layer = row.layer
    if layer.filters == 0 or layer.stage == 0 or layer.groups > 1 or layer.side:
        return False
    return min(layer.inside, layer.filters) >= SMALLEST and not layer.name.startswith("last")


def _stage(rows: Sequence[Seen], epsilon: float) -> list[tuple[Choice, ...]]:
    """The cheapest choice of a stage, and the cheapest that holds another operator somewhere."""
    before = sum(DENSE.earns(row.layer, row.spatial) for row in rows)
    best: tuple[Choice, ...] | None = None
    varied: tuple[Choice, ...] | None = None
    costs = [inf, inf]
    for kernels in _assignments(rows):
        cost = sum(k.params(row.layer) for k, row in zip(kernels, rows, strict=True))
        mixed = len(set(kernels)) > 1
        if cost >= costs[0] and (not mixed or cost >= costs[1]):
            continue
        choices = tuple(map(_choice, rows, kernels))
        if not _keeps(choices, before, epsilon):
            continue
        if cost < costs[0]:
            best, costs[0] = choices, cost
        if mixed and cost < costs[1]:
            varied, costs[1] = choices, cost
    assert best is not None, "dense convolutions keep everything"
    return [best] if varied is None else [best, varied]


def _choice(row: Seen, kernel: Kernel) -> Choice:
    layer, spatial = row.layer, row.spatial
    return Choice(row, kernel, kernel.earns(layer, spatial), DENSE.earns(layer, spatial))


def _assignments(rows: Sequence[Seen]) -> Iterator[tuple[Kernel, ...]]:
    """Operators for every layer: layers of one shape hold any multiset of them, those that reach
    widest last, so that no two orders of the same are looked at."""
    groups: dict[tuple[int, int, int], list[int]] = {}
    for number, row in enumerate(rows):
        key = (row.layer.kernel, row.layer.inside, row.layer.filters)
        groups.setdefault(key, []).append(number)
    shapes = list(groups.values())
    allowed = [_allowed(rows[numbers[0]], len(rows)) for numbers in shapes]

    def fill(index: int, taken: dict[int, Kernel]) -> Iterator[tuple[Kernel, ...]]:
        if index == len(shapes):
            yield tuple(taken[number] for number in range(len(rows)))
            return
        numbers = shapes[index]
        for kernels in combinations_with_replacement(allowed[index], len(numbers)):
            order = kernels[::-1]  # dense and pointwise reach everything: to the end
            yield from fill(index + 1, taken | dict(zip(numbers, order, strict=True)))

    yield from fill(0, {})


def _allowed(row: Seen, num: int) -> list[Kernel]:
    """Candidates that fit a layer; of long stages grouped ones are left to Rolling-Pointwise,
    which costs and earns the same and reaches on."""
    found = [kernel for kernel in CANDIDATES if kernel.fits(row.layer)]
    if row.layer.kernel == 1:
        found = [k for k in found if k.name not in ("pool", "pointwise")]
    if num > 4:
        found = [k for k in found if k.name != "grouped" and k.groups < 8]
    return found


def _keeps(choices: Sequence[Choice], before: float, epsilon: float) -> bool:
    if sum(one.earned for one in choices) < (1 - epsilon) * before - 1e-9:
        return False
    gain = sum(one.row.spatial for one in choices)
    trained = sum(one.row.spatial for one in choices if one.kernel.name != "pool")
    return trained >= SHARE * gain - 1e-9 and (gain > 0 or _few_pools(choices)) and _full(choices)


def _few_pools(choices: Sequence[Choice]) -> bool:
    """Where nothing is gained any more, pooling is held to the same share of layers."""
    return Counter(c.kernel.name for c in choices)["pool"] <= (1 - SHARE) * len(choices)


def _full(choices: Sequence[Choice]) -> bool:
    """Whether every channel of the first layer reaches every filter of the last."""
    if all(one.kernel.groups == 1 for one in choices) or choices[-1].kernel.groups == 1:
        return True
    reach: np.ndarray | None = None
    for one in choices:
        reads = one.kernel.reads(one.row.layer)
        if reach is None:
            reach = reads
        elif reads.shape[1] == reach.shape[0]:
            reach = (reads.astype(np.float32) @ reach.astype(np.float32)) > 0
        elif one.kernel.groups == 1:  # behind a depthwise convolution or another width
            reach = np.ones((one.row.layer.filters, 1), dtype=bool)
    return reach is not None and bool(reach.all())


def _varied(epsilon: float, ranked: list[list[tuple[Choice, ...]]]) -> Proposal:
    """The cheapest of all stages; if that is one operator everywhere, the stage in which another
    one costs least gets it."""
    chosen = Proposal(epsilon, tuple(c for stage in ranked for c in stage[0]))
    if not chosen.is_uniform:
        return chosen
    others = []
    for number, stage in enumerate(ranked):
        if len(stage) > 1:
            parts = [s[1] if i == number else s[0] for i, s in enumerate(ranked)]
            others.append(Proposal(epsilon, tuple(c for part in parts for c in part)))
    if not others:
        raise UserError("every stage keeps its score with one operator alone; no proposal is made")
    return max(others, key=lambda one: one.params_saved)
