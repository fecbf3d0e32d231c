"""Runs that take seconds."""

from __future__ import annotations

import pytest

from rfsearch.engine.config import Request
from rfsearch.engine.run import Silent
from rfsearch.engine.start import open_run
from soak import SPACE

ASSIGNMENTS = {
    "plan.images": 192,
    "plan.test_images": 64,
    "plan.width": 0.125,
    "plan.warmup_epochs": 1,
    "plan.search_epochs": 2,
    "plan.adapt_epochs": 1,
    "plan.retrain_epochs": 2,
    "plan.retrain_seeds": 1,
    "plan.retrain_processes": 1,
    "plan.effective_images": 2,
    "plan.latency_runs": 2,
    "plan.threads": 1,
    "recipe.batch_size": 32,
    "pmpl.alpha_batch": 32,
    "pmpl.alpha_lr": 0.3,
    "pmpl.minimum_epochs": 0,
    "pmpl.minimum_share": 0.0,
    "pmpl.patience": 2,
}


@pytest.fixture(scope="session")
def silent():
    return Silent


@pytest.fixture(scope="session")
def tiny_space(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "three.toml"
    path.write_text(SPACE)
    return str(path)


@pytest.fixture(scope="session")
def make_request(tiny_space):
    """``make_request(out, **changes)``; a change is an option, or a setting in ``settings``."""

    def make(out, settings=(), **changes):
        assigned = {**ASSIGNMENTS, **dict(settings)}
        options = {
            "backbone": "resnet18",
            "space": tiny_space,
            "image_size": 32,
            "device": "cpu",
            "out": out,
            "assignments": tuple(f"{key}={value}" for key, value in assigned.items()),
        }
        return Request(**{**options, **changes})

    return make


@pytest.fixture(scope="session")
def begin(make_request):
    """``begin(out, progress, …)``: a run opened, or opened again with ``resume``."""

    def begin(out, progress=None, **changes):
        return open_run(make_request(out, **changes), progress or Silent())

    return begin
