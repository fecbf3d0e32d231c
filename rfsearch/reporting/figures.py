"""Figure data drawn with plotly, and nothing computed: the only file that imports plotly."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.offline
from plotly.graph_objects import Figure as Figure  # charts names the type
from plotly.graph_objects import Layout
from plotly.subplots import make_subplots

from rfsearch.reporting.candidates import from_label, leading
from rfsearch.reporting.colours import LIGHT
from rfsearch.reporting.figure_data import (
    PHASES,
    Cost,
    Curve,
    Fields,
    Gap,
    Gaps,
    Stage,
    Steps,
    Trajectory,
    Trials,
)

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
DASHES = ("solid", "dash", "dot")
STAGE_NAMES = {"warmup": "warm-up", "adapt": "adapt"}


def script() -> str:
    """The whole of plotly.js, to stand once in a page."""
    return str(plotly.offline.get_plotlyjs())


def as_json(figure: Figure) -> str:
    """A figure as JSON that may stand inside a script element."""
    spec = json.loads(figure.to_json())
    spec["layout"].pop("template", None)
    return json.dumps(spec, separators=(",", ":")).replace("<", "\\u003c")


def plain(text: str) -> str:
    """Text as it is: plotly reads a few HTML tags in names, and a run's words are no tags."""
    return escape(text, quote=False)


def layout(height: int, **changes: object) -> Layout:
    """What all charts share; drags and wheels stay with the page."""
    layout = Layout(
        height=height,
        margin={"l": 52, "r": 14, "t": 12, "b": 44},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 12.5, "color": LIGHT["muted"]},
        hoverlabel={
            "bgcolor": LIGHT["panel"],
            "bordercolor": LIGHT["rule"],
            "font": {"color": LIGHT["ink"], "family": FONT, "size": 12.5},
        },
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"color": LIGHT["ink"]},
        },
        dragmode=False,
        xaxis=axis(),
        yaxis=axis(),
    )
    layout.update(changes)
    return layout


def axis(**changes: object) -> dict[str, Any]:
    """What all axes share; nothing is dragged or zoomed."""
    return {
        "title": {"text": "", "standoff": 8, "font": {"size": 12.5}},
        "gridcolor": LIGHT["grid"],
        "linecolor": LIGHT["rule"],
        "tickcolor": LIGHT["rule"],
        "zeroline": False,
        "fixedrange": True,
        "automargin": True,
        **changes,
    }


def fields(data: Fields) -> Figure:
    """Field and effective field per slot, plain and found, over the size of the image."""
    figure = Figure(layout=layout(420, hovermode="x unified"))
    measures = list(dict.fromkeys(line.measure for line in data.lines))
    for line in data.lines:
        figure.add_scatter(
            x=[plain(slot) for slot in data.slots],
            y=[None if math.isnan(v) or math.isinf(v) else v for v in line.values],
            name=f"{line.network} {line.measure}",
            mode="lines+markers",
            line={
                "color": LIGHT[line.network],
                "width": 2.2,
                "dash": DASHES[measures.index(line.measure)],
            },
            marker={"size": 6, "symbol": "circle" if line.network == "found" else "square-open"},
        )
    figure.add_hline(y=data.image, line={"color": LIGHT["threshold"], "width": 1})
    height = math.log10(data.image)  # annotations on a logarithmic axis stand at the exponent
    label(figure, f"image, {data.image} px", 0, height, xanchor="left")
    figure.update_xaxes(title_text="slot", type="category")
    figure.update_yaxes(title_text=f"{data.axis}, pixels", type="log", **_doubling(data))
    return figure


def _doubling(data: Fields) -> dict[str, Any]:
    """Ticks at powers of two, which is how fields grow."""
    values = [v for line in data.lines for v in line.values if math.isfinite(v) and v > 0]
    top = math.ceil(math.log2(max([*values, data.image])))
    ticks = [2**power for power in range(top + 1)]
    return {"tickvals": ticks, "ticktext": [str(tick) for tick in ticks]}


def label(figure: Figure, text: str, x: float, y: float, **where: object) -> None:
    """A word on a reference line; ``x`` is a share of the width, ``y`` in axis coordinates."""
    figure.add_annotation(
        text=text,
        x=x,
        xref="paper",
        y=y,
        yanchor="bottom",
        showarrow=False,
        font={"color": LIGHT["ink"], "size": 11.5},
        **where,
    )


