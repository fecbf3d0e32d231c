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
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rfsearch.data.images import Images
from rfsearch.engine.executors import Listen
from rfsearch.engine.ray_cells import made_on
from rfsearch.engine.ray_tasks import Needs, arrays, images, load, needs
from rfsearch.engine.ray_trials import RayTrials
from rfsearch.errors import UserError
from rfsearch.strategies.task import Task

if TYPE_CHECKING:
    from rfsearch.engine.compare import Comparison
    from rfsearch.engine.config import Config


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
            ray.util.register_serializer(Images, serializer=arrays, deserializer=images)
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
        """The cells of a comparison."""
        del again, num  # the comparison travels, and Ray knows what it has room for
        made_on(self.needs, comparison, names, listen)


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
