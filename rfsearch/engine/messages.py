"""What processes that work for this one tell it: (kind, name, payload), through one queue."""

from __future__ import annotations

import queue
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from typing import Any

from rfsearch.engine import preemption
from rfsearch.engine.executors import Listen
from rfsearch.engine.run import Silent
from rfsearch.errors import UserError


class Telling(Silent):
    """Progress as messages (epoch, name, line of history), which ``tell`` takes; steps are not
    told, for epochs are short enough."""

    def __init__(self, name: str, tell: Listen) -> None:
        self.name, self.tell = name, tell

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch or a trial."""
        self.tell("epoch", self.name, record)


@contextmanager
def telling(told: Any, who: str) -> Iterator[Listen]:
    """Inside, in a child, messages go out; what is raised is the last of them but the end.

    Args:
        told: the queue.
        who: this process, as an error names it.
    """
    try:
        with preemption.heeded():
            yield lambda *message: told.put(message)
    except KeyboardInterrupt:
        stopped = UserError(f"{who} was told to end; go on by --resume")
        told.put(("error", "", stopped))  # nobody listens where all were told
    except Exception as error:
        told.put(("error", "", _travelling(error, who)))
    told.put(("end", "", None))


def _travelling(error: Exception, who: str) -> Exception:
    """What was raised, as the other process can raise it again, so that a full disk is told there
    as a full disk; where it broke stands in its notes."""
    error.add_note(f"In {who}:\n{traceback.format_exc()}")
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # some take other arguments than they keep
        return RuntimeError(f"{who} failed:\n{traceback.format_exc()}")
    return error


class Crew:
    """Processes at work within a block, and what they tell.

    Args:
        workers: not started yet; each works inside of `telling`.
        told: the queue of all of them.
        who: one of them, as errors name it.
        remedy: what helps where one was killed, perhaps for want of memory.
    """

    def __init__(self, workers: Sequence[Any], told: Any, who: str, remedy: str) -> None:
        self.workers = workers
        self.told = told
        self.who = who
        self.remedy = remedy
        self.ended = 0

    def __enter__(self) -> Crew:
        for worker in self.workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            if worker.is_alive():
                worker.terminate()
        for worker in self.workers:
            worker.join()

    def hear_all(self, listen: Listen) -> None:
        """Until the last of them has ended."""
        while self.ended < len(self.workers):
            self.hear(listen, seconds=1)

    def hear(self, listen: Listen, seconds: float = 0) -> None:
        """The next message, if there is one within so many seconds.

        Raises:
            Exception: what was raised in one of them.
            UserError: one was killed.
        """
        try:
            kind, name, payload = self.told.get(timeout=seconds)
        except queue.Empty:
            self._check_alive()
            return
        if kind == "error":
            raise payload
        if kind == "end":
            self.ended += 1
        else:
            listen(kind, name, payload)

    def _check_alive(self) -> None:
        """One that was killed may have held what the others wait for, so all end; a resume goes
        on."""
        for worker in self.workers:
            if worker.exitcode:
                how = f"exit code {worker.exitcode}"
                if worker.exitcode < 0:
                    how = signal.Signals(-worker.exitcode).name
                raise UserError(
                    f"{self.who} was ended ({how}), perhaps for want of memory; {self.remedy}"
                )
