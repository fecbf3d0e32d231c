"""Trials and cells on a Ray cluster: core tasks, made again elsewhere when their node dies.

Requirements and choice. The study and its strategy stay in this process; a task is one trial or
one cell, a function of what it is handed, so that Ray may make it again on another node. All
that tasks share (settings and images) is put into the object store once: Ray brings it to a node
once, and its pixels lie there in shared memory, however many processes read them. A cell's folder
travels there and back, so nodes need no common disk. Ray Tune is not used: it would bring another
study. What breaks with a trial is that trial; what the user can put right is everyone's.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

import rfsearch
from rfsearch.data.images import Images
from rfsearch.engine.executors import Inline, Listen
from rfsearch.engine.run import Run, Silent
from rfsearch.engine.settings import ExecutorSettings
from rfsearch.errors import UserError
from rfsearch.strategies.attempt import Job, Made, Weights, attempt, failed
from rfsearch.strategies.task import Task
from rfsearch.training.fit import Tick, silent
from rfsearch.training.processes import fabric
from rfsearch.trials import contents, write_contents

if TYPE_CHECKING:
    from rfsearch.engine.compare import Comparison
    from rfsearch.engine.config import Config

PATIENCE = 20.0
"""Seconds without a result after which it is asked whether any node has room."""
BETWEEN = 0.5
"""Seconds between two looks into the mailbox of progress."""
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anybody
    "RAY_task_oom_retries": "0",  # Ray's default is without end; out of memory is a failed trial
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of weights that nobody asks for
    "RAY_raylet_start_wait_time_s": "120",  # its 30 are too few where others compute
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of what it will do one day
}
"""Set before Ray is loaded, where they are not set."""


def load() -> Any:
    """Ray, or how to install it."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own imports
            import ray
    except ImportError as error:
        raise UserError("--executor ray needs Ray: pip install 'rfsearch[ray]'") from error
    return ray


class OnRay:
    """A cluster, connected to inside of `session`.

    Args:
        address: of a cluster's head, as ``ray start`` tells it; None takes RAY_ADDRESS, or begins
            a cluster of this machine alone.
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = address
        self.note: Callable[[str], None] = lambda _: None
        self.needs = Needs(1, 0.0, 0)

    @contextmanager
    def session(self, config: Config, note: Callable[[str], None]) -> Iterator[None]:
        """Connect, or use the connection that there is; leave it as it was."""
        ray = load()
        self.note, self.needs = note, needs(config)
        began = not ray.is_initialized()
        if began:
            connect(ray, self.address)
        try:
            ray.util.register_serializer(Images, serializer=_arrays, deserializer=_images)
            if not (room := self.needs.room(ray)):
                raise UserError(f"no node of the Ray cluster has {self.needs}; see --set executor")
            note(f"Ray: room for {room} at a time on {_num_nodes(ray)}")
            yield
        finally:
            if began:
                ray.shutdown()

    def room(self) -> int:
        """Cells at a time."""
        return self.needs.room(load())

    def trials(self, task: Task, name: str) -> RayTrials:
        """The trials of one search."""
        return RayTrials(task, name, self.needs, self.note)

    def share(self, comparison: Comparison, again: Any, names: Sequence[str], num: int,
              listen: Listen) -> None:  # fmt: skip
        """Every cell is a task; a lost one is told when all others are made."""
        del again, num  # the comparison travels, and Ray knows what it has room for
        ray, mailbox = load(), _mailbox()
        parcel = [ray.put(packed(_travelling(comparison), self.needs))]
        make = self.needs.task(make_cell)
        places = {name: comparison.folder / "cells" / name for name in names}
        pending = {make.remote(parcel, n, contents(p), mailbox): n for n, p in places.items()}
        lost: dict[str, Exception] = {}
        while pending:
            ready, _ = ray.wait(list(pending), num_returns=1, timeout=BETWEEN)
            for told in ray.get(mailbox.take.remote()):
                listen(*told)
            for name in map(pending.pop, ready):
                if error := _brought(ray, ready[0], places[name]):
                    lost[name] = error
                else:
                    listen("done", name, None)
        _tell_lost(ray, lost)


@dataclass(frozen=True)
class Needs:
    """What a task takes of a node, and how often it is made again when a node dies."""

    cpus: int
    gpus: float
    retries: int

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPUs" if self.gpus else ""
        return f"{self.cpus} cores{gpus} for a task"

    @property
    def device(self) -> str:
        """What a task computes on."""
        return "cuda" if self.gpus else "cpu"

    def task(self, function: Callable[..., Any], results: int = 1) -> Any:
        """The function as a task."""
        options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": self.retries}
        return load().remote(**options, num_returns=results)(function)

    def room(self, ray: Any) -> int:
        """Tasks that the nodes that are alive hold at a time."""
        total = 0
        for node in ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            held = has.get("CPU", 0) // self.cpus
            total += int(min(held, has.get("GPU", 0) // self.gpus) if self.gpus else held)
        return total


def needs(config: Config) -> Needs:
    """Of a run's tasks."""
    settings = config.group(ExecutorSettings)
    cpus = settings.cpus or config.plan.threads or os.cpu_count() or 1
    gpus = settings.gpus
    if gpus < 0:
        gpus = float(fabric(config.device).device.type == "cuda")
    return Needs(cpus, gpus, settings.retries)


