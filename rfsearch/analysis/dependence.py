"""What the elements of a tensor depend on: per image axis, an interval of pixels each.

Requirements and choice. A tensor inside a network may be permuted, split, folded into windows or
flattened, and its channels may have come down different branches. So the intervals of one axis
are kept as arrays of the tensor's own number of dimensions, with length 1 along every dimension
on which they do not vary: rules for views are then numpy's views, joins are broadcasting, and a
map (1, C, H, W) that came down one path costs H numbers for height and W for width.

Five intervals are kept for each axis, told apart by a ``Kind``:

    seen              inside the image, all paths                    equals the probe
    seen_no_gates     inside the image, gates left out
    largest           beyond the border as if maps went on           equals ``field.Field``
    no_gates          the same, gates left out
    smallest          beyond the border, along the shortest path

A *gate* is an operand of a join with length 1 along the dimension in which the other one runs
over the image: the scalar per channel of squeeze-and-excitation, the statistic of a norm over
space. It makes the strict field global through a single number (methods, section 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from rfsearch.field import EMPTY_LO, Indices, Intervals, Taps, pixels


@dataclass(frozen=True)
class Kind:
    """Which question an interval answers."""

    beyond: bool = False
    gates: bool = True
    shortest: bool = False


KINDS = {
    "seen": Kind(),
    "seen_no_gates": Kind(gates=False),
    "largest": Kind(beyond=True),
    "no_gates": Kind(beyond=True, gates=False),
    "smallest": Kind(beyond=True, shortest=True),
}

Jump = Fraction | None  # pixels per index; 0: does not run over the image; None: irregular


@dataclass(frozen=True)
class Reach:
    """Intervals of one kind along one image axis; lo and hi broadcast to the tensor's shape."""

    kind: Kind
    intervals: Intervals

    @property
    def lo(self) -> Indices:
        """First pixel."""
        return self.intervals.lo

    @property
    def hi(self) -> Indices:
        """Last pixel."""
        return self.intervals.hi

    def view(self, change: Callable[[Indices], Indices]) -> Reach:
        """The same change of view on both arrays."""
        lo, hi = np.broadcast_arrays(change(self.lo), change(self.hi))
        return replace(self, intervals=Intervals(lo, hi))

    def read(self, dim: int, taps: Taps, jump: Jump) -> Reach:
        """See ``Intervals.read``, along dimension ``dim``."""
        moved = Intervals(np.moveaxis(self.lo, dim, -1), np.moveaxis(self.hi, dim, -1))
        read = moved.read_beyond(taps, jump or 0) if self.kind.beyond else moved.read(taps)
        return replace(self, intervals=read).view(lambda array: np.moveaxis(array, -1, dim))

    def mix(self, dim: int, over_image: bool) -> Reach:
        """Every element along ``dim`` on all of them: the hull.

        The shortest path takes the shortest among channels, and all there is over the image.
        """
        if self.lo.shape[dim] == 1:
            return self
        if over_image or not self.kind.shortest:
            lo, hi = self.lo.min(dim, keepdims=True), self.hi.max(dim, keepdims=True)
            return replace(self, intervals=Intervals(lo, hi))
        best = np.expand_dims(_lengths(self.intervals).argmin(dim), dim)
        return self.view(lambda array: np.take_along_axis(array, best, dim))

    def join(self, other: Reach) -> Reach:
        """Both: the hull, or of either element the shorter one."""
        if not self.kind.shortest:
            return replace(self, intervals=self.intervals.join(other.intervals))
        mine = _lengths(self.intervals) <= _lengths(other.intervals)
        lo, hi = np.where(mine, self.lo, other.lo), np.where(mine, self.hi, other.hi)
        return replace(self, intervals=Intervals(lo, hi))


def _lengths(intervals: Intervals) -> Indices:
    """Sizes, with nothing at all the longest, so that a constant is never the shortest path."""
    lengths: Indices = np.where(intervals.sizes > 0, intervals.sizes, EMPTY_LO)
    return lengths


@dataclass(frozen=True)
class Axis:
    """One image axis of one tensor: its reaches by kind, and the jump along each dimension."""

    reaches: dict[str, Reach]
    jumps: tuple[Jump, ...]

    def each(
        self, change: Callable[[Reach], Reach], jumps: tuple[Jump, ...] | None = None
    ) -> Axis:
        """The same change to every kind."""
        reaches = {name: change(reach) for name, reach in self.reaches.items()}
        return Axis(reaches, self.jumps if jumps is None else jumps)

    def varies(self, dim: int, length: int) -> bool:
        """Whether elements along ``dim`` (of ``length``) can depend on different pixels."""
        if length == 1:
            return self.jumps[dim] != 0
        return any(reach.lo.shape[dim] > 1 for reach in self.reaches.values())

    def read(self, dim: int, taps: Taps) -> Axis:
        """An operator that reads ``taps`` along ``dim``."""
        if taps.is_identity or not self.varies(dim, taps.num_inputs):
            return self
        jump = self.jumps[dim]
        after = None if jump is None else jump * taps.rate
        full = self.each(lambda reach: reach.view(lambda a: _spread(a, dim, taps.num_inputs)))
        jumps = (*self.jumps[:dim], after, *self.jumps[dim + 1 :])
        return full.each(lambda reach: reach.read(dim, taps, jump), jumps)

    def mix(self, dim: int) -> Axis:
        """An operator that reads everything along ``dim``."""
        over_image = self.jumps[dim] != 0
        jumps = (*self.jumps[:dim], Fraction(0), *self.jumps[dim + 1 :])
        return self.each(lambda reach: reach.mix(dim, over_image), jumps)

    def settle(self, shape: Sequence[int]) -> Axis:
        """Jump 0 along every dimension on which nothing varies, as a slice may leave it."""
        flat = [all(r.lo.shape[d] == 1 for r in self.reaches.values()) for d in range(len(shape))]
        jumps = tuple(
            Fraction(0) if flat[d] and shape[d] > 1 else jump for d, jump in enumerate(self.jumps)
        )
        return Axis(self.reaches, jumps)

    def join(self, other: Axis, mine: Sequence[int], theirs: Sequence[int]) -> Axis:
        """Two operands of the shapes ``mine`` and ``theirs``, of equal number of dimensions."""
        jumps = tuple(map(_jump_of_join, self.jumps, other.jumps, mine, theirs))
        reaches = {}
        for name, reach in self.reaches.items():
            a, b = reach, other.reaches[name]
            gates = not reach.kind.gates
            if gates and _gates(self.jumps, other.jumps, theirs, mine):
                reaches[name] = a
            elif gates and _gates(other.jumps, self.jumps, mine, theirs):
                reaches[name] = b
            else:
                reaches[name] = a.join(b)
        return Axis(reaches, jumps)


