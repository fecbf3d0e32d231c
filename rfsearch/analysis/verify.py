"""The walk against the probe: every index of every tensor, channel by channel."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import fx, nn
from torch.export import ExportedProgram

from rfsearch.analysis.dependence import Value
from rfsearch.analysis.follow import AT_MOST, follow, module_name, trace_marked
from rfsearch.analysis.probe import exact_program, half, lines
from rfsearch.analysis.spread import Prepared
from rfsearch.field import EMPTY_HI, EMPTY_LO, Indices, Intervals

Runs = Literal["auto", "every line", "half-planes"]

# Multiply-adds and elements of all runs together, above which half-planes take the place of
# every line.
EVERY_LINE = 1 << 32
NUM_HALVES = 8  # per side and axis: 16 runs along each axis


def disagreements(
    module: nn.Module,
    image_size: tuple[int, int],
    channels: int = 3,
    kind: str = "seen",
    runs: Runs = "auto",
    program: ExportedProgram | None = None,
) -> list[str]:
    """Where the walk's intervals of ``kind`` differ from the probe's, one line per tensor.

    Args:
        module: any module that takes one batch of images; it is not changed.
        image_size: (height, width).
        channels: of the image.
        kind: one of ``dependence.KINDS``.
        runs: ``every line`` runs the network once per row and column and compares both ends of
            every interval. ``half-planes`` is for large networks: 16 runs along each axis with
            one side of the image NaN, put where most tensors have a border of a field; what each
            element should say is compared for all elements in every run, and borders elsewhere
            are not looked at. ``auto`` decides by what the network costs.
        program: what ``exact_program`` gives for this module, where that is known already.

    Behind an operator that reads where the image tells it to, and for indices that it returns,
    the walk is asked only to hold all that the probe finds.
    """
    program = program or exact_program(module, image_size, channels)
    if runs == "auto":
        runs = "every line" if _cost(program) * sum(image_size) <= EVERY_LINE else "half-planes"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the module's code, which is not ours
        if runs == "every line":
            return list(_by_lines(program, kind))
        return list(_by_halves(program, image_size, kind))


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


def _by_halves(program: ExportedProgram, image_size: tuple[int, int], kind: str) -> Iterator[str]:
    tensors = {}
    for node, value, marks in trace_marked(program):
        if value.shape == tuple(node.meta["val"].shape):
            tensors[node.name] = node, value, AT_MOST in marks
        else:
            yield _other_shape(node, value)
    told, prepared = set(), Prepared(program)
    for i, length in enumerate(image_size):
        for start, stop in _halves(tensors, i, length, kind):
            for seen in half(prepared, 2 + i, start, stop):
                name, found = seen.name, seen.hit.numpy()
                if name not in tensors or (name, i) in told:
                    continue
                node, value, at_most = tensors[name]
                expected = _expected(value, i, kind, start, stop)
                wrong = found & ~expected if at_most or seen.least else found != expected
                if wrong.any():
                    told.add((name, i))
                    at = tuple(int(k) for k in np.argwhere(wrong)[0])
                    side = f"{('rows', 'columns')[i]} {start}..{stop - 1}"
                    says = "depends" if found[at] else "does not depend"
                    yield (
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


def _halves(
    tensors: dict[str, tuple[fx.Node, Value, bool]], i: int, length: int, kind: str
) -> list[tuple[int, int]]:
    """One side of the image each, put where the walk sees the most borders of fields.

    The border of a tensor's field at a pixel is seen from both sides: with the half-plane up to
    it, and with the one that ends just before.
    """
    lows, highs = [], []
    for _, value, _ in tensors.values():
        if value.is_data:
            intervals = value.axes[i].reaches[kind].intervals
            some = intervals.sizes > 0
            lows.append(set(np.unique(intervals.lo[some]).tolist()))
            highs.append({length - 1 - x for x in np.unique(intervals.hi[some]).tolist()})
    firsts = [(0, t + 1) for t in _most_seen(lows, length)]
    return firsts + [(length - 1 - t, length) for t in _most_seen(highs, length)]


def _most_seen(borders: list[set[int]], length: int) -> list[int]:
    """Greedily: the last line of each half-plane, so that most borders are seen."""
    open_needs = [(side, found) for found in borders for side in (0, 1)]
    chosen: list[int] = []
    while open_needs and len(chosen) < NUM_HALVES:
        counts: Counter[int] = Counter()
        for side, found in open_needs:
            counts.update(x - side for x in found if 0 <= x - side < length)
        if not counts:
            break
        best = counts.most_common(1)[0][0]
        chosen.append(best)
        open_needs = [(side, found) for side, found in open_needs if best + side not in found]
    return chosen
