"""The page about layers: whole, offline, escaped; and its part in the report of a run."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from rfsearch.analysis.gain import gains
from rfsearch.analysis.inputs import taking_images
from rfsearch.analysis.layers import write_layers
from rfsearch.analysis.reader import read, with_effective
from rfsearch.analysis.reading import Effective, Reading
from rfsearch.analysis.walk import walk
from rfsearch.errors import UserError
from rfsearch.reporting import (
    field_data,
    field_figures,
    field_page,
    field_records,
    figures,
    page,
    pictures,
)
from rfsearch.reporting.field_page import Picture, render, write_page
from rfsearch.reporting.layer_table import merged, told_rows
from rfsearch.reporting.photographs import photographs
from rfsearch.reporting.records import read as read_records

HOSTILE = '</script><script>alert(1)</script><img src=x>&"'


class Page(HTMLParser):
    """Elements, and the text of scripts and cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.data = ""
        self._in_data = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._in_data = dict(attrs).get("id") == "field-data"

    def handle_data(self, data):
        if self._in_data:
            self.data += data
        else:
            self.words.append(data)

    def handle_endtag(self, tag):  # noqa: ARG002
        self._in_data = False

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Conv2d(4, 4, 5, padding=2)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        return self.head((x + self.body(x)).mean((2, 3)))


@pytest.fixture
def whole_plotly():
    """Pages as they are."""


@pytest.fixture(autouse=True)
def _short_plotly(request, monkeypatch):
    if "whole_plotly" not in request.fixturenames:
        monkeypatch.setattr(figures, "script", lambda: "/* plotly */")


def reading(name: str = "net", effective: bool = True, net: nn.Module | None = None) -> Reading:
    torch.manual_seed(0)
    found, program = read(net or Net(), (32, 32), model=name)
    return (
        with_effective(found, program, torch.randn(2, 3, 32, 32), "noise") if effective else found
    )


def picture(name: str = "flower") -> Picture:
    return Picture(name, np.full((32, 32, 3), 100, np.uint8))


def parsed(*readings: Reading, images: tuple[Picture, ...] = ()) -> Page:
    return Page(render(readings, images or (picture(), picture("temple"))))


def test_the_page_asks_the_network_for_nothing():
    found = parsed(reading())
    for tag, attributes in found.elements:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base"), tag
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    (policy,) = [a["content"] for a in found.all("meta") if a.get("http-equiv")]
    assert policy.startswith("default-src 'none'")
    for one in json.loads(found.data)["pictures"]:
        assert one["url"].startswith("data:image/jpeg;base64,")


def test_every_layer_is_a_row_and_has_its_boxes():
    one = reading()
    found = parsed(one)
    data = json.loads(found.data)["networks"][0]
    rows = [a for a in found.all("tr") if "data-quiet" in a]
    assert len(rows) == len(one.layers) - len(told_rows(one.layers)) == 2
    assert len(data["layers"]) == len(one.layers)
    body = next(i for i, row in enumerate(one.layers) if row.name == "body")
    boxes = data["layers"][body]["boxes"]
    assert boxes["field"] == [11, 11, 11, 11]  # jump 2, unit 8 of 16: 16 − 1 − 2·2 = 11
    assert boxes["effective_90"][2] <= 11
    assert data["layers"][body]["mass"].startswith("data:image/png")
    assert (
        "mass" not in json.loads(parsed(reading(effective=False)).data)["networks"][0]["layers"][0]
    )


def test_structure_for_readers():
    found = parsed(reading("a"), reading("b"))
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in found.elements:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
    headings = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert headings.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(headings))
    for attributes in found.all("div"):
        if attributes.get("class") == "chart":
            assert attributes["aria-label"]
    assert [a["data-network"] for a in found.all("div") if "data-network" in a] == ["0", "1"]
    assert len(found.all("figure")) == 6  # two of growth, two of effective, two pictures


def test_hostile_names_stay_text():
    found = parsed(reading(HOSTILE), images=(picture(HOSTILE),))
    clean = parsed(reading("net"), images=(picture(),))
    assert len(found.all("script")) == len(clean.all("script"))
    assert not found.all("img")
    assert HOSTILE in "".join(found.words)
    assert json.loads(found.data)["networks"][0]["name"] == HOSTILE


def test_growth_has_a_band_and_the_image():
    (data,) = field_data.growths([reading()])
    assert data.layers == ("stem", "body", "(network) #2", "(network) #3", "head")
    assert data.high[:3] == (3, 11, 11)
    assert data.low[:3] == (3, 11, 3)
    assert data.image == 32
    assert data.has_effective
    tall = nn.Sequential(nn.Conv2d(3, 3, (5, 3), padding=(2, 1)))
    axes = [one.axis for one in field_data.growths([reading(net=tall, effective=False)])]
    assert axes == ["height", "width"]


