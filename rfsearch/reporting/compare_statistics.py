"""What a comparison may conclude: pure functions of numbers (Lindauer & Hutter 2020; Yang et al.
2020). Search seeds are what is repeated; retrainings of one network are averaged first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
LEAST_SEEDS = 6
"""Below, no sentence says better or worse: three pairs decide wrongly far too often."""
TOO_FEW = "too few seeds"

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Contrast:
    """Mean difference over search seeds with its paired t interval, as shares.

    ``p`` is two-sided; ``adjusted`` is Holm's over the family it was tested in.
    """

    arm: str
    against: str
    mean: float
    low: float
    high: float
    p: float
    num_seeds: int
    adjusted: float = math.nan

    @property
    def verdict(self) -> str:
        """better, worse or not told apart; below six seeds no verdict."""
        if self.num_seeds < LEAST_SEEDS:
            return TOO_FEW
        if self.adjusted > 1 - LEVEL:
            return "not told apart"
        return "better" if self.mean > 0 else "worse"


@dataclass(frozen=True)
class Summary:
    """Accuracies over search seeds: moments and quartiles, as shares."""

    num: int
    mean: float
    sd: float | None
    median: float
    low_quartile: float
    high_quartile: float


@dataclass(frozen=True)
class Agreement:
    """How far a cheap score puts networks into the order of their stand-alone accuracy.

    ``tau`` is Kendall's (b), with a 95 % interval; ``precision`` is the share of the best k by
    the score that are among the best k by accuracy; by chance it would be ``chance``.
    """

    tau: float
    low: float
    high: float
    precision: float
    chance: float
    k: int
    num: int


def summarise(values: Sequence[float]) -> Summary:
    """Of one value per search seed."""
    array = np.asarray(values, float)
    low, median, high = np.quantile(array, [0.25, 0.5, 0.75])
    sd = float(array.std(ddof=1)) if len(array) > 1 else None
    return Summary(len(array), float(array.mean()), sd, float(median), float(low), float(high))


def contrast(arm: str, against: str, first: Sequence[float], second: Sequence[float]) -> Contrast:
    """first − second, paired by search seed.

    One pair has no interval: it reaches from −1 to 1.
    """
    from scipy import stats

    differences = np.asarray(first, float) - np.asarray(second, float)
    num, mean = len(differences), float(differences.mean())
    if num < 2:
        return Contrast(arm, against, mean, -1.0, 1.0, 1.0, num)
    error = float(differences.std(ddof=1)) / math.sqrt(num)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, num - 1)) * error
    if error == 0:
        p = 1.0 if mean == 0 else 0.0
    else:
        p = float(2 * stats.t.sf(abs(mean) / error, num - 1))
    return Contrast(arm, against, mean, mean - reach, mean + reach, p, num)


def holm(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """The contrasts with p adjusted over all of them (Holm 1979)."""
    order = sorted(range(len(contrasts)), key=lambda index: contrasts[index].p)
    adjusted, largest = [0.0] * len(contrasts), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(contrasts) - rank) * contrasts[index].p))
        adjusted[index] = largest
    return [replace(one, adjusted=p) for one, p in zip(contrasts, adjusted, strict=True)]


def mcnemar(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> tuple[int, int, float]:
    """Images that only the first, only the second network predicts right, and the exact p.

    It speaks of these two trained networks on other images, not of strategies.
    """
    from scipy import stats

    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    both = only_first + only_second
    p = float(stats.binomtest(only_first, both, 0.5).pvalue) if both else 1.0
    return only_first, only_second, p


def relative_improvement(accuracy: float, random_mean: float) -> float:
    """(a − r) / r against the mean of random networks (Yang et al. 2020, equation 1)."""
    return (accuracy - random_mean) / random_mean


def agreement(scores: Sequence[float], truths: Sequence[float]) -> Agreement | None:
    """Kendall's τ with the interval of Fieller et al. (1957), and precision at a quarter.

    None where there are fewer than five networks or nothing to rank.
    """
    from scipy import stats

    num = len(scores)
    if num < 5 or len(set(scores)) < 2 or len(set(truths)) < 2:
        return None
    tau = float(stats.kendalltau(scores, truths).statistic)
    reach = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt(0.437 / (num - 4))
    z = math.atanh(max(-0.999999, min(0.999999, tau)))
    k = max(1, num // 4)
    best = [set(np.argsort(-np.asarray(values), kind="stable")[:k]) for values in (scores, truths)]
    precision = len(best[0] & best[1]) / k
    return Agreement(tau, math.tanh(z - reach), math.tanh(z + reach), precision, k / num, k, num)


def pareto(points: Sequence[Sequence[float]]) -> list[bool]:
    """Which points no other one beats: the first number to be large, the others to be small."""
    turned: Any = np.asarray([[-first, *rest] for first, *rest in points], float)
    found = []
    for one in turned:
        as_good = (turned <= one).all(1)
        better = (turned < one).any(1)
        found.append(not bool((as_good & better).any()))
    return found


def best_so_far(
    seconds: Sequence[float], scores: Sequence[float | None]
) -> tuple[list[float], list[float]]:
    """Cost so far (seconds) and the highest score so far, from the first score on."""
    spent, top = 0.0, -math.inf
    costs, tops = [], []
    for cost, score in zip(seconds, scores, strict=True):
        spent += cost
        top = max(top, score) if score is not None else top
        if top > -math.inf:
            costs.append(spent)
            tops.append(top)
    return costs, tops


def band(
    curves: Sequence[tuple[Sequence[float], Sequence[float]]], num: int = 60
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Step curves of several seeds on one grid of costs: grid, mean, lowest, highest.

    From where all have begun to where the first one ends, so that every point has all seeds.
    """
    start = max(costs[0] for costs, _ in curves)
    end = max(start, min(costs[-1] for costs, _ in curves))
    grid = np.linspace(start, end, num if end > start else 1)
    rows = [
        np.asarray(tops)[np.searchsorted(np.asarray(costs), grid, side="right") - 1]
        for costs, tops in curves
    ]
    table = np.stack(rows)
    return grid.tolist(), table.mean(0).tolist(), table.min(0).tolist(), table.max(0).tolist()
