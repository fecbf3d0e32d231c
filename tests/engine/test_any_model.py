"""A user's own network, and slots whose convolution is replaced, from start to report."""

from __future__ import annotations

import sys

import pytest
import torch

from rfsearch import backbones
from rfsearch.backbones import foreign
from rfsearch.backbones.realise import realise
from rfsearch.engine.config import Config, Request, settle
from rfsearch.engine.measure import measure
from rfsearch.engine.run import Silent, load
from rfsearch.engine.start import open_run
from rfsearch.engine.whole import carry_out
from rfsearch.errors import UserError
from rfsearch.reporting import frames, records, write_report
from rfsearch.spaces import Architecture, Backbone
from rfsearch.trials import read_json

MINE = """
import torch
import torch.nn.functional as F
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.deep, self.act = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.SiLU()
        self.wide = nn.Conv2d(8, 16, 1)
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        return self.fc(self.wide(self.act(self.deep(x))).mean((2, 3)))


def network():
    return Network()


class Odd(Network):
    def forward(self, x):
        return super().forward(torch.special.bessel_j0(x))


def odd():
    return Odd()
"""
MIXED = """
description = "behind a convolution or in its place"
form = "residual"

[[operators]]
name = "identity"

[[operators]]
name = "avg_pool"
kernel = 3

[[replacements]]
name = "dilated"
dilation = 2
"""


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    (tmp_path / "mysearched.py").write_text(MINE)
    (tmp_path / "mixed.toml").write_text(MIXED)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("mysearched", None)


def request(tmp_path, make_request, **options):
    """The tiny request, with the one width that such a network has."""
    made = make_request(tmp_path / "run", **options)
    kept = tuple(one for one in made.assignments if not one.startswith("plan.width"))
    return Request(**{**vars(made), "assignments": kept})


@pytest.mark.parametrize(
    ("space", "strategy"),
    [("pooling", "pmpl"), ("dilations", "pmpl"), ("mixed.toml", "evolution")],
)
def test_from_start_to_report(tmp_path, make_request, space, strategy):
    path = str(tmp_path / space) if space.endswith(".toml") else space
    asked = request(tmp_path, make_request, backbone="mysearched:network", space=path,
                    strategy=strategy, image_size=16)  # fmt: skip
    trials = ("plan.trials=2", "plan.proxy_epochs=1", "plan.proxy_images=64")
    asked = Request(**{**vars(asked), "assignments": (*asked.assignments, *trials)})
    run = open_run(asked, Silent())
    carry_out(run)
    measure(run)
    assert "deep" in write_report(run.folder.path).read_text()
    table = frames.slots(records.read(run.folder.path))
    assert list(table["slot"]) == ["stem", "deep"]
    assert list(table["stride_h"]) == [2, 1]
    assert list(table["map_h"]) == [8, 8]
    record = read_json(run.folder.architecture)
    assert record["backbone"]["name"] == "mysearched:network"
    slots = [choice["slot"] for choice in record["choices"]]
    assert slots == ["stem", "deep"]
    images = torch.randn(2, run.dataset.channels, 16, 16)
    alone = realise(Architecture.from_json(record))
    found = load(run.folder.path)
    alone.load_state_dict(found.state_dict())
    with torch.no_grad():
        assert found(images).shape == (2, len(run.dataset.classes))
        assert torch.equal(alone.eval()(images), found(images))


def test_a_network_is_exported_once_for_any_classes_and_channels(monkeypatch):
    """Names of slots are checked before the data is known, and looked for again when it is."""
    seen = []
    real = foreign.capture
    monkeypatch.setattr(foreign, "capture", lambda *given: seen.append(given) or real(*given))
    shape = ("image_size", (18, 18))
    found = [
        backbones.slots(Backbone("mysearched:network", (("channels", c), ("classes", k), shape)))
        for c, k in ((3, 10), (1, 4), (2, 10))
    ]
    assert found[0] == found[1] == found[2]
    assert len(seen) == 1


def test_what_others_networks_cannot_be_told(tmp_path, make_request):
    mine = request(tmp_path, make_request, backbone="mysearched:network", image_size=16)
    config = settle(mine)
    assert (config.plan.width, config.stem) == (1.0, "published")
    assert Config.from_json(config.to_json(), "config.json") == config
    for assignment, told in (
        ("plan.width=0.5", r"has one width, which is plan\.width=1"),
        ("backbone.stem=small", "has one stem"),
        ("slots.include=deeper", r"unknown slot 'deeper'; did you mean 'deep'"),
    ):
        with pytest.raises(UserError, match=told):
            settle(Request(**{**vars(mine), "assignments": (*mine.assignments, assignment)}))
    with pytest.raises(UserError, match="brings its own weights"):
        settle(Request(**{**vars(mine), "pretrained": True}))


def test_layers_that_could_not_be_told_in_the_end_are_told_first(tmp_path, make_request):
    odd = request(tmp_path, make_request, backbone="mysearched:odd", image_size=16)
    with pytest.raises(UserError, match=r"no rule for operator aten.special_bessel_j0.*supernet"):
        settle(odd)
