"""The bound against scores that were drawn, of networks equally good and not."""

from __future__ import annotations

import numpy as np
import pytest

from rfsearch.reporting.trial_noise import of_scores


@pytest.mark.parametrize("p", [0.12, 0.5, 0.9])
def test_equally_good_networks_pass_the_bound_in_five_of_a_hundred(p):
    drawn = np.random.default_rng(0).binomial(500, p, (4000, 12)) / 500
    assert np.mean([of_scores(one, 500).told_apart for one in drawn]) == pytest.approx(
        0.05, abs=0.015
    )


def test_networks_six_points_apart_are_told_apart():
    generator = np.random.default_rng(0)
    truths = generator.normal(0.5, 0.06, (500, 12))
    drawn = generator.binomial(500, truths) / 500
    assert np.mean([of_scores(one, 500).told_apart for one in drawn]) > 0.95


def test_perfect_scores_tell_nothing():
    assert not of_scores([1.0] * 4, 100).told_apart
