"""`rfsearch optimize` to its folder, and the folder read again."""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import rfsearch
from rfsearch import data
from rfsearch.engine.export import export_and_tell
from rfsearch.engine.optimize import Options, optimize_and_tell
from rfsearch.engine.optimized import OptimizedFolder
from rfsearch.engine.retrain import NETWORKS, Retraining, dataset, settled
from rfsearch.errors import UserError
from rfsearch.optimize.proposal import Optimized
from rfsearch.optimize.staged import ORIGINALS, Stage, Staged, Stem
from rfsearch.reporting.progress import Progress
from rfsearch.training.fit import Fit
from rfsearch.training.processes import fabric
from rfsearch.trials import Claim, RunFolder

SMALL = Staged("basic", Stem(16, 3, 2, True), (Stage(16, 1, 1), Stage(32, 2, 2)))
TINY = (
    "plan.images=128", "plan.test_images=48", "plan.retrain_epochs=2", "plan.retrain_seeds=2",
    "plan.latency_runs=2", "plan.threads=1",
)  # fmt: skip
LEFT = {"config.json", "architecture.json", "layers.csv", "proposal.json", "report.html"}
TRAINED = {"environment.json", "history.jsonl", "metrics.json", "model.safetensors",
           "original.safetensors", "checkpoint"}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def small():
    """resnet18 is a network that trains in a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ORIGINALS, "resnet18", SMALL)
        yield


def options(out, **changes):
    usual = {"level": "both", "epsilon": 0.2, "image_size": 16, "retrain": True,
             "assignments": TINY}  # fmt: skip
    return Options(out=out, **{**usual, **changes})


@pytest.fixture(scope="module")
def retrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("optimize") / "retrained"
    return folder, optimize_and_tell("resnet18", options(folder))


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("optimize") / "untrained"
    optimize_and_tell("resnet18", options(folder, retrain=False, assignments=()))
    return folder


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_retraining_leaves_every_file_and_tells_what_happened(retrained):
    folder, told = retrained
    assert {path.name for path in folder.iterdir()} - {".lock"} == LEFT | TRAINED | {"curve.csv"}
    record = read(folder / "metrics.json")
    for kind in ("original", "proposed"):
        one = record["networks"][kind]
        assert len(one["accuracies"]) == 2
        assert one["scores"] == one["accuracies"]
        assert one["mean"] == pytest.approx(sum(one["accuracies"]) / 2)
        assert one["sd"] == pytest.approx(
            abs(one["accuracies"][0] - one["accuracies"][1]) / 2**0.5
        )
        assert one["latency"]["seconds"] > 0
        assert one["seconds"] > 0
        weights = load_file(folder / "checkpoint" / f"{kind}-0.safetensors")
        no_parameters = ("running_mean", "running_var", "num_batches_tracked")
        counted = sum(v.numel() for k, v in weights.items() if not k.endswith(no_parameters))
        assert one["params"] == counted
        mean = f"{100 * one['mean']:.1f} ± {100 * one['sd']:.1f} %"
        assert mean in told
        assert mean in (folder / "report.html").read_text()
    gap = record["networks"]["proposed"]["mean"] - record["networks"]["original"]["mean"]
    assert record["difference"]["mean"] == pytest.approx(gap)
    assert "too few for a verdict" in told
    assert told.endswith(str(folder / "report.html"))
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert len(lines) == 8


def test_both_networks_meet_the_same_images_of_a_seed(tmp_path):
    """A training's seed decides its batches (tests/training/test_fit.py)."""
    found = Optimized("resnet18", (16, 16), SMALL, SMALL)
    training = settled("digits", "quick", 0, TINY)
    made = dataset(training, (16, 16), download=False)
    run = Retraining(found, training, made, RunFolder(tmp_path), fabric("cpu"), Progress())
    one, two = ([run.fit(kind, index) for kind in NETWORKS] for index in (0, 1))
    assert one[0].seed == one[1].seed != two[0].seed == two[1].seed
    first, second, third = (fit.network.stem[0].weight for fit in (*one, two[0]))
    assert torch.equal(first, second), "of equal layers the same first weights"
    assert not torch.equal(first, third)


