"""A comparison of seconds: the same numbers from one plan, stopped or not; other benchmarks are
refused; the page says what the records carry."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from rfsearch.backbones.realise import realise
from rfsearch.engine import compare as engine
from rfsearch.engine.compare_cells import Cell, measured
from rfsearch.engine.compare_plan import CompareRequest, digest, parse_arms, reduced
from rfsearch.engine.config import Config, Request, settle
from rfsearch.engine.export import export
from rfsearch.engine.pace import Pace, equal_budget, expected_epochs
from rfsearch.engine.plan import PLANS
from rfsearch.engine.run import Silent, load_architecture
from rfsearch.engine.start import load_data
from rfsearch.errors import UserError
from rfsearch.reporting import compare_data, compare_records, rewrite_report, write_report
from rfsearch.trials import Claim, RunFolder, read_json, write_json

SMALL = {
    "plan.test_images": 64,
    "plan.effective_images": 2,
    "plan.latency_runs": 2,
    "plan.threads": 1,
    "recipe.batch_size": 16,
    "pmpl.alpha_batch": 16,
    "digits.selection_images": 32,
    "plan.width": 0.25,
    "plan.images": 96,
    "plan.warmup_epochs": 1,
    "plan.search_epochs": 1,
    "plan.adapt_epochs": 0,
    "plan.retrain_epochs": 1,
    "plan.proxy_epochs": 1,
    "plan.proxy_images": 32,
    "compare.samples": 2,
    "compare.single_seeds": 0,
    "compare.retrain_seeds": 1,
    "compare.least_trials": 2,
    "compare.processes": 1,
}
TIMES = ["latency_ms", "search_seconds", "retrain_seconds"]


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """The table of latencies does not come from, or go to, the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


class Stopped(BaseException):
    """As Ctrl-C."""


@pytest.fixture(scope="module")
def request_of(tiny_space):
    def make(out, settings=(), **changes):
        assigned = {**SMALL, **dict(settings)}
        options = {
            "strategies": "pmpl,random",
            "seeds": "0,1",
            "space": tiny_space,
            "image_size": 16,
            "device": "cpu",
            "out": out,
            "assignments": tuple(f"{key}={value}" for key, value in assigned.items()),
        }
        return CompareRequest(**{**options, **changes})

    return make


@pytest.fixture(scope="module")
def finished(request_of, tmp_path_factory):
    """A comparison never stopped."""
    folder = tmp_path_factory.mktemp("compare") / "whole"
    engine.compare(request_of(folder))
    return folder


def test_hostile_words_stay_text_on_the_page(finished, tmp_path):
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    folder = shutil.copytree(finished, tmp_path / "<b>&run")
    record = json.loads((folder / "config.json").read_text())
    record["definition"] |= {"data": hostile, "cpu": hostile, "stem": hostile}
    record["reduces"] = hostile
    (folder / "config.json").write_text(json.dumps(record))
    page = rewrite_report(folder).read_text()
    assert page.count("<script") == (finished / "report.html").read_text().count("<script")
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


def test_what_is_reduced_is_told_of_the_comparison_itself():
    small = settle(Request(backbone="rfnet6", image_size=32))
    for word in ("small backbone", "digits of 32x32", "one search seed", "one retraining"):
        assert word in reduced(small)
    whole = Request(backbone="mobilenetv2", data="cifar10:somewhere", image_size=32,
                    assignments=("compare.single_seeds=3", "compare.sample_seeds=2"))  # fmt: skip
    assert reduced(settle(whole)) == ""


def timeless(folder):
    return pd.read_csv(folder / "finals.csv").drop(columns=TIMES)


def test_what_a_comparison_leaves(finished):
    assert {path.name for path in finished.iterdir()} - {".lock"} == {
        *("cells", "config.json", "environment.json", "finals.csv", "latency.json", "report.html"),
    }
    cells = {path.name for path in (finished / "cells").iterdir()}
    assert cells == {
        *("pmpl-0", "pmpl-1", "random-0", "random-1", "plain-0", "plain-1"),
        *("sample00-0", "sample01-1"),
    }
    config = read_json(finished / "config.json")
    assert config["hash"] == digest(config["definition"])
    told = read_json(finished / "latency.json")
    assert len(told["networks"]) == 2
    assert all(one["predicted_ms"] > 0 < one["measured_ms"] for one in told["networks"])
    assert "Latency: predicted" in (finished / "report.html").read_text()
    trials = pd.read_csv(finished / "cells" / "random-0" / "trials.csv")
    planned = {arm["name"]: arm["plan"]["trials"] for arm in config["arms"]}
    assert len(trials) == planned["random"] >= 2


