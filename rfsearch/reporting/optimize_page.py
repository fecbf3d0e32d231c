"""The page of a proposed network: what changes and why, what it should bring, the trade-off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rfsearch.analysis.scores import RULE, Gains
from rfsearch.optimize.kernel_level import Proposal
from rfsearch.optimize.proposal import Optimized, Row
from rfsearch.optimize.stage_level import Curve
from rfsearch.optimize.staged import Seen
from rfsearch.reporting import figures, tables
from rfsearch.reporting.charts import Chart
from rfsearch.reporting.colours import LIGHT
from rfsearch.reporting.quantities import MISSING, count, plural, points, seconds
from rfsearch.reporting.template import base, put, template
from rfsearch.training.metrics import ACCURACY, named


@dataclass(frozen=True)
class Told:
    """All that the page tells.

    Attributes:
        kernels: proposals for growing ε; empty where that level was left out.
        before, after: the metric of the two networks themselves.
        trained: what a retraining of both found; None where none was asked for.
    """

    found: Optimized
    stages: Curve | None
    kernels: tuple[Proposal, ...]
    before: Gains
    after: Gains
    trained: dict[str, Any] | None


def write_page(told: Told, path: Path) -> Path:
    """Render and put the page in place."""
    return put(render(told), path)


def render(told: Told) -> str:
    """The page as text."""
    return template("optimize_page.html").render(
        title=f"{told.found.model}, optimized",
        headline=_headline(told),
        sentences=_sentences(told),
        totals=_totals(told),
        charts=[*_stage_charts(told), *_kernel_charts(told)],
        layers=_layers(told),
        rule=RULE,
        **base("page.css", "fields.css", "page.js"),
    )


def _headline(told: Told) -> str:
    params, macs, productive = told.found.after
    before = told.found.before
    return (
        f"{told.found.model} at {told.found.image_size[0]} pixels: a productive score of "
        f"{productive:.1f} in place of {before.productive:.1f}, with "
        f"{_share(params, before.params)} of the parameters and {_share(macs, before.macs)} of "
        "the multiply-adds"
    )


def _share(after: int, before: int) -> str:
    return f"{after / before:.2f} times" if after > 2 * before else f"{after / before:.0%}"


def _sentences(told: Told) -> list[str]:
    found = [
        f"Proposed: {told.found.proposed.label}. Original: {told.found.original.label}.",
        "Scores are predictions from the definition alone (3DRF-style, a reconstruction); no "
        "weights were changed and none are taken over.",
    ]
    if told.stages:
        looked_at = f"{told.stages.looked_at:,} networks of the space"
        found.append(
            f"All {looked_at} were looked at."
            if told.stages.exact
            else f"A seeded search looked at {looked_at}."
        )
    if told.found.kernels:
        found.append(
            f"Kernels keep {1 - told.found.kernels.epsilon:.0%} of every stage's trainable score, "
            "all of its channels and its field."
        )
    if told.trained:
        found.insert(0, trained_sentence(told.trained))
    else:
        found.append("Neither network was trained; --retrain trains both under one recipe.")
    return found


def trained_sentence(trained: dict[str, Any]) -> str:
    """What a retraining found; the difference as it is, with no verdict from few seeds."""
    plan, gap = trained["plan"], trained["difference"]
    before, after = (_spread(trained["networks"][kind]) for kind in ("original", "proposed"))
    each = ", ".join(points(one) for one in gap["by_seed"])
    return (
        f"Trained alike on {trained['train_images']:,} images of {trained['data']} for "
        f"{plan['retrain_epochs']} epochs: test {_metric(trained)} {before} before, {after} "
        f"after; {points(gap['mean'])} points (by seed {each}). "
        f"{plural(plan['retrain_seeds'], 'seed').capitalize()}: too few for a verdict."
    )


def _metric(trained: dict[str, Any]) -> str:
    return named(trained.get("metric", ACCURACY)).words


def _spread(one: dict[str, Any]) -> str:
    deviation = "" if one["sd"] is None else f" ± {100 * one['sd']:.1f}"
    return f"{100 * one['mean']:.1f}{deviation} %"


def _totals(told: Told) -> tables.Table:
    params, macs, productive = told.found.after
    before = told.found.before
    rows = [
        ["parameters", count(before.params), count(params)],
        ["multiply-adds", count(before.macs), count(macs)],
        ["productive score, heaviest path", f"{before.productive:.1f}", f"{productive:.1f}"],
        ["the same, of the graph",
         *(f"{g.productive.path:.1f}" for g in (told.before, told.after))],
        ["productive score, every edge",
         *(f"{g.productive.total:.1f}" for g in (told.before, told.after))],
        ["score, every edge", *(f"{g.score.total:.1f}" for g in (told.before, told.after))],
    ]  # fmt: skip
    if told.trained:
        rows = [*_trained_rows(told.trained), *rows]
    return tables.table("Before and after.", "proposal.json", ["quantity", "original", "proposed"],
                        "lrr", rows)  # fmt: skip


def _trained_rows(trained: dict[str, Any]) -> list[list[str]]:
    both = [trained["networks"][kind] for kind in ("original", "proposed")]
    threads = both[0]["latency"]["threads"]
    device = both[0]["latency"]["device"]
    return [
        [f"{_metric(trained)}, test split, n = {len(both[0]['accuracies'])}", *map(_spread, both)],
        [f"latency, one image, {device}, {plural(threads, 'thread')}",
         *(seconds(one["latency"]["seconds"]) for one in both)],
        ["training, all seeds", *(seconds(one["seconds"]) for one in both)],
    ]  # fmt: skip


def _layers(told: Told) -> tables.Table:
    rows = [_cells(row) for row in told.found.rows()]
    columns = ["layer", "kernel", "field", "earns", "kernel", "field", "earns", "operator", "why"]
    made = tables.table("Every layer; fields are input pixels, beyond the border.", "layers.csv",
                        columns, "lrrrrrrll", rows)  # fmt: skip
    return replace(made, groups=(("", 1), ("original", 3), ("proposed", 3), ("", 2)))


def _cells(row: Row) -> list[str]:
    replaced = row.after if row.kernel.name != "dense" else None
    operator = row.kernel.label_on(replaced.layer) if replaced else ""
    earned = row.earned
    return [row.name, *_half(row.before, earned[0]), *_half(row.after, earned[1]), operator,
            row.reason]  # fmt: skip


def _half(one: Seen | None, earned: float | None) -> list[str]:
    if one is None or earned is None:
        return [MISSING] * 3
    kernel = f"{one.layer.kernel}" + (f"/{one.layer.stride}" if one.layer.stride > 1 else "")
    return [kernel, str(one.after), f"{earned:.1f}"]


def _stage_charts(told: Told) -> list[Chart]:
    if told.stages is None:
        return []
    points = told.stages.points
    rows = [[p.net.label, count(p.figures.macs), count(p.figures.params),
             f"{p.figures.productive:.1f}"] for p in points]  # fmt: skip
    numbers = tables.table("Networks of which none costs less and earns as much.", "curve.csv",
                           ["network", "MACs", "parameters", "productive score"], "lrrr",
                           rows)  # fmt: skip
    return [Chart("stages", "Stages: score against cost",
                  f"{len(points)} networks from {points[0].figures.productive:.1f} to "
                  f"{points[-1].figures.productive:.1f}.",
                  figures.as_json(_stage_figure(told.stages)), 380, numbers,
                  note="All within the cap on parameters; the proposal keeps the one on "
                  "multiply-adds too.")]  # fmt: skip


def _stage_figure(stages: Curve) -> figures.Figure:
    points = stages.points
    figure = figures.Figure(layout=figures.layout(380, hovermode="closest"))
    figure.add_scatter(
        x=[p.figures.macs for p in points], y=[p.figures.productive for p in points],
        mode="lines+markers", name="best for its MACs",
        customdata=[figures.plain(p.net.label) for p in points],
        line={"color": LIGHT["found"], "width": 2, "shape": "hv"},
        hovertemplate="%{customdata}<br>%{x:.3s} MACs, %{y:.1f}<extra></extra>",
    )  # fmt: skip
    marks = (("original", stages.original, "plain"), ("proposed", stages.best, "found"))
    for name, point, colour in marks:
        figure.add_scatter(x=[point.figures.macs], y=[point.figures.productive], mode="markers",
                           name=name, marker={"color": LIGHT[colour], "size": 13,
                                              "symbol": "diamond"})  # fmt: skip
    figure.update_xaxes(title_text="multiply-adds", type="log")
    figure.update_yaxes(title_text="productive score", rangemode="tozero")
    return figure


def _kernel_charts(told: Told) -> list[Chart]:
    if not told.kernels:
        return []
    left = [sum(c.kernel.params(c.row.layer) for c in one.choices) for one in told.kernels]
    figure = figures.Figure(layout=figures.layout(380, hovermode="closest"))
    figure.add_scatter(x=[one.epsilon for one in told.kernels], y=left, mode="lines+markers",
                       name="parameters", line={"color": LIGHT["found"], "width": 2},
                       hovertemplate="ε %{x}: %{y:.4s}<extra></extra>")  # fmt: skip
    figure.update_xaxes(title_text="ε, share of the score given up")
    figure.update_yaxes(title_text="parameters", rangemode="tozero")
    held = [
        ", ".join(sorted({c.kernel.label_on(c.row.layer) for c in one.choices}))
        for one in told.kernels
    ]
    rows = [[f"{one.epsilon:g}", count(n), text]
            for one, n, text in zip(told.kernels, left, held, strict=True)]  # fmt: skip
    numbers = tables.table("Cheapest operators by ε.", "", ["ε", "parameters", "operators"],
                           "lrl", rows)  # fmt: skip
    return [Chart("kernels", "Kernels: parameters against ε",
                  f"From {left[0]:,} to {left[-1]:,} parameters.", figures.as_json(figure), 380,
                  numbers, note="Of convolutions that may be replaced, by the share of a stage's "
                  "trainable score that may be lost. Dense they have "
                  f"{count(left[0] + told.kernels[0].params_saved)}.")]  # fmt: skip
