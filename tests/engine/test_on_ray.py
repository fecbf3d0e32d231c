"""A search and cells on a cluster of two nodes: the same as here, when one of them is killed."""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path

import pytest

from rfsearch.engine import executors
from rfsearch.engine.config import Request, settle
from rfsearch.engine.on_ray import connect
from rfsearch.engine.ray_tasks import load
from rfsearch.engine.run import Silent, search
from rfsearch.engine.settings import ExecutorSettings
from rfsearch.errors import UserError
from rfsearch.trials import contents, run_folder, write_contents

SCRIPT = Path(__file__).with_name("ray_cluster.py")
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install '.[ray]'"
)


@pytest.fixture(scope="module")
def found(carried_out):
    """What the cluster's own process told."""
    return carried_out(SCRIPT, 1500)


@needs_ray
@pytest.mark.slow
def test_trials_are_those_made_here_when_a_node_is_killed(found):
    here, there = found["here"], found["there"]
    assert found["killed"]
    assert [number for number, *_ in there["trials"]] == list(range(9)), "none lost, none twice"
    assert there["trials"] == here["trials"]
    assert there["weights"] == here["weights"]
    assert sum(found["victim"] in node for node in there["nodes"]) == 1, "and one was lost there"
    assert found["notes"] == ["Ray: room for 2 at a time on 2 nodes"]


@needs_ray
@pytest.mark.slow
def test_a_trial_that_dies_or_finds_no_memory_has_failed(found):
    by_operator = {
        "identity": ["complete", ""],
        "max 3": ["failed", "WorkerCrashedError"],
        "avg 3": ["failed", "OutOfMemoryError: CUDA out of memory"],
    }
    assert {label for label, *_ in found["dying"]} == set(by_operator)
    for label, state, error in found["dying"]:
        wanted, words = by_operator[label]
        assert state == wanted
        assert error.startswith(words)


@needs_ray
@pytest.mark.slow
def test_cells_are_those_made_here_and_their_progress_comes_back(found):
    cells = found["cells"]
    assert cells["there"] == cells["here"]
    assert {"metrics.json", "predictions.csv", "study.journal"} < set(
        cells["there"]["random-0"]["files"]
    )
    kinds = [tuple(one) for one in cells["heard"]]
    assert kinds.count(("done", "plain-0")) == kinds.count(("done", "random-0")) == 1
    assert kinds.count(("epoch", "plain-0")) == 1


def test_a_missing_ray_names_the_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'rfsearch\[ray\]'"):
        load()


def test_mistakes_of_executors():
    asked = {"backbone": "rfnet6", "strategy": "random"}
    with pytest.raises(UserError, match="unknown executor 'rai'; did you mean 'ray'"):
        settle(Request(**asked, executor="rai"))
    with pytest.raises(UserError, match="--ray-address is for --executor ray"):
        settle(Request(**asked, ray_address="auto"))
    with pytest.raises(UserError, match="pmpl trains one supernet"):
        settle(Request(backbone="rfnet6", executor="ray"))
    for key, value in {"batch": 0, "retries": -1, "cpus": -1, "gpus": -2}.items():
        with pytest.raises(UserError, match=rf"executor\.{key} must be"):
            settle(Request(**asked, assignments=(f"executor.{key}={value}",)))
    words = ("executor.batch=11",)
    with pytest.raises(UserError, match=r"nni-evolution's population of 10; use --set"):
        settle(Request(backbone="rfnet6", strategy="nni-evolution", assignments=words))


def test_batches_are_larger_on_a_cluster_unless_told():
    asked = {"backbone": "rfnet6", "strategy": "tpe"}
    assert settle(Request(**asked)).settings["executor.batch"] == 1
    assert settle(Request(**asked, executor="ray")).settings["executor.batch"] == 8
    told = settle(Request(**asked, executor="ray", assignments=("executor.batch=3",)))
    assert told.settings["executor.batch"] == 3


@pytest.mark.parametrize("name", executors.EXECUTORS)
def test_every_executor_is_made_without_a_connection(name):
    assert executors.executor(name).trials is None or name != "inline"


def test_a_folder_travels_whole_and_is_done_last(tmp_path, monkeypatch):
    (tmp_path / "a" / "checkpoint").mkdir(parents=True)
    for name in ("metrics.json", "checkpoint/state.pt", "zebra"):
        (tmp_path / "a" / name).write_bytes(name.encode())
    files = contents(tmp_path / "a")
    written, real = [], run_folder.replacing
    monkeypatch.setattr(
        run_folder, "replacing", lambda path: (written.append(path.name), real(path))[1]
    )
    write_contents(tmp_path / "b", files)
    assert written == ["state.pt", "zebra", "metrics.json"], "metrics.json says that all is there"
    assert contents(tmp_path / "b") == files
    assert contents(tmp_path / "c") == {}


@pytest.mark.parametrize(
    ("address", "told"),
    [("head:1", "no Ray cluster answers at head:1 .refused"), (None, "Ray does not start")],
)
def test_no_cluster_is_told(monkeypatch, address, told):
    class Absent:
        @staticmethod
        def init(*_, **__):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise ConnectionError("refused\nand more")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(UserError, match=told) as caught:
        connect(Absent, address)
    assert len(str(caught.value).splitlines()) == 1
    assert signal.getsignal(signal.SIGTERM) == before


class Noted(Silent):
    """Keeps what it is told, and ends the search before its first trial."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)
        raise KeyboardInterrupt


def test_an_asynchronous_search_says_that_it_cannot_be_repeated(begin, tmp_path):
    noted = Noted()
    asked = [("executor.asynchronous", "true")]
    run = begin(tmp_path / "run", noted, strategy="random", settings=asked)
    with pytest.raises(KeyboardInterrupt):
        search(run)
    assert "cannot be repeated" in noted.notes[0]


def test_a_resume_may_go_on_elsewhere_but_not_in_other_batches(begin, tmp_path):
    folder = tmp_path / "run"
    begin(folder, strategy="random", settings=[("executor.batch", 8)])
    where = [("executor.cpus", 3), ("executor.gpus", 0), ("executor.retries", 1)]
    again = begin(folder, strategy="random", executor="ray", resume=True, settings=where)
    assert again.config.group(ExecutorSettings).cpus == 3
    assert again.executor.trials is not None
    with pytest.raises(UserError, match=r"executor\.batch 8 → 1"):
        begin(folder, strategy="random", resume=True)
