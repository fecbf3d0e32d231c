"""Two nodes of a Ray cluster in this machine, one of them killed; as a program it prints what
became of a search, of a trial whose process dies, and of two cells, beside the same made here.

It is run by path, in a process of its own: Ray's threads and processes end with it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import torch

from rfsearch.engine import on_ray, ray_tasks, ray_trials
from rfsearch.engine.compare import open_comparison
from rfsearch.engine.compare_plan import CompareRequest
from rfsearch.engine.config import Request
from rfsearch.engine.run import Silent, search
from rfsearch.engine.start import open_run
from rfsearch.strategies.sampled import Sampled
from rfsearch.strategies.task import Task
from rfsearch.trials import load_study, read_trials

SETTINGS = {
    "plan.images": 96,
    "plan.test_images": 32,
    "plan.width": 0.25,
    "plan.trials": 9,
    "plan.proxy_epochs": 1,
    "plan.proxy_images": 64,
    "plan.retrain_epochs": 1,
    "plan.threads": 1,
    "plan.latency_runs": 2,
    "recipe.batch_size": 32,
    "pmpl.alpha_batch": 16,
    "sampling.startup": 3,
    "executor.batch": 6,
    "compare.samples": 1,
    "compare.single_seeds": 0,
    "compare.retrain_seeds": 1,
    "compare.least_trials": 2,
    "compare.processes": 1,
}


def options(out, settings=(), **changes):
    assigned = {**SETTINGS, **dict(settings)}
    words = tuple(f"{key}={value}" for key, value in assigned.items())
    return {"backbone": "rfnet6", "image_size": 16, "device": "cpu", "out": out,
            "assignments": words, **changes}  # fmt: skip


class Noting(Silent):
    """Keeps sentences."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def held(make, victim, flags):
    """Trials that meet: the victim ends its first and never its second, and no other node ends
    any before that second one has begun. So a trial is surely lost with the victim."""

    def make_trial(parcel, name, job):
        import ray

        made = make(parcel, name, job)
        if ray.get_runtime_context().get_node_id() == victim:
            if not (flags / "first").exists():
                (flags / "first").touch()
                return made
            (flags / "second").touch()
            time.sleep(3600)
        while not (flags / "second").exists():
            time.sleep(0.05)
        return made

    return make_trial


class Holding(on_ray.OnRay):
    """A cluster whose trials meet, and whose victim is killed then."""

    def __init__(self, cluster, victim, flags):
        super().__init__(cluster.address)
        self.victim, self.flags, self.killed = victim, flags, False
        self.killer = threading.Thread(target=self.kill, args=(cluster,), daemon=True)
        self.killer.start()

    def kill(self, cluster):
        while not (self.flags / "second").exists():
            time.sleep(0.05)
        cluster.remove_node(self.victim, allow_graceful=False)
        self.killed = True

    def trials(self, task, name):
        pool = super().trials(task, name)
        meeting = held(ray_trials.make_trial, self.victim.node_id, self.flags)
        pool.make = pool.needs.task(meeting, results=2)
        return pool


def searched(folder, progress=None, executor=None):
    """Trials without their seconds, a hash of the best one's weights, nodes."""
    run = open_run(Request(**options(folder, strategy="tpe")), progress or Silent())
    run = replace(run, executor=executor or run.executor)
    search(run)
    trials = [
        [one.number, one.state, one.score, list(one.architecture.labels.values())]
        for one in read_trials(load_study(run.folder.study))
    ]
    weights = (run.folder.checkpoint / "adapted.safetensors").read_bytes()
    lines = run.history.read()
    return {
        "trials": trials,
        "weights": hashlib.sha256(weights).hexdigest(),
        "nodes": [line.get("node") for line in lines],
    }


class Dying(Task):
    """One network takes its process with it, another one finds no memory."""

    def network(self, choices, seed):
        name = choices[0].operators[0].name
        if name == "max_pool":
            os._exit(1)
        if name == "avg_pool":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().network(choices, seed)


def dying(cluster_of):
    """States and errors of a search some of whose trials die."""
    path = Path(__file__).parents[1] / "strategies" / "tiny_task.py"
    spec = importlib.util.spec_from_file_location("tiny_task", path)
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    task = tiny.task(trials=4, batch=4)
    fields = {name: getattr(task, name) for name in task.__dataclass_fields__}
    task = replace(Dying(**fields), executor=cluster_of.trials)
    search = Sampled(task, "random")
    while not search.finished:
        search.advance()
    first = [task.space.labels[tried.indices[0]] for tried in search.tried.values()]
    told = [[t.state, t.error] for t in search.tried.values()]
    return [[label, *one] for label, one in zip(first, told, strict=True)]


def compared(folder, cluster_of, place):
    """metrics.json of a control and of a search, made there and here; what was heard."""
    asked = CompareRequest(**options(folder, strategies="random", seeds="0"))
    comparison = open_comparison(asked, Silent())
    names, heard = ["plain-0", "random-0"], []
    cluster_of.share(comparison, None, names, 2, lambda *told: heard.append(told[:2]))
    there = {name: told_of(folder / "cells" / name) for name in names}
    here = replace(comparison, folder=place)
    for _, run, cell in here.cells():
        if cell.name in names:
            here.carry_out(run, cell, here.networks())
    return {"there": there, "here": {name: told_of(place / "cells" / name) for name in names},
            "heard": sorted(heard)}  # fmt: skip


def told_of(cell):
    metrics = json.loads((cell / "metrics.json").read_text())
    return {
        **{key: metrics[key] for key in ("accuracies", "macs", "choices")},
        "weights": hashlib.sha256(
            (cell / "checkpoint" / "found-0.safetensors").read_bytes()
        ).hexdigest(),
        "files": sorted(path.name for path in cell.rglob("*") if path.is_file()),
    }


def main(place):
    """What is printed."""
    found = {"here": searched(place / "here")}
    ray_tasks.load()
    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_worker_niceness": "0"}  # Ray's 15 starves where others compute too
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 2**27}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        victim = cluster.add_node(num_cpus=1, object_store_memory=2**27)
        cluster.wait_for_nodes()
        noting, holding = Noting(), Holding(cluster, victim, place)
        found["there"] = searched(place / "there", noting, holding)
        found["victim"], found["notes"] = victim.node_id, noting.notes
        found["killed"] = holding.killed
        cluster_of = on_ray.OnRay(cluster.address)
        once = open_run(Request(**options(place / "once", [("executor.retries", 0)],
                                          strategy="random")), Silent()).config  # fmt: skip
        with cluster_of.session(once, lambda _: None):
            found["dying"] = dying(cluster_of)
            found["cells"] = compared(place / "compare", cluster_of, place / "compare-here")
    finally:
        cluster.shutdown()
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        Path(sys.argv[1]).write_text(json.dumps(main(Path(folder))))