def test_what_arms_have_in_common_is_made_once(finished, request_of, tmp_path, monkeypatch):
    """Another arm adds its searches and nothing else: neither data nor controls."""
    folder, loaded = shutil.copytree(finished, tmp_path / "again"), []
    monkeypatch.setattr(
        engine, "load_data", lambda *a, **k: loaded.append(a) or load_data(*a, **k)
    )
    comparison = engine.open_comparison(request_of(folder, resume=True), Silent())
    pmpl, random = comparison.runs.values()
    assert len(loaded) == 1
    assert pmpl.dataset is random.dataset
    names = [cell.name for _, _, cell in comparison.cells()]
    assert len({*names}) == len(names)
    arms = [*comparison.record["arms"], {"name": "tpe", "folder": "tpe"}]
    more = replace(comparison, runs={**comparison.runs, "tpe": random},
                   record={**comparison.record, "arms": arms})  # fmt: skip
    assert {cell.name for _, _, cell in more.cells()} - {*names} == {"tpe-0", "tpe-1"}
    plain = read_json(folder / "cells" / "plain-0" / "metrics.json")
    lines = (folder / "cells" / "plain-0" / "history.jsonl").read_text().splitlines()
    trainings, epochs = len(plain["accuracies"]), comparison.first.config.plan.retrain_epochs
    assert len(lines) == trainings * epochs


def test_a_dry_run_tells_the_cost_and_writes_nothing(finished, request_of, tmp_path):
    """Timed anew, under a stored plan, and of a comparison begun already."""
    told = engine.dry(request_of(tmp_path / "no"))
    assert not (tmp_path / "no").exists()
    assert "2 arms x 2 seeds" in told
    assert "Nothing was run or written" in told
    planned = {arm["name"]: arm["plan"] for arm in read_json(finished / "config.json")["arms"]}
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    again = engine.dry(request_of(finished, resume=True))
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert f"{planned['random']['trials']} trials of 1 epochs on 32 images" in again
    rows = dict(re.findall(r"^(.+?)  +(\d+) ", again, re.MULTILINE))
    assert rows == {"pmpl": "2", "random": "2", "controls": "2", "random networks": "2",
                    "all": "8"} | {k: rows[k] for k in rows if k == "random"}  # fmt: skip
    disk = int(re.search(r"disk (\d+) MiB", again)[1])
    real = sum(path.stat().st_size for path in finished.rglob("*") if path.is_file()) / 2**20
    assert disk == pytest.approx(real, rel=0.4)


def test_every_accuracy_comes_from_the_predictions(finished):
    finals = pd.read_csv(finished / "finals.csv")
    for row in finals.to_dict("records"):
        table = pd.read_csv(finished / "cells" / row["cell"] / "predictions.csv")
        right = (table[f"found-{row['retrain_seed']}"] == table["label"]).mean()
        assert row["accuracy"] == pytest.approx(right)


def test_another_metric_reaches_the_finals_and_the_page(finished, request_of, tmp_path):
    """A cell measured again by it, against sums written out here; then the page."""
    folder = shutil.copytree(finished, tmp_path / "by-metric")
    first = engine.open_comparison(request_of(folder, resume=True), Silent()).first
    settings = {**first.config.settings, "metric.name": "balanced_accuracy"}
    run = replace(first, config=replace(first.config, settings=settings),
                  folder=RunFolder(folder / "cells" / "plain-0"))  # fmt: skip
    cell = Cell("plain-0", "plain", "control", 0, 1, ())
    told = measured(run, cell, load_architecture(run.folder))
    table = pd.read_csv(run.folder.predictions)
    by_class = (table["found-0"] == table["label"]).groupby(table["label"]).mean()
    assert told["scores"] == [pytest.approx(by_class.mean())]
    assert told["accuracies"] == read_json(run.folder.metrics)["accuracies"]
    assert engine._final(told, 0, "plain-0")["score"] == told["scores"][0]

    config, finals = read_json(folder / "config.json"), pd.read_csv(folder / "finals.csv")
    config["definition"]["settings"]["metric.name"] = "balanced_accuracy"
    write_json(folder / "config.json", config)
    finals.assign(score=0.123).to_csv(folder / "finals.csv", index=False)
    page = write_report(folder).read_text()
    assert "Mean test balanced accuracy: pmpl 12.3" in page
    assert "<h2>Balanced accuracy and cost</h2>" in page
    assert "test accuracy" not in page
    assert {one.score for one in compare_data.points(compare_records.read(folder))} == {0.123}


