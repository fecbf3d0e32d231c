"""Tables: read back, replayed in moments, and refused where something is missing or changed."""

from __future__ import annotations

import gzip
import itertools
import time

import pytest

from rfsearch.errors import UserError
from rfsearch.strategies.optuna_samplers import SamplingSettings
from rfsearch.strategies.tabular import COLUMNS, EPOCH_COLUMNS, read_table, regrets, replay_on
from rfsearch.strategies.tabular import rows_hash as hashed
from rfsearch.trials import read_json, write_json

NETWORKS = list(itertools.product(range(2), repeat=6))
EPOCHS = 9


def write(path, columns, rows):
    lines = [columns, *rows]
    with gzip.open(path, "wt") as file:
        file.write("".join(",".join(map(str, line)) + "\n" for line in lines))


@pytest.fixture
def folder(tmp_path):
    """Accuracy grows with every slot that holds operator 1; seeds differ by a hundredth."""
    rows, epochs = [], []
    for network, seed in itertools.product(NETWORKS, (0, 1)):
        value = round(0.5 + 0.05 * sum(network) + 0.01 * seed, 2)
        key = ("-".join(map(str, network)), seed)
        rows.append((*key, value, round(value - 0.1, 2), 100, 1000, 10, 0.001, 4.5))
        epochs += [(*key, epoch, round(value * epoch / EPOCHS, 3)) for epoch in range(1, 10)]
    write(tmp_path / "digits.csv.gz", COLUMNS, rows)
    write(tmp_path / "digits_epochs.csv.gz", EPOCH_COLUMNS, epochs)
    about = {"slots": [f"block{n}" for n in range(6)], "operators": ["a", "b"], "seeds": [0, 1]}
    told = hashed([dict(zip(COLUMNS, row, strict=True)) for row in rows])
    write_json(tmp_path / "digits.json", {**about, "rows": told})
    return tmp_path


def test_a_table_is_read(folder):
    table = read_table(folder)
    assert not table.missing
    assert table.best() == pytest.approx(0.5 + 0.3 + 0.005 - 0.1)
    assert len(table.rows) == 64
    first, second = table.rows[(0, 0, 0, 0, 0, 1)]
    assert (first.selection, second.test, first.macs) == (0.55, 0.46, 1000)
    assert first.epochs[-1] == 0.55
    assert len(first.epochs) == EPOCHS
    assert table.noise_ceiling() == pytest.approx(1)


@pytest.mark.parametrize("strategy", ["random", "tpe", "evolution", "nsga2"])
def test_a_search_is_replayed(folder, strategy):
    table, began = read_table(folder), time.process_time()
    history = replay_on(table, strategy, 30, 3, SamplingSettings())
    assert time.process_time() - began < 20
    assert history == replay_on(table, strategy, 30, 3, SamplingSettings())
    told = regrets(table, history)
    assert all(later <= before + 0.006 for before, later in itertools.pairwise(told))
    assert told[-1] < told[0] or told[0] == 0
    assert sum(tried.seconds for tried in history) == 135


def test_a_trial_that_is_stopped_early_costs_its_epochs(folder):
    history = replay_on(read_table(folder), "asha", 30, 3, SamplingSettings())
    stopped = [tried for tried in history if tried.state == "pruned"]
    assert len(stopped) > 5
    assert all(tried.seconds == 0.5 * len(tried.reports) < 4.5 for tried in stopped)


def test_what_is_missing_is_told(folder):
    with pytest.raises(UserError, match="unknown strategy that samples 'pmpl'"):
        replay_on(read_table(folder), "pmpl", 1, 0, SamplingSettings())
    path = folder / "digits.csv.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    few = [dict(zip(COLUMNS, line.split(","), strict=True)) for line in lines[1:3]]
    path.write_bytes(gzip.compress("\n".join(lines[:3]).encode()))
    with pytest.raises(UserError, match=r"digits.csv.gz is damaged or of another version"):
        read_table(folder)
    about = read_json(folder / "digits.json")
    write_json(folder / "digits.json", {**about, "rows": hashed(few)})
    table = read_table(folder)
    assert table.missing == 126
    with pytest.raises(UserError, match="the table lacks network"):
        replay_on(table, "random", 30, 0, SamplingSettings())
    path.write_bytes(gzip.compress(b"architecture,seed\n"))
    with pytest.raises(UserError, match="lacks the columns selection_accuracy, test_accuracy"):
        read_table(folder)
    path.unlink()
    with pytest.raises(UserError, match="there is no file"):
        read_table(folder)
