"""The figures about layers: drawn, with nothing computed."""

from __future__ import annotations

from typing import Any

from rfsearch.reporting.colours import LIGHT
from rfsearch.reporting.field_data import Against, Earned, Growth
from rfsearch.reporting.figures import Figure, label, layout, plain

EFFECTIVE = {"effective_50": ("effective 50 %", "dot"), "effective_90": ("effective 90 %", "dash")}


def growth(data: Growth, colour: str, top: int) -> Figure:
    """Largest field over depth, a band down to the smallest, and the image as a line."""
    figure = Figure(layout=layout(380, hovermode="x unified"))
    x = list(range(1, len(data.layers) + 1))
    names = [plain(name) for name in data.layers]
    figure.add_scatter(x=x, y=list(data.low), name="smallest", mode="lines",
                       line={"color": LIGHT[colour], "width": 0.8, "shape": "hv"},
                       hovertemplate="%{y}")  # fmt: skip
    figure.add_scatter(x=x, y=list(data.high), name="field", mode="lines", fill="tonexty",
                       fillcolor=LIGHT["band"], customdata=names,
                       line={"color": LIGHT[colour], "width": 2.2, "shape": "hv"},
                       hovertemplate="%{y} at %{customdata}")  # fmt: skip
    if data.has_effective:
        for column, (name, dash) in EFFECTIVE.items():
            figure.add_scatter(
                x=x, y=[value or None for value in getattr(data, column)], name=name,
                mode="lines", connectgaps=True, hovertemplate="%{y}",
                line={"color": LIGHT["avg-5"], "width": 1.8, "dash": dash},
            )  # fmt: skip
    figure.add_hline(y=data.image, line={"color": LIGHT["threshold"], "width": 1})
    ticks = _doubling(top)
    label(figure, f"image, {data.image} px", 0, _exponent(data.image), xanchor="left")
    figure.update_xaxes(title_text="layer, in order", rangemode="tozero")
    figure.update_yaxes(title_text=f"{data.axis}, pixels", type="log",
                        range=[-0.05, _exponent(1.25 * top)], **ticks)  # fmt: skip
    return figure


def against(data: Against, colour: str) -> Figure:
    """Effective sizes over the field, and the line on which they would be equal."""
    figure = Figure(layout=layout(380, hovermode="closest"))
    top = max(*data.fields, *data.effective_90)
    figure.add_scatter(x=[1, top], y=[1, top], mode="lines", name="equal", hoverinfo="skip",
                       line={"color": LIGHT["threshold"], "width": 1})  # fmt: skip
    for (column, (name, _)), symbol in zip(EFFECTIVE.items(), ("circle-open", "circle"),
                                           strict=True):  # fmt: skip
        figure.add_scatter(
            x=list(data.fields), y=[value or None for value in getattr(data, column)], name=name,
            mode="markers", customdata=[plain(one) for one in data.layers],
            marker={"color": LIGHT[colour], "symbol": symbol, "size": 8},
            hovertemplate="%{customdata}: field %{x}, effective %{y}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="field, pixels", type="log", **_doubling(top))
    figure.update_yaxes(title_text="effective, pixels", type="log", **_doubling(top))
    return figure


def earned(data: Earned, colour: str) -> Figure:
    """A bar per layer, of pixels and channels; grey where its input sees the whole image."""
    figure = Figure(layout=layout(380, hovermode="x unified", barmode="stack", bargap=0.15))
    x = list(range(1, len(data.layers) + 1))
    names = [plain(name) for name in data.layers]
    idle = [0.0 if productive else a + b for a, b, productive in
            zip(data.spatial, data.channels, data.productive, strict=True)]  # fmt: skip
    parts = (("pixels", data.spatial, LIGHT[colour]), ("channels", data.channels, LIGHT["avg-3"]))
    for name, values, fill in parts:
        shown = [v if productive else 0.0
                 for v, productive in zip(values, data.productive, strict=True)]  # fmt: skip
        figure.add_bar(x=x, y=shown, name=name, marker={"color": fill}, customdata=names,
                       hovertemplate="%{y:.2f} at %{customdata}")  # fmt: skip
    if any(idle):
        figure.add_bar(x=x, y=idle, name="sees all already", customdata=names,
                       marker={"color": LIGHT["rule"]},
                       hovertemplate="%{y:.2f} at %{customdata}")  # fmt: skip
    figure.update_xaxes(title_text="layer, in order", rangemode="tozero")
    figure.update_yaxes(title_text="added to the score", rangemode="tozero")
    return figure


def _doubling(top: int) -> dict[str, Any]:
    """Ticks at powers of two, which is how fields grow."""
    ticks = [2**power for power in range(top.bit_length() + 1)]
    return {"tickvals": ticks, "ticktext": [str(tick) for tick in ticks]}


def _exponent(pixels: float) -> float:
    """Where a value stands on a logarithmic axis."""
    from math import log10

    return log10(pixels)