@pytest.mark.parametrize("cell", ["pmpl-1", "plain-0", "sample01-1"])
def test_a_cell_is_exported_as_its_first_training_left_it(cell, finished, tmp_path):
    """By its predictions, on test data made anew."""
    folder = finished / "cells" / cell
    export(folder, "torch", tmp_path)
    made = load_data(Config.from_json(read_json(folder / "config.json"), ""))
    mean, std = (torch.tensor(one)[:, None, None] for one in (made.mean, made.std))
    network = realise(load_architecture(RunFolder(folder))).eval()
    network.load_state_dict(torch.load(tmp_path / "network.pt", weights_only=True))
    predicted = network((made.test.pixels / 255 - mean) / std).argmax(1)
    assert predicted.tolist() == pd.read_csv(folder / "predictions.csv")["found-0"].tolist()


def test_a_cell_that_is_not_finished_is_not_exported(finished, tmp_path):
    folder = shutil.copytree(finished / "cells" / "pmpl-0", tmp_path / "pmpl-0")
    (folder / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"not finished.*--resume"):
        export(folder, "torch")


@pytest.mark.slow
def test_the_plan_gives_the_same_numbers_however_often_it_is_stopped(
    finished, request_of, tmp_path, monkeypatch
):
    request = request_of(tmp_path / "again", plan=finished / "config.json", resume=True)
    real, left = engine.carry_out_cell, [0]

    def stopping(run, cell, networks):
        class Tired(type(run.progress)):
            def epoch(self, record):
                super().epoch(record)
                left[0] += 1
                if left[0] % 3 == 0:
                    raise Stopped

        tired = Tired(run.progress.teller, run.progress.cell)
        real(replace(run, progress=tired), cell, networks)

    monkeypatch.setattr(engine, "carry_out_cell", stopping)
    stops = 0
    for _ in range(40):
        try:
            engine.compare(request)
            break
        except Stopped:
            stops += 1
    assert stops > 3
    pd.testing.assert_frame_equal(timeless(tmp_path / "again"), timeless(finished))
    plans = [
        read_json(folder / "config.json")["arms"] for folder in (tmp_path / "again", finished)
    ]
    assert plans[0] == plans[1]


