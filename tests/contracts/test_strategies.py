"""What every entry of STRATEGIES keeps: proposals in the space, the same from the same seed in
another process, resumed as if never stopped, and no way from it to test data."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
import types
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from optuna.trial import TrialState

import tiny_task as tiny
from rfsearch import strategies
from rfsearch.data.images import Dataset
from rfsearch.engine.config import Request, settle
from rfsearch.errors import UserError
from rfsearch.spaces import load_space
from rfsearch.strategies import STRATEGIES, nni_tuners, within
from rfsearch.strategies.attempt import attempt
from rfsearch.strategies.costs import Caps, CostTable
from rfsearch.strategies.optuna_samplers import SamplingSettings
from rfsearch.strategies.proposal import Shape, Talk, Tried
from rfsearch.strategies.proposers import PROPOSERS
from rfsearch.training.fit import silent
from rfsearch.training.metrics import METRICS

TOP = Path(__file__).parents[2]
HAS_NNI = importlib.util.find_spec("nni") is not None


def named(names):
    skip = pytest.mark.skipif(not HAS_NNI, reason="nni has no wheel for this machine")
    marked = [pytest.param(n, marks=skip) if n.startswith("nni") else n for n in names]
    return pytest.mark.parametrize("name", marked)


every_strategy = named(STRATEGIES)


@pytest.fixture(scope="module")
def there():
    """What every strategy does in another process."""
    names = [name for name in STRATEGIES if HAS_NNI or not name.startswith("nni")]
    environment = {**os.environ, "PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1"}
    environment["PYTHONHASHSEED"] = "7"
    done = subprocess.run(
        [sys.executable, tiny.__file__, *names],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@cache
def finished(name):
    """A search of seed 0 at its end, and what it told."""
    np.random.seed(3)  # noqa: NPY002 - somebody else's global generator
    search = tiny.begin(name)
    return search, tiny.finish(search)


@every_strategy
def test_the_same_seed_in_another_process_does_the_same(name, there):
    assert list(finished(name)[1]) == there[name]


def test_a_supernet_that_freezes_slot_by_slot_does_the_same_there(there):
    """Weights and scores too, bit for bit."""
    assert tiny.outcome(tiny.search()) == there["supernet"]


class Stopped(BaseException):
    """The end of a process."""


@every_strategy
def test_stopped_anywhere_and_resumed_it_is_as_if_never_stopped(name):
    """By turns after an advance and after a step inside of one, the state goes into a search made
    anew."""
    search, lines, kept = tiny.begin(name), [], []

    def stop(*_):
        kept.append(search.state_dict())
        raise Stopped

    for tick in itertools.cycle([silent, stop]):
        with suppress(Stopped):
            lines.append(tiny.timeless(search.advance(tick)))
        if search.finished:
            break
        state = kept.pop() if kept else search.state_dict()
        search = tiny.begin(name)
        search.load_state_dict(state)
    told = json.loads(json.dumps(lines)), [choice.label for choice in search.choices()]
    assert told == finished(name)[1]


@every_strategy
def test_what_is_found_lies_in_the_space_and_is_the_best_of_the_trials(name):
    search, _ = finished(name)
    slots = tiny.task().slots
    assert tuple(choice.slot for choice in search.choices()) == slots
    assert all(choice.operators[0] in tiny.SPACE.operators for choice in search.choices())
    network = search.network()
    assert not network.training
    score = tiny.task().score(network)
    if isinstance(search, strategies.Tries):
        assert len(search.tried) == tiny.TRIALS
        for tried in search.tried.values():
            assert len(tried.indices) == len(slots)
            assert all(0 <= k < len(tiny.SPACE.operators) for k in tried.indices)
        complete = [t.score for t in search.tried.values() if t.state == "complete"]
        assert score == pytest.approx(max(complete), abs=1e-6)


@named(["random", "asha", "random-shared"])
def test_trials_are_scored_by_the_metric(name):
    """Accuracies of twelve images would be multiples of a twelfth."""
    search = tiny.begin(name, metric=METRICS["likelihood"])
    tiny.finish(search)
    scored = [t.score for t in search.tried.values() if t.state == "complete"]
    assert all(0 < one < 1 and abs(12 * one - round(12 * one)) > 1e-6 for one in scored)
    kept = tiny.task(metric=METRICS["likelihood"]).score(search.network())
    assert kept == pytest.approx(max(scored), abs=1e-6)


SPACES = {
    "paper": """form = "paper"