def trajectory(data: Trajectory, stages: Sequence[Stage], top: float) -> Figure:
    """The weights of one slot's candidates over epochs, the winner drawn broad.

    ``top`` is the end of the scale, the same for all slots so that they can be compared.
    """
    margin = {"l": 34, "r": 10, "t": 6, "b": 26}
    figure = Figure(layout=layout(158, margin=margin, showlegend=False))
    winner = data.freeze.operator if data.freeze else None
    for label, values in data.p.items():
        won = winner is not None and label in winner.split(" + ")
        figure.add_scatter(
            x=list(data.epochs),
            y=list(values),
            name=plain(label),
            mode="lines",
            line={"color": LIGHT[from_label(label).token], "width": 3 if won else 1.3},
            hovertemplate=f"{plain(label)}: %{{y:.3f}}<extra>epoch %{{x}}</extra>",
        )
    if data.freeze:
        _mark_freeze(figure, data)
    _shade(figure, stages)
    figure.update_xaxes(range=[0.5, data.num_epochs + 0.5], nticks=5, tickfont={"size": 10.5})
    figure.update_yaxes(range=[0, top], nticks=4, tickfont={"size": 10.5})
    return figure


def _mark_freeze(figure: Figure, data: Trajectory) -> None:
    freeze = data.freeze
    assert freeze is not None
    token = LIGHT[leading(freeze.operator).token]
    why = "by the deadline" if freeze.by_deadline else "by the rule"
    dotted = {"color": LIGHT["threshold"], "width": 1, "dash": "dot"}
    figure.add_vline(x=freeze.epoch, line=dotted, layer="below")
    figure.add_scatter(
        x=[freeze.epoch],
        y=[freeze.p],
        mode="markers",
        name="frozen",
        marker={
            "color": LIGHT["panel"] if freeze.by_deadline else token,
            "size": 10,
            "symbol": "diamond",
            "line": {"color": token, "width": 2},
        },
        hovertemplate=f"{plain(freeze.operator)} frozen {why}<extra>epoch {freeze.epoch}</extra>",
    )


def _shade(figure: Figure, stages: Sequence[Stage], named: bool = False) -> None:
    """Grey ground under every stage that is not the search itself."""
    for stage in stages:
        if stage.name not in STAGE_NAMES:
            continue
        figure.add_vrect(
            x0=stage.begin, x1=stage.end, fillcolor=LIGHT["shade"], line_width=0, layer="below"
        )
        if named:
            figure.add_annotation(
                text=STAGE_NAMES[stage.name],
                x=(stage.begin + stage.end) / 2,
                y=1,
                yref="y domain",
                yanchor="top",
                showarrow=False,
                font={"size": 11.5, "color": LIGHT["muted"]},
            )


def gaps(data: Gaps) -> Figure:
    """The lead of every slot's strongest candidate, the null control behind it."""
    figure = Figure(layout=layout(430, hovermode="closest", showlegend=True))
    if data.null is not None:
        _draw_null(figure, data)
    shown: set[str] = set()
    for line in data.lines:
        _draw_gap(figure, line, first=line.operator not in shown)
        shown.add(line.operator)
    for mark in data.marks:
        figure.add_annotation(
            text=plain(mark.text), x=mark.alpha_step, y=mark.gap, yshift=13, showarrow=False,
            font={"size": 11, "color": LIGHT["ink"]},
        )  # fmt: skip
    if data.threshold is not None:
        figure.add_hline(
            y=data.threshold, line={"color": LIGHT["threshold"], "width": 1, "dash": "dash"}
        )
        label(figure, f"threshold {data.threshold:g}", 0, data.threshold, xanchor="left")
    figure.update_xaxes(title_text="alpha steps")
    figure.update_yaxes(title_text="lead of the first over the second", rangemode="tozero")
    return figure


def _draw_null(figure: Figure, data: Gaps) -> None:
    null = data.null
    assert null is not None
    steps = list(null.alpha_steps)
    figure.add_scatter(
        x=steps + steps[::-1],
        y=list(null.high) + list(null.low)[::-1],
        mode="lines",
        fill="toself",
        fillcolor=LIGHT["band"],
        line={"width": 0},
        name="null control, 5 to 95 %",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=steps,
        y=list(null.median),
        mode="lines",
        line={"color": LIGHT["plain"], "width": 1, "dash": "dot"},
        name="null control, median",
        hovertemplate="null median %{y:.3f}<extra>step %{x}</extra>",
    )


