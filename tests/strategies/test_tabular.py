"""Tables: read back, replayed in moments, and refused where something is missing."""

from __future__ import annotations

import csv
import itertools
import time

import pytest

from rfsearch.errors import UserError
from rfsearch.strategies.optuna_samplers import SamplingSettings
from rfsearch.strategies.tabular import read_table, regrets, replay_on
from rfsearch.trials import write_json

NETWORKS = list(itertools.product(range(2), repeat=6))


@pytest.fixture
def folder(tmp_path):
    """Accuracy grows with every slot that holds operator 1; seeds differ by a hundredth."""
    slots = [f"block{n}" for n in range(6)]
    write_json(tmp_path / "table.json", {"slots": slots, "operators": ["a", "b"], "seeds": [0, 1]})
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["network", "seed", "score", "accuracy", "seconds", "more"])
        for network in NETWORKS:
            for seed in (0, 1):
                value = 0.5 + 0.05 * sum(network) + 0.01 * seed
                writer.writerow(["-".join(map(str, network)), seed, value, value - 0.1, 2.5, ""])
    return tmp_path


def test_a_table_is_read(folder):
    table = read_table(folder)
    assert table.complete
    assert table.best() == pytest.approx(0.5 + 0.3 + 0.005 - 0.1)
    assert len(table.rows) == 64


@pytest.mark.parametrize("strategy", ["random", "tpe", "evolution"])
def test_a_search_is_replayed(folder, strategy):
    table, began = read_table(folder), time.process_time()
    history = replay_on(table, strategy, 30, 3, SamplingSettings())
    assert time.process_time() - began < 20
    assert history == replay_on(table, strategy, 30, 3, SamplingSettings())
    told = regrets(table, history)
    assert all(later <= before + 0.006 for before, later in itertools.pairwise(told))
    assert told[-1] < told[0] or told[0] == 0
    assert sum(tried.seconds for tried in history) == 75


def test_what_is_missing_is_told(folder):
    with pytest.raises(UserError, match="unknown strategy that samples 'pmpl'"):
        replay_on(read_table(folder), "pmpl", 1, 0, SamplingSettings())
    lines = (folder / "table.csv").read_text().splitlines()
    (folder / "table.csv").write_text("\n".join(lines[:3]) + "\n")
    assert not read_table(folder).complete
    with pytest.raises(UserError, match="the table lacks network"):
        replay_on(read_table(folder), "random", 30, 0, SamplingSettings())
    (folder / "table.csv").write_text("network,seed\n")
    with pytest.raises(UserError, match="lacks the columns score, accuracy, seconds"):
        read_table(folder)
