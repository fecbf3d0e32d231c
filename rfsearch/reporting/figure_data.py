"""The numbers behind every figure, computed and ready to draw; tests look here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np
import pandas as pd

from rfsearch.reporting import candidates, frames
from rfsearch.reporting.nulls import Band
from rfsearch.reporting.records import Records

MEASURES = {
    "field": "field",
    "effective_90": "effective 90 %",
    "effective_50": "effective 50 %",
}
NEAR = 0.04
"""Marks nearer than this share of both ranges would print over each other."""
PHASES = {
    "data": "reading data",
    "search": "search",
    "found": "training the found network",
    "plain": "training the plain network",
    "measure": "measuring",
}


@dataclass(frozen=True)
class Stage:
    """A stretch of the search under one regime; ends are half-open around whole epochs."""

    name: str
    begin: float
    end: float


@dataclass(frozen=True)
class Sizes:
    """One line of the field chart: input pixels per slot, NaN where not measured."""

    network: str
    measure: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Fields:
    """Field and effective field per slot along one axis ("height", "width", or both alike)."""

    axis: str
    slots: tuple[str, ...]
    image: int
    lines: tuple[Sizes, ...]


@dataclass(frozen=True)
class Freeze:
    """When a slot was decided, for what and with which lead."""

    epoch: int
    alpha_step: int
    operator: str
    p: float
    gap: float
    by_deadline: bool


@dataclass(frozen=True)
class Trajectory:
    """The weights p of one slot's candidates, a row per epoch while the slot was open."""

    slot: str
    short: str
    epochs: tuple[int, ...]
    p: Mapping[str, tuple[float, ...]]
    freeze: Freeze | None
    num_epochs: int


@dataclass(frozen=True)
class Gap:
    """The lead of one slot's strongest candidate over cumulative alpha steps."""

    slot: str
    short: str
    token: str
    operator: str
    alpha_steps: tuple[int, ...]
    gaps: tuple[float, ...]
    freeze: Freeze | None


@dataclass(frozen=True)
class Mark:
    """The names of the slots that froze about here."""

    alpha_step: int
    gap: float
    text: str


@dataclass(frozen=True)
class Gaps:
    """All leads, with the threshold of the rule and the null band of the budget if known."""

    lines: tuple[Gap, ...]
    threshold: float | None
    null: Band | None

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The freezes with the names of their slots, near ones under one name."""
        freezes = [(line.freeze, line.short) for line in self.lines if line.freeze]
        width = NEAR * max((freeze.alpha_step for freeze, _ in freezes), default=0)
        height = NEAR * max((freeze.gap for freeze, _ in freezes), default=0.0)
        marks: list[Mark] = []
        for freeze, short in sorted(freezes, key=lambda pair: (pair[0].alpha_step, pair[0].gap)):
            for index, mark in enumerate(marks):
                near = abs(mark.alpha_step - freeze.alpha_step) <= width
                if near and abs(mark.gap - freeze.gap) <= height:
                    marks[index] = Mark(mark.alpha_step, mark.gap, f"{mark.text}, {short}")
                    break
            else:
                marks.append(Mark(freeze.alpha_step, freeze.gap, short))
        return tuple(marks)


@dataclass(frozen=True)
class Curve:
    """A named line over epochs."""

    name: str
    network: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Steps:
    """Seconds of one search step and the number of frozen slots, per epoch."""

    epochs: tuple[int, ...]
    seconds: tuple[float, ...]
    num_frozen: tuple[int, ...]


@dataclass(frozen=True)
class Trials:
    """Scores of the trials that have one, by their numbers, and the best so far."""

    numbers: tuple[int, ...]
    scores: tuple[float, ...]

    @property
    def best(self) -> tuple[float, ...]:
        """After each of them."""
        return tuple(accumulate(self.scores, max))


@dataclass(frozen=True)
class Cost:
    """Seconds per phase, in the order in which they ran.

    Attributes:
        at_once: seconds that two phases had together, when they ran at the same time.
    """

    phases: tuple[str, ...]
    seconds: tuple[float, ...]
    at_once: float = 0.0

    @property
    def total(self) -> float:
        """Seconds from the first phase to the end of the last."""
        return sum(self.seconds) - self.at_once

    @property
    def shares(self) -> tuple[float, ...]:
        """Each phase as a share of all."""
        return tuple(value / self.total if self.total else 0.0 for value in self.seconds)


def fields(records: Records) -> tuple[Fields, ...]:
    """The field chart: one where height and width agree everywhere, else one for each."""
    table = frames.slots(records)
    columns = [f"{measure}_{net}" for measure in MEASURES for net in ("plain", "found")]
    alike = records.image_size[0] == records.image_size[1] and all(
        np.array_equal(table[f"{column}_h"], table[f"{column}_w"], equal_nan=True)
        for column in columns
    )
    if alike:
        return (_fields(table, "h", "height and width", records.image_size[0]),)
    return (
        _fields(table, "h", "height", records.image_size[0]),
        _fields(table, "w", "width", records.image_size[1]),
    )


def _fields(table: pd.DataFrame, axis: str, name: str, image: int) -> Fields:
    lines = [
        Sizes(network, label, tuple(float(size) for size in table[f"{measure}_{network}_{axis}"]))
        for network in ("plain", "found")
        for measure, label in MEASURES.items()
    ]
    measured = tuple(line for line in lines if not all(np.isnan(line.values)))
    return Fields(name, tuple(table["short"]), image, measured)


def stages(records: Records) -> tuple[Stage, ...]:
    """The stages of the search over epochs: warmup, search, adapt."""
    epochs = frames.search_epochs(records)
    found = []
    for name, group in groupby(zip(epochs["stage"], epochs["epoch"], strict=True), lambda x: x[0]):
        numbers = [int(epoch) for _, epoch in group]
        found.append(Stage(str(name), numbers[0] - 0.5, numbers[-1] + 0.5))
    return tuple(found)


def trajectories(records: Records) -> tuple[Trajectory, ...]:
    """Weights of every slot's candidates over epochs; empty for a search without alpha."""
    weights = frames.weights(records)
    if weights.empty:
        return ()
    labels = [candidate.label for candidate in candidates.of_space(records.config)]
    decided = _freezes(records)
    shorts = frames.short_names(frames.slot_names(records))
    num_epochs = int(frames.search_epochs(records)["epoch"].max())
    return tuple(
        Trajectory(
            slot=slot,
            short=shorts[slot],
            epochs=tuple(int(epoch) for epoch in rows["epoch"]),
            p={
                label: tuple(float(p[index]) for p in rows["p"])
                for index, label in enumerate(labels)
            },
            freeze=decided.get(slot),
            num_epochs=num_epochs,
        )
        for slot, rows in _by_slot(weights, records)
    )


