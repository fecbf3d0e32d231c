"""What the numbers of a network mean, in plain sentences. A pure function of an analysis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rfsearch.analysis.layers import AXES, Analysis, Layer, Smallest, is_spatial
from rfsearch.analysis.stages import field_of, gate_rows, label, stages, trunk

COVERS = (0.5, 1.0)
"""Shares of the image for which the first layer that sees so much is named."""
NAMES_AT_MOST = 6
"""Layers named in one sentence; the finding itself lists all."""
PADDED = 0.4
"""Share of a kernel's positions on padding from which on it is worth a sentence."""


@dataclass(frozen=True)
class Finding:
    """``name`` is stable, ``sentence`` is for people, ``layers`` are the rows it is about."""

    name: str
    sentence: str
    layers: tuple[str, ...] = ()


def findings(
    analysis: Analysis, smallest: tuple[Smallest, Smallest] | None = None
) -> tuple[Finding, ...]:
    """All that can be said, in the order in which it matters."""
    found = (
        *_unproductive(analysis),
        *_range(analysis, smallest),
        *_cover(analysis, "field", "field_no_gates"),
        *_cover(analysis, "effective field (90 % of the gradient)", "effective_90"),
        *_gates(analysis),
        *_by_stage(analysis),
        *_padded(analysis),
        *_misaligned(analysis),
        *_bounds(analysis),
    )
    return tuple(found)


def unproductive(layer: Layer) -> bool:
    """Whether a layer sees nothing new: along every axis along which its kernel is above 1."""
    along = [a for a in AXES if (getattr(layer, f"kernel_{a}") or 1) > 1]
    return is_spatial(layer) and all(getattr(layer, f"unproductive_{a}") for a in along)


def _unproductive(analysis: Analysis) -> Iterator[Finding]:
    spatial = [i for i, row in enumerate(analysis.layers) if is_spatial(row)]
    idle = [i for i in spatial if unproductive(analysis.layers[i])]
    names = tuple(label(analysis.layers[i]) for i in idle)
    at = f"at {_pixels(analysis.image_size)} pixels"
    if not spatial:
        return
    if not idle:
        yield Finding("productive", f"Every kernel above 1 sees something new {at}.")
        return
    busy = max((i for i in spatial if i not in idle), default=-1)
    tail = [i for i in idle if i > busy]
    count = f"{len(idle)} of {len(spatial)} layers with a kernel above 1"
    if tail:
        since = _since(analysis.layers, tail[0], busy)
        yield Finding(
            "unproductive-tail",
            f"From {since} on, no layer sees anything new {at}.",
            tuple(label(analysis.layers[i]) for i in tail),
        )
    verb = "is" if len(idle) == 1 else "are"
    yield Finding(
        "unproductive",
        f"{count} {verb} unproductive {at}: what they read sees the whole image already, or only "
        f"the centre of their kernel meets data. {_listed(names)}.",
        names,
    )


def _since(layers: Sequence[Layer], first: int, busy: int) -> str:
    """The shortest name of a block that begins after the last layer that sees something new."""
    parts = layers[first].name.split(".")
    for length in range(1, len(parts) + 1):
        block = ".".join(parts[:length])
        inside = [i for i, row in enumerate(layers) if f"{row.name}.".startswith(f"{block}.")]
        if min(inside) > busy:
            return block
    return label(layers[first])


def _range(analysis: Analysis, smallest: tuple[Smallest, Smallest] | None) -> Iterator[Finding]:
    maps = trunk(analysis.layers)
    if smallest is None or not any(map(is_spatial, maps)):
        return
    everything = any(_global(row, analysis.image_size) for row in analysis.layers)
    if everything and not (smallest[0].exact and smallest[1].exact):
        return  # a network of tokens for one size: there is no range to tell
    largest = [None if everything else max(field_of(row, axis) for row in maps) for axis in AXES]
    if len(set(smallest)) == 1 and len(set(largest)) == 1:
        yield Finding("range", _range_sentence("images", "a side", smallest[0], largest[0]))
        return
    parts = [
        _range_sentence(f"image {what}s", "", smallest[i], largest[i])
        for i, what in enumerate(("height", "width"))
        if max(analysis.image_size) == 1 or analysis.image_size[i] > 1  # a signal has no height
    ]
    yield Finding("range", " ".join(parts))


def _range_sentence(what: str, side: str, smallest: Smallest, largest: int | None) -> str:
    side = f" {side}" if side else ""
    if largest is None:
        least = f"{'' if smallest.exact else 'at least '}{smallest.pixels}"
        return f"Feasible {what}: from {least} pixels{side}; its units see the whole of any."
    if smallest.pixels is None:
        return (
            f"Feasible {what}: none, for at every size some layer is unproductive; the largest "
            f"field is {largest} pixels{side}."
        )
    least = f"{'' if smallest.exact else 'at least '}{smallest.pixels}"
    if smallest.pixels > largest:
        return (
            f"Feasible {what}: none. Below {least} pixels{side} some layer is unproductive, and "
            f"the largest field is {largest}."
        )
    return (
        f"Feasible {what}: from {least} to {largest} pixels{side}. Below, some layer is "
        "unproductive; above, no unit of a map sees the whole image."
    )


def _global(row: Layer, image_size: tuple[int, int]) -> bool:
    """Whether a layer sees the whole image at every place, as attention and mixing of tokens do;
    a vector at the end of a network is no place."""
    vector = row.height == row.width == 1
    known = row.field_no_gates_h is not None and row.field_no_gates_w is not None
    return (
        known and not vector and row.jump_h is None and _spans(row, "field_no_gates", image_size)
    )


