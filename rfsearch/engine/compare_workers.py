"""Cells in processes of their own: each opens the comparison's data, takes cells from one queue,
and tells what it does through another. A cell is the same whoever makes it."""

from __future__ import annotations

import multiprocessing
import queue
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rfsearch.engine import preemption
from rfsearch.engine.run import Silent
from rfsearch.errors import UserError

if TYPE_CHECKING:
    from rfsearch.engine.compare import Comparison


def work(again: Any, todo: Any, told: Any) -> None:
    """One worker: cells until the queue is empty; everything is told, errors too.

    Args:
        again: the request that opens the comparison once more.
        todo: names of cells.
        told: (kind, name of the cell, payload); a kind is epoch (what of its record is shown),
            done, wrong (the text of a `UserError`), fault (a traceback) or end.
    """
    from rfsearch.engine.compare import open_comparison

    try:
        with preemption.heeded():
            _work(open_comparison(again, Silent()), todo, told)
    except UserError as error:
        told.put(("wrong", "", str(error)))
    except KeyboardInterrupt:
        pass
    except BaseException:
        told.put(("fault", "", traceback.format_exc()))
    told.put(("end", "", None))


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
    workers = [
        context.Process(target=work, args=(again, todo, told), daemon=True)
        for _ in range(min(num_processes, len(names)))
    ]
    try:
        for worker in workers:
            worker.start()
        _listen(workers, told, listen)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _listen(workers: Sequence[Any], told: Any, listen: Callable[[str, str, Any], None]) -> None:
    ended = 0
    while ended < len(workers):
        try:
            kind, name, payload = told.get(timeout=5)
        except queue.Empty:
            if not any(worker.is_alive() for worker in workers):
                raise RuntimeError("the processes that make cells have died") from None
            continue
        if kind == "wrong":
            raise UserError(payload)
        if kind == "fault":
            raise RuntimeError(f"a cell failed:\n{payload}")
        if kind == "end":
            ended += 1
        else:
            listen(kind, name, payload)