def connect(ray: Any, address: str | None) -> None:
    """Connect to a cluster, or begin one here; signals stay as they were handled."""
    where = address or os.environ.get("RAY_ADDRESS") or "local"
    more = {"include_dashboard": False} if where == "local" else {}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(where, logging_level=logging.WARNING, log_to_driver=True, **more)
    except Exception as error:  # Ray raises plain ones, too
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if where == "local":
            raise UserError(f"Ray does not start on this machine: {first}") from error
        raise UserError(
            f"no Ray cluster answers at {where} ({first}); begin one with `ray start --head` and "
            "give the address that it tells by --ray-address"
        ) from error
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _num_nodes(ray: Any) -> str:
    alive = sum(node["Alive"] for node in ray.nodes())
    return "1 node" if alive == 1 else f"{alive} nodes"


# ---- what travels


@dataclass(frozen=True)
class Parcel:
    """What the tasks of one search or comparison share, and how a node is to be set up for it."""

    content: Any
    device: str
    threads: int
    versions: dict[str, str | None]
    paths: tuple[str, ...]


def packed(content: Any, needs: Needs) -> Parcel:
    """For nodes that are set up like this machine."""
    return Parcel(content, needs.device, torch.get_num_threads(), versions(), tuple(sys.path))


def versions() -> dict[str, str | None]:
    """Of what numbers depend on."""
    return {"rfsearch": rfsearch.__version__, "torch": _version("torch"),
            "optuna": _version("optuna")}  # fmt: skip


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@lru_cache(maxsize=1)
def _opened(reference: Any) -> Parcel:
    """The parcel in this process of a node, unpacked once; the node is set up for it."""
    parcel: Parcel = load().get(reference)
    here = versions()
    for name, wanted in parcel.versions.items():
        if here[name] != wanted:
            raise UserError(
                f"Ray node {_node()} has {name} {here[name]} and the driver {wanted}; install the "
                "same versions on every node"
            )
    sys.path.extend(path for path in parcel.paths if path not in sys.path)
    torch.set_num_threads(parcel.threads)
    return parcel


def _node() -> str:
    """The address of the node that this process is on, and its name to Ray."""
    ray = load()
    return f"{ray.util.get_node_ip_address()}/{ray.get_runtime_context().get_node_id()}"


def _arrays(images: Images) -> tuple[Any, ...]:
    """Arrays travel without a copy, and are read where they lie; tensors would be copied into
    every process."""
    parts = (images.pixels, images.labels, images.sources)
    return tuple(part.cpu().contiguous().numpy() for part in parts)


def _images(arrays: tuple[Any, ...]) -> Images:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they may not be written to, and nobody does
        return Images(*map(torch.from_numpy, arrays))


