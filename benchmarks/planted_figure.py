"""The figure of `planted`: chosen field against distance, as SVG that follows light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, EDGE = 760, 340, 52
STYLE = """text { font: 13px sans-serif; fill: #24292f }
line { stroke: #8c959f; stroke-width: 1.5 }
.grid { stroke: #8c959f; stroke-opacity: .25 } .plain { stroke-dasharray: 6 4 }
.needed { stroke: #bc4c00 } .told { fill: #bc4c00 }
circle, rect, path { fill-opacity: .8 }
circle { fill: #0969da } rect { fill: #8250df } path { fill: #1a7f37 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .needed { stroke: #f0883e } .told { fill: #f0883e }
circle { fill: #58a6ff } rect { fill: #d2a8ff } path { fill: #3fb950 } }
"""


MARKS = (
    '<circle cx="{x:.0f}" cy="{y:.0f}" r="3.2"/>',
    '<rect x="{x:.0f}" y="{y:.0f}" width="6" height="6" transform="translate(-3 -3)"/>',
    '<path d="M0-4.2L3.8 2.8H-3.8z" transform="translate({x:.0f} {y:.0f})"/>',
)
"""Of the arms, in their order."""
APART = 5
"""Pixels between the marks at one distance."""

Fields = Mapping[int, Sequence[int]]
"""Distance → the field that each search chose, in pixels."""


def figure(chosen: Mapping[str, Fields], plain: int, mean: float, widest: int) -> str:
    """What the searches of three arms chose at every distance, as the text of an SVG.

    Args:
        chosen: by what the arm is called.
        plain, mean, widest: fields of the plain network, of all of the space in the mean, and of
            its widest one.
    """
    distances = list(next(iter(chosen.values())))

    def x(distance: float) -> float:
        return EDGE + (distance + 1) / (max(distances) + 2) * (WIDTH - 1.5 * EDGE)

    def y(field: float) -> float:
        return HEIGHT - EDGE - field / (widest + 2) * (HEIGHT - 1.4 * EDGE)

    def rule(name: str, ends: Sequence[float], heights: Sequence[float]) -> str:
        (left, right), (low, high) = map(x, ends), map(y, heights)
        return (f'<line class="{name}" x1="{left:.0f}" y1="{low:.0f}" x2="{right:.0f}" '
                f'y2="{high:.0f}"/>')  # fmt: skip

    def words(left: float, top: float, told: object, more: str = "") -> str:
        return f'<text x="{left:.0f}" y="{top:.0f}" {more}>{told}</text>'

    middle = 'text-anchor="middle"'
    ends = (-1, max(distances) + 1)
    parts = [rule("grid", ends, (field, field)) for field in range(0, widest + 1, 5)]
    parts += [words(EDGE - 10, y(field) + 4, field, 'text-anchor="end"')
              for field in range(0, widest + 1, 5)]  # fmt: skip
    parts += [words(x(distance), y(0) + 18, distance, middle) for distance in distances]
    for told, field in (("plain", plain), ("mean of the space", mean), ("widest", widest)):
        parts += [rule("plain", ends, (field, field)), words(x(1.5), y(field) - 5, told, middle)]
    last = distances[-1]
    parts += [rule("needed", (0, last), (1, last + 1)),
              words(x(last), y(last + 1) + 18, "needed", f'class="told" {middle}')]  # fmt: skip
    for arm, ((label, told), mark) in enumerate(zip(chosen.items(), MARKS, strict=True)):
        top = y(0) - 48 + 18 * arm
        parts += [mark.format(x=x(6.1), y=top - 4), words(x(6.1) + 12, top, label)]
        for distance, fields in told.items():
            for place, field in enumerate(fields):
                of_arm = (len(fields) + 0.5) * (arm - (len(chosen) - 1) / 2)
                left = x(distance) + APART * (of_arm + place - (len(fields) - 1) / 2)
                parts.append(mark.format(x=left, y=y(field)))
    axes = ("distance that the label needs, pixels", "field behind the last slot, pixels")
    parts += [words(WIDTH / 2, HEIGHT - 12, axes[0], middle), words(EDGE / 4, 16, axes[1])]
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}">')  # fmt: skip
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])