def gaps(records: Records, null: Band | None) -> Gaps:
    """The top-two gap per slot over alpha steps, beside the budget's null control."""
    weights = frames.weights(records)
    decided = _freezes(records)
    table = frames.slots(records).set_index("slot")
    lines = []
    for slot, rows in _by_slot(weights, records):
        row = table.loc[slot]
        froze = decided[slot].operator if slot in decided else str(row["operator"])
        lines.append(
            Gap(
                slot=slot,
                short=str(row["short"]),
                token=candidates.leading(froze).token,
                operator=froze,
                alpha_steps=tuple(int(step) for step in rows["alpha_steps"]),
                gaps=tuple(float(gap) for gap in rows["gap"]),
                freeze=decided.get(slot),
            )
        )
    threshold = records.config.get("settings", {}).get("pmpl.threshold")
    return Gaps(tuple(lines), None if threshold is None else float(threshold), null)


def _by_slot(weights: pd.DataFrame, records: Records) -> list[tuple[str, pd.DataFrame]]:
    groups = {str(slot): rows for slot, rows in weights.groupby("slot", sort=False)}
    return [(slot, groups[slot]) for slot in frames.slot_names(records) if slot in groups]


def _freezes(records: Records) -> dict[str, Freeze]:
    return {
        row["slot"]: Freeze(
            epoch=row["epoch"],
            alpha_step=row["alpha_step"],
            operator=row["operator"],
            p=row["p"],
            gap=row["gap"],
            by_deadline=row["by_deadline"],
        )
        for row in frames.rows(frames.freezes(records))
    }


def search_losses(records: Records) -> tuple[Curve, ...]:
    """Loss of the weights and of alpha over the epochs of the search, on their own splits."""
    table = frames.search_epochs(records)
    curves = []
    for column, name in (("loss", "weights split"), ("alpha_loss", "alpha split")):
        rows = table[table[column].notna()]
        if len(rows):
            curves.append(_curve(rows, column, name, "found"))
    return tuple(curves)


def retraining(records: Records, column: str = "loss") -> tuple[Curve, ...]:
    """Loss or accuracy of the final trainings over epochs, one curve per network and seed."""
    table = frames.retraining(records)
    table = table[table[column].notna()]
    groups = table.groupby(["phase", table["retrain_seed"].fillna(0)], sort=False)
    several = len(records.metrics["retrain_seeds"]) > 1
    return tuple(
        _curve(rows, column, f"{phase}, seed {seed:.0f}" if several else str(phase), str(phase))
        for (phase, seed), rows in groups
    )


def _curve(rows: pd.DataFrame, column: str, name: str, network: str) -> Curve:
    epochs = tuple(int(epoch) for epoch in rows["epoch"])
    return Curve(name, network, epochs, tuple(float(value) for value in rows[column]))


def steps(records: Records) -> Steps:
    """How long one step of the search took, and how many slots were frozen, per epoch."""
    table = frames.search_epochs(records)
    table = table[table["step_seconds"].notna()]
    return Steps(
        epochs=tuple(int(epoch) for epoch in table["epoch"]),
        seconds=tuple(float(value) for value in table["step_seconds"]),
        num_frozen=tuple(int(number) for number in table["num_frozen"]),
    )


def trials(records: Records) -> Trials:
    """The trials of a search, as far as they were scored."""
    table = frames.trials(records).dropna(subset="score")
    return Trials(tuple(map(int, table["number"])), tuple(map(float, table["score"])))


def cost(records: Records) -> Cost:
    """Seconds by phase as measured by the run."""
    phases = {
        str(name): float(seconds)
        for name, seconds in records.metrics["phases"].items()
        if seconds is not None
    }
    at_once = min(phases["found"], phases["plain"]) if records.side_by_side else 0.0
    names = tuple(PHASES.get(name, name) for name in phases)
    return Cost(names, tuple(phases.values()), at_once)


def class_accuracies(records: Records) -> pd.DataFrame | None:
    """Per class: test images and the accuracy of plain and found, a mean over retrain seeds.

    None where the run kept no predictions.
    """
    table = records.predictions
    if table is None or table.empty:
        return None
    right = {
        name: _right(table, [column for column in table.columns if column.startswith(f"{name}-")])
        for name in ("plain", "found")
    }
    scored = pd.DataFrame({"label": table["label"], **right}).groupby("label")
    frame = scored.mean()
    frame.insert(0, "images", scored.size())
    return frame.reset_index()


def _right(table: pd.DataFrame, columns: list[str]) -> pd.Series:
    """Per image the share of retrain seeds that were right; NaN without any prediction."""
    if not columns:
        return pd.Series(np.nan, index=table.index)
    return table[columns].eq(table["label"], axis=0).mean(axis=1)
