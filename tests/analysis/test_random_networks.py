"""Thousands of random networks: the walk against NaN lines that each image of a batch carries."""

from __future__ import annotations

import itertools
from functools import reduce

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import fx

from rfsearch import field
from rfsearch.analysis.dependence import Value
from rfsearch.analysis.follow import trace
from rfsearch.field import EMPTY_HI, EMPTY_LO, IDENTITY, Field, window
from tests.analysis.drawings import (
    CHANNELS,
    Drawing,
    aten,
    branched,
    constant_gate,
    convolutions,
    first,
    fitted,
    joined,
    lines,
    pools,
    squeeze_excite,
    stacks,
)

EXAMPLES, PARTS = 126, 16  # 2,016 networks a run
drawn_at_will = settings(suppress_health_check=list(HealthCheck))
sizes = st.tuples(st.integers(5, 10), st.integers(5, 10))


def differences(net: Drawing) -> list[str]:
    """Tensors whose intervals are not those that the NaN lines show, at any element."""
    found = []
    for node, value in trace(net.program):
        if not value.is_data:
            found += [f"{node.target}: a constant"] if net.values[node].isnan().any() else []
            continue
        for name, axis, truth in zip("hw", value.axes, net.truth(node), strict=True):
            seen = axis.reaches["seen"].intervals
            some = seen.sizes > 0
            lo, hi = np.where(some, seen.lo, EMPTY_LO), np.where(some, seen.hi, EMPTY_HI)
            if value.shape != net.shape(node) or (lo != truth[0]).any() or (hi != truth[1]).any():
                found.append(f"{node.target}, {name}")
    return found


@settings(drawn_at_will, max_examples=EXAMPLES)
@given(st.lists(st.one_of(stacks(), branched()), min_size=PARTS, max_size=PARTS), sizes)
def test_random_networks(builds, size):
    for build in builds:
        net = Drawing(size)
        build(net)
        assert differences(net) == [], str(net.graph)


def test_a_broken_rule_is_found(monkeypatch):
    """In the same way; every sort of break is in test_verify."""
    right = field.window_taps
    net = Drawing((9, 9))
    net(aten.max_pool2d.default, first(net), [3, 3], [1, 1], [1, 1], [2, 2])
    assert differences(net) == []
    monkeypatch.setattr(field, "window_taps", lambda n, m, k, s, p, d: right(n, m, k, s, p))  # noqa: ARG005
    assert differences(net) == ["aten.max_pool2d.default, h", "aten.max_pool2d.default, w"]


def value_of(net: Drawing, node: fx.Node) -> Value:
    """What the walk knows of a node."""
    return next(value for found, value in trace(net.program) if found is node)


def ends(net: Drawing, node: fx.Node, kind: str) -> np.ndarray:
    """First and last pixels, in full: (2, height and width, *shape)."""
    value = value_of(net, node)
    reaches = [axis.reaches[kind] for axis in value.axes]
    both = [[r.lo for r in reaches], [r.hi for r in reaches]]
    return np.array([[np.broadcast_to(end, value.shape) for end in one] for one in both])


layer_and_gate = st.tuples(
    st.one_of(convolutions(), pools()), st.sampled_from([squeeze_excite, lines])
)


def to_quarters(net: Drawing, x: fx.Node) -> fx.Node:
    """Maps of 2×2."""
    return net(aten.max_pool2d.default, x, [8, 8], [8, 8])


def over_padding(net: Drawing, x: fx.Node) -> fx.Node:
    """Three columns from two; the one between reads padding alone."""
    weight = net.weight(CHANNELS, CHANNELS, 1, 2)
    return net(aten.conv2d.default, x, weight, None, [1, 1], [0, 2], [1, 3])


def to_one(net: Drawing, x: fx.Node) -> fx.Node:
    """Maps of one element."""
    return net(aten.max_pool2d.default, x, [16, 16])


def padded(net: Drawing, x: fx.Node) -> fx.Node:
    """The same maps, with padding around."""
    return net(aten.max_pool2d.default, x, [3, 3], [1, 1], [1, 1])


@settings(drawn_at_will, max_examples=40)
@example([(to_one, lines), (padded, squeeze_excite)])
@example([(to_quarters, squeeze_excite), (over_padding, lines)])
@given(st.lists(layer_and_gate, min_size=1, max_size=3))
def test_gates_count_as_constants(parts):
    """Without gates a field is that of the network in which gates are replaced by constants.

    What sees padding alone has no field of its own to compare: there a gate from its row, which
    is none along that row's axis, is all that is seen.
    """
    gated, cut_out = Drawing((16, 16), probed=False), Drawing((16, 16), probed=False)
    one, other = first(gated), first(cut_out)
    for layer, gate in parts:
        one = fitted(gated, [layer, gate], one)
        other = fitted(cut_out, [layer, constant_gate], other)
    for kind, whole in (("seen_no_gates", "seen"), ("no_gates", "largest")):
        found, truth = ends(gated, one, kind), ends(cut_out, other, whole)
        something = truth[0] <= truth[1]
        assert np.array_equal(found[:, something], truth[:, something])


windows = st.tuples(st.integers(1, 4), st.integers(0, 2), st.integers(1, 3))
branches_of_windows = st.lists(st.lists(windows, min_size=1, max_size=2), min_size=2, max_size=3)
blocks_of_branches = st.tuples(branches_of_windows, st.integers(1, 3))
SIDE = 176  # enough for every draw


@settings(drawn_at_will, max_examples=40)
@given(st.lists(blocks_of_branches, min_size=1, max_size=2))
def test_largest_and_smallest_field_are_those_of_all_paths(blocks):
    """Every path on its own, as a closed form; the first window of a branch has the stride."""
    net, paths = Drawing((SIDE, 1), probed=False), [IDENTITY]
    x = first(net)
    for branches, stride in blocks:
        maps, forms = [], []
        for branch in branches:
            steps = [(k, stride if i == 0 else 1, p, d) for i, (k, p, d) in enumerate(branch)]
            maps.append(reduce(lambda y, step: convolved(net, y, *step), steps, x))
            forms.append(reduce(Field.then, (window(*step) for step in steps)))
        x = joined(net, maps)
        paths = [path.then(form) for path, form in itertools.product(paths, forms)]
    rows, whole = value_of(net, x).axes[0], reduce(Field.join, paths)
    assert int(rows.reaches["largest"].intervals.sizes.max()) == whole.size
    assert (rows.jumps[2], int(rows.reaches["largest"].lo.min())) == (whole.jump, whole.start)
    assert rows.reaches["smallest"].intervals.sizes.min() == min(path.size for path in paths)


def convolved(
    net: Drawing, x: fx.Node, kernel: int, stride: int, padding: int, dilation: int
) -> fx.Node:
    weight = net.weight(CHANNELS, CHANNELS, kernel, 1)
    settings = [stride, 1], [padding, 0], [dilation, 1]
    return net(aten.conv2d.default, x, weight, None, *settings)