def _draw_gap(figure: Figure, line: Gap, first: bool) -> None:
    colour = LIGHT[line.token]
    figure.add_scatter(
        x=list(line.alpha_steps),
        y=list(line.gaps),
        mode="lines",
        name=plain(line.operator),
        legendgroup=line.operator,
        showlegend=first,
        line={"color": colour, "width": 1.8},
        hovertemplate=f"slot {plain(line.short)}, {plain(line.operator)}: %{{y:.3f}}"
        "<extra>step %{x}</extra>",
    )
    if line.freeze is None:
        return
    figure.add_scatter(
        x=[line.freeze.alpha_step],
        y=[line.freeze.gap],
        mode="markers",
        legendgroup=line.operator,
        showlegend=False,
        marker={
            "size": 9,
            "symbol": "diamond",
            "color": LIGHT["panel"] if line.freeze.by_deadline else colour,
            "line": {"color": colour, "width": 2},
        },
        hovertemplate=f"slot {plain(line.short)} frozen<extra>step %{{x}}</extra>",
    )


def curves(data: Sequence[Curve], title: str, stages: Sequence[Stage] = ()) -> Figure:
    """Lines over epochs: one colour per network, one dash per curve of a network."""
    figure = Figure(layout=layout(300, hovermode="x unified", showlegend=True))
    seen: dict[str, int] = {}
    for curve in data:
        index = seen.get(curve.network, 0)
        seen[curve.network] = index + 1
        figure.add_scatter(
            x=list(curve.epochs),
            y=list(curve.values),
            name=plain(curve.name),
            mode="lines",
            line={
                "color": LIGHT[curve.network],
                "width": 2.2,
                "dash": DASHES[index % len(DASHES)],
            },
            hovertemplate="%{y:.3f}",
        )
    _shade(figure, stages, named=True)
    figure.update_xaxes(title_text="epoch", nticks=8)
    figure.update_yaxes(title_text=title, rangemode="tozero")
    return figure


def steps(data: Steps, stages: Sequence[Stage]) -> Figure:
    """Milliseconds per search step above the number of frozen slots."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32],
                           vertical_spacing=0.09)  # fmt: skip
    figure.update_layout(layout(330, showlegend=False))
    figure.add_scatter(
        x=list(data.epochs),
        y=[1000 * value for value in data.seconds],
        mode="lines+markers",
        line={"color": LIGHT["found"], "width": 2.2},
        hovertemplate="%{y:.0f} ms<extra>epoch %{x}</extra>",
        row=1,
        col=1,
    )
    figure.add_scatter(
        x=list(data.epochs),
        y=list(data.num_frozen),
        mode="lines",
        line={"color": LIGHT["plain"], "width": 2, "shape": "hvh"},
        fill="tozeroy",
        fillcolor=LIGHT["band"],
        hovertemplate="%{y} frozen<extra>epoch %{x}</extra>",
        row=2,
        col=1,
    )
    figure.update_xaxes(axis())
    figure.update_yaxes(axis(rangemode="tozero"))
    figure.update_yaxes(title_text="ms per step", row=1, col=1)
    figure.update_yaxes(title_text="frozen slots", nticks=3, row=2, col=1)
    figure.update_xaxes(title_text="epoch", nticks=8, row=2, col=1)
    for stage in stages:
        if stage.name in STAGE_NAMES:
            figure.add_vrect(
                x0=stage.begin, x1=stage.end, fillcolor=LIGHT["shade"], line_width=0,
                layer="below",
            )  # fmt: skip
    return figure


def trials(data: Trials) -> Figure:
    """The score of every trial, and the best so far."""
    figure = Figure(layout=layout(330, hovermode="x unified", showlegend=True))
    figure.add_scatter(
        x=list(data.numbers),
        y=[100 * score for score in data.scores],
        name="trial",
        mode="markers",
        marker={"color": LIGHT["plain"], "size": 7},
        hovertemplate="%{y:.1f} %",
    )
    figure.add_scatter(
        x=list(data.numbers),
        y=[100 * score for score in data.best],
        name="best so far",
        mode="lines",
        line={"color": LIGHT["found"], "width": 2.2, "shape": "hv"},
        hovertemplate="%{y:.1f} %",
    )
    most = max(data.numbers)
    figure.update_xaxes(title_text="trial", dtick=max(1, round(most / 8)))
    figure.update_yaxes(title_text="score on the selection split, %")
    return figure


def cost(data: Cost) -> Figure:
    """Seconds by phase as bars."""
    figure = Figure(layout=layout(56 + 34 * len(data.phases), showlegend=False))
    tokens = {PHASES["search"]: "found", PHASES["found"]: "found"}
    figure.add_bar(
        x=list(data.seconds),
        y=[plain(phase) for phase in data.phases],
        orientation="h",
        marker={"color": [LIGHT[tokens.get(phase, "plain")] for phase in data.phases]},
        text=[f"{value:.0f} s" for value in data.seconds],
        textposition="auto",
        hovertemplate="%{y}: %{x:.1f} s<extra></extra>",
    )
    figure.update_xaxes(title_text="seconds", rangemode="tozero")
    figure.update_yaxes(autorange="reversed")
    return figure
