"""The figures of a comparison, drawn from its data and nothing computed."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from rfsearch.reporting.colours import LIGHT
from rfsearch.reporting.compare_data import Anytime, ArmResult, Latency, Point, Ranking
from rfsearch.reporting.figures import Figure, layout, plain

COLOURS = ("found", "max-5", "avg-5", "ssp", "other-5", "max-7", "avg-7", "other-7", "max-3",
           "avg-3", "other-3", "identity")  # fmt: skip
LINE = 20
"""Letters of a line in the margin of a chart."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon")


def colour(index: int) -> str:
    """Of an arm by its place."""
    return LIGHT[COLOURS[index % len(COLOURS)]]


def anytime(data: Sequence[Anytime], arms: Sequence[str]) -> Figure:
    """Best selection score so far over seconds of search, with the range over seeds."""
    figure = Figure(layout=layout(380, hovermode="closest"))
    for one in data:
        tint = colour(arms.index(one.arm))
        if len(one.seconds) > 1:
            figure.add_scatter(
                x=[*one.seconds, *reversed(one.seconds)],
                y=[*one.high, *reversed(one.low)],
                fill="toself",
                mode="none",
                fillcolor=LIGHT["band"],
                hoverinfo="skip",
                showlegend=False,
            )
        figure.add_scatter(
            x=one.seconds,
            y=one.mean,
            name=plain(one.arm),
            mode="lines" if len(one.seconds) > 1 else "markers",
            line={"color": tint, "width": 2.4, "shape": "hv"},
            marker={"color": tint, "size": 11, "symbol": SYMBOLS[arms.index(one.arm) % 8]},
        )
    figure.update_xaxes(title_text="seconds of search")
    figure.update_yaxes(title_text="best selection score so far", tickformat=".1%")
    return figure


def folded(name: str) -> str:
    """A name on short lines, for the margin of a narrow chart."""
    spaced = plain(name).replace(":", ": ")
    return "<br>".join(wrap(spaced, LINE, break_long_words=False))


def finals(data: Sequence[ArmResult], metric: str) -> Figure:
    """Score of every search seed, and the mean, by arm and control."""
    rows = list(reversed(data))
    lines = max(folded(one.name).count("<br>") for one in rows)
    figure = Figure(layout=layout(70 + (30 + 9 * lines) * len(rows), showlegend=False))
    for one in rows:
        searched = one.group == "search"
        tint = LIGHT["found" if searched else "plain"]
        values = list(one.by_seed.values())
        figure.add_scatter(
            x=values,
            y=[folded(one.name)] * len(values),
            mode="markers",
            marker={"color": tint, "size": 8, "opacity": 0.55},
            hovertemplate="%{x:.1%}<extra></extra>",
        )
        figure.add_scatter(
            x=[one.summary.mean],
            y=[folded(one.name)],
            mode="markers",
            marker={"color": LIGHT["threshold"], "size": 17, "symbol": "line-ns-open"},
            hovertemplate="mean %{x:.1%}<extra></extra>",
        )
    figure.update_xaxes(title_text=f"test {metric}", tickformat=".1%")
    return figure


def costs(data: Sequence[Point], measure: str, title: str, metric: str) -> Figure:
    """Score against one cost; networks that none beats in all costs are filled."""
    figure = Figure(layout=layout(360))
    names = {"search": "searched", "control": "controls", "sample": "random networks"}
    tints = {"search": "found", "control": "threshold", "sample": "identity"}
    for group, name in names.items():
        mine = [point for point in data if point.group == group]
        figure.add_scatter(
            x=[getattr(point, measure) for point in mine],
            y=[point.score for point in mine],
            name=name,
            mode="markers",
            text=[plain(point.cell) for point in mine],
            hovertemplate="%{text}<br>%{x:,.4g}, %{y:.1%}<extra></extra>",
            marker={
                "color": LIGHT[tints[group]],
                "size": 9,
                "symbol": ["circle" if point.efficient else "circle-open" for point in mine],
            },
        )
    figure.update_xaxes(title_text=title)
    figure.update_yaxes(title_text=f"test {metric}", tickformat=".1%")
    return figure


def latency(data: Latency) -> Figure:
    """Predicted against measured milliseconds, and the line on which they are equal."""
    figure = Figure(layout=layout(400, showlegend=False))
    ends = [min(*data.predicted, *data.measured), max(*data.predicted, *data.measured)]
    figure.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        line={"color": LIGHT["threshold"], "width": 1.2, "dash": "dot"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=list(data.predicted),
        y=list(data.measured),
        mode="markers",
        text=[plain(", ".join(held)) for held in data.choices],
        hovertemplate="%{text}<br>predicted %{x:.2f}, measured %{y:.2f} ms<extra></extra>",
        marker={"color": LIGHT["found"], "size": 9},
    )
    figure.update_xaxes(title_text="predicted, ms")
    figure.update_yaxes(title_text="measured, ms")
    return figure


def ranks(data: Sequence[Ranking], metric: str) -> Figure:
    """Cheap scores against what the random networks reach trained alone."""
    figure = Figure(layout=layout(400))
    groups = list(dict.fromkeys(one.group or one.predictor for one in data))
    for index, group in enumerate(groups):
        mine = [one for one in data if (one.group or one.predictor) == group]
        figure.add_scatter(
            x=[score for one in mine for score in one.scores],
            y=[truth for one in mine for truth in one.truths],
            name=plain(group),
            mode="markers",
            text=[plain(one.predictor) for one in mine for _ in one.scores],
            hovertemplate="%{text}<br>%{x:.1%}, %{y:.1%}<extra></extra>",
            marker={"color": colour(index), "size": 8, "symbol": SYMBOLS[index % len(SYMBOLS)]},
        )
    figure.update_xaxes(title_text="cheap score on the selection split", tickformat=".1%")
    figure.update_yaxes(title_text=f"test {metric}, trained alone", tickformat=".1%")
    return figure
