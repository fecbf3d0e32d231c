"""What a comparison concludes, against sums written out here and against simulations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special

from rfsearch.reporting.compare_statistics import (
    Contrast,
    agreement,
    band,
    best_so_far,
    contrast,
    holm,
    mcnemar,
    pareto,
    relative_improvement,
    summarise,
)


def density(t, df):
    """Student's t."""
    top = special.gamma((df + 1) / 2)
    return (
        top / math.sqrt(df * math.pi) / special.gamma(df / 2) * (1 + t * t / df) ** (-(df + 1) / 2)
    )


def test_a_contrast_is_the_paired_t_interval():
    first, second = [0.91, 0.93, 0.9, 0.94, 0.92, 0.95], [0.9, 0.9, 0.91, 0.9, 0.91, 0.9]
    found = contrast("a", "b", first, second)
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean = sum(differences) / 6
    sd = math.sqrt(sum((d - mean) ** 2 for d in differences) / 5)
    error = sd / math.sqrt(6)
    assert found.mean == pytest.approx(mean)
    assert found.high - found.mean == pytest.approx(2.570581836 * error)  # a table of t, 5 degrees
    tail = integrate.quad(density, mean / error, np.inf, args=(5,))[0]
    assert found.p == pytest.approx(2 * tail, rel=1e-6)


def test_below_six_seeds_there_is_no_verdict():
    for num in range(1, 9):
        rng = np.random.default_rng(num)
        second = rng.normal(0.9, 0.001, num)
        (found,) = holm([contrast("a", "b", second + rng.normal(0.1, 0.001, num), second)])
        assert found.verdict == ("too few seeds" if num < 6 else "better")
        (found,) = holm([contrast("b", "a", second, second + rng.normal(0.1, 0.001, num))])
        assert found.verdict == ("too few seeds" if num < 6 else "worse")


def test_equal_arms_are_called_better_or_worse_in_at_most_five_per_cent():
    """Three arms and two references of one distribution; seeds shift all of them together."""
    rng, wrong, runs = np.random.default_rng(0), 0, 2000
    for _ in range(runs):
        num = int(rng.integers(6, 11))
        shift = rng.normal(0, 0.02, num)
        arms = [shift + rng.normal(0.9, 0.01, num) for _ in range(5)]
        family = [contrast("a", "r", a, r) for a, r in itertools.product(arms[:3], arms[3:])]
        wrong += any(one.verdict in ("better", "worse") for one in holm(family))
    assert wrong / runs <= 0.05
    assert wrong / runs > 0.01, "a test that never speaks"


def test_a_difference_that_is_there_is_found():
    rng, found = np.random.default_rng(1), 0
    for _ in range(200):
        second = rng.normal(0.9, 0.01, 8)
        first = second + rng.normal(0.03, 0.01, 8)
        found += holm([contrast("a", "b", first, second)])[0].verdict == "better"
    assert found > 190


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_rejects_as_its_steps_say(ps):
    contrasts = [Contrast("a", "b", 0.1, 0, 0.2, p, 6) for p in ps]
    found = [one.adjusted <= 0.05 for one in holm(contrasts)]
    rejected, left = set(), sorted(range(len(ps)), key=lambda i: ps[i])
    while left and ps[left[0]] <= 0.05 / len(left) * (1 + 1e-12):
        rejected.add(left.pop(0))
    close = any(abs(p * k - 0.05) < 1e-12 for p in ps for k in range(1, len(ps) + 1))
    assert close or {i for i, yes in enumerate(found) if yes} == rejected


def test_mcnemar_counts_the_images_that_tell():
    first = np.array([1, 1, 1, 1, 1, 1, 0, 1, 0, 0], bool)
    second = np.array([0, 0, 0, 0, 0, 1, 1, 1, 0, 0], bool)
    only_first, only_second, p = mcnemar(first, second)
    assert (only_first, only_second) == (5, 1)
    assert p == pytest.approx(2 * (math.comb(6, 0) + math.comb(6, 1)) / 2**6)
    assert mcnemar(first, first) == (0, 0, 1.0)


def kendall(x, y):
    """τ-b by counting pairs."""
    pairs = list(itertools.combinations(range(len(x)), 2))
    signs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in pairs]
    num_x, num_y = (sum(abs(s[k]) for s in signs) for k in (0, 1))
    return sum(a * b for a, b in signs) / math.sqrt(num_x * num_y)


def test_rank_agreement():
    rng = np.random.default_rng(2)
    truths = rng.normal(size=20).round(1).tolist()
    scores = (np.asarray(truths) + rng.normal(size=20)).round(1).tolist()
    found = agreement(scores, truths)
    assert found.tau == pytest.approx(kendall(scores, truths))
    assert found.low < found.tau < found.high
    assert 0.2 < (found.high - found.low) / 2 < 0.36
    perfect = agreement(truths, truths)
    assert (perfect.tau, perfect.precision) == (pytest.approx(1), 1)
    assert agreement([1.0] * 20, truths) is None


def test_the_interval_of_tau_covers():
    """Normal pairs of correlation .5 have τ = 2/π · asin(.5) = 1/3."""
    rng, covered, runs = np.random.default_rng(3), 0, 400
    for _ in range(runs):
        x = rng.normal(size=20)
        y = 0.5 * x + math.sqrt(0.75) * rng.normal(size=20)
        found = agreement(x.tolist(), y.tolist())
        covered += found.low <= 1 / 3 <= found.high
    assert 0.92 <= covered / runs <= 0.98


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=12))
def test_pareto_against_the_definition(points):
    found = pareto(points)
    for one, kept in zip(points, found, strict=True):
        beaten = any(
            o[0] >= one[0] and o[1] <= one[1] and o[2] <= one[2] and o != one for o in points
        )
        assert kept == (not beaten)


def test_curves():
    assert best_so_far([1, 2, 3, 4], [None, 0.5, 0.4, 0.7]) == ([3, 6, 10], [0.5, 0.5, 0.7])
    grid, mean, low, high = band([([1, 3], [0.2, 0.4]), ([2, 4], [0.4, 0.6])], 3)
    assert grid == [2, 2.5, 3]
    assert low == pytest.approx([0.2, 0.2, 0.4])
    assert high == pytest.approx([0.4, 0.4, 0.4])
    assert mean == pytest.approx([0.3, 0.3, 0.4])


def test_summaries():
    found = summarise([0.1, 0.2, 0.6])
    assert (found.mean, found.median) == (pytest.approx(0.3), 0.2)
    assert found.sd == pytest.approx(math.sqrt((0.04 + 0.01 + 0.09) / 2))
    assert summarise([0.5]).sd is None
    assert relative_improvement(0.95, 0.9) == pytest.approx(0.05 / 0.9)
