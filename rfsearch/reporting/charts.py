"""The charts of the page: a figure, a sentence in its place, and its numbers as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rfsearch.reporting import figure_data, figures, nulls, quantities
from rfsearch.reporting.quantities import plural
from rfsearch.reporting.records import Records
from rfsearch.reporting.tables import Cell, Table, operator, table


@dataclass(frozen=True)
class Chart:
    """``spec`` is plotly's JSON, safe inside a script element; ``height`` is in pixels."""

    name: str
    title: str
    alternative: str
    spec: str
    height: int
    data: Table | None = None
    label: str = ""
    note: str = ""


def chart(name: str, title: str, alternative: str, figure: figures.Figure,
          data: Table | None = None, **texts: str) -> Chart:  # fmt: skip
    """A chart for the page; ``texts`` are its label and note."""
    height = int(figure.layout.height)
    return Chart(name, title, alternative, figures.as_json(figure), height, data, **texts)


def fields(records: Records) -> list[Chart]:
    """Field and effective field per slot; one chart, or one per axis."""
    return [_fields(data) for data in figure_data.fields(records)]


def _fields(data: figure_data.Fields) -> Chart:
    parts = [
        f"{line.network} {line.measure} from {quantities.size(line.values[0], line.values[0])} "
        f"to {quantities.size(line.values[-1], line.values[-1])}"
        for line in data.lines
    ]
    rows = [
        [slot, *(quantities.size(line.values[index], line.values[index]) for line in data.lines)]
        for index, slot in enumerate(data.slots)
    ]
    columns = ["slot", *(f"{line.network} {line.measure}" for line in data.lines)]
    return chart(
        f"fields-{data.axis.replace(' ', '-')}",
        f"Field and effective field by slot ({data.axis})",
        f"Pixels by slot, first to last: {'; '.join(parts)}; the image has {data.image}.",
        figures.fields(data),
        table("Input pixels by slot.", "layers.csv, layers_plain.csv", columns,
              "l" + "r" * len(data.lines), rows),
    )  # fmt: skip


def trajectories(records: Records) -> list[Chart]:
    """One small chart of p per slot."""
    stages, slots = figure_data.stages(records), figure_data.trajectories(records)
    largest = max((p for data in slots for line in data.p.values() for p in line), default=1.0)
    return [_trajectory(data, stages, 1.12 * largest) for data in slots]


def _trajectory(
    data: figure_data.Trajectory, stages: Sequence[figure_data.Stage], top: float
) -> Chart:
    end = f"{data.freeze.operator}" if data.freeze else "open"
    last = "; ".join(f"{label} {values[-1]:.2f}" for label, values in data.p.items())
    when = ""
    if data.freeze:
        rule = "deadline" if data.freeze.by_deadline else "rule"
        when = f" Frozen to {end} at epoch {data.freeze.epoch} by the {rule}."
    alternative = f"Slot {data.short}: weights at the last open epoch: {last}.{when}"
    return chart(f"p-{data.slot}", data.short, alternative, figures.trajectory(data, stages, top),
                  label=end, note=data.slot)  # fmt: skip


def weights_table(records: Records) -> Table | None:
    """All weights p as numbers: a row per slot and epoch."""
    data = figure_data.trajectories(records)
    if not data:
        return None
    rows = [
        [Cell(one.short, title=one.slot), epoch, *(f"{p[index]:.3f}" for p in one.p.values())]
        for one in data
        for index, epoch in enumerate(one.epochs)
    ]
    labels = list(data[0].p)
    return table("Weights p by slot and epoch, while the slot was open.", "history.jsonl: p",
                 ["slot", "epoch", *labels], "lr" + "r" * len(labels), rows)  # fmt: skip


def gaps(records: Records, null: nulls.Band | None) -> Chart | None:
    """The leads over alpha steps, with null band and threshold."""
    data = figure_data.gaps(records, null)
    if not data.lines:
        return None
    reached = sum(not line.freeze.by_deadline for line in data.lines if line.freeze)
    last = [line.gaps[-1] for line in data.lines]
    alternative = (
        f"Lead of the strongest candidate in {plural(len(data.lines), 'slot')}; final leads from "
        f"{min(last):.2f} to {max(last):.2f}; {plural(reached, 'slot')} frozen by the rule."
    )
    rows = [
        [Cell(line.short, title=line.slot), operator(line.operator), f"{line.alpha_steps[-1]:,}",
         f"{line.gaps[-1]:.3f}", _above(line, null)]
        for line in data.lines
    ]  # fmt: skip
    return chart(
        "gaps",
        "Lead of the strongest candidate over alpha steps",
        alternative,
        figures.gaps(data),
        table("Final lead by slot.", "history.jsonl: average", ("slot", "operator", "alpha steps",
              "lead", "against the null band"), "llrrl", rows),
        note=null_note(records, null),
    )  # fmt: skip


def _above(line: figure_data.Gap, null: nulls.Band | None) -> str:
    if null is None:
        return "no null curve"
    return "above" if line.gaps[-1] > null.high_at(line.alpha_steps[-1]) else "within or below"


