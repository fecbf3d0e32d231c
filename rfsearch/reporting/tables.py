"""The tables of the page: captions, columns and cells as text, and the file each stands on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rfsearch.reporting import candidates, figure_data, frames, quantities
from rfsearch.reporting.quantities import MISSING, percent, points
from rfsearch.reporting.records import Network, Records
from rfsearch.reporting.verdict import conditions
from rfsearch.training.metrics import ACCURACY


@dataclass(frozen=True)
class Cell:
    """One cell: its text, what a pointer shows, and for an operator its palette token."""

    text: str
    title: str = ""
    token: str = ""


@dataclass(frozen=True)
class Table:
    """A table for the page; ``align`` has one letter per column, l or r (numbers).

    The first column heads its row. ``groups`` are headings over several columns: (text, columns).
    """

    caption: str
    source: str
    columns: tuple[str, ...]
    align: str
    rows: tuple[tuple[Cell, ...], ...]
    groups: tuple[tuple[str, int], ...] = ()


def table(
    caption: str, source: str, columns: Sequence[str], align: str, rows: Sequence[Sequence[Any]],
    groups: Sequence[tuple[str, int]] = (),
) -> Table:  # fmt: skip
    """A table from cells and plain values."""
    cells = tuple(_row(row) for row in rows)
    return Table(caption, source, tuple(columns), align, cells, tuple(groups))


def _row(values: Sequence[Any]) -> tuple[Cell, ...]:
    return tuple(value if isinstance(value, Cell) else Cell(str(value)) for value in values)


def operator(label: str) -> Cell:
    """A cell that names an operator in its colour."""
    return Cell(label, token=candidates.leading(label).token)


def slots(records: Records) -> Table:
    """Per slot: what was chosen, where, and what it sees before and after."""
    rows = []
    for row in frames.rows(frames.slots(records)):
        fields = [_before_after(row, measure) for measure in frames.SIZES]
        rows.append(
            [
                Cell(row["short"], title=row["slot"]),
                operator(row["operator"]),
                row["kernel"] or MISSING,
                quantities.size(row["stride_h"], row["stride_w"]),
                quantities.size(row["map_h"], row["map_w"]),
                *(cell for pair in fields for cell in pair),
            ]
        )
    columns = ("slot", "operator", "kernel", "stride", "map") + 3 * ("before", "after")
    groups = [("", 5), ("field", 2), ("effective field, 50 %", 2), ("effective field, 90 %", 2)]
    caption = (
        "Before is the plain backbone, after the found network, both at the end of the slot. "
        "Sizes are input pixels, height × width where they differ; the field is not clipped to "
        "the image."
    )
    return table(caption, "architecture.json, layers.csv, layers_plain.csv", columns,
                 "llrrrrrrrrr", rows, groups)  # fmt: skip


def _before_after(row: Mapping[str, Any], measure: str) -> tuple[str, str]:
    before, after = (
        quantities.size(row[f"{measure}_{network}_h"], row[f"{measure}_{network}_w"])
        for network in ("plain", "found")
    )
    return before, after


def networks(records: Records) -> Table:
    """Found beside plain (and as it stood in the supernet), one row per quantity."""
    plain, found = records.networks["plain"], records.networks["found"]
    adapted = records.networks.get("adapted")
    rows: list[list[Any]] = [
        [f"test {records.metric}", percent(plain.score), percent(found.score),
         MISSING if adapted is None else percent(adapted.score),
         f"{points(records.difference.value)} points"],
        ["per retraining seed", _each(plain), _each(found), MISSING, ""],
        *(_count_row(name, key, plain, found, adapted) for name, key in COUNTS),
        _time_row("latency", plain, found, adapted, _latency_seconds),
        _time_row("training", plain, found, adapted, lambda network: network.seconds),
    ]  # fmt: skip
    selected = (records.metrics.get("selection") or {}).get("adapted")
    if selected is not None:
        rows.insert(2, [f"selection {records.metric}", MISSING, MISSING, percent(selected), ""])
    if records.metric != ACCURACY:
        rows.insert(0, ["test accuracy", percent(plain.accuracy), percent(found.accuracy),
                        _accuracy(adapted), ""])  # fmt: skip
    third, weights = "adapted in supernet", "it had in the supernet"
    if frames.has_own_trainings(records.history):
        third, weights = "found in its trial", "of its cheap training"
    begun = "from published weights" if records.config.get("pretrained") else "from scratch"
    caption = (
        f"Plain and found were trained {begun} with one recipe and the same seeds on the "
        "weights and alpha splits together; beside them the found network with the weights "
        f"{weights}."
    )
    if latency := found.latency or plain.latency:
        caption += f" Latency is {conditions(latency)}."
    return table(caption, "metrics.json", ("quantity", "plain", "found", third,
                 "found against plain"), "lrrrr", rows)  # fmt: skip


COUNTS = (("parameters", "params"), ("MACs", "macs"), ("window operations", "window_ops"))


def _accuracy(network: Network | None) -> str:
    return MISSING if network is None else percent(network.accuracy)


def _each(network: Network) -> str:
    return ", ".join(f"{100 * share:.1f}" for share in network.scores)


def _count_row(
    name: str, key: str, plain: Network, found: Network, adapted: Network | None
) -> list[Any]:
    values = [getattr(network, key) if network else None for network in (plain, found, adapted)]
    cells = [Cell(quantities.count(value), title=quantities.exact(value)) for value in values]
    return [name, *cells, _change(values[0], values[1])]


def _change(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return MISSING
    if before == after:
        return "equal"
    if before == 0:
        return f"+{quantities.count(after)}"
    ratio = after / before
    text = f"{100 * abs(ratio - 1):.1f} %"
    return f"{'+' if ratio > 1 else quantities.MINUS}{text}"


def _time_row(
    name: str,
    plain: Network,
    found: Network,
    adapted: Network | None,
    seconds: Callable[[Network], float | None],
) -> list[Any]:
    values = [seconds(network) if network else None for network in (plain, found, adapted)]
    return [name, *(quantities.seconds(value) for value in values), _change(values[0], values[1])]


def _latency_seconds(network: Network) -> float | None:
    return network.latency.seconds if network.latency else None


def freezes(records: Records) -> Table:
    """The freezing log: when each slot was decided, for what, and what it did to the loss."""
    shorts = frames.short_names(frames.slot_names(records))
    rows = [
        [
            Cell(shorts.get(row["slot"], row["slot"]), title=row["slot"]),
            operator(row["operator"]),
            row["epoch"],
            f"{row['alpha_step']:,}",
            _decimal(row["p"]),
            _decimal(row["gap"]),
            "deadline" if row["by_deadline"] else "rule",
            _decimal(row["loss_before"]),
            _decimal(row["loss_after"]),
        ]
        for row in frames.rows(frames.freezes(records))
    ]
    columns = ("slot", "operator", "epoch", "alpha step", "p", "lead", "decided by",
               "loss before", "loss after")  # fmt: skip
    return table("The freezing log, in order of time.", "history.jsonl: froze", columns,
                 "llrrrrlrr", rows)  # fmt: skip


SHOWN_TRIALS = 20


def trials(records: Records) -> Table | None:
    """The trials with the highest scores, and what each of their slots held."""
    every = frames.trials(records)
    if every.empty:
        return None
    names = frames.slot_names(records)
    shorts = frames.short_names(names)
    best = every.dropna(subset="score").nlargest(SHOWN_TRIALS, "score")
    rows = [
        [int(row["number"]), percent(row["score"]), f"{row['seconds']:.1f}",
         *(_held(name, str(row[name])) for name in names)]
        for row in frames.rows(best)
    ]  # fmt: skip
    lost = every.loc[every["score"].isna(), "state"].value_counts()
    without = "".join(f"; {state}: {count}" for state, count in lost.items())
    shown = f"The {len(best)} of {len(every)} trials with the highest scores"
    caption = (
        f"{shown if len(best) < len(every) else f'All {len(every)} trials by score'}{without}. "
        "M, A and S stand for max, average and SSP with their kernel, · for identity."
    )
    columns = ("trial", "score", "seconds", *(shorts[name] for name in names))
    return table(caption, "trials.csv", columns, "rrr" + "l" * len(names), rows)


def _held(slot: str, label: str) -> Cell:
    """What a slot held, in two characters where these are known."""
    one = candidates.from_label(label)
    known = one.family in candidates.FAMILIES
    return Cell(one.short if known else label, f"{slot}: {label}", one.token)


def _decimal(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:.3f}"


def classes(records: Records) -> Table | None:
    """Accuracy per class, or None without predictions."""
    frame = figure_data.class_accuracies(records)
    if frame is None:
        return None
    names = records.classes
    rows = [
        [
            names[row["label"]] if row["label"] < len(names) else row["label"],
            f"{row['images']:,}",
            percent(row["plain"]),
            percent(row["found"]),
            points(row["found"] - row["plain"]),
        ]
        for row in frames.rows(frame)
    ]
    caption = "Accuracy by class on the test split, a mean over retraining seeds; single classes "
    caption += "hold few images, so small differences mean nothing."
    return table(caption, "predictions.csv", ("class", "images", "plain", "found", "points"),
                 "lrrrr", rows)  # fmt: skip


def cost(records: Records) -> Table:
    """Seconds and share of every phase, with their sum."""
    data = figure_data.cost(records)
    rows: list[list[Any]] = [
        [phase, f"{seconds:.1f}", percent(share, 0)]
        for phase, seconds, share in zip(data.phases, data.seconds, data.shares, strict=True)
    ]
    rows.append(["together", f"{data.total:.1f}", percent(1.0, 0)])
    caption = "Measured wall-clock seconds by phase"
    if records.side_by_side:
        caption += "; found and plain were trained at the same time"
    return table(f"{caption}.", "metrics.json: phases",
                 ("phase", "seconds", "share"), "lrr", rows)  # fmt: skip


def splits(records: Records) -> Table:
    """The four splits: images and independent sources."""
    uses = {
        "weights": "training the weights",
        "alpha": "training alpha",
        "selection": "choosing between networks",
        "test": "read once per final network",
    }
    rows = [
        [name, _count(value.get("images")), _count(value.get("sources")), uses.get(name, "")]
        for name, value in records.environment["splits"].items()
    ]
    caption = "Splits share no image and no source; the first three are cut from training data."
    return table(caption, "environment.json: splits", ("split", "images", "sources", "use"),
                 "lrrl", rows)  # fmt: skip


def _count(value: int | None) -> str:
    return MISSING if value is None else f"{value:,}"


def run(records: Records) -> Table:
    """What was run: the dials of the command line and the hashes that pin data and settings."""
    config, environment = records.config, records.environment
    keys = ("strategy", "backbone", "space", "data", "budget", "seed")
    rows = [[key, plain_text(config[key])] for key in keys]
    rows += [
        ["arguments of the backbone", plain_text(records.architecture["backbone"]["arguments"])],
        ["image size", quantities.size(*records.image_size)],
        ["retraining seeds", plain_text(records.metrics["retrain_seeds"])],
        ["hash of the settings", plain_text(config.get("hash"))],
        ["hash of the data", plain_text(environment.get("data_hash"))],
        ["hash of the splits", plain_text(environment.get("split_hash"))],
        ["commit", plain_text(environment.get("commit"))],
    ]
    return table("The run", "config.json, environment.json", ("what", "value"), "ll", rows)


def plan(records: Records) -> Table:
    """The plan of the budget: fixed integers, never timing."""
    return _mapping("The plan this budget stands for", "config.json: plan",
                    records.config.get("plan") or {})  # fmt: skip


def settings(records: Records) -> Table:
    """Every setting with the value this run had."""
    return _mapping("Every setting as this run had it", "config.json: settings",
                    records.config.get("settings") or {})  # fmt: skip


def machine(records: Records) -> Table:
    """Hardware and versions."""
    environment = records.environment
    keys = ("platform", "cpu", "cores", "threads", "device", "precision", "allocator")
    rows = [[key, plain_text(environment.get(key))] for key in keys if key in environment]
    memory = records.metrics.get("peak_memory_bytes")
    rows.append(["peak memory", quantities.bytes_(memory)])
    rows += [[name, plain_text(version)] for name, version in environment["versions"].items()]
    return table("Machine and versions", "environment.json, metrics.json: peak_memory_bytes",
                 ("what", "value"), "ll", rows)  # fmt: skip


def _mapping(caption: str, source: str, values: Mapping[str, Any]) -> Table:
    rows = [[key, plain_text(value)] for key, value in sorted(values.items())]
    return table(caption, source, ("name", "value"), "ll", rows)


def plain_text(value: object) -> str:
    """A JSON value for a reader: strings bare, lists by commas, nothing as a dash.

    >>> plain_text([64, 64]), plain_text(None), plain_text(True), plain_text({"width": 0.5})
    ('64, 64', '–', 'yes', 'width 0.5')
    """
    match value:
        case None:
            return MISSING
        case dict() | list() | tuple() | str() if not value:
            return MISSING
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case list() | tuple():
            return ", ".join(plain_text(item) for item in value)
        case dict():
            return ", ".join(f"{key} {plain_text(item)}" for key, item in value.items())
        case _:
            return json.dumps(value)


PROVENANCE = (
    ("verdict, accuracies, intervals", "metrics.json: networks, difference, test"),
    ("parameters, MACs, window operations, latency", "metrics.json: networks"),
    ("accuracy by class", "predictions.csv: label, found-*, plain-*"),
    ("chosen operators", "architecture.json: choices"),
    ("fields and effective fields", "layers.csv (found), layers_plain.csv (plain)"),
    ("weights p, leads, freezes, losses, step times", "history.jsonl"),
    ("seconds by phase, memory", "metrics.json: phases, peak_memory_bytes"),
    ("settings and plan", "config.json"),
    ("splits, machine, versions, hashes", "environment.json"),
    ("null band", "null_curves.csv of the installed package"),
)


def provenance() -> Table:
    """Which number comes from which file of the run folder."""
    return table("Where every number comes from.", "", ("on this page", "file"), "ll", PROVENANCE)
