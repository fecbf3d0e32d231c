"""A run folder read into memory: every file checked for what the report needs, nothing computed.

A report may be asked for years after the run, by somebody who did not make it; so whatever is
missing or malformed is told by file and key, and nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rfsearch.errors import UserError
from rfsearch.training.metrics import ACCURACY, named
from rfsearch.trials import History, RunFolder, read_json

NEEDED: dict[str, tuple[str, ...]] = {
    "config.json": (
        "backbone",
        "space",
        "strategy",
        "data",
        "image_size",
        "budget",
        "seed",
        "changed",
    ),
    "environment.json": ("versions", "splits"),
    "architecture.json": ("backbone", "choices", "input", "classes"),
    "metrics.json": ("networks", "difference", "phases", "test", "retrain_seeds"),
}
LAYER_COLUMNS = ("name", "kind", "kernel_h", "stride_h", "stride_w", "height", "width")
TRIAL_COLUMNS = ("number", "state", "score", "seconds")
NETWORKS = ("plain", "found", "adapted")


@dataclass(frozen=True)
class Latency:
    """Measured time of one forward pass: seconds per batch, on what."""

    seconds: float
    batch: int
    threads: int | None
    device: str


@dataclass(frozen=True)
class Network:
    """One final network, as ``metrics.json`` has it; accuracies are shares of the test split.

    ``accuracies`` holds one value per retraining seed, ``accuracy`` their mean; ``scores`` and
    ``score`` are the same by the run's metric. ``macs`` are multiply-adds and ``window_ops``
    compares or adds, per image.
    """

    name: str
    accuracy: float
    accuracies: tuple[float, ...]
    score: float
    scores: tuple[float, ...]
    params: int | None
    macs: int | None
    window_ops: int | None
    latency: Latency | None
    seconds: float | None


@dataclass(frozen=True)
class Difference:
    """Score of found minus plain with its interval, all as shares (0.01 is one point)."""

    value: float
    low: float
    high: float
    level: float
    method: str
    num_sources: int
    num_seeds: int


@dataclass(frozen=True)
class Records:
    """Everything a report is made from. ``history`` has one mapping per epoch, in order."""

    folder: Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    architecture: Mapping[str, Any]
    metrics: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    networks: Mapping[str, Network]
    difference: Difference
    layers: pd.DataFrame
    plain_layers: pd.DataFrame
    predictions: pd.DataFrame | None
    trials: pd.DataFrame | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return tuple(str(name) for name in self.architecture["classes"])

    @property
    def metric(self) -> str:
        """By what networks are scored, in words."""
        return named(self.metrics.get("metric", ACCURACY)).words

    @property
    def side_by_side(self) -> bool:
        """Whether found and plain were trained at the same time."""
        return bool(self.metrics.get("side_by_side"))

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels."""
        height, width = self.config["image_size"]
        return int(height), int(width)


def read(folder: Path) -> Records:
    """Read a finished run folder; ``UserError`` names what is missing or malformed."""
    files = _finished(folder)
    metrics = _read_object(files.metrics)
    return Records(
        folder=files.path,
        config=_read_object(files.config),
        environment=_read_object(files.environment),
        architecture=_read_object(files.architecture),
        metrics=metrics,
        history=_read_history(files.history),
        networks=_networks(files.metrics, metrics),
        difference=_difference(files.metrics, metrics),
        layers=_read_columns(files.layers, LAYER_COLUMNS),
        plain_layers=_read_columns(files.plain_layers, LAYER_COLUMNS),
        predictions=_read_table(files.predictions) if files.predictions.is_file() else None,
        trials=_read_columns(files.trials, TRIAL_COLUMNS) if files.trials.is_file() else None,
    )


def _finished(folder: Path) -> RunFolder:
    files = RunFolder.existing(folder)
    if not files.metrics.is_file():
        raise UserError(
            f"the run in {folder} is not finished: it holds no {files.metrics.name}; "
            "'rfsearch run' with the options it was begun with and --resume goes on"
        )
    return files


def _read_object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    missing = [key for key in NEEDED[path.name] if key not in value]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; a report cannot do without")
    return value


def _read_history(path: Path) -> tuple[dict[str, Any], ...]:
    if not path.is_file():
        raise UserError(f"there is no file {path}; a finished run has one")
    records = tuple(History(path).read())
    for number, record in enumerate(records, start=1):
        if "phase" not in record:
            raise UserError(f"{path}, line {number} says no phase")
    return records


def _read_columns(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    frame = _read_table(path)
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}")
    return frame


def _read_table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; a finished run has one") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no table: {error}") from None


def _networks(path: Path, metrics: Mapping[str, Any]) -> dict[str, Network]:
    found = {name: metrics["networks"].get(name) for name in NETWORKS}
    for name in ("plain", "found"):
        if not found[name] or found[name].get("accuracy") is None:
            raise UserError(f"{path} has no accuracy for the {name} network")
    return {name: _network(name, value) for name, value in found.items() if value}


def _network(name: str, value: Mapping[str, Any]) -> Network:
    accuracies = tuple(float(one) for one in value.get("accuracies") or [value["accuracy"]])
    return Network(
        name=name,
        accuracy=float(value["accuracy"]),
        accuracies=accuracies,
        score=float(value.get("score", value["accuracy"])),
        scores=tuple(value.get("scores", accuracies)),
        params=value.get("params"),
        macs=value.get("macs"),
        window_ops=value.get("window_ops"),
        latency=_latency(value.get("latency")),
        seconds=value.get("seconds"),
    )


def _latency(value: Mapping[str, Any] | None) -> Latency | None:
    if not value or value.get("seconds") is None:
        return None
    return Latency(
        seconds=float(value["seconds"]),
        batch=int(value.get("batch", 1)),
        threads=value.get("threads"),
        device=str(value.get("device", "unknown device")),
    )


def _difference(path: Path, metrics: Mapping[str, Any]) -> Difference:
    value = metrics["difference"]
    try:
        low, high = value["interval"]
        return Difference(
            value=float(value["found_minus_plain"]),
            low=float(low),
            high=float(high),
            level=float(value.get("level", 0.95)),
            method=str(value.get("method", "method not recorded")),
            num_sources=int(value.get("sources", metrics["test"].get("sources", 0))),
            num_seeds=len(metrics["retrain_seeds"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: the difference cannot be read ({error!r})") from None
