"""Tasks of a Ray cluster: what they take of a node, and what travels to it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch

import rfsearch
from rfsearch.data.images import Images
from rfsearch.engine import allocator
from rfsearch.engine.settings import ExecutorSettings
from rfsearch.errors import UserError
from rfsearch.training.processes import fabric

if TYPE_CHECKING:
    from rfsearch.engine.config import Config

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


@dataclass(frozen=True)
class Needs:
    """What a task takes of a node, and how often it is made again when a node dies."""

    cpus: int
    gpus: float
    retries: int
    precision: str = "float32"
    allocator: str = "system"

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
    return Needs(cpus, gpus, settings.retries, config.plan.precision, config.plan.allocator)


@dataclass(frozen=True)
class Parcel:
    """What the tasks of one search or comparison share, and how a node is to be set up for it."""

    content: Any
    device: str
    precision: str
    allocator: str
    threads: int
    versions: dict[str, str | None]
    paths: tuple[str, ...]


def packed(content: Any, needs: Needs) -> Parcel:
    """For nodes that are set up like this machine."""
    return Parcel(content, needs.device, needs.precision, needs.allocator,
                  torch.get_num_threads(), versions(), tuple(sys.path))  # fmt: skip


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
def opened(reference: Any) -> Parcel:
    """The parcel in this process of a node, unpacked once; the node is set up for it."""
    parcel: Parcel = load().get(reference)
    here = versions()
    for name, wanted in parcel.versions.items():
        if here[name] != wanted:
            raise UserError(
                f"Ray node {node()} has {name} {here[name]} and the driver {wanted}; install the "
                "same versions on every node"
            )
    sys.path.extend(path for path in parcel.paths if path not in sys.path)
    torch.set_num_threads(parcel.threads)
    allocator.own()
    allocator.settle(parcel.allocator, parcel.device)
    return parcel


def node() -> str:
    """The address of the node that this process is on, and its name to Ray."""
    ray = load()
    return f"{ray.util.get_node_ip_address()}/{ray.get_runtime_context().get_node_id()}"


def arrays(images: Images) -> tuple[Any, ...]:
    """Arrays travel without a copy, and are read where they lie; tensors would be copied into
    every process."""
    parts = (images.pixels, images.labels, images.sources)
    return tuple(part.cpu().contiguous().numpy() for part in parts)


def images(arrays: tuple[Any, ...]) -> Images:
    """The inverse of `arrays`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they may not be written to, and nobody does
        return Images(*map(torch.from_numpy, arrays))


def cause(error: BaseException) -> str:
    """What a task raised, or what became of it, in a line."""
    cause = getattr(error, "cause", None) or error
    text = str(cause).strip() or type(cause).__name__
    told = text if isinstance(cause, UserError) else f"{type(cause).__name__}: {text}"
    return told.splitlines()[0]
