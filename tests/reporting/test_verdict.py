"""Sentences that carry no more than the interval does."""

from __future__ import annotations

import pytest

from rfsearch.reporting.records import read
from rfsearch.reporting.verdict import verdict


def said(folder):
    return verdict(read(folder))


def test_found_above(make_run):
    found = said(make_run())
    assert found.headline == (
        "The found network scored 2.9 points above the plain one: 93.0 % against 90.1 %."
    )
    assert found.tone == "above"
    assert "2,000 untouched test images from 359 independent sources" in found.interval
    assert "+0.4 to +5.3 points" in found.interval
    assert found.seeds.startswith("One seed:")
    assert "for twelve epochs, and a gain of short training can go with longer" in found.seeds
    assert "better" not in " ".join(vars(found).values())


def test_found_worse_says_so_first(make_run):
    found = said(make_run(found=(0.88,), plain=(0.90,), interval=(-0.035, -0.005)))
    assert found.headline.startswith("The found network is worse here, 2.0 points below")
    assert found.tone == "below"


def test_interval_over_zero_tells_nothing_apart(make_run):
    found = said(make_run(found=(0.91,), plain=(0.90,), interval=(-0.01, 0.03)))
    assert "does not tell the two networks apart" in found.interval
    assert found.tone == "level"
    assert "short training" not in found.seeds


def test_equal_scores(make_run):
    found = said(make_run(found=(0.9,), plain=(0.9,), interval=(-0.02, 0.02)))
    assert "the same as the plain one" in found.headline


def test_nothing_changed(make_run):
    folder = make_run(found=(0.9,), plain=(0.9,), interval=(0.0, 0.0), chosen=(0,) * 16)
    found = said(folder)
    assert found.headline == (
        "The search changed nothing: what it found is the plain network, 90.0 %."
    )
    assert "so the two are one network" in found.interval
    assert "tell" not in found.interval


def test_several_retraining_seeds(make_run):
    found = said(make_run(found=(0.93, 0.92, 0.94), plain=(0.9, 0.91, 0.92)))
    assert found.seeds.startswith("One search seed, three trainings of each network.")


@pytest.mark.parametrize(
    "part",
    ["Parameters 706 k (plain 706 k)", "window operations 2.35 M (plain 0)",
     "latency 9.3 ms (plain 7.8 ms) per batch of 1, one thread on the CPU"],
)  # fmt: skip
def test_cost(make_run, part):
    assert part in said(make_run()).cost


def test_choices(make_run):
    assert said(make_run()).choices == (
        "Chosen in 16 slots: 5 × max 3, 5 × identity, 3 × max 7, 2 × max 5, 1 × avg 3."
    )
