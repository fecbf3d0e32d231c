"""A whole run on made digits: stopped anywhere and resumed, it ends in the same bytes."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from rfsearch import spaces
from rfsearch.engine import difference as differences
from rfsearch.engine import measure, preemption, run
from rfsearch.engine.config import settle
from rfsearch.engine.dry_run import estimate
from rfsearch.engine.listing import headline, told_machine
from rfsearch.engine.run import load, load_architecture
from rfsearch.engine.start import load_data, open_run, prepare, stored_record
from rfsearch.engine.whole import carry_out
from rfsearch.errors import UserError
from rfsearch.operators import fused
from rfsearch.reporting import write_report
from rfsearch.training import checkpoint
from rfsearch.training.evaluation import outputs, predict
from rfsearch.training.metrics import METRICS
from rfsearch.trials import (
    Claim,
    History,
    RunFolder,
    load_study,
    read_json,
    read_trials,
    write_json,
)

WEIGHTS = ("adapted", "found-0", "plain-0")


class Stopped(BaseException):
    """As Ctrl-C, or the end of the world."""


class Poison:
    """Stands for the test split while nothing may read it."""

    def __getattr__(self, name):
        raise AssertionError(f"the test split was asked for {name!r}")


def blind(opened):
    """The run without a test split."""
    return replace(opened, dataset=replace(opened.dataset, test=Poison()))


def timeless(record):
    return {key: value for key, value in record.items() if "seconds" not in key}


def outcome(folder):
    """Everything a run leaves that does not hang on time."""
    trial = read_trials(load_study(folder.study))
    lines = [timeless(line) for line in History(folder.history).read()]
    weights = {n: (folder.checkpoint / f"{n}.safetensors").read_bytes() for n in WEIGHTS}
    with folder.trials.open() as file:
        rows = [timeless(row) for row in csv.DictReader(file)]
    return {
        "architecture": folder.architecture.read_bytes(),
        "config": folder.config.read_bytes(),
        "history": lines,
        "rows": rows,
        "trials": [(one.number, one.architecture, one.score, one.state) for one in trial],
        **weights,
    }


@pytest.fixture(scope="module")
def never_stopped(begin, tmp_path_factory):
    """A run that was carried out in one go, without a test split to look at."""
    opened = begin(tmp_path_factory.mktemp("runs") / "never")
    carry_out(blind(opened))
    return opened


@pytest.fixture(scope="module")
def expected(never_stopped):
    return outcome(never_stopped.folder)


def until_done(begin, out, progress_of, attempts=40):
    """Begin, and resume after each stop, until the run is done; how often it was stopped."""
    for attempt in range(attempts):
        opened = begin(out, progress_of(attempt), resume=attempt > 0)
        try:
            carry_out(blind(opened))
        except Stopped:
            continue
        return opened.folder, attempt
    raise AssertionError("the run never ends")


def test_what_a_run_leaves(never_stopped, expected):
    plan = never_stopped.config.plan
    history = expected["history"]
    assert [line["phase"] for line in history] == ["search"] * 4 + ["found"] * 2 + ["plain"] * 2
    assert [line["epoch"] for line in history] == [1, 2, 3, 4, 1, 2, 1, 2]
    stages = [line["stage"] for line in history if line["phase"] == "search"]
    assert stages == ["warmup", "search", "search", "adapt"]
    assert plan.supernet_epochs == 4
    architecture = json.loads(expected["architecture"])
    assert len(architecture["choices"]) == 8
    frozen = history[3]["frozen"]
    space = spaces.load_space(never_stopped.config.space)
    told = {slot: space.operators[k].to_json() for slot, (k,) in frozen.items()}
    assert {c["slot"]: c["operators"][0] for c in architecture["choices"]} == told
    assert len({json.dumps(operator) for operator in told.values()}) > 1, "a dull case"
    assert expected["found-0"] != expected["plain-0"]
    assert len(expected["trials"]) == 1


def test_the_same_seed_again_is_the_same(begin, tmp_path, expected):
    opened = begin(tmp_path / "again")
    torch.manual_seed(99)
    carry_out(opened)
    assert outcome(opened.folder) == expected


def test_another_seed_is_another_run_on_the_same_data(begin, tmp_path, never_stopped):
    opened = begin(tmp_path / "other", seed=1)
    assert opened.dataset.data_hash == never_stopped.dataset.data_hash
    first, second = run.new_search(never_stopped), run.new_search(opened)
    for one, other in zip(first.supernet.parameters(), second.supernet.parameters(), strict=True):
        if one.ndim > 1:
            assert not torch.equal(one, other)


def test_stopped_after_every_epoch(begin, silent, tmp_path, expected):
    class AfterAnEpoch(silent):
        def epoch(self, *_):
            raise Stopped

    folder, stops = until_done(begin, tmp_path / "run", lambda _: AfterAnEpoch())
    assert stops == 8
    assert outcome(folder) == expected


@pytest.mark.parametrize("seed", [0, 1])
def test_stopped_in_the_middle_of_epochs(begin, silent, tmp_path, expected, seed):
    rng = random.Random(seed)

    class AfterSteps(silent):
        def __init__(self):
            self.left = rng.randint(1, 14)

        def step(self, *_):
            self.left -= 1
            if not self.left:
                raise Stopped

    folder, stops = until_done(begin, tmp_path / "run", lambda _: AfterSteps())
    assert stops >= 3
    assert outcome(folder) == expected


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM")
def test_told_to_end_within_epochs(begin, silent, tmp_path, expected):
    """SIGTERM after these steps, in an epoch in which alpha moves and in a retraining; the step
    is not lost."""

    class Ended(silent):
        def __init__(self, after):
            self.left = after

        def step(self, *_):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGTERM)

    for after, step in ((5, 2), (9, 2)):
        opened = begin(tmp_path / "run", Ended(after), resume=True)
        with pytest.raises(preemption.Preempted), preemption.heeded():
            carry_out(blind(opened))
        state = checkpoint.load(opened.folder.checkpoint / "state.pt")
        assert state["trainer"]["within"]["step"] == step
    opened = begin(tmp_path / "run", resume=True)
    carry_out(blind(opened))
    assert outcome(opened.folder) == expected


def test_a_loss_that_is_no_number_is_told_with_its_step(begin, tmp_path):
    opened = begin(tmp_path / "run", settings={"recipe.lr": 1e30, "recipe.warmup": 0})
    told = r"run, search, epoch 1: the (loss|gradient) is (nan|inf|not finite) in step \d of 12"
    with pytest.raises(UserError, match=told):
        carry_out(blind(opened))
    assert opened.history.read() == []


def test_the_state_of_another_run_is_told_and_may_be_deleted(begin, tmp_path):
    opened = begin(tmp_path / "run")
    path = opened.folder.checkpoint / "state.pt"
    searching = run.new_search(opened)
    state = searching.state_dict()
    for record in (
        {},
        {"phase": "search"},
        {"phase": "search", "history_lines": "no", "trainer": state},
        {"phase": "search", "history_lines": 0, "trainer": {}},
        {"phase": "search", "history_lines": 0, "trainer": {**state, "network": {}}},
        {"phase": "search", "history_lines": 0, "trainer": {**state, "within": 3}},
    ):
        checkpoint.save(path, record)
        with pytest.raises(UserError, match=r"state\.pt holds the state of another.*delete it"):
            run.drive(opened, "search", searching, {})


POINTS = [
    *("History.append", "checkpoint.save"),
    # the search is over
    *("checkpoint.save_weights", "Kept.open", "record", "write_trials_csv", "write_json"),
    # found, plain
    *("History.append", "checkpoint.save_weights", "History.append", "checkpoint.save_weights"),
]


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_stopped_at_every_write(begin, tmp_path, expected, monkeypatch, when):
    """Each attempt ends just before, or just after, one of the things a run puts on disk."""
    out, stops = tmp_path / "run", 0
    for name in [*POINTS, None]:
        with monkeypatch.context() as patch:
            if name:
                patch.setattr(f"rfsearch.engine.run.{name}", stopping(name, when))
            opened = begin(out, resume=out.exists())
            try:
                carry_out(blind(opened))
            except Stopped:
                stops += 1
    assert stops == len(POINTS)
    assert outcome(opened.folder) == expected


def stopping(name, when):
    """The function called so in the engine, which stops the world at its first call."""
    real = run
    for part in name.split("."):
        real = getattr(real, part)

    def function(*arguments, **named):
        if when == "after":
            real(*arguments, **named)
        raise Stopped

    return function


def test_a_finished_run_does_nothing_more(never_stopped, begin, silent, expected):
    class Loud(silent):
        def step(self, *_):
            raise AssertionError("a step of a run that is done")

    opened = begin(never_stopped.folder.path, Loud(), resume=True)
    carry_out(blind(opened))
    assert outcome(opened.folder) == expected


def test_a_pair_goes_through_to_the_end(begin, tmp_path):
    settings = {
        "pmpl.deadline": "pair",
        "pmpl.progressive": False,
        "plan.retrain_epochs": 1,
        "plan.search_epochs": 1,
        "plan.adapt_epochs": 0,
        "plan.warmup_epochs": 0,
    }
    opened = begin(tmp_path / "run", settings=settings)
    carry_out(blind(opened))
    architecture = read_json(opened.folder.architecture)
    assert {len(choice["operators"]) for choice in architecture["choices"]} == {2}
    assert len(outcome(opened.folder)["trials"]) == 1


def test_images_that_are_not_square_go_through(begin, tmp_path):
    opened = begin(tmp_path / "run", image_size="32x40")
    assert opened.dataset.search.weights.pixels.shape[1:] == (1, 32, 40)
    searching = run.new_search(opened)
    searching.advance(lambda *_: None)
    assert run.describe(opened, ()).input.image_size == (32, 40)


def test_a_run_folder_is_not_taken_over(never_stopped, begin, tmp_path):
    out = never_stopped.folder.path
    with pytest.raises(UserError, match=r"holds a run already.*--resume"):
        begin(out)
    with pytest.raises(UserError, match=r"begun with other options: recipe\.lr [0-9.]+ → 0\.2"):
        begin(out, resume=True, settings={"recipe.lr": 0.2})
    with pytest.raises(UserError, match=r"other options: seed 0 → 3"):
        begin(out, resume=True, seed=3)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="holds other files"):
        begin(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        begin(tmp_path / "letter.txt")


@pytest.mark.parametrize(
    ("name", "kind"), [(None, "run"), ("compare", "comparison"), ("optimize", "proposal")]
)
def test_a_folder_is_gone_on_with_by_its_own_command(name, kind, tmp_path):
    folder = RunFolder(tmp_path / "one")
    assert stored_record(folder, kind, resume=False) is None
    folder.path.mkdir()
    for file in (folder.environment, folder.path / ".lock", folder.path / "config.json.partial"):
        file.touch()  # what a kill leaves
        assert stored_record(folder, kind, resume=True) is None
    write_json(folder.config, {"verb" if kind == "proposal" else "kind": name} if name else {})
    assert stored_record(folder, kind, resume=True) is not None
    with pytest.raises(UserError, match=f"holds a {kind} already; go on with it by --resume"):
        stored_record(folder, kind, resume=False)
    for other in {"run", "comparison", "proposal"} - {kind}:
        with pytest.raises(UserError, match=f"holds a {kind} and no {other}"):
            stored_record(folder, other, resume=True)


def test_of_two_that_begin_at_once_one_is_refused(begin, make_request, silent, tmp_path):
    class Slow(Claim):
        def take(self):
            begin(self.folder)
            super().take()

    with Slow(tmp_path / "new") as claim, pytest.raises(UserError, match="holds a run already"):
        open_run(make_request(tmp_path / "new"), silent(), claim)


def test_resuming_where_nothing_was_begun_begins(begin, tmp_path):
    opened = begin(tmp_path / "new", resume=True)
    assert opened.folder.config.exists()
    assert opened.folder.environment.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe.batch_size": 97}, "96 images for weights, fewer than a batch of 97"),
        ({"pmpl.alpha_batch": 97}, "96 images for alpha, fewer than a batch of 97"),
    ],
)
def test_a_batch_larger_than_its_split_is_told(begin, tmp_path, settings, message):
    out = tmp_path / "run"
    with pytest.raises(UserError, match=message):
        begin(out, settings=settings)
    assert not out.exists()


@pytest.mark.parametrize(
    ("strategy", "told"),
    [("pmpl", "none"), ("pmpl-all", "compiled"), ("darts", "compiled"),
     ("pmpl-masked", "compiled"), ("pmpl-subset", "compiled"), ("pmpl-one-norm", "none"),
     ("pmpl-trials", "none"), ("random-shared", "none"), ("random", "none")],
)  # fmt: skip
def test_mixtures_are_compiled_where_they_are_used(strategy, told, begin, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(fused, "available", lambda: asked.append(strategy) or "compiled")
    opened = begin(tmp_path / "run", strategy=strategy)
    assert read_json(opened.folder.environment)["mixtures"] == told
    assert asked == [strategy] * (told == "compiled")
    idle = [mixture.path == "plain: nothing was mixed yet" for mixture in mixed(opened)]
    assert not any(idle) if told == "compiled" else all(idle)


def test_a_run_in_bfloat16_says_so_and_ends(begin, tmp_path):
    usual = begin(tmp_path / "usual", strategy="pmpl-all")
    assert usual.config.plan.precision == "auto"
    assert read_json(usual.folder.environment)["precision"] == "float32"
    opened = begin(tmp_path / "run", strategy="pmpl-all", settings={"plan.precision": "bfloat16"})
    told = read_json(opened.folder.environment)
    assert (told["precision"], told["mixtures"]) == ("bfloat16", "plain")
    assert "1 thread, channels_last, bfloat16, mixtures plain" in told_machine(opened.config, told)
    carry_out(opened)
    assert all(np.isfinite(line["loss"]) for line in opened.history.read())
    plain = {mixture.path for mixture in mixed(opened)}
    assert plain == {"plain: only float32 and float64 on a CPU are fused"}


def test_a_plan_of_plain_kernels_compiles_nothing(begin, tmp_path, monkeypatch):
    monkeypatch.setattr(fused, "library", lambda *_: pytest.fail("compiled"))
    opened = begin(tmp_path / "run", strategy="pmpl-all", settings={"plan.kernels": "plain"})
    assert read_json(opened.folder.environment)["mixtures"] == "plain"
    assert {mixture.path for mixture in mixed(opened)} == {"plain: asked for"}


def mixed(opened):
    """The mixtures of a supernet after an epoch of its search."""
    searching = run.new_search(opened)
    searching.advance(lambda *_: None)
    supernet = getattr(searching, "supernet", getattr(searching, "network_of_all", None))
    return supernet.mixtures.values() if supernet else ()


@pytest.mark.parametrize("strategy", ["pmpl", "pmpl-trials", "random-shared", "random"])
def test_a_space_of_one_operator_is_timed(strategy, make_request, silent, tmp_path):
    space = tmp_path / "one.toml"
    space.write_text(
        'description = "one"\nform = "residual"\n[[operators]]\nname = "max_pool"\nkernel = 3\n'
    )
    config = settle(make_request(tmp_path / "run", strategy=strategy, space=str(space)))
    opened = prepare(config, RunFolder(tmp_path / "run"), load_data(config), silent())
    assert estimate(opened).seconds > 0


def test_a_trial_without_a_step_is_told(begin, tmp_path):
    settings = {"plan.proxy_images": 15, "recipe.batch_size": 16}
    begin(tmp_path / "pmpl", settings=settings)  # has no such trials
    for strategy in ("random", "pmpl-trials"):
        with pytest.raises(UserError, match="proxy_images=15 is fewer than a batch of 16"):
            begin(tmp_path / strategy, settings=settings, strategy=strategy)


def test_a_dry_run_leaves_nothing(tmp_path, never_stopped):
    elsewhere = replace(never_stopped, folder=replace(never_stopped.folder, path=tmp_path / "no"))
    told = estimate(elsewhere)
    assert [(phase.name, phase.epochs, phase.steps) for phase in told.phases] == [
        *[("search", 4, 12), ("found", 2, 12), ("plain", 2, 12)]
    ]
    assert told.alpha_steps == 4  # every second of 3, in two epochs
    assert told.seconds > sum(phase.seconds for phase in told.phases) > 0
    assert not elsewhere.folder.path.exists()


def test_trials_behind_a_search_are_counted_and_told(begin, tmp_path):
    settings = {"plan.trials": 3, "plan.proxy_epochs": 2, "plan.proxy_images": 32}
    alone, both = (begin(tmp_path / name, strategy=name, settings=settings)
                   for name in ("pmpl", "pmpl-trials"))  # fmt: skip
    steps = 3 * 2 * (32 // int(both.config.settings["recipe.batch_size"]))
    search, before = estimate(both).phases[0], estimate(alone).phases[0]
    assert (search.epochs, search.steps) == (before.epochs + 3, before.steps + steps)
    assert "epochs, 3 trials of 2 epochs on 32 images; " in headline(both.config)
    carry_out(both)
    tried = both.study.open().trials
    assert len(tried) == 3
    best = max(tried, key=lambda trial: trial.value)
    assert list(best.params.values()) == list(load_architecture(both.folder).labels.values())


# ---- measuring


@pytest.fixture(scope="module")
def measured(never_stopped):
    """The same run with its test split read; how often each network read it."""
    reads = []

    def counting(network, images, augmentation):
        reads.append((id(network), images is never_stopped.dataset.test, len(images)))
        return outputs(network, images, augmentation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "outputs", counting)
        patch.setattr(type(never_stopped.dataset.test), "to", lambda self, _: self, raising=True)
        measure.measure(never_stopped)
    return never_stopped, reads


def test_the_test_split_is_read_once_by_each_final_network(measured):
    opened, reads = measured
    assert len(reads) == len({network for network, *_ in reads}) == 3
    assert {(is_test, count) for _, is_test, count in reads} == {(True, 64)}
    before = opened.folder.metrics.read_bytes()
    measure.measure(blind(opened))
    assert opened.folder.metrics.read_bytes() == before, "measured again"


def test_the_loaded_network_reaches_its_accuracy_exactly(measured):
    opened, _ = measured
    metrics = read_json(opened.folder.metrics)
    network = load(opened.folder.path)
    assert not network.training
    network = network.to(memory_format=torch.channels_last)
    test = opened.dataset.test
    predicted = predict(network, test, opened.augmentation)
    found = metrics["networks"]["found"]
    assert found["accuracies"] == [float((predicted == test.labels).double().mean())]
    with opened.folder.predictions.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["found-0"]) for row in rows] == predicted.tolist()
    assert [int(row["label"]) for row in rows] == test.labels.tolist()
    assert [int(row["source"]) for row in rows] == test.sources.tolist()


def test_another_metric_scores_and_is_reported(measured, tmp_path, monkeypatch):
    """Balanced accuracy by sums written out here; accuracies stay beside it."""
    monkeypatch.setattr(differences, "RESAMPLES", 99)
    folder = RunFolder(shutil.copytree(measured[0].folder.path, tmp_path / "run"))
    settings = {**measured[0].config.settings, "metric.name": "balanced_accuracy"}
    opened = replace(
        measured[0], folder=folder, config=replace(measured[0].config, settings=settings)
    )
    before = read_json(folder.metrics)
    folder.metrics.unlink()
    measure.measure(opened)
    after = read_json(folder.metrics)
    rows = list(csv.DictReader(folder.predictions.read_text().splitlines()))
    for kind, column in (("adapted", "adapted"), ("found", "found-0"), ("plain", "plain-0")):
        told = {}
        for row in rows:
            told.setdefault(row["label"], []).append(row[column] == row["label"])
        network = after["networks"][kind]
        assert network["scores"] == [pytest.approx(np.mean([np.mean(v) for v in told.values()]))]
        assert network["score"] == network["scores"][0]
        assert network["accuracies"] == before["networks"][kind]["accuracies"]
    gap = after["networks"]["found"]["score"] - after["networks"]["plain"]["score"]
    assert after["difference"]["found_minus_plain"] == pytest.approx(gap)
    assert after["difference"]["interval"][0] < gap < after["difference"]["interval"][1]
    page = write_report(folder.path).read_text()
    assert "test balanced accuracy" in page
    assert f"balanced accuracy {100 * after['networks']['found']['score']:.1f}" in page
    assert "test balanced accuracy" not in write_report(measured[0].folder.path).read_text()
    assert run.new_task(opened).metric is METRICS["balanced_accuracy"]


def test_metrics_follow_from_the_predictions(measured):
    opened, _ = measured
    metrics = read_json(opened.folder.metrics)
    with opened.folder.predictions.open() as file:
        rows = list(csv.DictReader(file))
    right = {
        name: np.array([row[name] == row["label"] for row in rows])
        for name in ("adapted", "found-0", "plain-0")
    }
    networks = metrics["networks"]
    for kind, column in (("adapted", "adapted"), ("found", "found-0"), ("plain", "plain-0")):
        assert networks[kind]["accuracy"] == pytest.approx(right[column].mean())
    difference = networks["found"]["accuracy"] - networks["plain"]["accuracy"]
    assert metrics["difference"]["found_minus_plain"] == pytest.approx(difference)
    assert metrics["difference"]["sources"] == opened.dataset.test.num_sources
    lines = History(opened.folder.history).read()
    for phase in ("search", "found", "plain"):
        spent = sum(line["seconds"] for line in lines if line["phase"] == phase)
        assert metrics["phases"][phase] == pytest.approx(spent)
    assert metrics["alpha_steps"] == 4
    trial = read_trials(load_study(opened.folder.study))[0]
    assert metrics["selection"] == {"adapted": trial.score}
    assert networks["found"]["params"] == sum(
        parameter.numel() for parameter in load(opened.folder.path).parameters()
    )
