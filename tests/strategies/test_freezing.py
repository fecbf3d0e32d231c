"""When a slot settles, on plain numbers: whichever candidate wins, that one is frozen (law 8)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfsearch.strategies.freezing import (
    Watch,
    at_deadline,
    gap,
    observe,
    ranked,
    settled,
    unless_ahead,
)

COUNTS = [2, 3, 7, 8]


def peaked(count, winner, lead=0.3):
    """p in which ``winner`` leads all others, equal among themselves, by ``lead``."""
    rest = (1 - lead) / count
    return tuple(rest + lead * (k == winner) for k in range(count))


winners = pytest.mark.parametrize(
    ("count", "winner"), [(count, winner) for count in COUNTS for winner in range(count)]
)


@winners
def test_every_candidate_wins_in_turn(count, winner):
    p = peaked(count, winner)
    assert settled(p, 0.2) == winner
    assert ranked(p)[0] == winner
    assert gap(p) == pytest.approx(0.3)
    watch = Watch()
    for _ in range(5):
        watch = observe(watch, p, 0.9, 0.2)
    assert (watch.winner, watch.streak) == (winner, 5)
    assert at_deadline(p, "argmax") == (winner,)
    assert winner in at_deadline(p, "pair")


@winners
def test_a_pair_is_the_top_two_in_the_spaces_order(count, winner):
    for second in set(range(count)) - {winner}:
        p = [0.1] * count
        p[winner], p[second] = 0.5, 0.3
        pair = at_deadline(p, "pair")
        assert set(pair) == {winner, second}
        assert list(pair) == sorted(pair)


def test_of_equals_the_earlier_leads_and_nothing_settles():
    p = (0.1, 0.4, 0.1, 0.4)
    assert ranked(p) == [1, 3, 0, 2]
    assert gap(p) == 0
    assert settled(p, 0.01) is None
    assert settled(p, 0.0) == 1
    assert at_deadline(p, "argmax") == (1,)
    assert at_deadline((0.25,) * 4, "pair") == (0, 1)
    watch = observe(Watch((), 3, 7), p, 0.5, 0.01)
    assert (watch.winner, watch.streak) == (1, 0)


def test_one_candidate_has_always_settled():
    assert gap((1.0,)) == 1
    assert settled((1.0,), 0.99) == 0
    assert at_deadline((1.0,), "argmax") == at_deadline((1.0,), "pair") == (0,)
    assert observe(Watch(), (1.0,), 0.9, 0.2) == Watch((1.0,), 0, 1)


def test_the_threshold_itself_counts():
    assert settled((0.5, 0.25, 0.25), 0.25) == 0
    assert settled((0.5, 0.25, 0.25), math.nextafter(0.25, 1)) is None


def test_a_streak_breaks_when_the_lead_is_lost_or_changes_hands():
    watch, streaks = Watch(), []
    turns = [peaked(3, 1)] * 3 + [(1 / 3,) * 3] + [peaked(3, 1)] * 2 + [peaked(3, 2)] * 2
    for p in turns:
        watch = observe(watch, p, 0.0, 0.2)  # no memory: the average is p itself
        streaks.append((watch.winner, watch.streak))
    assert streaks == [(1, 1), (1, 2), (1, 3), (0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]


def test_the_average_is_exponential_and_starts_at_the_first_p():
    first, second, third = (0.7, 0.3), (0.4, 0.6), (0.1, 0.9)
    watch = observe(Watch(), first, 0.9, 0.2)
    assert watch.average == pytest.approx(first)
    watch = observe(observe(watch, second, 0.9, 0.2), third, 0.9, 0.2)
    expected = [
        0.81 * a + 0.09 * b + 0.1 * c for a, b, c in zip(first, second, third, strict=True)
    ]
    assert watch.average == pytest.approx(expected)


def test_one_loud_step_does_not_settle_a_slot():
    calm, loud = (0.26, 0.25, 0.25, 0.24), (0.01, 0.97, 0.01, 0.01)
    watch = observe(Watch(), calm, 0.9, 0.2)
    assert observe(watch, loud, 0.9, 0.2).streak == 0
    assert observe(watch, loud, 0.0, 0.2).streak == 1


def test_a_watch_is_not_changed():
    watch = Watch((0.5, 0.5), 0, 3)
    observe(watch, (0.9, 0.1), 0.5, 0.1)
    assert watch == Watch((0.5, 0.5), 0, 3)


@st.composite
def distributions(draw, count=None):
    size = count or draw(st.integers(1, 9))
    weights = draw(st.lists(st.floats(0, 1), min_size=size, max_size=size))
    total = sum(weights)
    return tuple(w / total for w in weights) if total > 1e-6 else (1 / size,) * size


@settings(max_examples=200)
@given(distributions(), st.floats(0, 1))
def test_what_settles_is_the_arg_max_or_nothing(p, threshold):
    found = settled(p, threshold)
    order = ranked(p)
    assert sorted(order) == list(range(len(p)))
    assert [p[k] for k in order] == sorted(p, reverse=True)
    assert found in (None, p.index(max(p)))
    if len(p) > 1:
        top, second = sorted(p, reverse=True)[:2]
        assert (found is not None) == (top - second >= threshold)


@settings(max_examples=100)
@given(st.data(), st.integers(1, 6), st.floats(0, 0.99), st.floats(0.01, 0.9))
def test_the_average_stays_a_distribution(data, count, average, threshold):
    watch, streak = Watch(), 0
    for p in data.draw(st.lists(distributions(count), min_size=1, max_size=12)):
        before, watch = watch, observe(watch, p, average, threshold)
        assert sum(watch.average) == pytest.approx(1)
        assert all(-1e-12 <= share <= 1 + 1e-12 for share in watch.average)
        assert watch.winner == ranked(watch.average)[0]
        if settled(watch.average, threshold) is None:
            streak = 0
        else:
            streak = streak + 1 if watch.winner == before.winner else 1
        assert watch.streak == streak
        assert replace(watch) == watch


@settings(max_examples=100)
@given(st.data(), distributions(), st.floats(0, 1))
def test_the_plain_operator_is_left_for_a_clear_winner_alone(data, p, threshold):
    plain = data.draw(st.integers(0, len(p) - 1))
    (kept,) = unless_ahead(p, plain, threshold)
    assert kept in (plain, ranked(p)[0])
    if kept != plain:
        assert p[kept] - p[plain] >= threshold
    elif plain != ranked(p)[0]:
        assert max(p) - p[plain] < threshold


@settings(max_examples=100)
@given(distributions(), st.sampled_from(["argmax", "pair"]))
def test_the_deadline_keeps_the_best(p, deadline):
    kept = at_deadline(p, deadline)
    assert len(kept) == min(len(p), 2 if deadline == "pair" else 1)
    assert set(kept) == set(ranked(p)[: len(kept)])
