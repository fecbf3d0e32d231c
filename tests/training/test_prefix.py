"""What comes before a slot is computed once; every pass gives what it gave without that."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rfsearch import spaces
from rfsearch.backbones.supernet import supernet
from rfsearch.spaces import Backbone
from rfsearch.spaces.tables import parse
from rfsearch.training.alternate import AlphaDescent
from rfsearch.training.prefix import remembered


class Odd(nn.Module):
    """Changes outputs of its parts in place, keeps them in a list, uses one twice, and one gives
    no tensor."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.twice = nn.Hardswish(inplace=True)
        self.halves = Halves()
        self.end = Scale()

    def forward(self, x):
        y = self.twice(self.parts[0](x))
        y += x
        a, b = self.halves(self.parts[1](y))
        y = self.end(torch.cat([b, a], 1) + y)
        return self.twice(self.parts[2](y))


class Halves(nn.Module):
    def forward(self, x):
        return x.chunk(2, 1)


class Scale(nn.Module):
    factor = 1.0

    def forward(self, x):
        return x * self.factor


@pytest.fixture
def odd():
    torch.manual_seed(0)
    return Odd().double()


def passes(network, inputs, prefix=None):
    found = []
    for factor, x in enumerate(inputs):
        network.end.factor = factor
        found.append(network(x))
        if prefix:
            prefix.rewind()
    return found


@torch.no_grad()
def test_an_odd_network_gives_what_it_gave(odd):
    x = torch.randn(3, 4, dtype=torch.float64)
    expected = passes(odd, [x] * 4)
    before = [set(vars(module)) for module in odd.modules()]
    with remembered(odd, [odd.end]) as prefix:
        found = passes(odd, [x, x.clone(), x, x], prefix)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert [set(vars(module)) for module in odd.modules()] == before


@torch.no_grad()
def test_what_comes_before_is_computed_once(odd, monkeypatch):
    computed = []
    linear = F.linear
    monkeypatch.setattr(F, "linear", lambda *given: computed.append(1) or linear(*given))
    x = torch.randn(3, 4, dtype=torch.float64)
    with remembered(odd, [odd.end]) as prefix:
        passes(odd, [x] * 4, prefix)
    assert len(computed) == 2 + 1 + 4  # what is changed in place is made twice


@torch.no_grad()
def test_other_inputs_are_computed(odd):
    inputs = list(torch.randn(4, 3, 4, dtype=torch.float64))
    expected = passes(odd, inputs)
    with remembered(odd, [odd.end]) as prefix:
        found = passes(odd, inputs, prefix)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@torch.no_grad()
def test_two_runs_in_a_pass(odd):
    x, z = torch.randn(2, 3, 4, dtype=torch.float64)
    expected = [odd(x), odd(z)]
    with remembered(odd, [odd.end]) as prefix:
        for _ in range(3):
            assert torch.equal(odd(x), expected[0])
            assert torch.equal(odd(z), expected[1])
            prefix.rewind()


BOTH = """
description = "both"
form = "residual"

[[operators]]
name = "identity"

[[replacements]]
name = "dense"
kernel = 3

[[replacements]]
name = "pf_max"
kernel = 3
"""


def space_of(name):
    return parse(BOTH, "both.toml", "both") if name == "both" else spaces.load_space(name)


@pytest.mark.parametrize("space", ["pooling", "pmpl", "kernels", "both"])
@pytest.mark.parametrize("at", [0, 7, -1])
def test_losses_of_one_alone_are_those_of_whole_passes(space, at, monkeypatch):
    torch.manual_seed(0)
    arguments = (("width", 0.25), ("classes", 3), ("channels", 3), ("stem", "small"))
    network = supernet(Backbone("mobilenetv2", arguments), space_of(space)).train()
    slot = list(network.slots)[at]
    images, labels = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 1])
    descent = AlphaDescent(network, 0.1, (0.5, 0.999), 0.0)

    def alone():
        torch.manual_seed(1)  # dropout
        _, found = descent.alone(slot, lambda network: F.cross_entropy(network(images), labels))
        return found[slot]

    found = alone()
    monkeypatch.setattr("rfsearch.training.prefix._outermost", lambda *_: [])
    assert torch.equal(alone(), found)
    assert found.abs().max() > 0
