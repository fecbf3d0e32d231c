"""Processes that work for this one and end with it, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import sys
import threading
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from types import ModuleType
from typing import Any

from rfsearch.engine import allocator


def child(where: str, given: tuple[Any, ...], *channels: Any) -> SpawnProcess:
    """A process, not started yet, that calls a function with ``given`` and ``channels``.

    Left behind by a kill of this process it would go on writing into a folder that the next one
    has claimed, or keep a core busy for ever; so it ends itself. What it has in hand is lost as by
    a kill, which every file of a run survives.

    Args:
        where: the function, as ``package.module:name``; it is imported by the child when that
            looks out for its parent already, for to import takes seconds.
        given: what travels as a copy.
        channels: queues and events of the "spawn" context.
    """
    packed = bytes(ForkingPickler.dumps(given))
    return _Child(target=_begin, args=(where, packed, *channels), daemon=True)


class _Child(SpawnProcess):
    """It does not import what this process was begun with: a script of three lines would begin
    its work once more in every child."""

    def start(self) -> None:
        begun_with = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            super().start()
        finally:
            sys.modules["__main__"] = begun_with


def _begin(where: str, packed: bytes, *channels: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    allocator.own()
    pkgutil.resolve_name(where)(*ForkingPickler.loads(packed), *channels)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()  # its pipe to this process closes with it
    os._exit(1)
