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
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from torch import Tensor

from rfsearch.analysis.reach import KINDS, Axis, Jump, Reach
from rfsearch.field import Indices, Intervals, Taps, pixels


@dataclass(frozen=True)
class Value:
    """A tensor as the walk knows it.

    Attributes:
        shape: its shape.
        axes: what it depends on along image height and width; empty for a constant.
        params: names of the parameters a constant was computed from.
        number: the tensor itself, of a constant; None where it has no numbers (meta tensors).
    """

    shape: tuple[int, ...]
    axes: tuple[Axis, ...] = ()
    params: frozenset[str] = frozenset()
    number: Callable[[], Tensor | None] | None = field(default=None, compare=False, repr=False)

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

    def join(self, other: Value, gates: bool = True) -> Value:
        """Element-wise operator with broadcasting; without ``gates``, none of them is one."""
        num_dims = max(len(self.shape), len(other.shape))
        a, b = self.lift(num_dims), other.lift(num_dims)
        shape = np.broadcast_shapes(a.shape, b.shape)
        if not (a.is_data and b.is_data):
            return Value(shape, a.axes or b.axes, a.params | b.params)
        axes = [x.join(y, a.shape, b.shape, gates) for x, y in zip(a.axes, b.axes, strict=True)]
        return Value(shape, tuple(axes))


def image(channels: int, height: int, width: int) -> Value:
    """The network's input (1, C, H, W)."""
    zero, one = Fraction(0), Fraction(1)
    axes = []
    for dim, length in ((2, height), (3, width)):
        form = [1, 1, 1, 1]
        form[dim] = length
        u = pixels(length).lo.reshape(form)
        start = Intervals(u, u)
        reaches = {name: Reach(kind, start) for name, kind in KINDS.items()}
        axes.append(Axis(reaches, tuple(one if d == dim else zero for d in range(4))))
    return Value((1, channels, height, width), tuple(axes))
