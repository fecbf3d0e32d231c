"""The 3DRF-style metric as text: the layers that earn something, and what the network comes to."""

from __future__ import annotations

from textwrap import fill

from rfsearch.analysis.layers import Layer
from rfsearch.analysis.reading import Reading
from rfsearch.analysis.scores import RULE, Gain, Score
from rfsearch.reporting.layer_table import _drawn, _new_table, name_of

HEADINGS = ("layer", "kind", "stage", "local", "cumulative", "gain", "per M MACs", "per k params",
            "")  # fmt: skip
MILLION, THOUSAND = 1e6, 1e3


def render_gains(reading: Reading, width: int) -> str:
    """Rows of layers with a local field above 1 or a gain, then the scores and their parts."""
    gains = reading.gains
    assert gains is not None
    table = _new_table()
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if number in (0, 1, 8) else "right",
                         overflow="fold")  # fmt: skip
    for layer, gain in zip(reading.layers, gains.rows, strict=True):
        if gain.local_field is not None or gain.gain:
            table.add_row(*cells(layer, gain))
    begins = ", ".join(part.name for part in gains.parts)
    notes = [
        f"3DRF-style score {gains.score.total:.1f} ({_parts(gains.score)}); productive score "
        f"{gains.productive.total:.1f} ({_parts(gains.productive)}).",
        f"A reconstruction: {RULE}. Cumulative fields are rows × columns × channels of what the "
        f"stage reads; stages begin at {begins}.",
    ]
    return "\n".join([_drawn(table, width), *(fill(note, width) for note in notes)])


def cells(layer: Layer, gain: Gain) -> list[str]:
    """One row of the table."""
    return [
        name_of(layer), layer.kind, str(gain.stage + 1), _whole(gain.local_field),
        _whole(gain.cumulative_field), _number(gain.gain), _number(gain.gain_per_mac, MILLION),
        _number(gain.gain_per_param, THOUSAND), remark(gain),
    ]  # fmt: skip


def remark(gain: Gain) -> str:
    """What keeps a layer from earning."""
    if not gain.live:
        return "dead"
    if not gain.trainable:
        return "no parameters"
    return "" if gain.productive or not gain.is_map else "sees all already"


def _parts(score: Score) -> str:
    return (
        f"space {score.spatial:.1f} + channels {score.channels:.1f}; without parameters "
        f"{score.free:.1f}, averaging {score.averaging:.1f}; heaviest path {score.path:.1f}"
    )


def _whole(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _number(number: float | None, scale: float = 1.0) -> str:
    return "" if number is None else f"{number * scale:.3g}"
