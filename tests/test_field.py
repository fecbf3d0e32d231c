"""Laws of fields, and arrays against sets of taps."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfsearch import field
from rfsearch.field import IDENTITY, Field, Intervals, pixels, window

fields = st.builds(Field, st.integers(1, 99), st.integers(1, 32), st.integers(-99, 99))
windows = st.tuples(
    st.integers(1, 5), st.integers(1, 3), st.integers(0, 4), st.integers(1, 3)
)  # kernel, stride, padding, dilation
stacks = st.lists(windows, min_size=1, max_size=5)


@given(fields, fields, fields)
def test_then_is_associative(f, g, h):
    assert f.then(g).then(h) == f.then(g.then(h))


@given(fields)
def test_identity_changes_nothing(f):
    assert IDENTITY.then(f) == f == f.then(IDENTITY)


@given(fields, st.tuples(*[st.tuples(st.integers(1, 99), st.integers(-99, 99))] * 2))
def test_join_is_the_least_upper_bound(f, others):
    g, h = (Field(size, f.jump, start) for size, start in others)
    assert f.join(f) == f
    assert f.join(g) == g.join(f)
    assert f.join(g).join(h) == f.join(g.join(h))
    both = f.join(g)
    assert both.start in (f.start, g.start)
    assert both.start + both.size in (f.start + f.size, g.start + g.size)


@given(fields, windows, windows)
def test_join_distributes_over_then(f, one, other):
    stride = one[1]
    g, h = window(*one), window(other[0], stride, *other[2:])
    assert f.then(g.join(h)) == f.then(g).join(f.then(h))


def test_branches_of_different_jump_do_not_join():
    with pytest.raises(ValueError, match="jump 2 and 3"):
        Field(3, 2, 0).join(Field(3, 3, 0))


def lengths(n: int, stack: list[tuple[int, int, int, int]]) -> list[int]:
    """Length of each map, the input first; stops before a window that does not fit."""
    found = [n]
    for k, s, p, d in stack:
        m = (found[-1] + 2 * p - d * (k - 1) - 1) // s + 1
        if m < 1:
            break
        found.append(m)
    return found


@given(st.integers(1, 40), stacks)
def test_arrays_beyond_the_border_equal_the_closed_form(n, stack):
    here, jump = pixels(n), 1
    counts = lengths(n, stack)
    for (k, s, p, d), before, after in zip(stack, counts, counts[1:], strict=False):
        here = here.read_beyond(field.window_taps(before, after, k, s, p, d), jump)
        jump *= s
    form = reduce(Field.then, [window(*w) for w in stack[: len(counts) - 1]], IDENTITY)
    assert jump == form.jump
    assert (here.lo == form.start + form.jump * np.arange(counts[-1])).all()
    assert (here.sizes == form.size).all()


@given(st.integers(1, 40), stacks)
def test_arrays_equal_sets_of_taps(n, stack):
    here, sets = pixels(n), [{u} for u in range(n)]
    counts = lengths(n, stack)
    for (k, s, p, d), before, after in zip(stack, counts, counts[1:], strict=False):
        here = here.read(field.window_taps(before, after, k, s, p, d))
        reads = [[s * u - p + d * j for j in range(k)] for u in range(after)]
        sets = [set().union(*(sets[i] for i in taps if 0 <= i < before)) for taps in reads]
    assert_hull(here, sets)


def assert_hull(intervals: Intervals, sets: list[set[int]]) -> None:
    assert intervals.sizes.tolist() == [max(s) - min(s) + 1 if s else 0 for s in sets]
    assert [lo for lo, s in zip(intervals.lo, sets, strict=True) if s] == [
        min(s) for s in sets if s
    ]


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 4), st.integers(0, 3),
       st.integers(1, 3))  # fmt: skip
def test_transposed_taps_are_the_windows_of_the_transpose(n, k, s, p, d):
    m = (n - 1) * s - 2 * p + d * (k - 1) + 1
    if m < 1:
        return
    sets = [{i for i in range(n) for j in range(k) if s * i - p + d * j == u} for u in range(m)]
    assert_hull(pixels(n).read(field.transposed_taps(n, m, k, s, p, d)), sets)


@given(st.integers(1, 20), st.integers(1, 20))
def test_adaptive_taps_cover_their_share(n, m):
    taps = field.adaptive_taps(n, m)
    sets = [{i for i in range(n) if i * m < (u + 1) * n and (i + 1) * m > u * n} for u in range(m)]
    assert_hull(pixels(n).read(taps), sets)


def test_resampling():
    assert field.nearest_taps(3, 6).at[:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    up = field.linear_taps(3, 6)
    assert up.at.tolist() == [[0, 1], [0, 1], [0, 1], [1, 2], [1, 2], [2, 2]]


def test_whole_axis():
    seen = pixels(7).read(field.whole_taps(7, 2))
    assert (seen.lo.tolist(), seen.hi.tolist()) == ([0, 0], [6, 6])


def test_padding_is_counted():
    taps = field.window_taps(5, 5, 3, padding=2, dilation=2)
    assert taps.used.sum(1).tolist() == [3] * 5
    assert taps.inside.sum(1).tolist() == [2, 2, 3, 2, 2]


@given(st.integers(1, 20), windows)
def test_real_taps_are_those_inside(n, w):
    k, s, p, d = w
    for m in lengths(n, [w])[1:]:
        taps = field.window_taps(n, m, k, s, p, d)
        inside = [sum(0 <= s * u - p + d * j < n for j in range(k)) for u in range(m)]
        assert taps.inside.sum(1).tolist() == inside
