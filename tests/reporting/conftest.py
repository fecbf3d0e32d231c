"""A finished run folder, made by a short function: every file by its schema, no training."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

OPERATORS = ["identity", "max 3", "max 5", "max 7", "avg 3", "avg 5", "avg 7"]
SLOTS = [f"features.{block}.conv.1.0" for block in range(2, 18)]
STRIDES = [2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]
CHOSEN = [1, 1, 1, 3, 1, 2, 3, 3, 2, 4, 1, 0, 0, 0, 0, 0]
FROZE_AT = [5, 6, 7, 8, 8, 9, 7, 9, 8, 9, 6, 5, 7, 9, 9, 8]
WARMUP, SEARCH, ADAPT = 2, 7, 3
STEPS_PER_EPOCH = 46


def operator(label: str) -> dict[str, Any]:
    """``max 3`` as it stands in ``architecture.json``."""
    head, _, kernel = label.partition(" ")
    if not kernel:
        return {"name": head, "arguments": {}}
    return {"name": f"{head}_pool", "arguments": {"kernel": int(kernel)}}


def layer_rows(chosen: list[str] | None) -> list[dict[str, Any]]:
    """Field, map and effective field of MobileNetV2 at 64 px, stem stride 2; None is plain."""
    size, jump, side = 3, 2, 32
    rows: list[dict[str, Any]] = []

    def add(name: str, kind: str, kernel: int, stride: int) -> None:
        nonlocal size, jump, side
        size, jump, side = size + (kernel - 1) * jump, jump * stride, side // stride
        effective = {50: round(1.1 * math.sqrt(size)), 90: round(2.3 * math.sqrt(size))}
        shape = {"name": name, "call": 0, "kind": kind, "kernel_h": kernel, "kernel_w": kernel}
        shape |= {"stride_h": stride, "stride_w": stride, "height": side, "width": side}
        for axis in "hw":
            shape |= {f"field_{axis}": size, f"jump_{axis}": jump}
            shape |= {f"effective_{share}_{axis}": v for share, v in effective.items()}
        rows.append(shape)

    add("features.1.conv.0.0", "conv", 3, 1)
    for index, (slot, stride) in enumerate(zip(SLOTS, STRIDES, strict=True)):
        stem = slot.removesuffix("1.0")
        add(f"{stem}0.0", "conv", 1, 1)
        add(slot, "conv", 3, stride)
        add(f"{stem}1.1", "norm", 1, 1)
        add(f"{stem}1.2", "activation", 1, 1)
        label = chosen[index] if chosen else "identity"
        if label != "identity":
            add(f"{stem}1.3.operator", "pool", int(label.split()[1]), 1)
            add(f"{stem}1.3.norm", "norm", 1, 1)
        add(f"{stem}2", "conv", 1, 1)
    return rows


def search_history(chosen: list[int]) -> list[dict[str, Any]]:
    """Softmax weights that drift to the chosen candidate; leads of 0.3 by the rule, else 0.16."""
    rng = np.random.default_rng(0)
    alpha = rng.normal(0, 0.05, (len(SLOTS), len(OPERATORS)))
    average: dict[str, list[float]] = {slot: [] for slot in SLOTS}
    frozen: dict[str, list[int]] = {}
    records = []
    for epoch in range(1, WARMUP + SEARCH + ADAPT + 1):
        stage = "warmup" if epoch <= WARMUP else "search" if epoch <= WARMUP + SEARCH else "adapt"
        moved = min(max(epoch - WARMUP, 0), SEARCH)
        froze = []
        for index, (slot, winner) in enumerate(zip(SLOTS, chosen, strict=True)):
            if stage != "search" or slot in frozen:
                continue
            alpha[index] += rng.normal(0, 0.05, len(OPERATORS))
            alpha[index, winner] += 1.35 / (FROZE_AT[index] - WARMUP)
            average[slot] = softmax(alpha[index])
            if epoch == FROZE_AT[index]:
                late = epoch == WARMUP + SEARCH
                average[slot] = peaked(winner, 0.28 if late else 0.4)
                frozen[slot] = [winner]
                froze.append(
                    {"slot": slot, "operators": [OPERATORS[winner]],
                     "epoch": epoch + late,  # the deadline comes after its epoch
                     "alpha_step": STEPS_PER_EPOCH * moved - (0 if late else 6),
                     "p": softmax(alpha[index]), "loss_before": 0.5, "loss_after": 0.52}
                )  # fmt: skip
        open_slots = len(SLOTS) - len(frozen)
        records.append(
            {"phase": "search", "stage": stage, "epoch": epoch, "epochs": 12,
             "loss": 2.2 * math.exp(-epoch / 5), "accuracy": 1 - math.exp(-epoch / 5),
             "alpha_loss": 2.3 * math.exp(-epoch / 5) if stage == "search" else None,
             "alpha_steps": STEPS_PER_EPOCH * moved,
             "p": {slot: softmax(row) for slot, row in zip(SLOTS, alpha, strict=True)},
             "average": {slot: list(values) for slot, values in average.items()},
             "frozen": {slot: list(indices) for slot, indices in frozen.items()}, "froze": froze,
             "seconds": 10 + open_slots, "step_seconds": 0.1 + 0.012 * open_slots}
        )  # fmt: skip
    return records


def softmax(alpha: np.ndarray) -> list[float]:
    shares = np.exp(alpha) / np.exp(alpha).sum()
    return [float(share) for share in shares]


def peaked(winner: int, share: float) -> list[float]:
    """Weights with this share for the winner and equal ones for the rest."""
    weights = [(1 - share) / (len(OPERATORS) - 1)] * len(OPERATORS)
    weights[winner] = share
    return weights


def training_history(seeds: list[int]) -> list[dict[str, Any]]:
    return [
        {"phase": phase, "retrain_seed": seed, "epoch": epoch, "epochs": 12, "lr": 0.02,
         "loss": (2.1 if phase == "found" else 2.2) * math.exp(-epoch / (4 + 0.2 * seed)),
         "accuracy": 1 - math.exp(-epoch / 4), "seconds": 5.0, "step_seconds": 0.08}
        for seed in seeds
        for phase in ("found", "plain")
        for epoch in range(1, 13)
    ]  # fmt: skip


def metrics(found: list[float], plain: list[float], interval: list[float]) -> dict[str, Any]:
    def network(accuracies: list[float], window_ops: int, seconds: float) -> dict[str, Any]:
        return {
            "accuracy": float(np.mean(accuracies)), "accuracies": accuracies, "params": 706224,
            "macs": 8_113_664, "window_ops": window_ops, "seconds": 61.5,
            "latency": {"seconds": seconds, "batch": 1, "threads": 1, "device": "cpu"},
        }  # fmt: skip

    return {
        "format": 1, "seed": 0, "retrain_seeds": list(range(len(found))),
        "test": {"images": 2000, "sources": 359},
        "networks": {
            "adapted": {"accuracy": 0.861, "params": 706224, "macs": 8_113_664,
                        "window_ops": 2_345_678},
            "found": network(found, 2_345_678, 0.0093),
            "plain": network(plain, 0, 0.0078),
        },
        "selection": {"adapted": 0.874},
        "difference": {
            "found_minus_plain": float(np.mean(found) - np.mean(plain)), "interval": interval,
            "level": 0.95, "method": "bootstrap over source digits", "sources": 359,
            "seeds": len(found),
        },
        "phases": {"data": 3.2, "search": 171.0, "found": 62.0, "plain": 49.0, "measure": 9.5},
        "alpha_steps": 322, "peak_memory_bytes": 1_234_567_890,
    }  # fmt: skip


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def write_predictions(path: Path, num_seeds: int) -> None:
    """Ten classes, 200 images; found errs on every tenth image, plain on every eighth."""
    rows = []
    for index in range(200):
        row = {"index": index, "source": index // 2, "label": index % 10, "adapted": index % 10}
        for seed in range(num_seeds):
            for name, period in (("found", 11), ("plain", 8)):
                wrong = index % period == 0
                row[f"{name}-{seed}"] = (index + wrong) % 10
        rows.append(row)
    write_table(path, rows)


def write_run(
    folder: Path,
    *,
    found: tuple[float, ...] = (0.930,),
    plain: tuple[float, ...] = (0.901,),
    interval: tuple[float, float] = (0.004, 0.053),
    chosen: tuple[int, ...] = tuple(CHOSEN),
    classes: tuple[str, ...] = tuple("0123456789"),
    **config: Any,
) -> Path:
    """Write a finished run; ``config`` entries replace those of ``config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = [OPERATORS[index] for index in chosen]
    backbone = {"name": "mobilenetv2", "arguments": {"width": 0.5, "stem": "small"}}
    choices = [
        {"slot": slot, "form": "residual", "operators": [operator(label)]}
        for slot, label in zip(SLOTS, labels, strict=True)
    ]
    write_json(folder / "architecture.json", {
        "format": 1, "backbone": backbone, "space": "pooling", "choices": choices,
        "input": {"image_size": [64, 64], "channels": 1, "mean": [0.2], "std": [0.3]},
        "classes": list(classes),
    })  # fmt: skip
    settings = {
        "pmpl.threshold": 0.2, "pmpl.patience": 20, "pmpl.min_epochs": 3, "pmpl.average": 0.9,
        "pmpl.deadline": "argmax", "pmpl.null": "off", "pmpl.alpha_lr": 0.02,
        "retrain.lr": 0.02, "digits.fragments": 4, "digits.scale": [24, 36],
    }  # fmt: skip
    write_json(folder / "config.json", {
        "format": 1, "backbone": "mobilenetv2", "space": "pooling", "operators": OPERATORS,
        "strategy": "pmpl", "data": "digits", "image_size": [64, 64], "budget": "quick",
        "changed": [],
        "seed": 0, "device": "cpu", "hash": "5d41402abc4b2a76b9719d911017c592",
        "plan": {"search_epochs": 12, "warmup_epochs": 2, "adapt_epochs": 3, "images": 4000,
                 "retrain_epochs": 12, "batch": 64, "threads": 2, "layout": "channels_last"},
        "settings": settings, "architecture_arguments": {"width": 0.5, "stem": "small"},
    } | config)  # fmt: skip
    write_json(folder / "environment.json", {
        "format": 1, "versions": {"python": "3.11.9", "torch": "2.15.0", "rfsearch": "0.1.0"},
        "platform": "Linux-6.1-x86_64", "cpu": "Xeon 2.2 GHz", "cores": 2, "threads": 2,
        "device": "cpu", "commit": "c2ac609", "data_hash": "0" * 64, "split_hash": "f" * 64,
        "splits": {"weights": {"images": 2000, "sources": 539},
                   "alpha": {"images": 2000, "sources": 540},
                   "selection": {"images": 1000, "sources": 359},
                   "test": {"images": 2000, "sources": 359}},
    })  # fmt: skip
    history = search_history(list(chosen)) + training_history(list(range(len(found))))
    lines = "".join(json.dumps(record) + "\n" for record in history)
    (folder / "history.jsonl").write_text(lines, encoding="utf-8")
    write_json(folder / "metrics.json", metrics(list(found), list(plain), list(interval)))
    write_table(folder / "layers.csv", layer_rows(labels))
    write_table(folder / "layers_plain.csv", layer_rows(None))
    write_predictions(folder / "predictions.csv", len(found))
    return folder


