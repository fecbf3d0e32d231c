"""Costs that add up over slots, against whole networks walked and probed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rfsearch import spaces
from rfsearch.analysis.walk import walk
from rfsearch.backbones.realise import realise
from rfsearch.engine import compare_latency, costs
from rfsearch.engine.config import settle
from rfsearch.engine.run import describe, slot_names
from rfsearch.engine.start import load_data, prepare
from rfsearch.errors import UserError
from rfsearch.strategies.attempt import objective
from rfsearch.strategies.costs import Caps, CostTable
from rfsearch.trials import RunFolder


@pytest.fixture(scope="module")
def opened(make_request, silent, tmp_path_factory):
    out = tmp_path_factory.mktemp("costs")
    config = settle(make_request(out, backbone="rfnet6", image_size=16, space="pmpl"))
    return prepare(config, RunFolder(out), load_data(config), silent())


@pytest.fixture(scope="module")
def table(opened):
    return costs.cost_table(opened, ["macs"])


def test_the_table_adds_up_to_whole_networks(opened, table):
    """The space pmpl has operators with parameters and MACs; a walk of each whole network."""
    space, slots = spaces.load_space("pmpl"), slot_names(opened)
    rng = np.random.default_rng(0)
    for _ in range(2):
        indices = tuple(rng.integers(len(space.operators), size=len(slots)).tolist())
        network = realise(describe(opened, space.choose(slots, indices)))
        totals = walk(network, opened.dataset.image_size, opened.dataset.channels).totals
        assert table.total("params", indices) == sum(p.numel() for p in network.parameters())
        assert table.total("macs", indices) == totals.macs
        assert table.total("window_ops", indices) == totals.window_ops


def test_the_extremes_are_the_extremes_of_all_networks(table):
    import itertools

    few = [row[:3] for row in table.slots["window_ops"]]
    small = type(table)(table.base, {"window_ops": tuple(few)})
    everything = [
        small.total("window_ops", indices) for indices in itertools.product(range(3), repeat=6)
    ]
    assert small.range("window_ops") == (min(everything), max(everything))


def test_a_repaired_network_keeps_the_caps_and_one_that_does_is_left_alone(table):
    rng = np.random.default_rng(1)
    low, high = table.range("params")
    caps = Caps((("params", low + 0.3 * (high - low)), ("window_ops", 1e9)))
    for _ in range(50):
        indices = tuple(rng.integers(8, size=6).tolist())
        repaired = caps.repair(table, indices)
        assert caps.met(table, repaired)
        assert (repaired == indices) == caps.met(table, indices)


def test_caps_that_pull_apart_come_to_an_end():
    """One operator is small in params and the other in macs: of two slots, one of each fits."""
    rows = {"params": ((0.0, 10.0),) * 2, "macs": ((10.0, 0.0),) * 2}
    table = CostTable({"params": 0.0, "macs": 0.0}, rows)
    assert set(Caps((("params", 10.0), ("macs", 10.0))).repair(table, (0, 0))) == {0, 1}
    none = Caps((("params", 9.0), ("macs", 9.0)))
    with pytest.raises(UserError, match="meets all caps together"):
        none.check(table)


def test_a_network_that_comes_back_is_repaired_from_the_first_operators():
    rows = {"params": ((4.0, 1.0, 9.0),), "macs": ((4.0, 9.0, 1.0),)}
    table = CostTable({"params": 0.0, "macs": 0.0}, rows)
    caps = Caps((("params", 5.0), ("macs", 5.0)))
    caps.check(table)
    for index in range(3):
        assert caps.repair(table, (index,)) == (0,)


def test_latencies_are_measured_once(opened, tiny_space, tmp_path, monkeypatch):
    opened = replace(opened, config=replace(opened.config, space=tiny_space))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(costs, "RUNS", 2)
    first = costs.cost_table(opened, ["latency"])
    (path,) = (tmp_path / "rfsearch").iterdir()
    monkeypatch.setattr(costs, "milliseconds", None)  # nothing is timed again
    assert costs.cost_table(opened, ["latency"]) == first
    assert first.base["latency"] > 0
    assert path.name.startswith("latency-")


def test_predicted_latency_is_the_sum_over_slots(opened, tiny_space, monkeypatch):
    """Of a made table: the backbone 10 ms, an operator its number in ms; networks measure 40."""
    opened = replace(opened, config=replace(opened.config, space=tiny_space))
    space, slots = spaces.load_space(tiny_space), slot_names(opened)
    table = (10.0, tuple((0.0, 1.0, 2.0) for _ in slots))
    monkeypatch.setattr(compare_latency, "latency_table", lambda *_: table)
    times = {"plain": 20.0, "whole": 40.0}
    monkeypatch.setattr(compare_latency, "by_turns", lambda *_: times)
    held = [(0,) * 6, (2, 1, 0, 2, 1, 1)]
    networks = [describe(opened, space.choose(slots, indices)) for indices in held]
    told = compare_latency.latency_check(opened, networks * 11)
    assert len(told["networks"]) == 20
    assert [one["predicted_ms"] for one in told["networks"][:2]] == [10.0, 17.0]
    assert {(one["measured_ms"], one["plain_ms"]) for one in told["networks"]} == {(40.0, 20.0)}
    assert told["networks"][0]["choices"] == ["identity"] * 6


@pytest.mark.parametrize(
    ("measures", "cost", "expected"),
    [
        (["macs", "window_ops"], "auto", "minimises window_ops beside the score: all networks"),
        (["macs", "window_ops", "latency"], "auto", "minimises latency beside the score: all"),
        (["window_ops", "macs"], "macs", ""),
    ],
)
def test_the_second_objective_is_one_in_which_networks_differ(
    opened, tiny_space, measures, cost, expected
):
    """Pools have no MACs, so all networks of the tiny space have the same."""
    rows = {"macs": ((0.0, 0.0),) * 2, "window_ops": ((0.0, 9.0),) * 2, "latency": ((0, 0.1),) * 2}
    table = CostTable(dict.fromkeys(measures, 1.0), {name: rows[name] for name in measures})
    settings = {**opened.config.settings, "sampling.cost": cost}
    config = replace(opened.config, strategy="nsga2", space=tiny_space, settings=settings)
    told = costs.told_objective(config, table)
    assert told.startswith("nsga2 ") is bool(expected)
    assert expected in told
    assert costs.told_objective(replace(config, strategy="tpe"), table) == ""
    varied = CostTable(table.base, {**table.slots, "macs": ((0.0, 5.0),) * 2})
    assert objective(varied, "auto") == "macs"


def test_what_a_cap_can_reach_is_told(table):
    caps = (("macs", 1e12), ("params", 5000.0))
    told = costs.reach(table, caps)
    for word in ("SMALLEST", "MIDDLE", "LARGEST", "--max-macs binds nothing"):
        assert word in told


MIXED = """
description = "behind a convolution or in its place"
form = "residual"

[[operators]]
name = "identity"

[[operators]]
name = "max_pool"
kernel = 3

[[replacements]]
name = "pf_max"

[[replacements]]
name = "resized"
kernel = 5
"""


@pytest.mark.parametrize("name", ["pflayer", "mixed"])
def test_what_stands_in_place_of_a_convolution_costs_the_difference(opened, tmp_path, name):
    path = tmp_path / "mixed.toml"
    path.write_text(MIXED)
    name = str(path) if name == "mixed" else name
    few = {**opened.config.settings, "slots.include": ",".join(slot_names(opened)[1:4])}
    replaced = replace(opened, config=replace(opened.config, space=name, settings=few))
    space, slots = spaces.load_space(name), slot_names(replaced)
    assert len(slots) == 3
    found = costs.cost_table(replaced, ["macs"])
    for first in range(2):
        indices = tuple((first + i) % len(space.operators) for i in range(len(slots)))
        network = realise(describe(replaced, space.choose(slots, indices)))
        totals = walk(network, opened.dataset.image_size, opened.dataset.channels).totals
        assert found.total("params", indices) == sum(p.numel() for p in network.parameters())
        assert found.total("macs", indices) == totals.macs
        assert found.total("window_ops", indices) == totals.window_ops
