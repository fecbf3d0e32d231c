"""Cells in processes of their own, stopped from outside: nothing is left running, nothing lost."""

from __future__ import annotations

import errno
import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rfsearch.engine import compare_workers
from rfsearch.engine.messages import Crew
from rfsearch.errors import UserError
from rfsearch.training import checkpoint

TOP = Path(__file__).parents[2]
CALL = [sys.executable, "-m", "rfsearch"]
SETTINGS = {
    "plan.images": 1200,
    "plan.test_images": 64,
    "plan.retrain_epochs": 30,
    "plan.proxy_epochs": 1,
    "plan.proxy_images": 32,
    "plan.latency_runs": 2,
    "recipe.batch_size": 16,
    "compare.samples": 1,
    "compare.single_seeds": 0,
    "compare.retrain_seeds": 1,
    "compare.least_trials": 1,
    "compare.processes": 2,
}
PATIENCE = 240
MARK = "RFSEARCH_TEST_FAMILY"

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


def family(mark):
    """Ids of all processes that were begun with this mark, children of children included."""
    found = set()
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                if f"{MARK}={mark}".encode() in (place / "environ").read_bytes().split(b"\0"):
                    found.add(int(place.name))
            except OSError:
                pass
    return found


def until(what, process=None):
    deadline = time.monotonic() + PATIENCE
    while not (found := what()):
        assert process is None or process.poll() is None, process.returncode
        assert time.monotonic() < deadline, "nothing happens"
        time.sleep(0.02)
    return found


@pytest.fixture
def begin(tiny_space, tmp_path):
    """A comparison of two processes in ``tmp_path / "it"``, and a name for its family."""
    words = ["compare", "--strategies", "random", "--seeds", "0", "--space", tiny_space]
    words += ["--image-size", "16", "--device", "cpu", "--out", "it", "--resume"]
    words += [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    mark = str(tmp_path)

    def begun():
        environment = {**os.environ, "PYTHONPATH": str(TOP), MARK: mark, "COLUMNS": "100",
                       "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": mark}  # fmt: skip
        with (tmp_path / "told").open("w") as told:  # a pipe would be held by orphans
            return subprocess.Popen(
                [*CALL, *words], cwd=tmp_path, env=environment, stderr=told, stdout=told
            )

    yield begun
    for process in family(mark):
        os.kill(process, signal.SIGKILL)


@pytest.mark.slow
def test_two_processes_are_told_to_end(begin, tmp_path):
    """SIGTERM while two cells are made: within ten seconds what was done is kept within an epoch,
    and then all of the family is gone."""
    cells = tmp_path / "it" / "cells"
    process = begin()
    until(lambda: len(list(cells.glob("*/config.json"))) >= 2, process)
    time.sleep(1.5)
    process.terminate()
    asked = time.time()
    assert process.wait(PATIENCE) == 130
    ended = time.monotonic()
    until(lambda: not family(str(tmp_path)))  # multiprocessing's own tracker ends after them
    assert time.monotonic() - ended < 5
    told = (tmp_path / "told").read_text()
    assert "Traceback" not in told
    assert told.splitlines()[-1].startswith("rfsearch: interrupted; go on with: rfsearch compare")
    kept = list(cells.glob("*/checkpoint/state.pt"))
    assert any(checkpoint.load(path)["trainer"].get("within") for path in kept)
    assert max(path.stat().st_mtime for path in kept) - asked < 10


class Worker:
    exitcode = None


class Told:
    """A queue of messages, then silence."""

    def __init__(self, *messages):
        self.messages = list(messages)

    def get(self, timeout):
        del timeout
        if not self.messages:
            raise queue.Empty
        return self.messages.pop(0)


def test_a_worker_that_was_killed_is_told():
    killed = Worker()
    killed.exitcode = -signal.SIGKILL
    crew = Crew([killed, Worker()], Told(("end", "", None)), "a worker", "go on by --resume")
    with pytest.raises(UserError, match=r"ended \(SIGKILL\).*memory; go on by --resume"):
        crew.hear_all(print)


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "history.jsonl")


def told_to_end(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)


def of_two_words(*_):
    class Picky(Exception):
        def __init__(self, one, other):
            super().__init__(f"{one} and {other}")

    raise Picky("this", "that")


@pytest.mark.parametrize(
    ("work", "kind", "words"),
    [
        (full, OSError, "No space left on device: 'history.jsonl'"),
        (told_to_end, UserError, "told to end; go on by --resume"),
        (of_two_words, RuntimeError, "this and that"),
    ],
)
def test_what_breaks_in_a_worker_is_raised_where_it_is_told(work, kind, words, monkeypatch):
    monkeypatch.setattr("rfsearch.engine.compare.open_comparison", work)
    sent = queue.Queue()
    compare_workers.work(None, None, sent)
    with pytest.raises(kind, match=words) as found:
        Crew([Worker()], sent, "a worker", "go on").hear_all(print)
    if kind is OSError:
        assert found.value.errno == errno.ENOSPC
        assert "test_compare_workers.py" in found.value.__notes__[0], "where it broke"