def test_a_training_of_few_steps_goes_through_and_is_told_by_its_metric(tmp_path):
    few = ("plan.images=32", "plan.retrain_epochs=1", "plan.retrain_seeds=1")
    by = "metric.name=likelihood"
    told = optimize_and_tell("resnet18", options(tmp_path / "few", assignments=(*TINY, *few, by)))
    record = read(tmp_path / "few" / "metrics.json")
    assert record["metric"] == "likelihood"
    for one in record["networks"].values():
        assert one["scores"] == [one["mean"]] != one["accuracies"]
        assert f"{100 * one['mean']:.1f} %" in told
    assert "test likelihood" in told
    assert "likelihood, test split" in (tmp_path / "few" / "report.html").read_text()


def test_a_metric_that_says_nothing_of_so_few_classes_is_refused():
    training = settled("mydata:two", "quick", 0, ("metric.name=top5_accuracy",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda *_, **__: SimpleNamespace(classes=("a", "b")))
        with pytest.raises(UserError, match="needs 6 classes or more, and mydata:two has 2"):
            dataset(training, (16, 16), download=False)


def test_what_was_trained_is_loaded_and_reaches_the_same(retrained):
    """The two files alone, on test data made anew."""
    folder, _ = retrained
    alone = folder.parent / "alone"
    alone.mkdir()
    for name in ("architecture.json", "model.safetensors"):
        shutil.copy(folder / name, alone)
    one, two = rfsearch.load(folder), rfsearch.load(alone)
    taken = read(folder / "architecture.json")["input"]
    x = torch.randn(2, taken["channels"], *taken["image_size"])
    assert torch.equal(one(x), two(x))
    made = data.load("digits", image_size=(16, 16), images=128, test_images=48)
    assert taken["mean"] == list(made.mean)
    mean, std = (torch.tensor(v)[:, None, None] for v in (made.mean, made.std))
    right = one((made.test.pixels / 255 - mean) / std).argmax(1) == made.test.labels
    assert float(right.float().mean()) == pytest.approx(
        read(folder / "metrics.json")["networks"]["proposed"]["accuracies"][0])  # fmt: skip


def test_what_was_trained_is_exported(retrained, tmp_path, monkeypatch):
    folder, _ = retrained
    told = export_and_tell(folder, "code", tmp_path)
    assert "random" not in told.replace("random images", "")
    monkeypatch.syspath_prepend(tmp_path)
    network = importlib.import_module("network").load(tmp_path / "network.pt")
    monkeypatch.delitem(sys.modules, "network")
    x = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(network(x), rfsearch.load(folder)(x))


def test_weights_that_are_random_or_missing_are_told_when_exported(untrained, retrained, tmp_path):
    assert "not retrained (--retrain)" in export_and_tell(untrained, "torch", tmp_path / "away")
    stopped = shutil.copytree(retrained[0], tmp_path / "stopped")
    (stopped / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"not trained yet; go on .* --resume"):
        export_and_tell(stopped, "torch")


def test_architecture_json_alone_rebuilds_the_network(untrained, tmp_path):
    """The same parameters and multiply-adds as were told; the same outputs with its weights."""
    shutil.copy(untrained / "architecture.json", tmp_path)
    told = read(untrained / "proposal.json")["proposed"]
    first, second = rfsearch.load(untrained), rfsearch.load(tmp_path)
    assert sum(p.numel() for p in second.parameters()) == told["params"]
    reading = rfsearch.analyze(tmp_path, gain=True)
    assert reading.analysis.totals.params == told["params"]
    assert reading.analysis.totals.macs == told["macs"]
    assert reading.gains.productive.path == pytest.approx(told["productive"])
    assert reading.analysis.image_size == (16, 16)
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(first(x), second(x)), "random weights are those of a seed"
    assert not torch.equal(first(x), OptimizedFolder.at(untrained).proposed(1)(x))


def test_a_folder_is_analyzed_beside_its_original(untrained, retrained, tmp_path):
    from rfsearch.engine.analyze import Options as Analysis
    from rfsearch.engine.analyze import analyze_and_tell

    for folder, weights in ((untrained, "random, seed 0"), (retrained[0], "trained alike")):
        page = tmp_path / f"{folder.name}.html"
        analyze_and_tell([str(folder)], Analysis(), "html", page)
        text = page.read_text(encoding="utf-8")
        assert f"{folder.name}: proposed" in text
        assert f"{folder.name}: original" in text
        assert weights in text
    rows = list(csv.DictReader(
        analyze_and_tell([str(untrained)], Analysis(), "csv")[0].splitlines()))  # fmt: skip
    assert sum(int(row["params"]) for row in rows) == read(untrained / "proposal.json")[
        "proposed"]["params"]  # fmt: skip


def test_stopped_and_gone_on_with_equals_never_stopped(retrained, tmp_path, monkeypatch):
    folder, calls, advance = tmp_path / "stopped", [], Fit.advance

    def stop_at_five(self, *tick):
        calls.append(self.epoch)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return advance(self, *tick)

    monkeypatch.setattr(Fit, "advance", stop_at_five)
    with pytest.raises(KeyboardInterrupt):
        optimize_and_tell("resnet18", options(folder))
    assert not (folder / "model.safetensors").exists()
    with pytest.raises(UserError, match=r"not trained yet; go on with .* --resume"):
        rfsearch.load(folder)
    monkeypatch.undo()
    monkeypatch.setitem(ORIGINALS, "resnet18", SMALL)
    optimize_and_tell("resnet18", options(folder, resume=True))
    for name in ("original-0", "original-1", "proposed-0", "proposed-1"):
        one, two = (
            hashlib.sha256((path / "checkpoint" / f"{name}.safetensors").read_bytes()).digest()
            for path in (folder, retrained[0])
        )
        assert one == two, name
    assert len((folder / "history.jsonl").read_text().splitlines()) == 8


def test_a_finished_folder_says_so(retrained):
    folder, _ = retrained
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert "finished already" in optimize_and_tell("resnet18", options(folder, resume=True))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "go on with it by --resume"),
        ({"resume": True, "seed": 1}, "begun with other options: seed 0 → 1"),
        ({"resume": True, "assignments": TINY[1:]}, "training.plan.images 128 → 4000"),
        ({"resume": True, "retrain": False, "assignments": ()}, "training"),
    ],
)
def test_other_options_do_not_go_on(retrained, changes, told):
    with pytest.raises(UserError, match=told):
        optimize_and_tell("resnet18", options(retrained[0], **changes))


