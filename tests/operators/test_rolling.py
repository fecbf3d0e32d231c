"""Rolling-Pointwise convolution against a masked dense one, a table, and its formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rfsearch.errors import UserError
from rfsearch.operators.rolling import DepthwiseRolling, RollingPointwise, Windows

GOLDEN = {  # methods, section 3: C = 64, overlap 0.5, channels reached after L layers
    (2, "block"): [32, 48, 64],
    (2, "cyclic"): [32, 64],
    (4, "block"): [16, 24, 32, 40, 48, 56, 64],
    (4, "cyclic"): [16, 64],
    (8, "block"): [8, 12, 16, 20, 24, 28, 32, 36],
    (8, "cyclic"): [8, 36, 64],
}


def windows_by_hand(channels, filters, groups, overlap, assignment):
    """(filters, channels) of ones where a filter reads; written from the definition alone."""
    width = channels // groups
    step = width - math.floor(overlap * width)
    starts = []
    while (start := len(starts) * step % channels) not in starts:
        starts.append(start)
    mask = np.zeros((filters, channels))
    for f in range(filters):
        window = f % len(starts) if assignment == "cyclic" else f * len(starts) // filters
        for i in range(width):
            mask[f, (starts[window] + i) % channels] = 1
    return mask


def dense_weight(layer):
    """The dense 1×1 weight, zeros outside the windows, as a function of the layer's weight."""
    w = layer.windows
    rows = []
    for f in range(w.out_channels):
        row = torch.zeros(w.in_channels, dtype=layer.weight.dtype)
        start = w.of_filter(f) * w.step
        at = torch.tensor([(start + i) % w.in_channels for i in range(w.width)])
        rows.append(row.index_put((at,), layer.weight[f, :, 0, 0]))
    return torch.stack(rows)[:, :, None, None]


@st.composite
def settings_of_a_layer(draw):
    groups, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    overlap = draw(st.sampled_from([0, 0.2, 0.33, 0.5, 0.75, 0.9]))
    filters = draw(st.sampled_from(["block", "cyclic"]))
    num = Windows(groups * width, 720720, groups, overlap, "cyclic").num
    out = num * draw(st.integers(1, 3)) if filters == "block" else draw(st.integers(1, 40))
    return groups * width, out, groups, overlap, filters


@settings(max_examples=60)
@given(settings_of_a_layer(), st.integers(1, 3), st.tuples(*[st.integers(1, 4)] * 2))
def test_equals_a_masked_dense_convolution(given, batch, size):
    channels, out, groups, overlap, filters = given
    torch.manual_seed(0)
    layer = RollingPointwise(channels, out, groups, overlap, filters).double()
    mask = torch.from_numpy(windows_by_hand(channels, out, groups, overlap, filters))
    dense = dense_weight(layer)
    assert torch.equal(dense[:, :, 0, 0] != 0, mask.bool())
    x = torch.randn(batch, channels, *size, dtype=torch.float64, requires_grad=True)
    towards = torch.randn(batch, out, *size, dtype=torch.float64)
    expected = F.conv2d(x, dense)
    theirs = torch.autograd.grad(expected, (x, layer.weight), towards)
    with torch.no_grad():
        assert torch.allclose(layer(x), expected, rtol=0, atol=1e-12)
    ways = [layer, layer.as_grouped] + [layer.as_strided] * layer.strided
    for way in ways:
        found = way(x)
        assert torch.allclose(found, expected, rtol=0, atol=1e-12)
        mine = torch.autograd.grad(found, (x, layer.weight), towards)
        for a, b in zip(mine, theirs, strict=True):
            assert torch.allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("case", "reached"), GOLDEN.items(), ids=str)
def test_reach_by_layers_is_the_golden_table(case, reached):
    groups, filters = case
    layer = RollingPointwise(64, 64, groups, 0.5, filters)
    reads = (dense_weight(layer)[:, :, 0, 0] != 0).int()
    reach, found = torch.eye(64, dtype=torch.int32), []
    for _ in reached:
        reach = ((reads @ reach) > 0).int()
        found.append(int(reach.sum(1).max()))
    assert found == reached


def test_without_overlap_it_is_a_grouped_convolution():
    layer = RollingPointwise(12, 24, 3, 0.0)
    x = torch.randn(2, 12, 3, 3)
    assert torch.allclose(layer(x), F.conv2d(x, layer.weight, groups=3), atol=1e-6)


@pytest.mark.parametrize("overlap", [0, 0.5, 0.75])
@pytest.mark.parametrize("kernel", [3, 5])
def test_parameters_are_those_without_overlap(overlap, kernel):
    block = DepthwiseRolling(16, 32, kernel, 2, 4, overlap)
    convolutions = sum(p.numel() for name, p in block.named_parameters() if name[0] != "1")
    assert convolutions == kernel**2 * 16 + (16 // 4) * 32
    assert block(torch.randn(2, 16, 8, 8)).shape == (2, 32, 4, 4)


def test_blocks_need_windows_that_divide_the_filters():
    assert Windows(96, 96, 4, 0.33).num == 96
    with pytest.raises(UserError, match=r"96 windows do not divide 64 filters.*cyclic"):
        Windows(96, 64, 4, 0.33)
    assert RollingPointwise(96, 64, 4, 0.33, "cyclic")(torch.ones(1, 96, 1, 1)).shape[1] == 64


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"groups": 5}, "5 groups do not divide 64 channels; what divides them: 1, 2, 4"),
        ({"groups": 0}, "groups of a rolling convolution is a whole number"),
        ({"groups": 2.0}, "groups of a rolling convolution is a whole number"),
        ({"overlap": 1}, "from 0 to below 1, not 1"),
        ({"overlap": -0.1}, "from 0 to below 1"),
        ({"overlap": "half"}, "from 0 to below 1"),
        ({"filters": "blok"}, "unknown filter assignment 'blok'; did you mean 'block'"),
    ],
    ids=str,
)
def test_mistakes_are_told(wrong, told):
    with pytest.raises(UserError, match=told):
        RollingPointwise(**{"in_channels": 64, "out_channels": 64, "groups": 4, **wrong})


def test_an_even_kernel_is_refused():
    with pytest.raises(UserError, match="odd number from 1 on, not 4"):
        DepthwiseRolling(8, 8, 4)
