"""The probe on networks whose truth is known without it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfsearch.analysis.capture import capture
from rfsearch.analysis.probe import half, probe
from rfsearch.analysis.spread import Prepared, picture, spread
from rfsearch.errors import UserError
from tests.analysis.networks import Call

NEAR = (torch.arange(6)[:, None] - torch.arange(6)).abs() <= 1


def rows(function: object, size: tuple[int, int] = (6, 1)) -> list[tuple[int, int]]:
    """First and last row that each element along dimension 2 of the last tensor depends on."""
    *_, (height, _) = probe(Call(function), size, channels=1).values()
    lo, hi = (array.reshape(array.shape[2], -1) for array in (height.lo, height.hi))
    return [(int(a.min()), int(b.max())) for a, b in zip(lo, hi, strict=True)]


def nearby(x: Tensor) -> Tensor:
    t = x.flatten(2).mT
    return (t @ t.mT).masked_fill(~NEAR, -torch.inf).softmax(-1) @ t


def added(x: Tensor) -> Tensor:
    t = x.flatten(2).mT
    return (t @ t.mT + torch.zeros(6, 6).masked_fill(~NEAR, -torch.inf)).softmax(-1) @ t


def fused(x: Tensor) -> Tensor:
    t = x.flatten(2).mT
    return F.scaled_dot_product_attention(t, t, t, NEAR)


@pytest.mark.parametrize("function", [nearby, added, fused])
def test_a_mask_hides_what_it_hides(function):
    band = [(max(0, u - 1), min(5, u + 1)) for u in range(6)]
    assert rows(lambda x: function(x)[:, None]) == band


@pytest.mark.parametrize("function", [
    lambda x: torch.where(x > 0, x, -x), lambda x: (x > 0).to(x), lambda x: x.nan_to_num(0) + 1,
    lambda x: x.sign(), lambda x: F.softshrink(x), lambda x: x.masked_fill(x < 0, 0),
    lambda x: x * (x * 0 > 1),
])  # fmt: skip
def test_values_that_are_compared(function):
    assert rows(function) == [(u, u) for u in range(6)]


def test_values_that_are_chosen():
    assert rows(lambda x: x.topk(1, 2)[0]) == [(0, 5)]
    assert rows(lambda x: x.argmax(2, keepdim=True).to(x)) == [(0, 5)]


def test_half_planes_are_sums_of_lines():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.MaxPool2d(3, 1, 1), nn.Conv2d(4, 1, 1)).double()
    program = Prepared(capture(net, (9, 7)))
    for dim, start, stop in ((2, 0, 4), (2, 5, 9), (3, 0, 1), (3, 2, 7)):
        lines = [half(program, dim, at, at + 1) for at in range(start, stop)]
        for whole, *parts in zip(half(program, dim, start, stop), *lines, strict=True):
            assert torch.equal(whole.hit, torch.stack([part.hit for part in parts]).any(0))


def test_the_graph_does_what_the_module_does():
    class Writes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                y = x * 1
            y[:, :, 1:] += y[:, :, :1]
            return F.relu_(y.flatten(2)[:, :, 2:])

    program = Prepared(capture(Writes(), (5, 4)))
    dirty = picture(program)
    dirty[:, 1, 0, 3] = torch.nan
    *_, last = spread(program, dirty)
    assert torch.equal(last.hit, Writes()(dirty).isnan())


def test_a_network_without_numbers_cannot_be_probed():
    with torch.device("meta"):
        net = nn.Conv2d(3, 3, 3)
    with pytest.raises(UserError, match="on the meta device"):
        probe(net, (8, 8))
