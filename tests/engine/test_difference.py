"""The interval of a difference: against the plain formula, a bootstrap, and its own promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from rfsearch.engine.difference import LEVEL, paired_difference, resampled_difference
from rfsearch.training.metrics import accuracy


def clustered(rng, clusters, first=0.85, second=0.8, spread=0.15, seeds=2):
    """Right or wrong on images in clusters of 1 to 8, in which networks err together."""
    sizes = rng.integers(1, 9, clusters)
    sources = np.repeat(np.arange(clusters) * 7, sizes)  # names need not be dense
    ease = np.repeat(rng.normal(0, spread, clusters), sizes)
    lead = np.repeat(rng.normal(0, spread, clusters), sizes)

    def network(mean):
        return rng.random((seeds, len(sources))) < np.clip(mean + ease + lead, 0, 1)

    one = network(first)
    lead = -lead
    two = network(second)
    order = rng.permutation(len(sources))
    return one[:, order], two[:, order], sources[order]


def plain_formula(first, second, sources):
    """The linearised ratio estimator, once more, one cluster at a time."""
    table = {}
    for n, source in enumerate(sources):
        total = sum(float(a[n]) - float(b[n]) for a, b in zip(first, second, strict=True))
        table.setdefault(int(source), []).append(total / len(first))
    sums, counts = [math.fsum(v) for v in table.values()], [len(v) for v in table.values()]
    m, size = math.fsum(sums) / math.fsum(counts), math.fsum(counts) / len(counts)
    squares = math.fsum(((s - m * c) / size) ** 2 for s, c in zip(sums, counts, strict=True))
    error = math.sqrt(squares / (len(sums) - 1) / len(sums))
    reach = stats.t.ppf(0.975, len(sums) - 1) * error
    return m, m - reach, m + reach


@pytest.mark.parametrize("clusters", [2, 5, 60])
def test_equals_the_plain_formula(clusters):
    first, second, sources = clustered(np.random.default_rng(clusters), clusters)
    found = paired_difference(first, second, sources)
    expected = plain_formula(first, second, sources)
    told = (found["found_minus_plain"], *found["interval"])
    np.testing.assert_allclose(told, expected, rtol=0, atol=1e-12)
    assert (found["sources"], found["seeds"], found["level"]) == (clusters, 2, 0.95)
    assert found["found_minus_plain"] == pytest.approx(first.mean() - second.mean())


def test_agrees_with_a_bootstrap_of_sources():
    rng = np.random.default_rng(0)
    first, second, sources = clustered(rng, 200)
    names, inverse = np.unique(sources, return_inverse=True)
    per_image = first.mean(0) - second.mean(0)
    sums, counts = np.bincount(inverse, weights=per_image), np.bincount(inverse)
    drawn = rng.integers(len(names), size=(4000, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    found = paired_difference(first, second, sources)["interval"]
    assert found[0] == pytest.approx(low, abs=0.15 * (high - low))
    assert found[1] == pytest.approx(high, abs=0.15 * (high - low))


def test_images_of_one_source_do_not_count_as_many():
    rng = np.random.default_rng(1)
    first, second, sources = clustered(rng, 50)
    once = paired_difference(first, second, sources)
    tenfold = paired_difference(np.tile(first, 10), np.tile(second, 10), np.tile(sources, 10))
    assert tenfold["interval"] == pytest.approx(once["interval"])
    alone = paired_difference(first, second, np.arange(len(sources)))
    assert alone["found_minus_plain"] == once["found_minus_plain"]
    width = [b - a for a, b in (once["interval"], alone["interval"])]
    assert width[0] > 1.2 * width[1]


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng, covered, runs = np.random.default_rng(2), 0, 400
    one, two, _ = clustered(np.random.default_rng(3), 200_000, seeds=1)
    truth = one.mean() - two.mean()  # within .001, a tenth of an interval's reach
    for _ in range(runs):
        low, high = paired_difference(*clustered(rng, 60))["interval"]
        covered += low <= truth <= high
    assert abs(covered / runs - LEVEL) <= 0.03


def test_the_same_network_differs_by_nothing():
    first, _, sources = clustered(np.random.default_rng(4), 20)
    found = paired_difference(first, first, sources)
    assert found["found_minus_plain"] == 0
    assert found["interval"] == [0, 0]


def test_one_source_tells_nothing():
    right = np.array([[True, True, False]])
    found = paired_difference(right, ~right, np.zeros(3, np.int64))
    assert found["interval"] == [-1, 1]
    assert found["found_minus_plain"] == pytest.approx(1 / 3)


def test_a_bootstrap_of_accuracies_is_the_t_interval():
    """Of trainings that each have labels and logits; the same sources drawn for both."""
    first, second, sources = clustered(np.random.default_rng(6), 150)
    labels = np.random.default_rng(7).integers(3, size=len(sources))
    logits = [[np.eye(3)[(labels + ~right) % 3] for right in side] for side in (first, second)]
    told = resampled_difference(accuracy, labels, *logits, sources)
    expected = paired_difference(first, second, sources)
    assert told["found_minus_plain"] == pytest.approx(expected["found_minus_plain"])
    assert {k: told[k] for k in ("sources", "seeds", "level")} == {
        k: expected[k] for k in ("sources", "seeds", "level")
    }
    low, high = expected["interval"]
    assert told["interval"] == pytest.approx([low, high], abs=0.12 * (high - low))
    assert resampled_difference(accuracy, labels, *logits, sources) == told
    same = resampled_difference(accuracy, labels, logits[0], logits[0], sources)
    assert (same["found_minus_plain"], same["interval"]) == (0, [0, 0])
    one = resampled_difference(accuracy, labels, *logits, np.zeros(len(labels), np.int64))
    assert one["interval"] == [-1, 1]


def test_swapping_the_networks_mirrors_the_interval():
    first, second, sources = clustered(np.random.default_rng(5), 30)
    forth = paired_difference(first, second, sources)
    back = paired_difference(second, first, sources)
    low, high = forth["interval"]
    assert back["interval"] == pytest.approx([-high, -low])
