"""The walk against the probe: every index of every tensor, channel by channel."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import fx, nn
from torch.export import ExportedProgram

from rfsearch.analysis.dependence import Value
from rfsearch.analysis.follow import AT_MOST, follow, module_name, trace_marked
from rfsearch.analysis.layers import Analysis
from rfsearch.analysis.probe import exact_program, half, lines
from rfsearch.analysis.spread import Found, Prepared
from rfsearch.errors import UserError
from rfsearch.field import EMPTY_HI, EMPTY_LO, Indices, Intervals

Runs = Literal["auto", "every line", "half-planes", "few"]

# Multiply-adds and elements of all runs together, about half a minute of one core; above it
# half-planes take the place of every line, as many as it holds.
BUDGET = 1 << 36
NUM_HALVES = 8  # per side and axis at least: 16 runs along each axis
STRIP = 32, 2048  # pixels: the narrow side at least, the long one at most


@dataclass(frozen=True)
class Comparison:
    """Walk and probe, set side by side.

    Attributes:
        disagreements: one line per tensor.
        looked_at: share of all borders of fields that were looked at; 1 where every index of
            every tensor was.
    """

    disagreements: tuple[str, ...]
    looked_at: float


def compare(
    module: nn.Module,
    image_size: tuple[int, int],
    channels: int = 3,
    kind: str = "seen",
    runs: Runs = "auto",
    program: ExportedProgram | None = None,
    axes: Sequence[int] = (0, 1),
) -> Comparison:
    """Where the walk's intervals of ``kind`` differ from the probe's.

    Args:
        module: any module that takes one batch of images; it is not changed.
        image_size: (height, width).
        channels: of the image.
        kind: one of ``dependence.KINDS``.
        runs: ``every line`` runs the network once per row and column and compares both ends of
            every interval. ``half-planes`` is for large networks: 16 runs along each axis, or as
            many more as ``BUDGET`` holds, with one side of the image NaN, put where most tensors
            have a border of a field; what each element should say is compared for all elements
            in every run, and borders elsewhere are not looked at; ``few`` stays with 16.
            ``auto`` decides by what the network costs.
        program: what ``exact_program`` gives for this module, where that is known already.
        axes: of the image, 0 and 1, that half-planes are taken along; on a strip, long and
            narrow, fields are seen whole that are clipped in a square.

    Behind an operator that reads where the image tells it to, and for indices that it returns,
    the walk is asked only to hold all that the probe finds.
    """
    program = program or exact_program(module, image_size, channels)
    cost = _cost(program)
    if runs == "auto":
        lines_fit = tuple(axes) == (0, 1) and cost * sum(image_size) <= BUDGET
        runs = "every line" if lines_fit else "half-planes"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the module's code, which is not ours
        if runs == "every line":
            return Comparison(tuple(_by_lines(program, kind)), 1.0)
        num = NUM_HALVES if runs == "few" else max(NUM_HALVES, BUDGET // (2 * len(axes) * cost))
        return _by_halves(program, image_size, kind, axes, num)


@dataclass(frozen=True)
class Strip:
    """A comparison along the long side of an image that is long and narrow."""

    image_size: tuple[int, int]
    comparison: Comparison


def strips(module: nn.Module, analysis: Analysis, channels: int = 3) -> Iterator[Strip]:
    """The same where fields that the border of the image cuts off are whole.

    Along each axis with such a field: half-planes on an image twice as long as the largest field
    (2,048 pixels at most), and 32 pixels wide, or as wide as the image where the network takes
    nothing narrower. It is the same network on another image, so this tells of the rules and not
    of the image asked about; a network of one image size has no strips.
    """
    for i, axis in enumerate("hw"):
        size = analysis.image_size[i]
        field = max(getattr(row, f"field_no_gates_{axis}") or 0 for row in analysis.layers)
        long = min(-(-2 * field // 64) * 64, STRIP[1])
        if field <= size or long <= size:
            continue
        other = analysis.image_size[1 - i]
        for narrow in dict.fromkeys((min(STRIP[0], other), other)):
            shape = (long, narrow) if i == 0 else (narrow, long)
            try:
                program = exact_program(module, shape, channels)
                found = compare(module, shape, channels, "seen", "few", program, (i,))
            except (UserError, RuntimeError):  # takes squares alone, or sizes that are not these
                continue
            yield Strip(shape, found)
            break


def _cost(program: ExportedProgram) -> int:
    """Multiply-adds and elements of one run."""
    return sum(
        step.rule.macs(step.call) + sum(int(np.prod(shape)) for shape in step.call.shapes)
        for step in follow(program)
    )


def _by_lines(program: ExportedProgram, kind: str) -> Iterator[str]:
    truth, least = lines(program)
    for node, value, marks in trace_marked(program):
        if value.shape != tuple(node.meta["val"].shape):
            yield _other_shape(node, value)
        elif value.is_data:
            loose = AT_MOST in marks or node.name in least
            yield from _compare(node, value, truth[node.name], kind, loose)
        elif any((axis.sizes > 0).any() for axis in truth.get(node.name, ())):
            yield f"{node.name}: constant to the walk, NaN in the probe"


def _other_shape(node: fx.Node, value: Value) -> str:
    right = tuple(node.meta["val"].shape)
    return f"{_place(node)}: shape {value.shape} to the walk, {right} in the graph"


def _compare(
    node: fx.Node, value: Value, truth: tuple[Intervals, Intervals], kind: str, at_most: bool
) -> Iterator[str]:
    for i, name in enumerate(("rows", "columns")):
        lo, hi = _bounds(value, i, kind)
        right, found = (lo, hi), (truth[i].lo, truth[i].hi)
        wrong = (lo > found[0]) | (hi < found[1]) if at_most else (
            (lo != found[0]) | (hi != found[1]))  # fmt: skip
        if wrong.any():
            at = tuple(int(k) for k in np.argwhere(wrong)[0])
            (walk_lo, walk_hi), (true_lo, true_hi) = ([b[at] for b in p] for p in (right, found))
            yield (
                f"{_place(node)}, {name}, element {at}: walk {walk_lo}..{walk_hi}, "
                f"probe {true_lo}..{true_hi}; {int(wrong.sum())} of {wrong.size} elements differ"
            )


def _bounds(value: Value, i: int, kind: str) -> tuple[Indices, Indices]:
    """First and last pixel, in arrays of the tensor's shape."""
    reach = value.axes[i].reaches[kind]
    some = reach.intervals.sizes > 0
    lo, hi = np.where(some, reach.lo, EMPTY_LO), np.where(some, reach.hi, EMPTY_HI)
    return np.broadcast_to(lo, value.shape), np.broadcast_to(hi, value.shape)