def write_null(path: Path, frozen_share: float = 0.0) -> Path:
    """Three seeds of a gap that wanders up to 0.09 over nine epochs."""
    rng = np.random.default_rng(1)
    rows = []
    for seed in range(3):
        for index, slot in enumerate(SLOTS):
            pace = rng.uniform(0.01, 0.09)
            for epoch in range(1, 10):
                share = max(epoch - WARMUP, 0) / SEARCH
                frozen = int(epoch == 9 and index < frozen_share * len(SLOTS))
                rows.append(
                    {"budget": "quick", "backbone": "mobilenetv2", "space": "pooling",
                     "seed": seed, "epoch": epoch, "alpha_steps": round(322 * share),
                     "slot": slot, "gap": pace * share, "frozen": frozen}
                )  # fmt: skip
    write_table(path, rows)
    return path


@pytest.fixture(scope="session")
def usual_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with nothing replaced, to be read alone."""
    return write_run(tmp_path_factory.mktemp("usual") / "run")


@pytest.fixture(scope="session")
def usual_null(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Null curves for it."""
    return write_null(tmp_path_factory.mktemp("null") / "null_curves.csv")


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder with some of its content replaced."""

    def make(name: str = "run", **changes: Any) -> Path:
        return write_run(tmp_path / name, **changes)

    return make


@pytest.fixture
def with_trials() -> Callable[..., Path]:
    """Make the search of a run one by trials: of 50 %, 51 %, …; the last one failed."""

    def write(folder: Path, num: int, stage: str = "trial") -> Path:
        slots = {slot: OPERATORS[index % 7] for index, slot in enumerate(SLOTS)}
        rows = [{"number": number, "state": "complete", "score": 0.5 + number / 100,
                 "seconds": 1.5, **slots} for number in range(num)]  # fmt: skip
        rows[-1] |= {"state": "failed", "score": ""}
        write_table(folder / "trials.csv", rows)
        path = folder / "history.jsonl"
        lines = [line for line in path.read_text().splitlines() if '"search"' not in line]
        made = [json.dumps({"phase": "search", "stage": stage, "epoch": number + 1,
                            "epochs": num, "loss": 2.0, "seconds": 1.5})
                for number in range(num)]  # fmt: skip
        path.write_text("\n".join([*made, *lines]) + "\n")
        record = json.loads((folder / "config.json").read_text())
        record["plan"] |= {"proxy_epochs": 4, "proxy_images": 1000}
        write_json(folder / "config.json", record)
        return folder

    return write


@pytest.fixture
def make_null(tmp_path: Path) -> Callable[..., Path]:
    """Write null curves for the budget of the run folder."""

    def make(frozen_share: float = 0.0) -> Path:
        return write_null(tmp_path / "null_curves.csv", frozen_share)

    return make
