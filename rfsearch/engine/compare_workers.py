"""Cells in processes of their own: each opens the comparison's data, takes cells from one queue,
and tells what it does through another. A cell is the same whoever makes it."""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rfsearch.engine.children import child
from rfsearch.engine.executors import Listen
from rfsearch.engine.messages import Crew, Telling, telling
from rfsearch.engine.run import Silent
from rfsearch.trials import RunFolder

if TYPE_CHECKING:
    from rfsearch.engine.compare import Comparison

WHO = "a process that made cells"
REMEDY = "go on by --resume, with fewer at a time by --set compare.processes=N"


def work(again: Any, todo: Any, told: Any) -> None:
    """One worker: cells until the queue is empty; everything is told, errors too.

    Args:
        again: the request that opens the comparison once more.
        todo: names of cells.
        told: (kind, name of the cell, payload); a kind is epoch (its line of history) or done.
    """
    from rfsearch.engine.compare import open_comparison

    with telling(told, WHO) as tell:
        _work(open_comparison(again, Silent()), todo, tell)


def _work(comparison: Comparison, todo: Any, tell: Listen) -> None:
    networks = comparison.networks()
    cells = {cell.name: (run, cell) for _, run, cell in comparison.cells()}
    while True:
        try:
            name = todo.get(timeout=1)
        except queue.Empty:
            return
        run, cell = cells[name]
        RunFolder(comparison.folder).check_there()
        comparison.carry_out(replace(run, progress=Telling(name, tell)), cell, networks)
        tell("done", name, None)


def share(again: Any, names: Sequence[str], num_processes: int, listen: Listen) -> None:
    """Have all cells made; ``listen`` hears of epochs and of cells that are done."""
    context = multiprocessing.get_context("spawn")
    todo, told = context.Queue(), context.Queue()
    for name in names:
        todo.put(name)
    where = f"{__name__}:{work.__name__}"
    workers = [child(where, (again,), todo, told) for _ in range(min(num_processes, len(names)))]
    with Crew(workers, told, WHO, REMEDY) as crew:
        crew.hear_all(listen)