def null_note(records: Records, null: nulls.Band | None) -> str:
    """What the grey band is, or that there is none."""
    budget, backbone, space = (str(part) for part in benchmark(records))
    if null is None:
        changed = " with changes" if records.config["changed"] else ""
        return (
            f"No null curve is known for budget {budget}{changed}, backbone {backbone} "
            f"and space {space}, so nothing here shows which leads chance alone would reach."
        )
    return (
        "The band is the null control of this budget: the same search with every slot's alpha "
        f"gradient multiplied by a random sign ({plural(null.num_seeds, 'seed')}, "
        f"{plural(null.num_slots, 'slot')}, 5 to 95 %). Under it "
        f"{quantities.percent(null.frozen_share)} of the slots freeze. A lead inside the band is "
        "no evidence for its operator."
    )


def benchmark(records: Records) -> tuple[str, str, str]:
    """(budget, backbone, space) by name, which is how null curves are filed."""
    named = (records.config[key] for key in ("budget", "backbone", "space"))
    budget, backbone, space = (
        str(value["name"]) if isinstance(value, dict) and "name" in value else str(value)
        for value in named
    )
    return budget, backbone, space


def trials(records: Records) -> Chart | None:
    """Scores of trials in the order of their numbers."""
    data = figure_data.trials(records)
    if not data.numbers:
        return None
    best = max(zip(data.scores, data.numbers, strict=True), key=lambda pair: pair[0])
    alternative = (
        f"Scores of {plural(len(data.numbers), 'trial')} from "
        f"{quantities.percent(min(data.scores))} to {quantities.percent(best[0])}, the highest in "
        f"trial {best[1]}."
    )
    rows = [
        [number, *map(quantities.percent, pair)]
        for number, *pair in zip(data.numbers, data.scores, data.best, strict=True)
    ]
    numbers = table(
        "Scores by trial.", "trials.csv", ("trial", "score", "best so far"), "rrr", rows
    )
    return chart("trials", "Scores of trials", alternative, figures.trials(data), numbers)


def losses(records: Records) -> list[Chart]:
    """Training curves: the search, then the final trainings by loss and by accuracy."""
    stages = figure_data.stages(records)
    found = [
        _curves("search-loss", "Loss during the search", "loss",
                figure_data.search_losses(records), stages),
        _curves("retrain-loss", "Loss of the final trainings", "training loss",
                figure_data.retraining(records)),
        _curves("retrain-accuracy", "Accuracy of the final trainings",
                "training accuracy", figure_data.retraining(records, "accuracy")),
    ]  # fmt: skip
    return [chart for chart in found if chart is not None]


def _curves(
    name: str,
    title: str,
    unit: str,
    data: Sequence[figure_data.Curve],
    stages: Sequence[figure_data.Stage] = (),
) -> Chart | None:
    if not data:
        return None
    parts = [f"{one.name} from {one.values[0]:.3f} to {one.values[-1]:.3f}" for one in data]
    epochs = sorted({epoch for one in data for epoch in one.epochs})
    lookup = [dict(zip(one.epochs, one.values, strict=True)) for one in data]
    rows = [
        [epoch, *(f"{one[epoch]:.4f}" if epoch in one else quantities.MISSING for one in lookup)]
        for epoch in epochs
    ]
    numbers = table(f"{title}, by epoch.", "history.jsonl", ["epoch", *(one.name for one in data)],
                    "r" + "r" * len(data), rows)  # fmt: skip
    alternative = f"{unit.capitalize()} over {len(epochs)} epochs: {'; '.join(parts)}."
    return chart(name, title, alternative, figures.curves(data, unit, stages), numbers)


def steps(records: Records) -> Chart | None:
    """Seconds per search step beside the number of frozen slots."""
    data = figure_data.steps(records)
    if not data.epochs:
        return None
    rows = [
        [epoch, f"{1000 * seconds:.0f}", frozen]
        for epoch, seconds, frozen in zip(data.epochs, data.seconds, data.num_frozen, strict=True)
    ]
    alternative = (
        f"A step took {1000 * data.seconds[0]:.0f} ms in the first epoch, at most "
        f"{1000 * max(data.seconds):.0f} ms, and {1000 * data.seconds[-1]:.0f} ms in the last, "
        f"when {plural(data.num_frozen[-1], 'slot')} had frozen."
    )
    numbers = table("Step time and frozen slots by epoch.", "history.jsonl: step_seconds, frozen",
                    ("epoch", "ms per step", "frozen slots"), "rrr", rows)  # fmt: skip
    return chart("steps", "Time of a search step", alternative,
                  figures.steps(data, figure_data.stages(records)), numbers)  # fmt: skip


def cost(records: Records) -> Chart:
    """Seconds by phase."""
    data = figure_data.cost(records)
    parts = [f"{phase} {seconds:.0f} s" for phase, seconds in zip(data.phases, data.seconds,
                                                                 strict=True)]  # fmt: skip
    return chart("cost", "Seconds by phase", f"{'; '.join(parts)}.", figures.cost(data))