def _cover(analysis: Analysis, what: str, column: str) -> Iterator[Finding]:
    """The first layer that sees half the image and the first that sees all of it."""
    gates = gate_rows(analysis.layers)
    rows = [
        row
        for i, row in enumerate(analysis.layers)
        if i not in gates and getattr(row, f"{column}_h") is not None
    ]
    if not rows:
        return
    parts: list[str] = []
    named: list[str] = []
    for share in COVERS:
        words = "the whole image" if share == 1 else f"{_percent(share)} of the image"
        least = [share * side for side in analysis.image_size]
        first = next((row for row in rows if _spans(row, column, least)), None)
        if first is None:
            best = max(rows, key=lambda row: min(_both(row, column)))
            largest = _pixels(_both(best, column))
            parts.append(f"none reaches {words} (largest: {largest} pixels, {label(best)})")
            break
        again = named[-1:] == [label(first)]
        parts.append(f"{'and' if again else f'{label(first)} is the first to reach'} {words}")
        named.append(label(first))
    told = "; ".join(parts).replace("; and ", " and ")
    yield Finding(
        f"{column.replace('_', '-')}-covers",
        f"Of the {what}, in height and width: {told}.",
        tuple(named),
    )


def _both(row: Layer, column: str) -> tuple[int, int]:
    return int(getattr(row, f"{column}_h")), int(getattr(row, f"{column}_w"))


def _spans(row: Layer, column: str, least: Sequence[float]) -> bool:
    return all(size >= pixels for size, pixels in zip(_both(row, column), least, strict=True))


def _gates(analysis: Analysis) -> Iterator[Finding]:
    """Layers that see the whole image through a gate alone."""
    through = [
        row
        for row in analysis.layers
        if row.field_no_gates_h is not None and row.field_no_gates_w is not None
        if (row.field_clipped_h, row.field_clipped_w) == analysis.image_size
        if any(field_of(row, axis) < size for axis, size in zip(AXES, analysis.image_size,
                                                             strict=True))
    ]  # fmt: skip
    if through:
        yield Finding(
            "gates",
            f"Through a gate (squeeze-and-excitation, a norm over space), {label(through[0])} and "
            f"{len(through) - 1} later layers depend on the whole image by one number per "
            "channel; gates left out, their fields are smaller.",
            tuple(map(label, through)),
        )


def _by_stage(analysis: Analysis) -> Iterator[Finding]:
    parts = [
        f"{_pixels((one.field_h, one.field_w))} at stride {_pixels((one.jump_h, one.jump_w))} "
        f"({one.height}×{one.width} map)"
        for one in stages(analysis)
    ]
    if parts:
        yield Finding("stages", f"The field at the end of each resolution: {', '.join(parts)}.")


def _padded(analysis: Analysis) -> Iterator[Finding]:
    rows = [row for row in analysis.layers if (row.padding_share or 0) >= PADDED]
    if rows:
        most = max(rows, key=lambda row: row.padding_share or 0)
        names = tuple(map(label, rows))
        yield Finding(
            "padding",
            f"{len(rows)} layers have at least {_percent(PADDED)} of their kernel's positions on "
            f"padding, most of all {label(most)} ({_percent(most.padding_share or 0)}).",
            names,
        )


def _misaligned(analysis: Analysis) -> Iterator[Finding]:
    """Joins of maps whose fields do not lie on each other."""
    if not analysis.joins:
        return
    rows = {(row.name, row.call): row for row in analysis.layers}
    places = list(dict.fromkeys((join.name, join.call) for join in analysis.joins))
    names = tuple(label(rows[place]) for place in places)
    worst = max(analysis.joins, key=lambda join: max(map(_off, join.offsets)))
    off, where = max(map(_off, worst.offsets)), label(rows[worst.name, worst.call])
    jumps = ", ".join(f"{float(jump):g}" for jump in dict.fromkeys(worst.jumps))
    verb, noun = ("joins", "layer") if len(names) == 1 else ("join", "layers")
    yield Finding(
        "misaligned",
        f"{len(names)} {noun} {verb} maps whose fields do not lie on each other: "
        f"{_listed(names)}. The farthest apart are {off:g} pixels ({where}, "
        f"{'height' if worst.axis == 'h' else 'width'}, jump {jumps}).",
        names,
    )  # fmt: skip


def _off(offsets: tuple[float, float]) -> float:
    return max(abs(offsets[0]), abs(offsets[1]))


def _bounds(analysis: Analysis) -> Iterator[Finding]:
    """Fields that are bounds and not exact, and from which layer on."""
    reasons = {
        "at_least": "are at least what is told, for an operator without a rule comes before",
        "at_most": "are at most what is told, for an operator reads where the image tells it to",
    }
    for mark, reason in reasons.items():
        names = tuple(label(row) for row in analysis.layers if getattr(row, mark))
        if names:
            yield Finding(
                mark.replace("_", "-"),
                f"From {names[0]} on, the fields of {len(names)} layers {reason}.",
                names,
            )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMES_AT_MOST
    return ", ".join(names[:NAMES_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _pixels(size: tuple[float, float]) -> str:
    """One number where both agree, else height×width."""
    height, width = size
    return f"{height:g}" if height == width else f"{height:g}×{width:g}"
