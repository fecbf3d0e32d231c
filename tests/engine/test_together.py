"""A run by several processes: one folder, one voice, and any number of them goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from rfsearch.cli import app, explained
from rfsearch.engine.compare import compare
from rfsearch.engine.config import Request
from rfsearch.engine.start import check_alike, prepare
from rfsearch.engine.together import check_shared, placed
from rfsearch.errors import UserError
from rfsearch.strategies import STRATEGIES
from rfsearch.training.shares import Lost, Shares
from rfsearch.trials import RunFolder

TOP = Path(__file__).parents[2]
FOLLOWS = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}


@pytest.fixture
def following(monkeypatch):
    """This process is the second of two."""
    for name, value in FOLLOWS.items():
        monkeypatch.setenv(name, value)


@dataclass
class Second(Shares):
    """The second of two, and what the first one tells it."""

    told: object = None
    others: dict[str, list[str]] = field(default_factory=dict)
    rank, num = 1, 2

    def first(self, make):
        del make
        return self.told

    def differing(self, told):
        assert self.others.keys() <= told.keys()
        return self.others


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"executor": "ray", "strategy": "tpe"}, "--executor ray finds machines by itself"),
        ({"strategy": "tpe"}, "64 processes train one network, and tpe trains many"),
        ({"strategy": "nni-darts"}, "start one process, with --executor ray"),
        ({"download": True}, "--download is for one process"),
        ({}, "recipe.batch_size=32 leaves some of 64 processes without an image"),
        ({"assignments": ("recipe.batch_size=64",)}, "use --set pmpl.alpha_batch=64 or more"),
    ],
)
def test_what_several_processes_cannot_make_is_told_first(changes, told):
    with pytest.raises(UserError, match=told):
        check_shared(Request(backbone="rfnet6", **changes), 64)


def test_supernets_of_our_own_loop_are_trained_together():
    shared = {name for name, entry in STRATEGIES.items() if entry.shared}
    assert {"pmpl", "pmpl-mixed", "darts", "random-shared"} <= shared
    assert all(STRATEGIES[name].spends != "trials" for name in shared)
    assert not {name for name in shared if name.startswith("nni")}


def test_options_that_contradict_whoever_started_it(following):
    del following
    for more in ("--devices", "--num-nodes"):
        found = CliRunner().invoke(app, ["run", "--backbone", "rfnet6", more, "3"])
        assert found.exit_code == 2
        assert not found.stderr, "the first process tells"


def test_many_machines_must_know_of_each_other():
    words = ["run", "--backbone", "rfnet6", "--num-nodes", "2"]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 2
    assert "NODE_RANK" in found.stderr
    assert "MASTER_ADDR" in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_a_comparison_is_made_by_one_process(following):
    del following
    with pytest.raises(UserError, match="made by one process, and torchrun started 2"):
        compare(None)


@pytest.mark.parametrize(
    ("error", "said"),
    [(UserError("wrong"), ""), (Lost("gone"), ""), (MemoryError(), "there is not enough memory")],
)
def test_the_others_say_what_is_theirs_alone(following, capsys, error, said):
    del following
    with pytest.raises(typer.Exit) as left, explained(debug=False):
        raise error
    assert left.value.exit_code == 2
    told = capsys.readouterr().err
    assert (said in told) if said else not told


def test_the_others_work_in_a_copy_that_goes_away(tmp_path):
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    request = Request(backbone="rfnet6", out=tmp_path / "run", storage="sqlite:///x")
    for name in ("history.jsonl", "checkpoint/state.pt", "study.journal", "report.html"):
        (tmp_path / "run" / name).write_text(name)
    with placed(request, Shares()) as mine:
        assert mine is request
    carried = {"history.jsonl": b"one", "checkpoint/state.pt": b"two"}
    with placed(request, Second(carried)) as mine:
        assert mine.folder != request.folder
        assert mine.storage is None, "one process writes to a database"
        assert (mine.folder / "checkpoint" / "state.pt").read_bytes() == b"two"
    assert not mine.folder.exists()


def test_processes_on_other_data_are_told_apart(make_request, silent, tmp_path):
    from rfsearch.engine.config import settle
    from rfsearch.engine.start import load_data

    config = settle(make_request(tmp_path / "run"))
    run = prepare(config, RunFolder(tmp_path / "run"), load_data(config), silent())
    check_alike(run, Second())
    other = {f"images under {config.data}": ["0123456789abcdef", "fedcba9876543210"]}
    with pytest.raises(UserError, match="0123456789ab in process 0, fedcba987654 in process 1"):
        check_alike(run, Second(others=other))


# --- the whole way ---------------------------------------------------------------------------

TINY = {
    "plan.threads": 1, "plan.width": 0.25, "plan.warmup_epochs": 0, "plan.search_epochs": 2,
    "plan.adapt_epochs": 0, "plan.retrain_epochs": 1, "plan.effective_images": 2,
    "plan.latency_runs": 2, "digits.weights_images": 32, "digits.alpha_images": 32,
    "digits.selection_images": 32, "digits.test_images": 32, "recipe.batch_size": 32,
    "pmpl.alpha_batch": 16, "slots.include": "features.block5.conv.1.0,features.block6.conv.1.0",
}  # fmt: skip


def words(out, *more):
    settings = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    return ["run", "--backbone", "rfnet6", "--image-size", "24", "--device", "cpu",
            "--out", str(out), *settings, *more]  # fmt: skip


@pytest.mark.slow
def test_two_processes_leave_one_folder_with_which_one_goes_on(tmp_path):
    """By the command; the second time all but the last training is done, and one process goes on
    with what two have written down."""
    folder = tmp_path / "runs" / "two"
    environment = {
        **os.environ,
        "PYTHONPATH": str(TOP),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(tmp_path / "tmp"),
    }
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "rfsearch", *words(folder, "--devices", "2")],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report.html") == 1
    assert done.stderr.count("training plain") == 1
    assert "2 processes train together" in done.stderr
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"two"}
    left = [path for path in (tmp_path / "tmp").iterdir() if path.name.startswith("rfsearch-")]
    assert not left, "copies go away"
    assert json.loads((folder / "environment.json").read_text())["processes"] == 2
    lines = (folder / "history.jsonl").read_text()
    assert len(lines.splitlines()) == 4
    plain = (folder / "plain.safetensors").read_bytes()
    for name in ("metrics.json", "report.html", "checkpoint/plain-0.safetensors"):
        (folder / name).unlink()
    found = CliRunner().invoke(app, words(folder, "--resume"))
    assert found.exit_code == 0, found.output
    assert (folder / "plain.safetensors").read_bytes() == plain
    assert (folder / "history.jsonl").read_text() == lines
    assert "finished already" in CliRunner().invoke(app, words(folder, "--resume")).stdout
