"""``code``: networks as a person might write them, and what they look like when written."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models import resnet18

from rfsearch.errors import UserError
from rfsearch.exporting.source import source
from rfsearch.exporting.state import state_of
from tests.analysis.networks import layers


def written(subject):
    """The text, and the network it makes with the weights that go with it."""
    text, kept = source(subject)
    module = ModuleType("written")
    exec(compile(text, "network.py", "exec"), module.__dict__)
    network_of = text.split("network = ")[-1].split("(")[0]
    network = getattr(module, network_of)()
    network.load_state_dict({**state_of(subject.network), **kept})
    return text, network.eval()


def same(subject, batch=3):
    """The text, after comparing outputs bit for bit on a batch unlike the one it was read with,
    and the names of the state dict."""
    text, network = written(subject)
    taken = subject.taken
    images = torch.randn(batch, taken.channels, *taken.image_size)
    with torch.no_grad():
        assert torch.equal(network(images), subject.network(images)), text
    names = set(subject.network.state_dict())
    assert set(network.state_dict()) >= names, "the state dict keeps its names"
    return text


class Encoder(nn.Module):
    """Skips, one part called twice, a loop, constants, parameters of its own, odd names."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([self.stage(3, 8), self.stage(8, 12), self.stage(12, 12)])
        self.squeeze = nn.ModuleDict({"a b": nn.Conv2d(12, 8, 1), "two": nn.Conv2d(8, 12, 1)})
        self.scale = nn.Parameter(torch.rand(12, 1, 1))
        self.register_buffer("order", torch.randperm(12), persistent=False)
        self.register_buffer("table", torch.rand(40), persistent=True)
        self.add_module("0", nn.Conv2d(12, 12, 3, padding="same"))
        self.drop = nn.Dropout(0.4)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(36, 3)
        self.unused = nn.Linear(2, 2)
        self.none = None

    @staticmethod
    def stage(a, b):
        return nn.Sequential(
            nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.SiLU(True)
        )

    def gate(self, x):
        means = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.squeeze["two"](F.relu(self.squeeze["a b"](means))))

    def forward(self, x):
        skips = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
        same = self.get_submodule("0")
        x = same(self.relu(same(x))) + self.scale
        x = self.gate(x)[:, self.order]
        one, _, three = x.split(4, 1)
        x = torch.cat([one, x[:, 2:6], three], 1) * torch.tensor([0.5, 2.0]).sum()
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear") + skips[1] ** 2
        x = F.dropout(self.drop(x), 0.5, self.training)
        batch, channels = x.shape[:2]
        x = x.reshape(batch, channels // 2, 2, -1).transpose(1, 2).flatten(1, 2).mean(-1)
        x = F.pad(x + self.table[:12], (0, 24))
        return self.head(x.view(batch * 2, -1).view(batch, -1) - 1)


def test_an_encoder_by_hand(make_subject):
    torch.manual_seed(0)
    text = same(make_subject(Encoder(), side=32))
    assert "self.down[2](" in text
    assert 'self.squeeze["a b"](' in text
    assert 'self.get_submodule("0")(' in text
    assert "torch.ops" not in text
    assert "nn.Linear(2, 2)" in text, "what the state dict has"
    assert 'CLASSES = ("cat", "the \\"dog\\"", "naïve\\\\")' in text


class Half(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, y):
        z = self.conv(x + y)
        return z, y * z.shape[0]


class Several(nn.Module):
    """Parts that take and give several tensors, at two sizes."""

    def __init__(self):
        super().__init__()
        self.one, self.two = Half(4), Half(4)
        self.stem = nn.Conv2d(3, 4, 1)
        self.Half = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        x, y = self.one(x, x * 2)
        x, y = self.two(y, x)
        y, z = self.one(F.max_pool2d(x, 2), F.avg_pool2d(y, 2))
        return self.Half((F.interpolate(y - z, size=(16, 16)) + x).mean((2, 3)))


def test_parts_of_several_tensors(make_subject):
    text = same(make_subject(Several()))
    assert text.count("class Half") == 1
    assert "x, y = self.one(" in text
    assert ".shape[0]" in text


class Flat(nn.Module):
    def forward(self, x):
        return x.reshape(x.shape[0], -1, 8)[:, :3].sum(2)


class Sized(nn.Module):
    """One part at two sizes, whose lines have numbers of the size."""

    def __init__(self):
        super().__init__()
        self.part = nn.Sequential(nn.Identity(), FlatSquare())

    def forward(self, x):
        return self.part(x) + self.part(F.max_pool2d(x, 2))


class FlatSquare(nn.Module):
    def forward(self, x):
        height, width = x.shape[-2:]
        return x.view(-1, 3, height * width).sum(2)


def test_one_part_that_does_two_things(make_subject):
    text = same(make_subject(Sized()))
    assert "def forward_2(self, x):" in text
    assert ".forward_2(" in text


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3, 1, 1))

    def forward(self, x):
        return x * self.weight


