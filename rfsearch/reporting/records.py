"""A run folder read into memory: every file checked for what the report needs, nothing computed.

A report may be asked for years after the run, by somebody who did not make it; so whatever is
missing or malformed is told by file and key, and nothing is filled in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rfsearch.errors import UserError

FORMAT = 1
NEEDED: dict[str, tuple[str, ...]] = {
    "config.json": ("backbone", "space", "strategy", "data", "image_size", "budget", "seed"),
    "environment.json": ("versions", "splits"),
    "architecture.json": ("backbone", "choices", "input", "classes"),
    "metrics.json": ("networks", "difference", "phases", "test", "retrain_seeds"),
}
NEEDED_COLUMNS = ("name", "kind", "kernel_h", "stride_h", "stride_w", "height", "width")
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

    ``accuracies`` holds one value per retraining seed, ``accuracy`` their mean. ``macs`` are
    multiply-adds and ``window_ops`` compares or adds, per image.
    """

    name: str
    accuracy: float
    accuracies: tuple[float, ...]
    params: int | None
    macs: int | None
    window_ops: int | None
    latency: Latency | None
    seconds: float | None


@dataclass(frozen=True)
class Difference:
    """Accuracy of found minus plain with its interval, all as shares (0.01 is one point)."""

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

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return tuple(str(name) for name in self.architecture["classes"])

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels."""
        height, width = self.config["image_size"]
        return int(height), int(width)


def read(folder: Path) -> Records:
    """Read a finished run folder; ``UserError`` names what is missing or malformed."""
    _check_folder(folder)
    objects = {name: _read_object(folder, name) for name in NEEDED}
    metrics = objects["metrics.json"]
    return Records(
        folder=folder,
        config=objects["config.json"],
        environment=objects["environment.json"],
        architecture=objects["architecture.json"],
        metrics=metrics,
        history=_read_history(folder),
        networks=_networks(folder, metrics),
        difference=_difference(folder, metrics),
        layers=_read_layers(folder, "layers.csv"),
        plain_layers=_read_layers(folder, "layers_plain.csv"),
        predictions=_read_predictions(folder),
    )


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"there is no folder {str(folder)!r}; report takes a run folder")
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{str(folder)!r} is not a run folder: it holds no config.json; "
            "a run folder is what 'rfsearch run --out FOLDER' leaves"
        )
    if not (folder / "metrics.json").is_file():
        raise UserError(
            f"the run in {str(folder)!r} is not finished: it holds no metrics.json; "
            f"'rfsearch run --out {folder} --resume' continues it"
        )


def _text(folder: Path, name: str) -> str:
    path = folder / name
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{str(folder)!r} holds no {name}; a finished run has one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}") from None


def _parse(text: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{place} is not JSON: {error.msg} (column {error.colno})") from None
    if not isinstance(value, dict):
        raise UserError(f"{place} must hold one JSON object, not a {type(value).__name__}")
    return value


def _read_object(folder: Path, name: str) -> dict[str, Any]:
    place = str(folder / name)
    value = _parse(_text(folder, name), place)
    if value.get("format", FORMAT) != FORMAT:
        raise UserError(
            f"{place} has format {value['format']!r}; this version of rfsearch reads {FORMAT}"
        )
    missing = [key for key in NEEDED[name] if key not in value]
    if missing:
        raise UserError(f"{place} lacks {', '.join(missing)}; a report cannot do without")
    return value


def _read_history(folder: Path) -> tuple[dict[str, Any], ...]:
    lines = _text(folder, "history.jsonl").splitlines()
    place = str(folder / "history.jsonl")
    records = tuple(
        _parse(line, f"{place} line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )
    for number, record in enumerate(records, start=1):
        if "phase" not in record:
            raise UserError(f"{place}: record {number} says no phase")
    return records


def _read_layers(folder: Path, name: str) -> pd.DataFrame:
    _text(folder, name)  # the same words for a missing file as everywhere
    try:
        frame = pd.read_csv(folder / name)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{str(folder / name)!r} is not a table: {error}") from None
    missing = [column for column in NEEDED_COLUMNS if column not in frame.columns]
    if missing:
        raise UserError(f"{str(folder / name)!r} lacks the columns {', '.join(missing)}")
    return frame


def _read_predictions(folder: Path) -> pd.DataFrame | None:
    path = folder / "predictions.csv"
    return pd.read_csv(path) if path.is_file() else None


def _networks(folder: Path, metrics: Mapping[str, Any]) -> dict[str, Network]:
    found = {name: metrics["networks"].get(name) for name in NETWORKS}
    for name in ("plain", "found"):
        if not found[name] or found[name].get("accuracy") is None:
            raise UserError(f"{str(folder / 'metrics.json')!r} has no accuracy for {name!r}")
    return {name: _network(name, value) for name, value in found.items() if value}


def _network(name: str, value: Mapping[str, Any]) -> Network:
    return Network(
        name=name,
        accuracy=float(value["accuracy"]),
        accuracies=tuple(float(one) for one in value.get("accuracies") or [value["accuracy"]]),
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


def _difference(folder: Path, metrics: Mapping[str, Any]) -> Difference:
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
        raise UserError(
            f"{str(folder / 'metrics.json')!r}: 'difference' is not readable ({error!r})"
        ) from None
