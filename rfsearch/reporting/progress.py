"""What a run shows while it goes on: a live display in a terminal, else a line per phase.

The engine tells (`start`, `step`, `epoch`, `note`, `finish`); nothing is asked of it. Seconds come
from the records, so that a resumed run shows what an uninterrupted one would.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rfsearch.reporting.candidates import Candidate, from_label
from rfsearch.reporting.quantities import clock, percent
from rfsearch.reporting.timing import Phase, left, pace

PER_SECOND = 2
STYLES = {"identity": "bright_black", "max": "blue", "avg": "yellow", "ssp": "green"}
TITLES = {
    "data": "reading data",
    "search": "searching",
    "found": "training found",
    "plain": "training plain",
    "original": "training the original",
    "proposed": "training the proposal",
    "measure": "measuring",
}


class Progress:
    """The display of one run.

    Args:
        operators: labels of the space, in the order of ``p``; without them no strip is shown.
        console: where to show; stderr by default, so that results on stdout stay clean.
    """

    def __init__(self, operators: Sequence[str] = (), console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.live: Live | None = None
        self.phases: list[Phase] = []
        self.current = 0
        self.record: Mapping[str, Any] = {}
        self.slots: Mapping[str, Any] = {}
        self._candidates = tuple(from_label(label) for label in operators)
        self._told: set[str] = set()
        self._over = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end(over=kind is None)

    def start(self, phases: Sequence[tuple[str, float | None, int]]) -> None:
        """Begin: (name, expected seconds or None, epochs in all) of every phase, in order."""
        self.phases = [Phase(*phase) for phase in phases]
        if self._is_live() and self.live is None:
            self.live = Live(self, console=self.console, refresh_per_second=PER_SECOND)
            self.live.start()

    def _is_live(self) -> bool:
        return self.console.is_terminal and sys.stdout.isatty()

    def enter(self, name: str) -> None:
        """Say that a phase begins; `step` and `epoch` do so by themselves."""
        index = self._index(name)
        if index != self.current:
            before = self.phases[self.current]
            if before.finished or not before.num_epochs:
                self._tell(before, self.record)
            self.record = {}
        self.current = index
        self.phases[index].beside = False

    def beside(self, name: str) -> None:
        """Say that a phase goes on beside the current one, until it is entered itself."""
        self.phases[self._index(name)].beside = True

    def _index(self, name: str) -> int:
        """Of a phase; one that nobody spoke of comes last."""
        if name not in (names := [phase.name for phase in self.phases]):
            self.phases.append(Phase(name, None, 0))
            return len(names)
        return names.index(name)

    def step(self, phase: str, epoch: int, step: int, steps: int) -> None:
        """A step of an epoch is done; counts from 1."""
        self.enter(phase)
        now = self.phases[self.current]
        now.done = max(now.done, epoch - 1)
        now.step, now.steps = step, steps

    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch is done: its line of ``history.jsonl``."""
        now = self.phases[self._index(str(record["phase"]))]
        if not now.beside:
            self.enter(now.name)
            self.record = record
            self.slots = record if record.get("p") else self.slots
        before = int(record.get("retrain_seed") or 0) * int(record.get("epochs", 0))
        now.done, now.step = max(now.done, before + int(record["epoch"])), 0
        now.num_epochs = max(now.num_epochs, now.done)
        if record.get("seconds") is not None:
            now.measured.append(float(record["seconds"]))
        now.unit = _unit(record)
        if now.finished:
            self._tell(now, record)

    def note(self, text: str) -> None:
        """Show a sentence that stays."""
        target = self.live.console if self.live else self.console
        target.print(Text(text), soft_wrap=not self.console.is_terminal)

    def finish(self) -> None:
        """End the display; its last state stays on the screen."""
        self._end(over=True)

    def _end(self, over: bool) -> None:
        """Once, whether the run is over or was interrupted."""
        self._over = self._over or over
        if over and self.phases:
            self._tell(self.phases[self.current], self.record)
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _tell(self, phase: Phase, record: Mapping[str, Any]) -> None:
        """One plain line for a phase, once, where there is no live display."""
        started = phase.done or phase.measured or phase is self.phases[self.current]
        if phase.name in self._told or not started:
            return
        self._told.add(phase.name)
        if self.live is not None:
            return
        parts = [TITLES.get(phase.name, phase.name)]
        if phase.num_epochs:
            parts.append(f"{phase.done} of {phase.num_epochs} {phase.unit}")
        parts += _scores(record)
        if phase.measured:
            parts.append(clock(sum(phase.measured)))
        self.console.print(Text(" · ".join(parts)), soft_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.phases:
            yield self._display(options.max_width)

    def _display(self, width: int) -> Group:
        parts: list[RenderableType] = [self._bars(width)]
        if not self._over:
            facts = self._facts(self.phases[self.current])
            parts.append(Text(" · ".join(facts), style="dim"))
        if self.slots and self._candidates:
            parts.append(self._strip())
            if width >= 80:
                parts.append(self._legend())
        return Group(*parts)

    def _bars(self, width: int) -> Table:
        """A line per phase: mark, name, bar, epochs, time left."""
        rate = pace(self.phases)
        grid = Table.grid(padding=(0, 1))
        for index, phase in enumerate(self.phases):
            past = self._over or index < self.current or phase.finished
            now = index == self.current or phase.beside
            mark = "✓" if past else "›" if now else " "
            style = "bold" if now and not past else "dim"
            total = max(phase.num_epochs, 1)
            grid.add_row(
                Text(mark, style="green" if past else "cyan"),
                Text(TITLES.get(phase.name, phase.name), style=style),
                ProgressBar(
                    total,
                    total if past else phase.progress,
                    width=max(8, width - 46),
                    complete_style="cyan",
                ),
                Text(_count(phase), style=style),
                Text(_time(phase, past, rate), style=style),
            )
        return grid

    def _facts(self, now: Phase) -> list[str]:
        rest, whole = left(self.phases, self.current)
        facts = _scores(self.record)
        if self.record.get("stage"):
            facts.insert(0, str(self.record["stage"]))
        if now.steps and not now.finished:
            facts.append(f"step {now.step}/{now.steps}")
        if rest:
            facts.append(f"{'' if whole else 'over '}{clock(rest)} left")
        return facts

    def _strip(self) -> Text:
        """What leads in every slot, in network order; a frozen slot is reversed."""
        frozen = self.slots.get("frozen") or {}
        line = Text()
        for slot, p in self.slots["p"].items():
            chosen = frozen.get(slot)
            leader = max(range(len(p)), key=lambda index: p[index])
            candidate = self._candidates[chosen[0] if chosen else leader]
            style = _style(candidate) + (" reverse" if chosen else "")
            line.append(f"{candidate.short:^2}", style=style)
            line.append(" ")
        return line

    def _legend(self) -> Text:
        families = dict.fromkeys(candidate.family for candidate in self._candidates)
        line = Text(style="dim")
        for family in families:
            one = next(c for c in self._candidates if c.family == family)
            line.append(one.short[:1], style=_style(one))
            line.append(f" {family}  ")
        frozen = len(self.slots.get("frozen") or {})
        return line.append(f"reversed: frozen ({frozen} of {len(self.slots['p'])})")


def _style(candidate: Candidate) -> str:
    return STYLES.get(candidate.family, "magenta")


def _count(phase: Phase) -> str:
    """How much of a phase is done; trials are named, for most phases count epochs."""
    word = " trials" if phase.unit == "trials" else ""
    return f"{phase.done}/{phase.num_epochs}{word}" if phase.num_epochs else ""


def _unit(record: Mapping[str, Any]) -> str:
    """What a record is one of."""
    usual = "trials" if record.get("stage") == "trial" else "epochs"
    return str(record.get("unit") or usual)


def _scores(record: Mapping[str, Any]) -> list[str]:
    """Loss and accuracy of a record, as far as it has them."""
    scores = []
    if record.get("loss") is not None:
        scores.append(f"loss {record['loss']:.3f}")
    if record.get("accuracy") is not None:
        scores.append(f"accuracy {percent(record['accuracy'])}")
    return scores


def _time(phase: Phase, past: bool, rate: float) -> str:
    """Seconds a phase took, or still takes."""
    if past:
        return clock(sum(phase.measured)) if phase.measured else ""
    rest = phase.left(rate)
    return f"~{clock(rest)}" if rest is not None else ""