def test_a_signal_grows_in_width_alone():
    net = nn.Sequential(nn.Conv1d(3, 3, 5))
    with taking_images(net, (32,)):
        found, _ = read(net, (1, 32), 3, "net", "random")
    assert [one.axis for one in field_data.growths([found])] == ["width"]


def test_gain_has_columns_a_chart_and_scores():
    """Every number of the table and the chart is one of the metric's."""
    torch.manual_seed(0)
    reading, program = read(Net().eval(), (16, 16), 3, "net", "random")
    assert "cumulative field" not in render([reading], [])
    metric = gains(Net(), program, reading.analysis)
    with_gain = replace(reading, gains=metric)
    text = render([with_gain], [])
    for heading in ("local field", "cumulative field", "gain", "per M MACs", "earns"):
        assert f">{heading}</th>" in text
    body = next(i for i, row in enumerate(reading.layers) if row.name == "body")
    assert f">{metric.rows[body].cumulative_field:,d}</td>" in text
    assert f">{metric.score.total:.1f}</td>" in text
    data = field_data.earned(with_gain)
    assert sum(data.spatial) == pytest.approx(metric.score.spatial)
    assert sum(data.channels) == pytest.approx(metric.score.channels)
    kept = [a + b for a, b, live in zip(data.spatial, data.channels, data.productive, strict=True)
            if live]  # fmt: skip
    assert sum(kept) == pytest.approx(metric.productive.total)
    figure = field_figures.earned(data, "found")
    assert sum(sum(bar.y) for bar in figure.data) == pytest.approx(metric.score.total)


def test_rows_of_two_networks_keep_their_order():
    rows = read(Net(), (32, 32))[0].layers
    assert merged(rows, rows) == [(row, row) for row in rows]
    assert merged(rows[:2], rows[1:]) == [
        (rows[0], None), (rows[1], rows[1]), *((None, row) for row in rows[2:])]  # fmt: skip
    assert merged([], rows) == [(None, row) for row in rows]


def test_pictures_of_masses_fit():
    mass = np.random.default_rng(0).random((224, 224))
    found = pictures.masses([mass, None, np.zeros((4, 4))], 10**6)
    assert found[0].startswith("data:image/png;base64,")
    assert found[1:] == ["", ""]
    small = pictures.masses([mass] * 10, 30_000)
    assert sum(map(len, small)) <= 30_000
    assert all(small)
    assert pictures.masses([mass], 10) == [""]


def test_where_it_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        write_page([reading(effective=False)], [picture()], tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("whole_plotly")
def test_two_whole_networks_under_six_megabytes(tmp_path):
    found = read(mobilenet_v2(), (224, 224), model="a")[0]
    masses = tuple(np.random.default_rng(0).random((224, 224)) for _ in found.layers)
    sizes = tuple({0.5: (9, 9), 0.9: (99, 99)} for _ in masses)
    full = Reading(found.model, found.analysis, "random", found.smallest, found.boxes,
                   Effective("noise", 16, masses, sizes))  # fmt: skip
    images = [Picture("x", one) for one in photographs((224, 224))]
    path = write_page([full, full], images, tmp_path / "page.html")
    assert path.stat().st_size < 6_000_000


def test_in_the_report_of_a_run(make_run):
    folder = make_run()
    assert field_records.section(read_records(folder)) is None, "these files hold no fields"
    analysis = walk(Net(), (64, 64))
    frame = read_records(folder).layers
    write_layers(analysis.layers, folder / "rows.csv")
    rows = pd.read_csv(folder / "rows.csv")
    assert field_records.layers_of(rows) == analysis.layers
    both = pd.concat([frame, rows.reindex(columns=list({*frame.columns, *rows.columns}))])
    both["name"] = both["name"].fillna("")
    for name in ("layers.csv", "layers_plain.csv"):
        both.to_csv(folder / name, index=False)
    found = Page(page.render(read_records(folder)))
    data = json.loads(found.data)
    assert [one["name"] for one in data["networks"]] == ["found", "plain"]
    boxed = [layer["boxes"] for layer in data["networks"][0]["layers"] if layer["boxes"]]
    assert [27, 27, 11, 11] in [boxes["field"] for boxes in boxed]  # unit 16 of 32: 32 − 5
    assert "What every layer sees" in " ".join(found.words)
    assert field_page.COLOURS == ("found", "plain")
