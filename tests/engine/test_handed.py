"""Law 7 at its source: what a run hands to a strategy, whichever it is, leads to no test data."""

from __future__ import annotations

import gc
import importlib.util
import types
from dataclasses import replace

import pytest
import torch

from rfsearch.engine.config import settle
from rfsearch.engine.costs import cost_table
from rfsearch.engine.run import new_search, new_task
from rfsearch.engine.start import load_data, prepare
from rfsearch.strategies import STRATEGIES
from rfsearch.trials import RunFolder

HAS_NNI = importlib.util.find_spec("nni") is not None


@pytest.fixture(scope="module")
def run(make_request, silent, tmp_path_factory):
    """A run with real data in its four splits, and costs."""
    folder = tmp_path_factory.mktemp("handed")
    config = settle(make_request(folder, backbone="rfnet6", image_size=16))
    ready = prepare(config, RunFolder(folder), load_data(config), silent())
    return replace(ready, costs=cost_table(ready, ["macs", "window_ops"]))


def reached(root):
    """Every object that a chain of references leads to, closures and partials included. Code,
    that is modules, classes and the globals of functions, ends a chain."""
    seen, todo = {}, [root]
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen[id(item)] = item
        if isinstance(item, types.ModuleType | type | str | bytes | int | float):
            continue
        if isinstance(item, types.FunctionType):
            todo += [*(item.__closure__ or ()), *(item.__defaults__ or ()), item.__dict__]
        else:
            todo += gc.get_referents(item)
    return seen


def leaks(root, dataset):
    """Test data that is reached: the data set, its test split, or memory of its images."""
    found = reached(root)
    held = [thing for thing in (dataset, dataset.test) if id(thing) in found]
    test = {t.untyped_storage().data_ptr() for t in vars(dataset.test).values()
            if isinstance(t, torch.Tensor)}  # fmt: skip
    tensors = [one for one in found.values() if isinstance(one, torch.Tensor)]
    memory = [t for t in tensors if t.numel() and t.untyped_storage().data_ptr() in test]
    return [*held, *memory], tensors


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                name.startswith("nni") and not HAS_NNI, reason="nni has no wheel for this machine"
            ),
        )
        for name in STRATEGIES
    ],
)
def test_nothing_handed_to_a_strategy_leads_to_test_data(name, run):
    named = replace(run, config=replace(run.config, strategy=name))
    for root in (new_task(named), new_search(named)):
        leaked, tensors = leaks(root, run.dataset)
        assert not leaked
        weights = run.dataset.search.weights.pixels.untyped_storage().data_ptr()
        assert any(t.untyped_storage().data_ptr() == weights for t in tensors), "it sees nothing"


def test_the_walk_can_see(run):
    search = new_search(run)
    for hidden in (lambda: run.dataset, iter([run.dataset.test.pixels[1:]]), {"a": [run]}):
        search.hidden = hidden
        assert leaks(search, run.dataset)[0]
    search.hidden = None
    assert not leaks(search, run.dataset)[0]