def _place(node: fx.Node) -> str:
    return f"{node.name} ({module_name(node)})"


Tensors = dict[str, tuple[fx.Node, Value, bool]]


def _by_halves(
    program: ExportedProgram,
    image_size: tuple[int, int],
    kind: str,
    axes: Sequence[int],
    num: int,
) -> Comparison:
    tensors: Tensors = {}
    wrong: dict[tuple[str, int], str] = {}
    for node, value, marks in trace_marked(program):
        if value.shape == tuple(node.meta["val"].shape):
            tensors[node.name] = node, value, AT_MOST in marks
        else:
            wrong[node.name, 0] = _other_shape(node, value)
    prepared, looked_at, borders = Prepared(program), 0, 0
    for i in axes:
        chosen = [_side(tensors, i, image_size[i], kind, low, num) for low in (True, False)]
        looked_at += sum(side.looked_at for side in chosen)
        borders += sum(side.borders for side in chosen)
        for start, stop in (half_plane for side in chosen for half_plane in side.halves):
            for seen in half(prepared, 2 + i, start, stop):
                if seen.name in tensors and (seen.name, i) not in wrong:
                    told = _difference(tensors[seen.name], seen, i, kind, start, stop)
                    wrong |= {(seen.name, i): told} if told else {}
    return Comparison(tuple(wrong.values()), looked_at / borders if borders else 1.0)


def _difference(
    tensor: tuple[fx.Node, Value, bool], seen: Found, i: int, kind: str, start: int, stop: int
) -> str | None:
    """What one half-plane shows otherwise than the walk says."""
    (node, value, at_most), found = tensor, seen.hit.numpy()
    expected = _expected(value, i, kind, start, stop)
    wrong = found & ~expected if at_most or seen.least else found != expected
    if not wrong.any():
        return None
    at = tuple(int(k) for k in np.argwhere(wrong)[0])
    side = f"{('rows', 'columns')[i]} {start}..{stop - 1}"
    says = "depends" if found[at] else "does not depend"
    return (
        f"{_place(node)}, element {at}: {says} on {side} to the probe, not so to "
        f"the walk; {int(wrong.sum())} of {wrong.size} elements differ"
    )


def _expected(value: Value, i: int, kind: str, start: int, stop: int) -> NDArray[np.bool_]:
    """Which elements depend on one of these lines, which are one side of the image."""
    if not value.is_data:
        return np.zeros(value.shape, dtype=bool)
    reach = value.axes[i].reaches[kind]
    some = reach.intervals.sizes > 0
    inside = some & ((reach.lo < stop) if start == 0 else (reach.hi >= start))
    return np.broadcast_to(inside, value.shape)


@dataclass(frozen=True)
class _Side:
    """Half-planes from one side of the image, and how many borders of fields they look at."""

    halves: list[tuple[int, int]]
    looked_at: int
    borders: int


def _side(tensors: Tensors, i: int, length: int, kind: str, low: bool, num: int) -> _Side:
    """Put where the walk sees the most borders of fields, ``num`` at most.

    The border of a tensor's field at a pixel is seen from both sides: with the half-plane up to
    it, and with the one that ends just before.
    """
    found = []
    for _, value, _ in tensors.values():
        if value.is_data:
            intervals = value.axes[i].reaches[kind].intervals
            ends = (intervals.lo if low else length - 1 - intervals.hi)[intervals.sizes > 0]
            found.append(set(np.unique(ends).tolist()))
    chosen = _most_seen(found, length, num)
    seen = {*chosen}
    pairs = [x - side for ends in found for x in ends for side in (0, 1) if 0 <= x - side < length]
    halves = [(0, t + 1) if low else (length - 1 - t, length) for t in chosen]
    return _Side(halves, sum(t in seen for t in pairs), len(pairs))


def _most_seen(borders: list[set[int]], length: int, num: int) -> list[int]:
    """The last line of each half-plane: greedily so that every tensor has a border seen, from
    both sides; then those that most other borders lie at."""
    needs = [(side, found) for found in borders for side in (0, 1)]
    chosen: list[int] = []
    while needs and len(chosen) < num:
        counts = _counts(needs, length)
        if not counts:
            break
        best = counts.most_common(1)[0][0]
        chosen.append(best)
        needs = [(side, found) for side, found in needs if best + side not in found]
    rest = _counts([(side, found) for found in borders for side in (0, 1)], length)
    more = [place for place, _ in rest.most_common() if place not in chosen]
    return chosen + more[: num - len(chosen)]


def _counts(needs: list[tuple[int, set[int]]], length: int) -> Counter[int]:
    counts: Counter[int] = Counter()
    for side, found in needs:
        counts.update(x - side for x in found if 0 <= x - side < length)
    return counts