# ---- trials


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
            raise UserError(_cause(error)) from None
        except ray.exceptions.RayError as error:
            return job.number, replace(failed(job, _cause(error)), node="")
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
    return replace(made, weights=None, node=_node()), weights


@lru_cache(maxsize=1)
def _task(reference: Any) -> Task:
    parcel = _opened(reference)
    placed = fabric(parcel.device)
    task: Task = parcel.content
    return replace(task, fabric=placed, splits=task.splits.to(placed.device))


def _cause(error: BaseException) -> str:
    """What a task raised, or what became of it, in a line."""
    cause = getattr(error, "cause", None) or error
    text = str(cause).strip() or type(cause).__name__
    told = text if isinstance(cause, UserError) else f"{type(cause).__name__}: {text}"
    return told.splitlines()[0]


# ---- cells


def _travelling(comparison: Comparison) -> Comparison:
    """Without what belongs to this process."""
    runs = {
        name: replace(run, fabric=None, progress=Silent(), executor=Inline())  # type: ignore[arg-type]
        for name, run in comparison.runs.items()
    }
    return replace(comparison, runs=runs)


def make_cell(parcel: list[Any], name: str, begun: dict[str, bytes], mailbox: Any
              ) -> dict[str, bytes]:  # fmt: skip
    """One cell on a node, begun or not: the files of its folder."""
    opened = _comparison(parcel[0])
    with TemporaryDirectory(prefix="rfsearch-") as place:
        comparison = replace(opened, folder=Path(place))
        folder = comparison.folder / "cells" / name
        write_contents(folder, begun)
        run, cell = next((run, cell) for _, run, cell in comparison.cells() if cell.name == name)
        mailed = replace(run, progress=Mailed(name, mailbox))
        comparison.carry_out(mailed, cell, comparison.networks())
        return contents(folder)


@lru_cache(maxsize=1)
def _comparison(reference: Any) -> Comparison:
    parcel = _opened(reference)
    placed = fabric(parcel.device)
    comparison: Comparison = parcel.content
    runs: dict[str, Run] = {n: replace(r, fabric=placed) for n, r in comparison.runs.items()}
    return replace(comparison, runs=runs)


class Mailed(Silent):
    """Progress of a cell, sent to the driver."""

    def __init__(self, name: str, mailbox: Any) -> None:
        self.name, self.mailbox = name, mailbox

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch or a trial."""
        kept = {key: record.get(key) for key in ("loss", "accuracy", "seconds")}
        self.mailbox.tell.remote("epoch", self.name, kept)


class Mailbox:
    """Messages of tasks to the driver, kept where the driver is."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def tell(self, *message: Any) -> None:
        """Keep one."""
        self.told.append(message)

    def take(self) -> list[tuple[Any, ...]]:
        """All that have come since the last time."""
        told, self.told = self.told, []
        return told


def _mailbox() -> Any:
    """On the driver's node, which cannot be lost without the driver."""
    ray = load()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    there = NodeAffinitySchedulingStrategy(node_id=here, soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=there)(Mailbox).remote()


def _brought(ray: Any, reference: Any, place: Path) -> Exception | None:
    """Write a cell's files into the comparison; the error of one that was lost."""
    try:
        write_contents(place, ray.get(reference))
    except UserError as error:
        raise UserError(_cause(error)) from None
    except ray.exceptions.RayError as error:
        return error
    return None


def _tell_lost(ray: Any, lost: dict[str, Exception]) -> None:
    """Cells that their nodes could not make are the user's to make again; one that raised is a
    fault of ours."""
    for name, error in lost.items():
        if isinstance(error, ray.exceptions.RayTaskError):
            raise RuntimeError(f"cell {name} failed: {error}")
    if lost:
        name, error = next(iter(lost.items()))
        raise UserError(
            f"{len(lost)} cells were lost, the first of them {name} ({_cause(error)}); all others "
            "are made: go on with --resume, with more --set executor.cpus if memory was short"
        )
