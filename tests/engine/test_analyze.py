"""`rfsearch analyze` without its command line: subjects, formats, determinism."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import rfsearch
from rfsearch.analysis.layers import COLUMNS
from rfsearch.analysis.reading import Reading
from rfsearch.engine import analyze as room
from rfsearch.engine.analyze import Options, analyze_and_tell
from rfsearch.engine.sizes import parse_sides, parse_size
from rfsearch.errors import UserError
from rfsearch.reporting import figures
from rfsearch.reporting.layer_table import render


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Few images, and pages without the megabytes of plotly.js."""
    monkeypatch.setattr(room, "IMAGES", 2)
    monkeypatch.setattr(figures, "script", lambda: "/* plotly */")


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1))


def test_a_module_is_read_as_it_is():
    net = small().train()
    found = rfsearch.analyze(net, image_size=(20, 24))
    assert found.analysis.image_size == (20, 24)
    assert found.layers[-1].field_h == 5
    assert (found.model, found.weights) == ("Sequential", "as given")
    assert net.training
    assert found.findings


@pytest.mark.parametrize(
    ("size", "found"),
    [(224, (224, 224)), ("96", (96, 96)), ("224x320", (224, 320)), ((3, 4), (3, 4)),
     (" 8×9 ", (8, 9)), ((128,), (128, 128))],
)  # fmt: skip
def test_sizes(size, found):
    assert parse_size(size) == found


@pytest.mark.parametrize("size", ["", "x", "224x", "-5", "0", "1x2x3", "2.5", 0, True, (), 2.5])
def test_no_sizes(size):
    with pytest.raises(UserError, match="image"):
        parse_size(size)


def test_sides():
    assert parse_sides("16x64×32") == parse_sides([16, 64, 32]) == (16, 64, 32)
    with pytest.raises(UserError, match="neither pixels a side"):
        parse_sides("1x2x3x4")


def test_random_weights_and_noise_follow_the_seed():
    def mass(seed: int) -> np.ndarray:
        found = rfsearch.analyze("resnet18", 32, effective=True, seed=seed)
        assert found.weights == f"random, seed {seed}"
        assert f"noise, seed {seed}" in found.effective.images
        return next(one for one in found.effective.masses if one is not None)

    torch.manual_seed(11)
    first = mass(0)
    torch.manual_seed(12)
    assert np.array_equal(first, mass(0))
    assert not np.array_equal(first, mass(1))


def test_data_for_effective_fields():
    found = rfsearch.analyze(small(), 32, effective=True, data="digits")
    assert (found.effective.images, found.effective.num_images) == ("digits", 2)
    colours = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    assert rfsearch.analyze(colours, 32, effective=True, data="digits").effective is not None
    with pytest.raises(UserError, match="images of mine have 3 channels; the network takes 1"):
        room._of_channels(torch.zeros(1, 3, 8, 8), 1, "mine")


def test_verify_says_whether_walk_and_probe_agree():
    found = rfsearch.analyze(small(), 12, verify=True)
    assert (found.disagreements, found.looked_at) == ((), 1.0)
    assert "agree on every element of every tensor." in render([found], 100)
    part = render([replace(found, looked_at=0.25)], 100)
    assert "looked at 25 % of the borders" in " ".join(part.split())
    assert rfsearch.analyze(small(), 12).disagreements is None


NETS = """
from torch import nn

def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1))

def other():
    return nn.Sequential(nn.Conv2d(3, 2, 5), nn.MaxPool2d(2))
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """Small networks by name: what is told of them does not hang on their size."""
    (tmp_path / "smallnets.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    yield "smallnets:small", "smallnets:other"
    sys.modules.pop("smallnets", None)


def test_csv_has_the_columns_of_layers_csv(nets):
    text, _ = analyze_and_tell(nets[:1], Options(image_size="32"), "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 3
    both, _ = analyze_and_tell(nets, Options(image_size="32"), "csv")
    assert {row["model"] for row in csv.DictReader(io.StringIO(both))} == set(nets)


def test_json_of_one_and_of_two(nets):
    text, agree = analyze_and_tell(nets[:1], Options(image_size="32x48"), "json")
    assert agree
    assert json.loads(text)["image_size"] == [32, 48]
    both, _ = analyze_and_tell(nets, Options(image_size="32"), "json")
    assert [one["model"] for one in json.loads(both)["networks"]] == list(nets)


@cache
def published() -> list[Reading]:
    return [rfsearch.analyze(name, 96) for name in ("mobilenetv2", "resnet18")]


@pytest.mark.parametrize("width", [80, 140])
def test_the_table_fits_the_terminal(width):
    text = render(published()[:1], width)
    assert max(map(len, text.splitlines())) <= width
    assert "From features.15 on, no layer sees anything new at 96 pixels." in text
    assert ("no gates" in text) == (width == 140)
    for name in ("features.17.conv.1.0", "classifier.1"):
        assert name in text
    both = render(published(), width)
    assert max(map(len, both.splitlines())) <= width
    assert "smallest image without unproductive layer" in " ".join(both.split())


def test_out_decides_the_format(tmp_path, nets):
    for name in ("a.json", "a.csv", "a.html", "a.txt"):
        told, _ = analyze_and_tell(nets[:1], Options(image_size="32"), None, tmp_path / name)
        assert told == str(tmp_path / name)
    assert json.loads((tmp_path / "a.json").read_text())["model"] == nets[0]
    assert (tmp_path / "a.csv").read_text().startswith("name,call,kind")
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")
    assert f"{nets[0]} at 32×32 pixels" in (tmp_path / "a.txt").read_text()


def test_three_are_too_many():
    with pytest.raises(UserError, match="one model, or two to compare, not 3"):
        analyze_and_tell(["resnet18"] * 3, Options())


def test_a_network_without_an_image():
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
            return self.weight * 2

    with pytest.raises(UserError, match="does nothing with its image"):
        rfsearch.analyze(Constant(), 8)


def test_settings():
    found = room._subject("resnet18", Options(assignments=("backbone.stem=small",)))
    stem = next(part for part in found.module.modules() if isinstance(part, nn.Conv2d))
    assert stem.stride == (1, 1)
    with pytest.raises(UserError, match="alone, not recipe"):
        room._subject("resnet18", Options(assignments=("recipe.lr=1",)))
