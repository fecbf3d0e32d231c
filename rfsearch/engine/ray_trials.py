"""Trials as tasks of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from rfsearch.engine.ray_tasks import Needs, cause, load, node, opened, packed
from rfsearch.errors import UserError
from rfsearch.strategies.attempt import Job, Made, Weights, attempt, failed
from rfsearch.strategies.task import Task
from rfsearch.training.fit import Tick, silent
from rfsearch.training.processes import fabric

PATIENCE = 20.0
"""Seconds without a result after which it is asked whether any node has room."""


class RayTrials:
    """Trials as tasks; the one that is waited for may be lost, and has failed then."""

    def __init__(self, task: Task, name: str, needs: Needs, note: Callable[[str], None]) -> None:
        self.task, self.name, self.needs, self.note = task, name, needs, note
        ray = load()
        plain = replace(task, fabric=None, executor=None)  # type: ignore[arg-type]
        self.parcel = [ray.put(packed(plain, needs))]
        self.make = needs.task(make_trial, results=2)
        self.jobs: dict[Any, tuple[Job, Any]] = {}

    def submit(self, job: Job) -> None:
        """Hand it to Ray."""
        made, weights = self.make.remote(self.parcel, self.name, job)
        self.jobs[made] = job, weights

    def take(self, number: int | None, tick: Tick) -> tuple[int, Made]:
        """Wait for it; its weights stay on their node until they are asked for."""
        del tick
        ray = load()
        ready = self._wait(
            [ref for ref, (job, _) in self.jobs.items() if number in (None, job.number)]
        )
        job, weights = self.jobs.pop(ready)
        try:
            made: Made = ray.get(ready)
        except UserError as error:
            raise UserError(cause(error)) from None
        except ray.exceptions.RayError as error:
            return job.number, replace(failed(job, cause(error)), node="")
        return job.number, replace(made, weights=partial(self._weights, job, weights))

    def _wait(self, references: list[Any]) -> Any:
        """The first that ends, however long it takes; that no node is left is told once."""
        ray, told = load(), False
        while True:
            ready, _ = ray.wait(references, num_returns=1, timeout=PATIENCE)
            if ready:
                return ready[0]
            if not self.needs.room(ray) and not told:
                self.note(f"Ray: no node is left that has {self.needs}; waiting for one")
                told = True

    def _weights(self, job: Job, reference: Any) -> Weights:
        """Of a trial; those that were lost with their node are made again, here if need be."""
        ray = load()
        try:
            found: Weights = ray.get(reference)
        except ray.exceptions.RayError:
            made = attempt(self.task, self.name, job, silent).weights
            assert made is not None
            return made()
        return found


def make_trial(parcel: list[Any], name: str, job: Job) -> tuple[Made, Weights]:
    """One trial on a node: what came of it, and the weights apart."""
    task = _task(parcel[0])
    made = attempt(task, name, job, silent)
    weights = {key: value.cpu() for key, value in made.weights().items()} if made.weights else {}
    return replace(made, weights=None, node=node()), weights


@lru_cache(maxsize=1)
def _task(reference: Any) -> Task:
    parcel = opened(reference)
    placed = fabric(parcel.device, parcel.precision)
    task: Task = parcel.content
    return replace(task, fabric=placed, splits=task.splits.to(placed.device))
