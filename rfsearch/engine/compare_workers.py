"""Cells in processes of their own: each opens the comparison's data, takes cells from one queue,
and tells what it does through another. A cell is the same whoever makes it."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

from rfsearch.engine import preemption
from rfsearch.engine.children import child
from rfsearch.engine.run import Silent
from rfsearch.errors import UserError
from rfsearch.trials import RunFolder

if TYPE_CHECKING:
    from rfsearch.engine.compare import Comparison


def work(again: Any, todo: Any, told: Any) -> None:
    """One worker: cells until the queue is empty; everything is told, errors too.

    Args:
        again: the request that opens the comparison once more.
        todo: names of cells.
        told: (kind, name of the cell, payload); a kind is epoch (what of its record is shown),
            done, error (what was raised) or end.
    """
    from rfsearch.engine.compare import open_comparison

    try:
        with preemption.heeded():
            _work(open_comparison(again, Silent()), todo, told)
    except KeyboardInterrupt:
        stopped = UserError("a process that made cells was told to end; go on by --resume")
        told.put(("error", "", stopped))  # nobody listens where all were told
    except Exception as error:
        told.put(("error", "", _travelling(error)))
    told.put(("end", "", None))


def _travelling(error: Exception) -> Exception:
    """What was raised, as the other process can raise it again, so that a full disk is told there
    as a full disk; where it broke stands in its notes."""
    error.add_note(f"In a process that makes cells:\n{traceback.format_exc()}")
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # some take other arguments than they keep
        return RuntimeError(f"a cell failed:\n{traceback.format_exc()}")
    return error


def _work(comparison: Comparison, todo: Any, told: Any) -> None:
    networks = comparison.networks()
    cells = {cell.name: (run, cell) for _, run, cell in comparison.cells()}
    while True:
        try:
            name = todo.get(timeout=1)
        except queue.Empty:
            return
        run, cell = cells[name]
        telling = Telling(name, lambda *message: told.put(message))
        RunFolder(comparison.folder).check_there()
        comparison.carry_out(replace(run, progress=telling), cell, networks)
        told.put(("done", name, None))


class Telling(Silent):
    """Progress of a cell as messages (kind, name of the cell, payload), which ``tell`` takes;
    steps are not told, for epochs are short enough."""

    def __init__(self, name: str, tell: Callable[[str, str, Any], object]) -> None:
        self.name, self.tell = name, tell

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch or a trial."""
        kept = {key: record.get(key) for key in ("loss", "accuracy", "seconds")}
        self.tell("epoch", self.name, kept)


def share(
    again: Any,
    names: Sequence[str],
    num_processes: int,
    listen: Callable[[str, str, Any], None],
) -> None:
    """Have all cells made; ``listen`` hears of epochs and of cells that are done."""
    context = multiprocessing.get_context("spawn")
    todo, told = context.Queue(), context.Queue()
    for name in names:
        todo.put(name)
    where = f"{__name__}:{work.__name__}"
    workers = [child(where, (again,), todo, told) for _ in range(min(num_processes, len(names)))]
    try:
        for worker in workers:
            worker.start()
        _listen(workers, told, listen)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()


def _listen(workers: Sequence[Any], told: Any, listen: Callable[[str, str, Any], None]) -> None:
    ended = 0
    while ended < len(workers):
        try:
            kind, name, payload = told.get(timeout=1)
        except queue.Empty:
            _check_alive(workers)
            continue
        if kind == "error":
            raise payload
        if kind == "end":
            ended += 1
        else:
            listen(kind, name, payload)


def _check_alive(workers: Sequence[Any]) -> None:
    """One that was killed may have held what the others wait for, so all end; a resume goes on."""
    for worker in workers:
        if worker.exitcode:
            how = f"exit code {worker.exitcode}"
            if worker.exitcode < 0:
                how = signal.Signals(-worker.exitcode).name
            raise UserError(
                f"a process that made cells was ended ({how}), perhaps for want of memory; go on "
                "by --resume, with fewer at a time by --set compare.processes=N"
            )
