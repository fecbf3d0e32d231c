"""The order of a shortlist beside one of all networks sorted; what a search by it is made of."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny_task as tiny
from rfsearch.spaces import Operator, Space
from rfsearch.strategies.shortlist import UNIT, Ranked, by_probability, ranked

weights = st.floats(0.0, 1.0, allow_subnormal=False)
tables = st.integers(1, 4).flatmap(
    lambda operators: st.lists(
        st.lists(weights, min_size=operators, max_size=operators), min_size=1, max_size=4
    )
)


def product(p, network):
    return sum(math.log(max(row[k], 1e-300)) for row, k in zip(p, network, strict=True))


@given(p=tables)
def test_all_networks_from_the_most_probable_on(p):
    found = list(by_probability(p))
    everything = list(itertools.product(range(len(p[0])), repeat=len(p)))
    assert sorted(found) == everything
    wanted = sorted((product(p, network) for network in everything), reverse=True)
    assert [product(p, network) for network in found] == pytest.approx(wanted, abs=1e-9)


@given(p=tables, data=st.data())
def test_what_is_told_comes_first_and_no_network_twice(p, data):
    everything = list(itertools.product(range(len(p[0])), repeat=len(p)))
    ahead = data.draw(st.lists(st.sampled_from(everything), unique=True, max_size=2))
    found = list(ranked(ahead, p))
    assert found[: len(ahead)] == ahead
    assert found[len(ahead) :] == [one for one in by_probability(p) if one not in ahead]


def test_a_large_space_is_not_listed_whole():
    p = [[0.1, 0.5, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0]] * 40
    first = list(itertools.islice(by_probability(p), 100))
    assert first[0] == (1,) * 40
    assert sorted(network.count(2) for network in first[1:41]) == [1] * 40


def test_after_the_last_network_comes_the_first():
    proposer = Ranked([(1,)], [[0.7, 0.3]])
    asked = [proposer.ask() for _ in range(3)]
    assert [one.indices for one in asked] == [(1,), (0,), (1,)]
    assert [one.ticket for one in asked] == [0, 1, 2]


def test_its_epochs_are_those_of_pmpl():
    alone, then = tiny.begin("pmpl"), tiny.begin("pmpl-trials")
    ours, lines = tiny.records(alone), tiny.records(then)
    assert len(lines) == len(ours) + tiny.TRIALS
    for number, (one, line) in enumerate(zip(ours, lines, strict=False), 1):
        assert line == {**one, "epochs": len(lines), "epoch": number, "unit": UNIT}
    assert [line["epoch"] for line in lines] == list(range(1, len(lines) + 1))
    kept = tuple(mixture.kept[0] for mixture in alone.supernet.mixtures.values())
    assert then.tried[0].indices == kept


@pytest.mark.parametrize(("form", "first"), [("residual", 1), ("paper", 0)])
def test_one_operator_everywhere_is_tried_first_and_plain_before_all(form, first):
    operators = (Operator("max_pool", (("kernel", 3),)), Operator("identity"))
    search = tiny.begin("pmpl-trials", space=Space("tiny", form, operators))
    tiny.finish(search)
    p = list(search.search.pmpl.probabilities.values())
    chosen = tuple(mixture.kept[0] for mixture in search.supernet.mixtures.values())
    ahead = list(dict.fromkeys([chosen, (first,) * 3, (1 - first,) * 3]))
    order = [tried.indices for tried in search.tried.values()]
    assert order == list(itertools.islice(ranked(ahead, p), tiny.TRIALS))


def test_trials_go_on_without_a_supernet():
    search = tiny.begin("pmpl-trials")
    while not search.tried:
        assert "pmpl" in search.state_dict()
        search.advance(lambda *_: None)
    assert set(search.state_dict()) == {"ahead", "p", "trials"}
