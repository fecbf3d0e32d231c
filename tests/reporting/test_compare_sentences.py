"""What the page of a comparison says of cheap scores, latency and the first reference."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rfsearch.reporting import compare_data, compare_verdict
from rfsearch.reporting.compare_data import ArmResult, Ranking
from rfsearch.reporting.compare_figures import folded
from rfsearch.reporting.compare_statistics import Agreement, Contrast, summarise
from rfsearch.reporting.trial_noise import of_scores


def ranking(name, tau, low):
    told = Agreement(tau, low, tau + 0.3, 0.4, 0.25, 5, 20)
    return Ranking(name, (0.1,) * 20, (0.2,) * 20, told)


def test_weak_scores_are_told_in_one_sentence():
    rankings = [ranking("supernet of pmpl, seed 0", -0.2, -0.5), ranking("proxy", 0.5, 0.2),
                ranking("supernet of pmpl, seed 1", 0.12, -0.2)]  # fmt: skip
    (told,) = compare_verdict.doubts([], rankings, [], {})
    assert told == (
        "Within the interval of τ, 2 of 3 cheap scores do not rank networks better than chance: "
        "τ −0.20 to 0.12 (20 networks)."
    )
    (told,) = compare_verdict.doubts([], rankings[:2], [], {})
    assert "the supernet of pmpl, seed 0 does not rank" in told
    assert compare_verdict.doubts([], rankings[1:2], [], {}) == []


def test_a_budget_is_doubted_where_trainings_of_plain_lie_apart():
    def plain(scores):
        by_seed = dict(enumerate(scores))
        return ArmResult("plain", "control", by_seed, summarise(scores), None, None, None, "")

    (told,) = compare_verdict.doubts([plain([0.79, 0.83, 0.89])], [], [], {})
    assert told.startswith("Trainings of plain lie 5.0 points apart (sd): networks trained so")
    assert compare_verdict.doubts([plain([0.95, 0.96, 0.97])], [], [], {}) == []
    assert compare_verdict.doubts([plain([0.9])], [], [], {}) == []


def test_arms_are_named_whose_trials_tell_nothing_apart():
    alike, apart = of_scores([0.1, 0.1, 0.1], 150), of_scores([0.1, 0.5, 0.9], 150)
    told = compare_verdict.doubts([], [], [], {"tpe": [alike, apart], "random": [apart]})
    assert told == [
        "In 1 of 2 searches by tpe the scores of trials lie no further apart than luck (at most "
        "sd 0.0 points, where the draw of 150 selection images alone gives equally good networks "
        "2.4), so what was kept there is luck."
    ]
    (told,) = compare_verdict.doubts([], [], [], {"tpe": [alike]})
    assert told.startswith("In the search by tpe the scores")


def test_no_reason_is_given_that_an_arm_may_not_have():
    """Arms without a verdict may be random in effect or have too few trials."""
    assert compare_verdict.headline([], 6) == "Nothing was compared: no arm may have a verdict."


def test_an_arm_has_one_sentence_against_its_first_reference():
    pairs = [("a", "random"), ("a", "plain"), ("random", "random networks"), ("random", "plain")]
    contrasts = [Contrast(arm, other, 0.01, -0.02, 0.04, 0.5, 3) for arm, other in pairs]
    told = compare_verdict.intervals(contrasts)
    assert [one.split(":")[0] for one in told] == [
        "a against random search", "random against the mean of random networks",
    ]  # fmt: skip
    assert "+1.0 points (−2.0 to +4.0)" in told[0]


def test_latency_against_sums_written_out():
    """The second network met a machine half as fast as the table did."""
    networks = [
        {"choices": ["max 3"], "predicted_ms": 2.0, "measured_ms": 4.0, "plain_ms": 1.0},
        {"choices": ["avg 3"], "predicted_ms": 6.0, "measured_ms": 10.0, "plain_ms": 2.0},
    ]
    record = {"networks": networks, "backbone_ms": 1.0}
    found = compare_data.latency(SimpleNamespace(latency=record))
    assert found.error == pytest.approx((0.5 + 0.2) / 2)
    assert found.bias == pytest.approx((-0.5 + 0.2) / 2)
    assert (found.predicted, found.measured) == ((2.0, 6.0), (4.0, 5.0))
    assert compare_data.latency(SimpleNamespace(latency=None)) is None


def test_long_names_are_folded():
    assert folded("pmpl:threshold=0.3:progressive=false") == (
        "pmpl: threshold=0.3:<br>progressive=false"
    )
    assert folded("a<b") == "a&lt;b"
