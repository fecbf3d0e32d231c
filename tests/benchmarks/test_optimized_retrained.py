"""Rows that are missing are added once, and the page tells what they say, losses first."""

from __future__ import annotations

import csv

import pytest

import optimized_retrained as bench
from rfsearch.optimize import figures, original


def row(level, seed):
    return bench.Row("resnet18", level, 16, 0.25, "digits", 64, 1, seed)


def line(level, seed, accuracy):
    numbers = {"accuracy": accuracy, "params": 10, "macs": 10**6, "milliseconds": 1.0,
               "minutes": 0.1, "proposal": level}  # fmt: skip
    own = dict(zip(bench.KEY, row(level, seed).key, strict=True))
    return {**own, **{name: str(value) for name, value in numbers.items()}}


def test_a_stopped_script_goes_on_where_it_stopped(tmp_path, monkeypatch):
    path, trained = tmp_path / "retrained.csv", []

    def train(one, made):
        trained.append((one.level, one.seed, made))
        if len(trained) == 2:
            raise KeyboardInterrupt
        return line(one.level, one.seed, 0.5)

    monkeypatch.setattr(bench, "train", train)
    monkeypatch.setattr(bench, "expected", lambda *_: 1.0)
    monkeypatch.setattr(bench, "dataset", lambda spec, *_: spec)
    rows = [row(level, seed) for seed in (0, 1) for level in ("original", "stage")]
    with pytest.raises(KeyboardInterrupt):
        bench.add(rows, "digits:somewhere", 32, path)
    bench.add(rows, "digits:somewhere", 32, path)
    bench.add(rows, "digits:somewhere", 32, path)
    assert [one[:2] for one in trained] == [
        ("original", 0), ("stage", 0), ("stage", 0), ("original", 1), ("stage", 1),
    ]  # fmt: skip
    assert {made for _, _, made in trained} == {"digits:somewhere"}
    with path.open(newline="") as file:
        assert [found["level"] for found in csv.DictReader(file)] == ["original", "stage"] * 2


def test_the_page_tells_losses_first():
    lines = [line("original", 0, 0.5), line("original", 1, 0.6), line("stage", 0, 0.7),
             line("stage", 1, 0.7), line("kernel", 0, 0.4), line("kernel", 1, 0.5),
             line("both", 0, 0.6), line("both", 1, 0.5)]  # fmt: skip
    text = bench.page(lines)
    order = [text.index(words) for words in ("**worse**, -10.0", "**not told apart**, +0.0",
                                             "**better**, +15.0")]  # fmt: skip
    assert order == sorted(order)
    assert "| original | 55.0 ± 7.1 % (n = 2) | 10 | 1.0 M | 1.00 |" in text
    assert "by seed +20.0, +10.0" in text


def test_a_narrow_network_has_a_share_of_the_channels():
    net = bench.narrowed(original("resnet18"), 0.25)
    assert (net.stem.width, [stage.width for stage in net.stages]) == (16, [16, 32, 64, 128])
    whole, part = (figures(one, (16, 16)).params for one in (original("resnet18"), net))
    assert 10 < whole / part < 16
    assert bench.narrowed(original("vgg11"), 0.5).stem.width == 0