def test_a_folder_that_another_process_writes_is_left_alone(tmp_path):
    asked = options(tmp_path / "one", retrain=False, assignments=())
    with Claim(tmp_path / "one") as claim:
        claim.take()
        with pytest.raises(UserError, match="is in use by process"):
            optimize_and_tell("resnet18", asked)
    assert not (tmp_path / "one" / "config.json").exists()


def test_stages_that_cannot_be_moved_are_told_and_analyzed(tmp_path):
    notes = []
    told = optimize_and_tell(
        "rfnet6", Options(level="stage", image_size=32, out=tmp_path / "none"), 100, notes.append
    )
    assert "the stages of rfnet6 cannot be moved" in notes[0]
    assert "resnet18" in notes[0]
    assert "no folder is written" in notes[0]
    assert "3DRF-style score" in told
    assert "cumulative" in told
    assert not (tmp_path / "none").exists()


def test_a_changed_file_is_told(untrained, tmp_path):
    file = tmp_path / "architecture.json"
    record = read(untrained / "architecture.json")
    assert record["choices"]

    def operator(one):
        return one["choices"][0]["operators"][0]

    changes = {
        "holds no proposed network": lambda r: r["backbone"]["arguments"].pop("stages"),
        "no layer stages.9.0.conv1": lambda r: r["choices"][0].update(slot="stages.9.0.conv1"),
        "does not fit": lambda r: operator(r).update(name="grouped", arguments={"groups": 7}),
        "format 9": lambda r: r.update(format=9),
        "unknown kernel": lambda r: operator(r).update(name="dens"),
    }
    for told, change in changes.items():
        changed = json.loads(json.dumps(record))
        change(changed)
        file.write_text(json.dumps(changed))
        with pytest.raises(UserError, match=told):
            rfsearch.load(tmp_path)
