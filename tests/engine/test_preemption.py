"""SIGTERM in the middle of an epoch: the state is written, the run goes on to the same end."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time

import pytest
import torch
from typer.testing import CliRunner

from rfsearch.cli import app
from rfsearch.engine import preemption
from rfsearch.engine.preemption import Preempted
from rfsearch.training import checkpoint

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no SIGTERM")


@pytest.fixture(autouse=True)
def untouched():
    """Whoever asks leaves the signals of the tests as they were."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)]
    yield
    assert signal.getsignal(signal.SIGTERM) == before[0]
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    signal.signal(signal.SIGALRM, before[1])


def told_to_end():
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_command_ends_with_its_code_and_the_way_to_go_on(make_request, tmp_path, monkeypatch):
    request = make_request(tmp_path / "run")
    words = ["run", "--backbone", "resnet18", "--space", request.space, "--image-size", "32"]
    words += ["--device", "cpu", "--out", str(request.out)]
    words += [word for one in request.assignments for word in ("--set", one)]
    began = []

    def step(*_):
        if not began:
            began.append(time.monotonic())
            told_to_end()

    monkeypatch.setattr("rfsearch.reporting.progress.Progress.step", step)
    monkeypatch.setattr(sys, "argv", ["rfsearch", *words])
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 130, found.output
    assert time.monotonic() - began[0] < 10
    told = found.stderr.splitlines()[-1]
    assert told.endswith("go on with: " + shlex.join(["rfsearch", *words, "--resume"]))
    state = checkpoint.load(request.out / "checkpoint" / "state.pt")
    assert state["phase"] == "search"
    assert state["trainer"]["within"]["step"] == 1


def test_a_step_without_end_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(preemption, "PATIENCE", 0.05)

    def endless():
        told_to_end()
        assert preemption.asked()
        told_to_end()  # sent to a whole group and then by the parent: counts once
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            torch.zeros(1).item()

    with preemption.heeded(), preemption.stepping(), pytest.raises(Preempted):
        endless()


def test_between_epochs_it_ends_at_once():
    with pytest.raises(Preempted), preemption.heeded():
        told_to_end()
    with preemption.heeded():
        assert not preemption.asked(), "the next one begins anew"