class Load(nn.Module):
    """Names that mean something else in the file."""

    def __init__(self):
        super().__init__()
        self.torch = type("nn", (Scale,), {})()

    def forward(self, x):
        return self.torch(x).sum((2, 3))


class Places(nn.Module):
    """Something made of the size of the batch alone."""

    def forward(self, batch):
        return torch.arange(16.0).expand(batch, 3, 16, 16) / 16


class Placed(nn.Module):
    def __init__(self):
        super().__init__()
        self.places = Places()

    def forward(self, x):
        return (x + self.places(x.shape[0])).mean((2, 3))


def test_parts_that_are_given_a_size(make_subject):
    assert "self.places(x.shape[0])" in same(make_subject(Placed()))


def test_names_that_mean_something_else(make_subject):
    assert "class nn2(nn.Module)" in same(make_subject(Load()))


def test_a_sequence_is_a_network(make_subject):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 3))
    same(make_subject(network))


class Standardised(nn.Conv2d):
    """As in NFNet: a norm of weights, which has no statistics to be run by."""

    def forward(self, x):
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(flat, None, None, training=True).reshape(self.weight.shape)
        return F.conv2d(x, weight, self.bias)


def test_a_norm_without_statistics_is_written_as_it_is(make_subject):
    network = nn.Sequential(Standardised(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert "None, None, None, None, True" in same(make_subject(network, classes="abcd"))


def test_a_norm_that_would_move_its_statistics_is_refused(make_subject):
    class Moving(nn.BatchNorm2d):
        def forward(self, x):
            return F.batch_norm(x, self.running_mean, self.running_var, training=True).mean((2, 3))

    with pytest.raises(UserError, match="a norm of this network is always training"):
        source(make_subject(Moving(3)))


def test_alike_modules_share_a_class(make_subject):
    torch.manual_seed(0)
    text = same(make_subject(resnet18(num_classes=3), side=32))
    assert text.count("class BasicBlock") == 2, "with a projection and without"
    assert "def __init__(self, in_channels" in text
    assert "nn.MaxPool2d(3, stride=2, padding=1)" in text
    assert "torch.ops" not in text
    assert len(text.splitlines()) < 160
    assert max(map(len, text.splitlines())) < 100


def test_operators_that_are_not_torchs_are_told(make_subject):
    from torchvision.ops import roi_align

    class Boxes(nn.Module):
        def forward(self, x):
            boxes = torch.tensor([[0.0, 0.0, 0.0, 8.0, 8.0]])
            return roi_align(x, boxes, 1).flatten(1) + x.mean((2, 3))

    with pytest.raises(UserError, match=r"roi_align.*none of torch's"):
        source(make_subject(Boxes()))


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(layers(), min_size=1, max_size=4))
def test_random_networks(make_subject, parts):
    network = nn.Sequential(*parts)
    images = torch.randn(2, 4, 12, 12)
    try:
        with torch.no_grad():
            network.eval()(images)
    except RuntimeError:  # too small for its windows
        return
    same(make_subject(network, side=12, channels=4))