def _gates(
    runs: Sequence[Jump], gate: Sequence[Jump], gate_shape: Sequence[int], shape: Sequence[int]
) -> bool:
    """Whether the second operand is one number where the first one runs over the image."""
    return any(
        jump != 0 and short == 1 < long
        for jump, short, long in zip(runs, gate_shape, shape, strict=True)
    ) and not any(jump != 0 and short > 1 for jump, short in zip(gate, gate_shape, strict=True))


def _jump_of_join(mine: Jump, theirs: Jump, my_length: int, their_length: int) -> Jump:
    if their_length == 1 < my_length or theirs == 0:
        return mine
    if my_length == 1 < their_length or mine == 0:
        return theirs
    return mine if mine == theirs else None


def _spread(array: Indices, dim: int, length: int) -> Indices:
    """The array with its full length along ``dim``."""
    if array.shape[dim] == length:
        return array
    return np.broadcast_to(array, (*array.shape[:dim], length, *array.shape[dim + 1 :]))


@dataclass(frozen=True)
class Value:
    """A tensor as the walk knows it.

    Attributes:
        shape: its shape.
        axes: what it depends on along image height and width; empty for a constant.
        params: names of the parameters a constant was computed from.
    """

    shape: tuple[int, ...]
    axes: tuple[Axis, ...] = ()
    params: frozenset[str] = frozenset()

    @property
    def is_data(self) -> bool:
        """Whether it depends on the image at all."""
        return bool(self.axes)

    def read(self, dim: int, taps: Taps) -> Value:
        """An operator along ``dim``; the length becomes ``taps``' number of outputs."""
        dim %= len(self.shape)
        shape = (*self.shape[:dim], len(taps.at), *self.shape[dim + 1 :])
        return Value(shape, tuple(axis.read(dim, taps) for axis in self.axes))

    def mix(self, dim: int, length: int = 1) -> Value:
        """Every element along ``dim`` on all of them; the length becomes ``length``."""
        dim %= len(self.shape)
        shape = (*self.shape[:dim], length, *self.shape[dim + 1 :])
        return Value(shape, tuple(axis.mix(dim) for axis in self.axes))

    def view(
        self,
        shape: Sequence[int],
        change: Callable[[Indices], Indices],
        jumps: Callable[[tuple[Jump, ...]], tuple[Jump, ...]],
    ) -> Value:
        """Another view: ``change`` for the arrays, ``jumps`` for the jump of each dimension."""
        axes = [
            axis.each(lambda reach: reach.view(change), jumps(axis.jumps)).settle(shape)
            for axis in self.axes
        ]
        return Value(tuple(shape), tuple(axes), self.params)

    def lift(self, num_dims: int) -> Value:
        """Leading dimensions of length 1, as broadcasting adds them."""
        more = num_dims - len(self.shape)
        if more <= 0:
            return self
        return self.view(
            (1,) * more + self.shape,
            lambda array: array.reshape((1,) * more + array.shape),
            lambda jumps: (Fraction(0),) * more + jumps,
        )

    def join(self, other: Value) -> Value:
        """Element-wise operator with broadcasting."""
        num_dims = max(len(self.shape), len(other.shape))
        a, b = self.lift(num_dims), other.lift(num_dims)
        shape = np.broadcast_shapes(a.shape, b.shape)
        if not (a.is_data and b.is_data):
            return Value(shape, a.axes or b.axes, a.params | b.params)
        axes = [x.join(y, a.shape, b.shape) for x, y in zip(a.axes, b.axes, strict=True)]
        return Value(shape, tuple(axes))


def image(channels: int, height: int, width: int) -> Value:
    """The network's input (1, C, H, W)."""
    zero, one = Fraction(0), Fraction(1)
    axes = []
    for dim, length in ((2, height), (3, width)):
        form = [1, 1, 1, 1]
        form[dim] = length
        u = pixels(length).lo.reshape(form)
        reaches = {name: Reach(kind, Intervals(u, u)) for name, kind in KINDS.items()}
        axes.append(Axis(reaches, tuple(one if d == dim else zero for d in range(4))))
    return Value((1, channels, height, width), tuple(axes))
