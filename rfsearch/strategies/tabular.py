"""RF-Bench: tables in which every network of a space is trained, and searches replayed on them.

A table called NAME is three files:

    NAME.json           {"format": 1, "backbone", "slots": [...], "operators": [...],
                        "seeds": [...], "epochs", "definition": {...}, "hash": of the definition,
                        "rows": a hash of them}
    NAME.csv.gz         a row per network and training seed: architecture ("0-2-1-…", an operator
                        of the list for every slot, in network order), seed, selection_accuracy,
                        test_accuracy, params, macs, window_ops, latency and seconds of training
    NAME_epochs.csv.gz  a row per network, seed and epoch: selection_accuracy

Only strategies that sample can be replayed: a table holds no shared weights.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfsearch.errors import UserError, unknown
from rfsearch.seeds import stream
from rfsearch.strategies.optuna_samplers import SamplingSettings
from rfsearch.strategies.proposal import Indices, Proposer, Shape, Tried
from rfsearch.strategies.proposers import PROPOSERS
from rfsearch.trials.run_folder import read_json

COLUMNS = ("architecture", "seed", "selection_accuracy", "test_accuracy", "params", "macs",
           "window_ops", "latency", "seconds")  # fmt: skip
EPOCH_COLUMNS = ("architecture", "seed", "epoch", "selection_accuracy")


@dataclass(frozen=True)
class Row:
    """One training of one network.

    Attributes:
        selection, test: accuracies on these splits, as shares.
        seconds: of the training.
        latency: seconds of one image.
        epochs: selection accuracy after each epoch.
    """

    selection: float
    test: float
    seconds: float
    params: int
    macs: int
    window_ops: int
    latency: float
    epochs: tuple[float, ...]


@dataclass(frozen=True)
class Table:
    """Network → one row per training seed, in the order of the seeds."""

    about: Mapping[str, Any]
    rows: Mapping[Indices, tuple[Row, ...]]

    @property
    def shape(self) -> Shape:
        """What proposers see."""
        return Shape(tuple(self.about["slots"]), len(self.about["operators"]))

    @property
    def missing(self) -> int:
        """Trainings that are not done."""
        wanted = self.shape.num_operators ** len(self.shape.slots) * len(self.about["seeds"])
        return wanted - sum(map(len, self.rows.values()))

    def accuracy(self, network: Indices) -> float:
        """On the test split, mean over seeds."""
        rows = self.rows[network]
        return sum(row.test for row in rows) / len(rows)

    def best(self) -> float:
        """The largest mean accuracy."""
        return max(self.accuracy(network) for network in self.rows)

    def noise_ceiling(self) -> float:
        """Kendall's τ-b of test accuracy between two training seeds, a mean over pairs of seeds:
        what knows one training perfectly ranks another one no better."""
        from scipy.stats import kendalltau

        whole = [rows for rows in self.rows.values() if len(rows) == len(self.about["seeds"])]
        by_seed = [[row.test for row in rows] for rows in zip(*whole, strict=True)]
        taus = [kendalltau(*pair).statistic for pair in itertools.combinations(by_seed, 2)]
        return float(sum(taus) / len(taus))


def name(network: Indices) -> str:
    """As it stands in the file.

    >>> name((0, 2, 1))
    '0-2-1'
    """
    return "-".join(map(str, network))


def of_name(told: str) -> Indices:
    """The network that is called so.

    >>> of_name("0-2-1")
    (0, 2, 1)
    """
    return tuple(map(int, told.split("-")))


def read_table(folder: Path, table: str = "digits") -> Table:
    """The table of this name in a folder; one whose rows are not those it was published with is
    an error."""
    about, path = read_json(folder / f"{table}.json"), folder / f"{table}.csv.gz"
    records = _read(path, COLUMNS)
    if rows_hash(records) != about.get("rows"):
        raise UserError(f"{path} is damaged or of another version: its hash is not that of "
                        f"{table}.json")  # fmt: skip
    epochs: dict[tuple[str, str], list[float]] = {}
    for line in _read(folder / f"{table}_epochs.csv.gz", EPOCH_COLUMNS):
        told = epochs.setdefault((line["architecture"], line["seed"]), [])
        told.append(float(line["selection_accuracy"]))
    found: dict[Indices, list[Row]] = {}
    for record in sorted(records, key=lambda record: int(record["seed"])):
        network = of_name(record["architecture"])
        known = epochs.get((record["architecture"], record["seed"]), [])
        found.setdefault(network, []).append(_row(record, tuple(known)))
    return Table(about, {network: tuple(rows) for network, rows in found.items()})


def rows_hash(records: Iterable[Mapping[str, Any]]) -> str:
    """sha256 of all cells, in the order of the columns; the order of rows is nothing to it."""
    lines = sorted(",".join(str(record[column]) for column in COLUMNS) for record in records)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _read(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if lacking := [column for column in columns if column not in (reader.fieldnames or ())]:
            raise UserError(f"{path} lacks the columns {', '.join(lacking)}")
        return list(reader)


def _row(record: Mapping[str, str], epochs: tuple[float, ...]) -> Row:
    return Row(
        selection=float(record["selection_accuracy"]),
        test=float(record["test_accuracy"]),
        seconds=float(record["seconds"]),
        params=int(record["params"]),
        macs=int(record["macs"]),
        window_ops=int(record["window_ops"]),
        latency=float(record["latency"]),
        epochs=epochs,
    )


def replay_on(
    table: Table, strategy: str, trials: int, seed: int, settings: SamplingSettings
) -> list[Tried]:
    """A search of so many trials; a trial costs and scores what one of its trainings did.

    Raises:
        UserError: no strategy that samples; the table lacks a network that is asked for.
    """
    if strategy not in PROPOSERS:
        raise unknown("strategy that samples", strategy, PROPOSERS)
    proposer = PROPOSERS[strategy](table.shape, settings, stream(seed, "search"))
    return replay(table, proposer, trials, seed)


def replay(table: Table, proposer: Proposer, trials: int, seed: int) -> list[Tried]:
    """So many trials of what a proposer asks for; which training of a network counts is drawn."""
    history: list[Tried] = []
    for number in range(trials):
        proposal = proposer.ask()
        if proposal.indices not in table.rows:
            raise UserError(
                f"the table lacks network {name(proposal.indices)}; train it to the end"
            )
        rows = table.rows[proposal.indices]
        row = rows[stream(seed, "row", number) % len(rows)]
        history.append(_trial(proposer, proposal.ticket, proposal.indices, row))
        proposer.tell(proposal.ticket, history[-1])
    return history


def _trial(proposer: Proposer, ticket: int, indices: Indices, row: Row) -> Tried:
    """One that is stopped early costs the share of its epochs. nsga2's second objective is
    ``window_ops``, in which networks of enhancers differ."""
    reports: list[float] = []
    for epoch, score in enumerate(row.epochs if proposer.stops_early else (), 1):
        reports.append(score)
        if proposer.report(ticket, epoch, score) and epoch < len(row.epochs):
            spent = row.seconds * epoch / len(row.epochs)
            return Tried(indices, "pruned", None, row.window_ops, tuple(reports), spent)
    return Tried(indices, "complete", row.selection, row.window_ops, tuple(reports), row.seconds)


def regrets(table: Table, history: Sequence[Tried]) -> list[float]:
    """After every trial: the best accuracy of the table less that of the network with the
    highest score so far, as shares."""
    best, told, top = table.best(), [], -1.0
    current = min(table.accuracy(network) for network in table.rows)
    for tried in history:
        if tried.score is not None and tried.score > top:
            top, current = tried.score, table.accuracy(tried.indices)
        told.append(best - current)
    return told
