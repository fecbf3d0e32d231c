"""What a disk and other people can do to a run: two lines say what is wrong and what would be
right, and once that is so the run goes on to the end that it would have had."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from functools import cache

import pytest
from typer.testing import CliRunner

from rfsearch.cli import app
from rfsearch.trials import load_study

SETTINGS = {
    "plan.threads": 1,
    "plan.width": 0.25,
    "plan.images": 64,
    "plan.test_images": 32,
    "plan.warmup_epochs": 0,
    "plan.search_epochs": 2,
    "plan.adapt_epochs": 0,
    "plan.retrain_epochs": 1,
    "plan.trials": 3,
    "plan.proxy_epochs": 1,
    "plan.proxy_images": 32,
    "plan.effective_images": 1,
    "plan.latency_runs": 1,
    "recipe.batch_size": 16,
    "pmpl.alpha_batch": 16,
}
KEPT = ("architecture.json", "config.json", "model.safetensors", "plain.safetensors",
        "predictions.csv", "layers.csv")  # fmt: skip
MOUNTS = sys.platform == "linux" and os.geteuid() == 0


@pytest.fixture(scope="module")
def words(tiny_space):
    """Of a run that takes a second; ``words(out)``, of another strategy by its name."""

    def make(out, strategy="pmpl"):
        settings = [word for key, v in SETTINGS.items() for word in ("--set", f"{key}={v}")]
        return ["run", "--backbone", "rfnet6", "--strategy", strategy, "--space", tiny_space,
                "--image-size", "16", "--device", "cpu", "--out", str(out), "--resume",
                *settings]  # fmt: skip

    return make


def invoke(words):
    return CliRunner().invoke(app, words)


def refused(words, *parts):
    """Exit code 2, no traceback, and the last line says all of this."""
    found = invoke(words)
    assert found.exit_code == 2, (found.output, found.exception)
    assert "Traceback" not in found.output
    told = found.stderr.splitlines()[-1]
    for part in parts:
        assert part in told
    return told


def trials_of(folder):
    """As often as they stand there."""
    trials = load_study(folder / "study.journal").get_trials(deepcopy=False)
    return sorted((one.user_attrs["number"], str(one.value), str(one.params)) for one in trials)


def outcome(folder):
    return {**{name: (folder / name).read_bytes() for name in KEPT}, "trials": trials_of(folder)}


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    """``whole(strategy)``: what a run leaves that nothing befell."""

    @cache
    def make(strategy):
        folder = tmp_path_factory.mktemp("whole") / strategy
        done = invoke(words(folder, strategy))
        assert done.exit_code == 0, done.output
        return outcome(folder)

    return make


def ends_as(expected, folder, words):
    done = invoke(words)
    assert done.exit_code == 0, (done.output, done.exception)
    assert outcome(folder) == expected
    assert not list(folder.rglob("*.partial"))


@contextmanager
def mounted(place, size):
    """A disk of so many bytes; it may be made larger, and read-only."""
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)],
                          capture_output=True)  # fmt: skip
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield lambda options: subprocess.run(
            ["mount", "-o", f"remount,{options}", str(place)], check=True
        )
    finally:
        subprocess.run(["umount", str(place)], check=True)


def begun(words, epochs, monkeypatch):
    """A run that was interrupted after so many epochs or trials."""
    left = [epochs]

    def epoch(*_):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rfsearch.reporting.progress.Progress.epoch", epoch)
        assert invoke(words).exit_code == 130


@pytest.mark.slow
@pytest.mark.skipif(not MOUNTS, reason="to mount a disk takes root, on Linux")
@pytest.mark.parametrize(("strategy", "size"), [("tpe", "32k"), ("pmpl", "160k")])
def test_a_disk_that_is_full(strategy, size, whole, words, tmp_path):
    """It fills up within the search or after it; then there is room again."""
    folder = tmp_path / "disk" / "run"
    with mounted(folder.parent, size) as remount:
        refused(words(folder, strategy), "cannot write", "no space is left", "--resume")
        remount("size=100m")
        ends_as(whole(strategy), folder, words(folder, strategy))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no such limit")
def test_files_that_may_not_grow(whole, words, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        refused(words(tmp_path / "run"), "cannot write", "may not grow", "--resume")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    ends_as(whole("pmpl"), tmp_path / "run", words(tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.skipif(not MOUNTS, reason="to mount a disk takes root, on Linux")
def test_a_folder_that_is_read_only(whole, words, tmp_path, monkeypatch):
    folder = tmp_path / "disk" / "run"
    with mounted(folder.parent, "100m") as remount:
        begun(words(folder), 2, monkeypatch)
        remount("ro")
        refused(words(folder), str(folder), "read-only", "--resume")
        new = folder.parent / "new"
        refused(words(new), f"--out {new} cannot be written: Read-only", "another folder")
        remount("rw")
        ends_as(whole("pmpl"), folder, words(folder))


@pytest.mark.parametrize(("trials", "lost"), [(1, 1), (3, 40)])
def test_a_journal_that_lost_its_end(trials, lost, words, tmp_path, monkeypatch, whole):
    """The trial that was torn is in the study again, be it the last one."""
    folder = tmp_path / "run"
    begun(words(folder, "tpe"), trials, monkeypatch)
    cut(folder / "study.journal", lost)
    with monkeypatch.context() as patch:
        patch.setattr("rfsearch.engine.whole.retrain", interrupted)
        assert invoke(words(folder, "tpe")).exit_code == 130
    assert trials_of(folder) == whole("tpe")["trials"]
    architecture = (folder / "architecture.json").read_bytes()
    assert architecture == whole("tpe")["architecture.json"]
    cut(folder / "study.journal", lost)
    monkeypatch.setattr("rfsearch.engine.whole.retrain", lambda *_: None)
    refused(words(folder, "tpe"), "study.journal", "holds 2 of the 3 trials", "restore it")


def interrupted(*_):
    raise KeyboardInterrupt


def cut(path, lost):
    os.truncate(path, path.stat().st_size - lost)


@pytest.mark.parametrize(("when", "number"), [("step", 3), ("epoch", 2)])
def test_a_folder_that_is_removed(when, number, words, tmp_path, monkeypatch):
    """Told at the end of the epoch, with nothing left in its place; it may be begun anew."""
    folder, calls = tmp_path / "run", []

    def removed(_, *told):
        calls.append(told)
        if len(calls) == number:
            shutil.rmtree(folder)

    with monkeypatch.context() as patch:
        patch.setattr(f"rfsearch.reporting.progress.Progress.{when}", removed)
        patch.setattr("rfsearch.engine.whole.retrain", wrongly)
        refused(words(folder), f"{folder} was removed while", "begin again", "--resume")
    assert not folder.exists()
    begun(words(folder), 1, monkeypatch)


def wrongly(*_):
    raise AssertionError("it goes on without its folder")


TORN = {
    "config.json": "config.json, line",
    "architecture.json": "architecture.json, line",
    "history.jsonl": "history.jsonl",
    "checkpoint/state.pt": "delete it to start its phase again",
    "checkpoint/adapted.safetensors": "restore it, or begin a new run",
    "checkpoint/found-0.safetensors": "delete it and go on by --resume, which trains it again",
}


@pytest.mark.slow
def test_torn_files_are_told_and_may_be_put_back(words, tmp_path, monkeypatch, whole):
    """Half of each file that a resume reads; the run is where it trains the plain network."""
    folder = tmp_path / "run"
    begun(words(folder), 4, monkeypatch)
    for name, told in TORN.items():
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        refused(words(folder), str(path), told)
        path.write_bytes(content)
    (folder / "checkpoint" / "found-0.safetensors").unlink()
    ends_as(whole("pmpl"), folder, words(folder))
