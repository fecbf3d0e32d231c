"""The stage level: where blocks, strides and the stem earn most under caps on cost.

Ours, after Richter et al. (arXiv 2106.12307) and 3DRF (arXiv 2009.05236): a layer whose input
sees the whole image already earns nothing, so the productive score is maximised; of equal scores
the cheaper network is taken, which drops blocks that earn nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import comb

import numpy as np

from rfsearch.errors import UserError
from rfsearch.optimize.staged import Figures, Stage, Staged, Stem, figures

EXACT = 60_000
"""Networks up to which all are looked at."""
STEMS = tuple(product((3, 5, 7), (1, 2), (False, True)))
RELATIVE = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Caps on multiply-adds, of the original's, at which a search makes its curve."""
RESTARTS, KICKS = 2, 4


@dataclass(frozen=True)
class Point:
    """A network and what it comes to."""

    net: Staged
    figures: Figures


@dataclass(frozen=True)
class Curve:
    """What was found.

    Attributes:
        original: what it began with.
        best: the proposal under the caps.
        points: for growing multiply-adds the networks of which none costs less and earns as much,
            all within the cap on parameters.
        exact: whether all networks of the space were looked at; looked_at: how many were.
    """

    original: Point
    best: Point
    points: tuple[Point, ...]
    exact: bool
    looked_at: int


def optimize_stages(
    net: Staged,
    image_size: tuple[int, int],
    max_macs: int | None = None,
    max_params: int | None = None,
    seed: int = 0,
) -> Curve:
    """The network of most productive score; caps are the original's unless given.

    Raises:
        UserError: a cap below the smallest network, which is told.
    """
    start = Point(net, figures(net, image_size))
    macs = max_macs or start.figures.macs
    params = max_params or start.figures.params
    exact = count(net) <= EXACT
    if exact:
        found = {one: figures(one, image_size) for one in every(net)}
    else:
        found = search(net, image_size, params, macs, seed)
    fitting = [Point(n, f) for n, f in found.items() if f.fits]
    within = [p for p in fitting if p.figures.params <= params]
    allowed = [p for p in within if p.figures.macs <= macs]
    if not allowed:
        raise _too_small(fitting, macs, params)
    best = max(allowed, key=_worth)
    return Curve(start, best, _front(within), exact, len(found))


def _worth(point: Point) -> tuple[float, int, int, str]:
    one = point.figures
    return round(one.productive, 9), -one.macs, -one.params, point.net.label


def _front(points: list[Point]) -> tuple[Point, ...]:
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.figures.macs, -p.figures.productive,
                                               p.figures.params, p.net.label)):  # fmt: skip
        if not front or point.figures.productive > front[-1].figures.productive + 1e-9:
            front.append(point)
    return tuple(front)


def _too_small(points: list[Point], macs: int, params: int) -> UserError:
    least_macs = min(points, key=lambda p: p.figures.macs)
    least_params = min(points, key=lambda p: p.figures.params)
    return UserError(
        f"no network has at most {macs:,} MACs and {params:,} parameters; the smallest: "
        f"{least_macs.net.label} with {least_macs.figures.macs:,} MACs, "
        f"{least_params.net.label} with {least_params.figures.params:,} parameters"
    )


def count(net: Staged) -> int:
    """How many networks `every` makes."""
    total, most = sum(s.blocks for s in net.stages), len(net.stages)
    blocks = sum(comb(total, k) * 2**k for k in range(1, most + 1))
    return blocks * (len(STEMS) if net.stem.width else 1)


def every(net: Staged) -> Iterator[Staged]:
    """All networks with at most as many blocks, in the original's first one or more stages, every
    stride 1 or 2, every stem."""
    total = sum(stage.blocks for stage in net.stages)
    stems = [Stem(net.stem.width, *stem) for stem in STEMS] if net.stem.width else [net.stem]
    for num in range(1, len(net.stages) + 1):
        for blocks in _compositions(total, num):
            for strides in product((1, 2), repeat=num):
                stages = tuple(replace(stage, blocks=b, stride=s) for stage, b, s in
                               zip(net.stages, blocks, strides, strict=False))  # fmt: skip
                for stem in stems:
                    yield replace(net, stem=stem, stages=stages)


def _compositions(most: int, num: int) -> Iterator[tuple[int, ...]]:
    """All ``num`` counts from 1 on with a sum of ``most`` at most."""
    if num == 0:
        yield ()
        return
    for first in range(1, most - num + 2):
        for rest in _compositions(most - first, num - 1):
            yield (first, *rest)


def neighbours(net: Staged, most: int) -> list[Staged]:
    """One move away: a block more, less or shifted, a stride changed, another stem, a stage less
    at the end. No network has more than ``most`` blocks."""
    found = [replace(net, stages=stages) for stages in _moved(net.stages)]
    if len(net.stages) > 1:
        found.append(replace(net, stages=net.stages[:-1]))
    if net.stem.width:
        found += [replace(net, stem=Stem(net.stem.width, *stem)) for stem in STEMS]
    return [one for one in found if one != net and sum(s.blocks for s in one.stages) <= most]


def _moved(stages: tuple[Stage, ...]) -> Iterator[tuple[Stage, ...]]:
    def with_blocks(changes: dict[int, int]) -> tuple[Stage, ...]:
        return tuple(replace(s, blocks=s.blocks + changes.get(i, 0)) for i, s in enumerate(stages))

    for i, stage in enumerate(stages):
        yield with_blocks({i: 1})
        yield tuple(replace(s, stride=3 - s.stride) if j == i else s for j, s in enumerate(stages))
        if stage.blocks > 1:
            yield with_blocks({i: -1})
            yield from (with_blocks({i: -1, j: 1}) for j in range(len(stages)) if j != i)


def search(
    net: Staged, image_size: tuple[int, int], max_params: int, max_macs: int, seed: int
) -> dict[Staged, Figures]:
    """Networks met by climbing from the original and from random moves away from it, for a row of
    caps on multiply-adds; the same for the same seed."""
    rng = np.random.default_rng(seed)
    most = sum(stage.blocks for stage in net.stages)
    met: dict[Staged, Figures] = {net: figures(net, image_size)}
    caps = sorted({max_macs, *(int(met[net].macs * share) for share in RELATIVE)})

    def worth(one: Staged, cap: int) -> tuple[float, ...]:
        if one not in met:
            met[one] = figures(one, image_size)
        f = met[one]
        over = max(0.0, f.macs / cap - 1) + max(0.0, f.params / max_params - 1) + (not f.fits)
        return -over, round(f.productive, 9), -f.macs, -f.params

    for cap in caps:
        for restart in range(RESTARTS):
            current = net
            for _ in range(KICKS * restart):
                options = neighbours(current, most)
                current = options[int(rng.integers(len(options)))]
            while True:
                best = max(neighbours(current, most), key=lambda one: worth(one, cap))
                if worth(best, cap) <= worth(current, cap):
                    break
                current = best
    return met
