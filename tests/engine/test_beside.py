"""Found and plain trained side by side: the same networks as one after the other."""

from __future__ import annotations

import multiprocessing
import sys
from dataclasses import replace

import pytest
import torch

from rfsearch.engine.dry_run import Estimate, Phase
from rfsearch.engine.whole import carry_out
from rfsearch.errors import UserError
from rfsearch.trials import History

SIDE_BY_SIDE = {"plan.retrain_processes": 2}
FICKLE = """
import os
import torch
from torch.utils.data import TensorDataset

def images():
    numbers = torch.Generator().manual_seed(os.getpid())
    made = TensorDataset(torch.rand(300, 3, 32, 32, generator=numbers), torch.arange(300) % 2)
    return made, made
"""


class Elsewhere:
    """A fabric on a GPU."""

    device = torch.device("cuda")

    def __init__(self, fabric):
        self.fabric = fabric

    def __getattr__(self, name):
        return getattr(self.fabric, name)


class Stopped(BaseException):
    """As Ctrl-C."""


def outcome(folder):
    weights = [folder.checkpoint / f"{kind}-0.safetensors" for kind in ("found", "plain")]
    lines = [
        {key: value for key, value in line.items() if "seconds" not in key}
        for line in History(folder.history).read()
    ]
    return lines, [path.read_bytes() for path in weights], folder.architecture.read_bytes()


@pytest.fixture(scope="module")
def one_after_the_other(begin, tmp_path_factory):
    opened = begin(tmp_path_factory.mktemp("runs") / "one")
    carry_out(opened)
    return outcome(opened.folder)


def test_side_by_side_is_one_after_the_other(begin, tmp_path, one_after_the_other):
    opened = begin(tmp_path / "run", settings=SIDE_BY_SIDE)
    carry_out(opened)
    assert outcome(opened.folder) == one_after_the_other
    assert not (opened.folder.checkpoint / "plain").exists()
    carry_out(opened)
    assert outcome(opened.folder) == one_after_the_other


@pytest.mark.slow
def test_stopped_while_both_are_trained(begin, silent, tmp_path, one_after_the_other):
    """At the first step of the found network, and when the plain one has told of its end."""

    class AtFound(silent):
        def step(self, phase, *_):
            if phase == "found":
                raise Stopped

    class AtPlain(silent):
        def epoch(self, record):
            if record["phase"] == "plain" and record["epoch"] == record["epochs"]:
                raise Stopped

    for progress in (AtFound(), AtPlain()):
        opened = begin(tmp_path / "run", progress, settings=SIDE_BY_SIDE, resume=True)
        with pytest.raises(Stopped):
            carry_out(opened)
        assert not multiprocessing.active_children()
    assert (opened.folder.checkpoint / "plain").exists()
    opened = begin(tmp_path / "run", settings=SIDE_BY_SIDE, resume=True)
    carry_out(opened)
    assert outcome(opened.folder) == one_after_the_other


def test_images_that_differ_from_process_to_process_are_told(begin, tmp_path, monkeypatch):
    (tmp_path / "fickle.py").write_text(FICKLE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    opened = begin(tmp_path / "run", data="fickle:images", settings=SIDE_BY_SIDE)
    with pytest.raises(UserError, match=r"fickle:images gave other images to the process"):
        carry_out(opened)


def test_on_an_accelerator_one_after_the_other(begin, tmp_path):
    opened = begin(tmp_path / "run", settings=SIDE_BY_SIDE)
    assert opened.side_by_side
    assert not replace(opened, fabric=Elsewhere(opened.fabric)).side_by_side


def test_a_process_that_may_start_no_other_is_told_at_once(begin, tmp_path, monkeypatch):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with pytest.raises(UserError, match=r"may start no other.* --set plan.retrain_processes=1"):
        begin(tmp_path / "run", settings=SIDE_BY_SIDE)
    assert not (tmp_path / "run").exists()
    begin(tmp_path / "run")


def test_expected_seconds_are_those_of_the_longer_one():
    seconds = {"search": 60.0, "found": 30.0, "plain": 25.0}
    phases = tuple(Phase(name, 2, 20, taken) for name, taken in seconds.items())
    one_by_one = Estimate(phases, 20, 0, 0).seconds
    assert Estimate(phases, 20, 0, 0, side_by_side=True).seconds == one_by_one - 25
