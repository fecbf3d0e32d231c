"""What one output of a network sees of its input, along one axis. No torch, no network: laws.

Two views of the same thing, each the other's check:

    Field       closed form, for stacks of windows and beyond the border
    Intervals   two integer arrays, lo[u] and hi[u], for every operator, ragged or global

Height and width are two axes and so two fields; nothing here knows which one it is.

Notation
    o, u    index of an output element along the axis
    k s p d kernel, stride, padding on the low side, dilation
    n, m    number of inputs, number of outputs
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

# Bounds of an interval that holds nothing: neutral for minimum and maximum, and far enough from
# the end of int64 that shifting them is safe.
EMPTY_LO = 1 << 40
EMPTY_HI = -EMPTY_LO


@dataclass(frozen=True)
class Field:
    """Output o sees the inputs [start + jump·o, start + jump·o + size), in input pixels.

    Source: the known recurrence for stacks of windows (Araujo et al. 2019), as a monoid (ours).

    >>> window(7, 2, 3).then(window(3, 2, 1))
    Field(size=11, jump=4, start=-5)
    """

    size: int
    jump: int
    start: int

    def then(self, after: Field) -> Field:
        """The field of ``after`` applied to the outputs of ``self``. Associative."""
        return Field(
            self.size + self.jump * (after.size - 1),
            self.jump * after.jump,
            self.start + self.jump * after.start,
        )

    def join(self, other: Field) -> Field:
        """The hull of two branches: the smallest field that holds both, whatever o is.

        Branches of different jump drift apart, so no one size holds both: a ``ValueError``.
        """
        if self.jump != other.jump:
            raise ValueError(f"fields of jump {self.jump} and {other.jump} do not align")
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return Field(end - start, self.jump, start)


IDENTITY = Field(1, 1, 0)


def window(kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Field:
    """The field of one convolution or pooling.

    >>> window(3, padding=2, dilation=2)
    Field(size=5, jump=1, start=-2)
    """
    return Field(dilation * (kernel - 1) + 1, stride, -padding)


@dataclass(frozen=True)
class Taps:
    """Which of n input indices each of m outputs reads.

    Attributes:
        at: (m, width), input indices; those outside [0, n) stand for padding.
        used: (m, width), False where an output reads fewer than ``width``.
        num_inputs: n.
        rate: how many inputs one step of u moves.
        unfolded: ``at`` as if the input went on, where padding repeats or mirrors it.
    """

    at: Indices
    used: NDArray[np.bool_]
    num_inputs: int
    rate: Fraction
    unfolded: Indices | None = None

    @cached_property
    def is_identity(self) -> bool:
        """Whether output u reads input u and nothing else."""
        same = np.array_equal(self.at, np.arange(self.num_inputs)[:, None])
        return same and bool(self.used.all())

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """(m, width): reads an input, rather than padding or nothing."""
        return self.used & (self.at >= 0) & (self.at < self.num_inputs)

    @cached_property
    def is_blind(self) -> bool:
        """Whether some output reads no input at all, but padding or nothing."""
        return not bool(self.inside.any(1).all())


def _regular(first: NDArray[Any], width: int, step: int, n: int, rate: Fraction) -> Taps:
    at = first[:, None] + step * np.arange(width)
    return Taps(at, np.ones_like(at, dtype=bool), n, rate)


@lru_cache(maxsize=1024)  # a network has few sorts of windows, and every walk asks for all
def window_taps(
    n: int, m: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Taps:
    """Convolution or pooling: [s·u − p, s·u − p + d(k−1)]. ceil_mode is in m, nothing else."""
    return _regular(stride * np.arange(m) - padding, kernel, dilation, n, Fraction(stride))


def transposed_taps(
    n: int, m: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Taps:
    """Transposed convolution: every i with s·i + d·j = u + p for some j in [0, k).

    Which ones depends on the phase u mod s; some phases read nothing where s exceeds k.
    """
    place = np.arange(m)[:, None] + padding - dilation * np.arange(kernel)
    return Taps(place // stride, place % stride == 0, n, Fraction(1, stride))


def adaptive_taps(n: int, m: int) -> Taps:
    """Adaptive pooling: [floor(u·n/m), ceil((u+1)·n/m) − 1]."""
    u = np.arange(m)
    lo, hi = u * n // m, -(-(u + 1) * n // m) - 1
    at = lo[:, None] + np.arange((hi - lo).max() + 1)
    return Taps(at, at <= hi[:, None], n, Fraction(n, m))


def nearest_taps(n: int, m: int, rate: Fraction | None = None) -> Taps:
    """Nearest resampling: floor(u·rate), by default n/m."""
    rate = rate or Fraction(n, m)
    at = np.minimum(np.arange(m) * rate.numerator // rate.denominator, n - 1)
    return _regular(at, 1, 1, n, rate)


def nearest_exact_taps(n: int, m: int, rate: Fraction | None = None) -> Taps:
    """Nearest resampling by centres: floor((u+½)·rate), by default n/m."""
    rate = rate or Fraction(n, m)
    at = (2 * np.arange(m) + 1) * rate.numerator // (2 * rate.denominator)
    return _regular(np.minimum(at, n - 1), 1, 1, n, rate)


def linear_taps(n: int, m: int, rate: Fraction | None = None, corners: bool = False) -> Taps:
    """Linear resampling: floor(x) and the next one, weight or not, for x as in ``_places``."""
    if n == m:
        return window_taps(n, n, 1)
    rate, below = _places(n, m, rate, corners)
    below = np.clip(below, 0, n - 1)
    at = np.stack([below, np.minimum(below + 1, n - 1)], 1)
    return Taps(at, np.ones_like(at, dtype=bool), n, rate)


def cubic_taps(n: int, m: int, rate: Fraction | None = None, corners: bool = False) -> Taps:
    """Cubic resampling: floor(x) − 1 to floor(x) + 2, held inside, for x as in ``_places``."""
    rate, below = _places(n, m, rate, corners)
    at = below[:, None] + np.arange(-1, 3)
    return Taps(np.clip(at, 0, n - 1), np.ones_like(at, dtype=bool), n, rate, at)


def _places(n: int, m: int, rate: Fraction | None, corners: bool) -> tuple[Fraction, Indices]:
    """floor(x): x = (u+½)·rate − ½ with rate n/m, or u·(n−1)/(m−1) where corners align."""
    u = np.arange(m)
    if corners:
        return Fraction(n - 1, m - 1) if n > 1 < m else Fraction(n), u * (n - 1) // max(m - 1, 1)
    rate = rate or Fraction(n, m)
    up, down = rate.numerator, rate.denominator
    return rate, ((2 * u + 1) * up - down) // (2 * down)


def smooth_taps(n: int, m: int, rate: Fraction | None = None, width: int = 2) -> Taps:
    """Antialiased resampling: a kernel of ``width`` inputs, widened by the rate going down."""
    rate = rate or Fraction(n, m)
    centre = (np.arange(m) + 0.5) * float(rate)
    support = width / 2 * max(float(rate), 1.0)
    lo = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    hi = np.minimum((centre + support + 0.5).astype(np.int64), n) - 1
    at = lo[:, None] + np.arange((hi - lo).max() + 1)
    return Taps(at, at <= hi[:, None], n, rate)


def padding_taps(n: int, low: int, high: int, mode: str = "constant") -> Taps:
    """Padding: reflect mirrors without the border, replicate holds it, circular goes round."""
    u = np.arange(-low, n + high)
    around = {
        "constant": u,
        "reflect": (n - 1) - abs((n - 1) - abs(u)),
        "replicate": np.clip(u, 0, n - 1),
        "circular": u % n,
    }
    at = around[mode][:, None]
    return Taps(at, np.ones_like(at, dtype=bool), n, Fraction(1), u[:, None])


def whole_taps(n: int, m: int = 1) -> Taps:
    """Global pooling, attention, a linear layer over the axis: every output reads every input."""
    return _regular(np.zeros(m, dtype=np.int64), n, 1, n, Fraction(n, m))


@dataclass(frozen=True)
class Intervals:
    """First and last input pixel that each element depends on: lo and hi, (..., n).

    An element that depends on nothing (a constant, padding) has lo > hi.
    """

    lo: Indices
    hi: Indices

    @cached_property
    def sizes(self) -> Indices:
        """(..., n): pixels from lo to hi, 0 where there are none."""
        sizes: Indices = np.maximum(0, self.hi - self.lo + 1)
        return sizes

    def read(self, taps: Taps) -> Intervals:
        """What outputs depend on that read ``self`` through ``taps``; padding is nothing."""
        at = np.clip(taps.at, 0, taps.num_inputs - 1)
        lo = np.where(taps.inside, self.lo[..., at], EMPTY_LO).min(-1)
        hi = np.where(taps.inside, self.hi[..., at], EMPTY_HI).max(-1)
        return Intervals(lo, hi)

    def read_beyond(self, taps: Taps, jump: Fraction | int) -> Intervals:
        """The same as if the map went on past its border, in steps of ``jump`` pixels.

        On stacks of windows this is the closed form; it is what "unclipped" means elsewhere.
        """
        places = taps.at if taps.unfolded is None else taps.unfolded
        at = np.clip(places, 0, taps.num_inputs - 1)
        ratio = Fraction(jump)
        shift = (places - at) * ratio.numerator // ratio.denominator
        lo = np.where(taps.used, self.lo[..., at] + shift, EMPTY_LO).min(-1)
        hi = np.where(taps.used, self.hi[..., at] + shift, EMPTY_HI).max(-1)
        return Intervals(lo, hi)

    def join(self, other: Intervals) -> Intervals:
        """The hull, element by element; shapes broadcast."""
        return Intervals(np.minimum(self.lo, other.lo), np.maximum(self.hi, other.hi))


def pixels(n: int) -> Intervals:
    """The input itself, (n,): pixel u depends on pixel u."""
    u = np.arange(n, dtype=np.int64)
    return Intervals(u, u)
