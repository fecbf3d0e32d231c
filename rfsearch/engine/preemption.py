"""SIGTERM, by which schedulers take a machine back: what was done is kept, and the run goes on.

While steps are made the signal is noted, and after the present step the state within the epoch is
written; elsewhere, and where a step takes longer than `PATIENCE`, it ends the process as Ctrl-C
does, and the state after the last epoch stands.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PATIENCE = 7.0
"""Seconds that a step may take to end once the signal has come."""


class Preempted(KeyboardInterrupt):
    """The process was told to end; what it has done is kept."""


_noted = threading.Event()
_stepping = threading.Event()


@contextmanager
def heeded() -> Iterator[None]:
    """Inside, SIGTERM raises `Preempted`: at once, or within `stepping` when that asks for it.

    Signals reach the main thread alone; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _on_signal)
    try:
        yield
    finally:
        _patience(0)
        _noted.clear()
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stepping() -> Iterator[None]:
    """Inside, the signal waits until `asked` is looked at, which is soon."""
    _stepping.set()
    try:
        yield
    finally:
        _stepping.clear()


def asked() -> bool:
    """Whether the signal has come."""
    return _noted.is_set()


def _on_signal(number: int, frame: FrameType | None) -> None:
    del number, frame
    if not _stepping.is_set():
        raise Preempted
    if not _noted.is_set():  # a second one, from whoever sends it to all, changes nothing
        _noted.set()
        _patience(PATIENCE)


def _patience(seconds: float) -> None:
    """Raise `Preempted` after so long; 0 for never."""
    if not hasattr(signal, "setitimer"):  # Windows
        return
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _too_long(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise Preempted