@pytest.mark.slow
def test_two_processes_make_the_same(finished, request_of, tmp_path):
    """What was made by one process already is not made again."""
    folder = shutil.copytree(finished, tmp_path / "two")
    (folder / "finals.csv").unlink()
    for name in ("random-1", "plain-0", "sample00-0"):
        shutil.rmtree(folder / "cells" / name)
    config = read_json(folder / "config.json")
    config["compare"]["processes"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    kept = (folder / "cells" / "pmpl-0" / "metrics.json").stat().st_mtime_ns
    engine.compare(request_of(folder, {"compare.processes": 2}, resume=True))
    pd.testing.assert_frame_equal(timeless(folder), timeless(finished))
    assert (folder / "cells" / "pmpl-0" / "metrics.json").stat().st_mtime_ns == kept


def test_a_comparison_that_is_going_on_is_left_alone(finished, request_of, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "going-on")
    with Claim(folder) as claim:
        claim.take()
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
        with pytest.raises(UserError, match=f"going-on is in use by process {os.getpid()} on "):
            engine.compare(request_of(folder, resume=True))
        after = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
        assert after == {**before, folder / ".lock": after[folder / ".lock"]}


@pytest.mark.parametrize("at", ["epoch", "done"])
def test_a_comparison_whose_folder_is_removed_ends(
    at, finished, request_of, tmp_path, monkeypatch
):
    """In a cell, or between two; no part of it is made anew."""
    folder = shutil.copytree(finished, tmp_path / "removed")
    for name in ("plain-0", "plain-1", "sample00-0"):
        shutil.rmtree(folder / "cells" / name)
    real = getattr(engine.Teller, at)

    def removed(teller, *told):
        real(teller, *told)
        if (folder / "cells" / "plain-0" / "config.json").exists():  # no cell of before
            shutil.rmtree(folder)

    monkeypatch.setattr(engine.Teller, at, removed)
    with pytest.raises(UserError, match="removed was removed while this process was at work"):
        engine.compare(request_of(folder, resume=True))
    assert not folder.exists()


def test_random_networks_without_a_step_are_told(request_of, tmp_path):
    request = request_of(tmp_path / "none", {"plan.proxy_images": 1}, strategies="pmpl")
    with pytest.raises(UserError, match="proxy_images=1 is fewer than a batch"):
        engine.compare(request)


def test_another_benchmark_is_refused(finished, request_of, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "other")
    with pytest.raises(UserError, match="holds a comparison already"):
        engine.compare(request_of(folder))
    with pytest.raises(UserError, match="another benchmark: settings differ"):
        engine.compare(request_of(folder, {"recipe.lr": 0.5}, resume=True))
    with pytest.raises(UserError, match="begun with other seeds"):
        engine.compare(request_of(folder, seeds="0,1,2", resume=True))
    where = folder / "cells" / "random-1" / "environment.json"
    where.write_text(json.dumps({**read_json(where), "benchmark": "0" * 64}))
    with pytest.raises(UserError, match="random-1 belongs to another benchmark"):
        write_report(folder)


def test_the_page_is_rebuilt_from_the_records_alone(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "copy")
    before = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    page = write_report(folder).read_text()
    assert page == before.replace(">whole<", ">copy<").replace("whole ·", "copy ·").replace(
        "report whole", "report copy"
    )
    assert "Too few seeds for a verdict" in page
    assert page.index("Too few seeds") < page.index("Final networks</h2>")
    for text in ("<script src", "http://", "@import"):
        assert text not in page.replace("http://www.w3.org", "").split("Plotly")[0]


def test_the_records_against_sums_written_out_here(finished):
    records = compare_records.read(finished)
    finals = records.finals
    for one in compare_data.contrasts(records):
        differences = []
        for seed in records.seeds:
            both = [
                finals[(finals.arm == arm) & (finals.search_seed == seed)].accuracy.mean()
                for arm in (one.arm, one.against)
            ]
            differences.append(both[0] - both[1])
        assert one.mean == pytest.approx(np.mean(differences))
        assert one.verdict == "too few seeds"
    named = {(one.arm, one.against) for one in compare_data.contrasts(records)}
    assert ("pmpl", "random") in named
    assert ("random", "plain") in named


def test_arms_in_words():
    arms = parse_arms("pmpl, tpe:startup=5, pmpl:threshold=0.3:progressive=false")
    assert [arm.strategy for arm in arms] == ["pmpl", "tpe", "pmpl"]
    assert arms[1].changes == ("sampling.startup=5",)
    assert arms[2].changes == ("pmpl.threshold=0.3", "pmpl.progressive=false")
    assert arms[2].folder == "pmpl+threshold=0.3+progressive=false"


def test_budgets_are_equal():
    plan = PLANS["rfnet6", "quick"]
    paces = {"pmpl": Pace(60.0), "random": Pace(0.0, 1.5), "random-shared": Pace(20.0, 0.5)}
    kinds = {"pmpl": "epochs", "random": "trials", "random-shared": "both"}
    plans = dict.fromkeys(paces, plan)
    seconds, planned = equal_budget(paces, plans, kinds, 30)
    assert (seconds, planned["random"].trials) == (60.0, 40)
    assert planned["pmpl"] == plan
    shared = planned["random-shared"]
    epochs = shared.supernet_epochs / plan.supernet_epochs
    assert 20 * epochs + 0.5 * shared.trials == pytest.approx(60, rel=0.1)
    assert shared.trials / plan.trials == pytest.approx(epochs, rel=0.1)
    seconds, planned = equal_budget(paces, plans, kinds, 80)
    assert (seconds, planned["random"].trials) == (120.0, 80)
    assert planned["pmpl"].supernet_epochs == 2 * plan.supernet_epochs
    assert planned["pmpl"].retrain_epochs == plan.retrain_epochs


def test_epochs_under_successive_halving():
    assert expected_epochs(1, 3) == 1
    assert expected_epochs(3, 3) == pytest.approx(1 + 2 / 3)
    assert expected_epochs(4, 3) == pytest.approx(1 + 2 / 3 + 1 / 9)


def test_a_budget_below_one_trial_is_told(request_of, tmp_path):
    budget = "1s"
    request = request_of(tmp_path / "no", {"compare.samples": 40}, budget=budget)
    with pytest.raises(UserError, match=f"--budget {budget} is too small for one trial"):
        engine.compare(request)
    assert not (tmp_path / "no").exists()