operators = [{name = "identity"}, {name = "max_pool", kernel = 3}, {name = "ssp"}]""",
    "replace": """form = "replace"
operators = [{name = "conv"}, {name = "dilated", dilation = 2}, {name = "pf_max", kernel = 3}]""",
    "mixed": """form = "residual"
operators = [{name = "identity"}, {name = "max_pool", kernel = 3}]
replacements = [{name = "pf_max", kernel = 3}]""",
}
REFUSED = {
    *(("pmpl-one-norm", "mixed"), ("pmpl-subset", "mixed"), ("pmpl-sampled", "mixed")),
    ("pmpl-paths", "mixed"),
    ("nni-gumbel", "mixed"),
}


@every_strategy
@pytest.mark.parametrize("form", SPACES)
def test_it_works_in_a_space_or_says_so_before_anything_runs(name, form, tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(f'description = "three operators"\n{SPACES[form]}\n')
    asked = Request(backbone="rfnet6", strategy=name, space=str(path))
    if (name, form) in REFUSED:
        with pytest.raises(UserError, match=r"space .* enhances or replaces"):
            settle(asked)
        return
    settle(asked)
    space = load_space(str(path))
    search = tiny.begin(name, space=space)
    while not search.finished:
        line = search.advance(silent)
        assert line.get("state", "complete") == "complete"
        if STRATEGIES[name].spends == "trials":
            break
    assert all(choice.operators[0] in space.operators for choice in search.choices())
    assert 0 <= tiny.task(space=space).score(search.network()) <= 1


@every_strategy
def test_a_cap_holds_for_what_is_found(name):
    caps = Caps((("macs", 12.0),))  # of 10 to 16
    search = tiny.begin(name, caps=caps)
    tiny.finish(search)
    labels = [choice.label for choice in search.choices()]
    indices = tuple(tiny.SPACE.labels.index(label) for label in labels)
    assert caps.met(tiny.task().costs, indices), labels
    if isinstance(search, strategies.Tries):
        found = [tried.indices for tried in search.tried.values()]
        assert all(caps.met(tiny.task().costs, indices) for indices in found)


@every_strategy
def test_nothing_of_it_leads_to_test_data(name):
    data = tiny.task()
    test = tiny.images(12, 9, tiny.SIDE)
    dataset = Dataset(
        "tiny", "", data.classes, 1, (8, 8), (0.5,), (0.25,), False, data.splits, test, "", ""
    )
    search = tiny.begin(name)
    search.advance(silent)
    assert reaches(search, {id(dataset), id(test), id(test.pixels)}) is None
    leaking = replace(data, classes=dataset)  # the check can see
    assert reaches(leaking, {id(test)}) is not None


def reaches(start, wanted):
    """The path from an object to one whose id is wanted, through attributes, items, closures."""
    seen, todo = set(), [(start, "it")]
    while todo:
        value, path = todo.pop()
        if id(value) in wanted:
            return path
        if id(value) in seen or isinstance(value, (type, types.ModuleType, str, bytes)):
            continue
        seen.add(id(value))
        todo += [(one, f"{path}.{how}") for how, one in inside(value)]
    return None


def inside(value):
    if isinstance(value, dict):
        yield from ((repr(key), one) for key, one in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((str(index), one) for index, one in enumerate(value))
    if isinstance(value, types.FunctionType):
        yield from (("cell", cell.cell_contents) for cell in value.__closure__ or ())
        yield from (("default", one) for one in value.__defaults__ or ())
    if isinstance(value, types.MethodType):
        yield from (("self", value.__self__), ("function", value.__func__))
    if hasattr(value, "__dict__"):
        yield from vars(value).items()
    for kind in type(value).__mro__:
        for slot in getattr(kind, "__slots__", ()):
            if hasattr(value, slot):
                yield slot, getattr(value, slot)


def test_a_loss_that_is_no_number_fails_its_trial_and_the_search_goes_on():
    task = tiny.task()
    search = strategies.resolve("random")(task)
    real = search.task.network

    class Sick(type(task)):
        def network(self, choices, seed):
            network = real(choices, seed)
            if len(search.tried) == 1:
                network.classifier.weight.data.fill_(float("nan"))
            return network

    search.task = Sick(**{name: getattr(task, name) for name in task.__dataclass_fields__})
    lines, _ = tiny.finish(search)
    assert [line["state"] for line in lines] == ["complete", "failed", "complete", "complete"]
    assert (lines[1]["loss"], lines[1]["score"]) == (None, None)


def test_a_trial_that_breaks_has_failed_and_says_why():
    """Out of memory, or anything else; a mistake of the user is everyone's and not the trial's."""
    task = tiny.task(batch=2)
    search = strategies.resolve("random")(task)

    class Broken(type(task)):
        def network(self, choices, seed):
            if len(search.tried) == 1:
                raise MemoryError("no room for 7 GiB\nin two lines")
            if len(search.tried) == 3:
                raise UserError("no such file")
            return task.network(choices, seed)

    search.task = Broken(**{name: getattr(task, name) for name in task.__dataclass_fields__})
    lines = [search.advance(silent) for _ in range(3)]
    assert [line["state"] for line in lines] == ["complete", "failed", "complete"]
    assert search.tried[1].error == "MemoryError: no room for 7 GiB"
    with pytest.raises(UserError, match="no such file"):
        search.advance(silent)


SAMPLED = [name for name, entry in STRATEGIES.items() if entry.spends == "trials"]


class Elsewhere:
    """Makes what is asked for last first, as soon as it is asked for, with a task of its own."""

    def __init__(self, task, name):
        self.task, self.name, self.made = replace(task), name, {}

    def submit(self, job):
        made = attempt(self.task, self.name, job, silent)
        self.made = {job.number: made, **self.made}

    def take(self, number, _tick):
        number = next(iter(self.made)) if number is None else number
        return number, self.made.pop(number)


def told(search):
    """Numbers, networks, states and scores in the order they were told."""
    return [(n, replace(tried, seconds=0.0)) for n, tried in search.tried.items()]


@named(SAMPLED)
def test_in_batches_it_does_not_matter_where_trials_are_made_or_where_it_was_stopped(name):
    sampling = SamplingSettings(startup=2, population=3, tournament=2, reduction=2)
    asked = {"batch": 3, "trials": 7, "sampling": sampling}
    here, there = tiny.begin(name, **asked), tiny.begin(name, **asked, executor=Elsewhere)
    while not here.finished:
        here.advance(silent)
        there.advance(silent)
        assert [before for _, before in here.talk.asked] == [0, 0, 0, 3, 3, 3, 6][
            : len(here.talk.asked)
        ]
        assert told(here) == told(there)
        state = there.state_dict()
        there = tiny.begin(name, **asked, executor=Elsewhere)
        there.load_state_dict(state)
    assert list(here.tried) == list(range(7))
    assert all(map(torch.equal, here.kept.values(), there.kept.values()))


@named(["random", "tpe", "asha"])
def test_an_asynchronous_search_tells_what_ends_first_and_loses_nothing_when_stopped(name):
    asked = {"batch": 3, "trials": 7, "asynchronous": True, "executor": Elsewhere}
    search = tiny.begin(name, **asked)
    search.advance(silent)
    assert list(search.tried) == [2]
    assert search.choices()
    while not search.finished:
        search.advance(silent)
        assert len(search.talk.open) <= 3
        state = json.loads(json.dumps(search.state_dict()["said"]))
        again = tiny.begin(name, **asked)
        again.load_state_dict({"said": state, "network": search.kept})
        assert (told(again), again.talk.open) == (told(search), search.talk.open)
        search = again
    assert sorted(search.tried) == list(range(7))


def test_all_failed_is_told():
    search = tiny.begin("random")
    search.tried.update(dict.fromkeys(range(tiny.TRIALS), Tried((0, 0, 0), "failed")))
    with pytest.raises(UserError, match="none of 4 trials was completed; try a smaller"):
        search.choices()


# ---- proposals alone, on a toy whose slots add up


TOY = Shape(tuple(f"slot{n}" for n in range(12)), 4)
SETTINGS = SamplingSettings()
ON_TOY = ("random", "tpe", "nsga2", "evolution", "nni-tpe", "nni-random", "nni-evolution")


def on_toy(name, seed):
    return PROPOSERS[name](TOY, SETTINGS, seed)


def toy(proposer, trials, seed, batch=1):
    """Share of slots that hold their best operator in the best trial; what was said."""
    wanted = np.random.default_rng(seed).integers(TOY.num_operators, size=len(TOY.slots))
    talk = Talk(proposer)
    while len(talk.tried) < trials:
        for number in [talk.ask() for _ in range(min(batch, trials - len(talk.tried)))]:
            indices = talk.open[number].indices
            score = float((np.asarray(indices) == wanted).mean())
            talk.tell(number, Tried(indices, "complete", score, 0.0))
    return max(tried.score for tried in talk.tried.values()), talk.said


@named(["tpe", "evolution", "nni-tpe"])
def test_it_beats_random_on_a_separable_toy(name):
    scores = {n: [toy(on_toy(n, s), 60, s)[0] for s in range(3)] for n in ("random", name)}
    assert np.mean(scores[name]) > np.mean(scores["random"]) + 0.05, scores


@named(ON_TOY)
def test_a_history_of_other_proposals_is_told(name):
    _, said = toy(on_toy(name, 0), 3, 0)
    Talk.again(on_toy(name, 0), said)
    first, (indices, before), third = said.asked
    other = tuple(3 - k for k in indices), before
    with pytest.raises(UserError, match=r"trial 1 was .* and would now be"):
        Talk.again(on_toy(name, 0), replace(said, asked=(first, other, third)))


@named(ON_TOY)
def test_many_proposals_may_be_open(name):
    _, said = toy(on_toy(name, 0), 40, 0, batch=8)
    assert len({indices for indices, _ in said.asked[:8]}) > 6, "no batch of one network"
    assert Talk.again(on_toy(name, 0), said).said == said


@pytest.mark.skipif(not HAS_NNI, reason="nni has no wheel for this machine")
def test_nni_leaves_the_global_generator_alone():
    import random

    random.seed(5)
    before = random.getstate()
    toy(on_toy("nni-evolution", 0), 25, 0)
    assert random.getstate() == before


def test_a_missing_nni_names_the_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nni", None)
    with pytest.raises(UserError, match=r"pip install nni==3\.0"):
        nni_tuners.load()


@pytest.mark.parametrize("name", [name for name in PROPOSERS if not name.startswith("nni-")])
def test_a_repaired_network_is_what_its_score_is_told_of(name, monkeypatch):
    """No proposal keeps the cap, so every one is repaired to the only network that does."""
    monkeypatch.setattr(within, "ASKS", 3)
    extras = tuple(tuple(float(k != 0) for k in range(4)) for _ in range(3))
    costs, shape = CostTable({"macs": 0.0}, {"macs": extras}), Shape(("a", "b", "c"), 4)
    inner = PROPOSERS[name](shape, SamplingSettings(), 0)
    monkeypatch.setattr(inner, "ask", never(inner, (0, 0, 0)))
    proposer = within.Within(inner, Caps((("macs", 0.5),)), costs)
    for number in range(2):
        proposal = proposer.ask()
        assert proposal.indices == (0, 0, 0)
        if inner.stops_early:
            proposer.report(proposal.ticket, 1, 0.3)
        proposer.tell(proposal.ticket, Tried((0, 0, 0), "complete", 0.5 + number, 1.0))
    if name == "evolution":
        scored = [tried.indices for tried in inner.told if tried.score is not None]
    else:
        trials = inner.study.get_trials(states=[TrialState.COMPLETE])
        scored = [tuple(trial.params.values()) for trial in trials]
    assert scored == [(0, 0, 0)] * 2


def never(proposer, indices):
    """Its proposals but for one, which it is told has failed."""
    ask = proposer.ask

    def other():
        while (found := ask()).indices == indices:
            proposer.tell(found.ticket, Tried(indices, "failed"))
        return found

    return other


def test_a_cap_below_every_network_names_the_nearest():
    costs = tiny.task().costs
    with pytest.raises(UserError, match=r"--max-macs 9 cannot be met.*--max-macs 10"):
        Caps((("macs", 9.0),)).check(costs)
    Caps((("macs", 10.0),)).check(costs)
    assert Caps((("macs", 16.0),)).loose(costs) == ("macs",)
