"""Kill runs and comparisons anywhere, go on, and see whether they end as if they never stopped.

    python benchmarks/soak.py --kills 60     # writes reports/reliability/soak.csv and soak.md
    python benchmarks/soak.py --kills 12 --seed 4 --when last     # report and latency

Every command is first carried out once in one go. A series then begins it anew, ends it by
``kill -9`` a few times, each time at another moment, goes on by ``--resume``, and at last lets it
come to its end, which is held against the first. Moments are chosen by a seed: after so many
seconds, from outside; a worker of a comparison, from outside; and, from inside (soak_driver.py),
before or after a file takes its place, before a file is brought to disk, and there with a part of
it lost. Rows are written when a series has ended, and a series that has rows is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tables
from rfsearch.trials.claim import FILES as CLAIM_FILES

TOP = Path(__file__).parents[1]
PLACE = TOP / "reports" / "reliability"
COLUMNS = ("seed", "how", "series", "kill", "command", "phase", "moment", "where", "orphans",
           "resumed", "result")  # fmt: skip
MARK = "RFSEARCH_SOAK"
PATIENCE = 600.0
"""Seconds after which a process counts as one that stands still."""
GONE = 30.0
"""Seconds in which the children of a killed process must have ended."""
MEASURED = ("phases", "peak_memory_bytes")
"""Keys of records, beside all with seconds, in which no two runs are alike."""
WHEN = ("anywhere", "late", "last")
LAST = 3
"""Files that count as the last ones."""
WORKERS = 12.0
"""Seconds that two workers make cells, about."""
SPACE = """
description = "three operators"
form = "residual"

[[operators]]
name = "identity"

[[operators]]
name = "max_pool"
kernel = 3

[[operators]]
name = "avg_pool"
kernel = 3
"""
SHARED = {
    "plan.threads": 1,
    "plan.width": 0.25,
    "plan.images": 192,
    "plan.test_images": 64,
    "plan.warmup_epochs": 1,
    "plan.search_epochs": 4,
    "plan.adapt_epochs": 1,
    "plan.retrain_epochs": 3,
    "plan.effective_images": 2,
    "plan.latency_runs": 2,
    "plan.trials": 6,
    "plan.proxy_epochs": 2,
    "plan.proxy_images": 64,
    "recipe.batch_size": 16,
    "pmpl.alpha_batch": 16,
    "pmpl.alpha_every": 1,
    "pmpl.alpha_lr": 0.1,
    "pmpl.average": 0.5,
    "pmpl.threshold": 0.12,
    "pmpl.minimum_epochs": 1,
    "pmpl.minimum_share": 0.0,
    "pmpl.patience": 1,
    "sampling.startup": 2,
}
COMPARED = {
    "plan.images": 96,
    "plan.retrain_epochs": 1,
    "plan.search_epochs": 3,
    "plan.proxy_epochs": 1,
    "compare.samples": 2,
    "compare.single_seeds": 0,
    "compare.retrain_seeds": 1,
    "compare.least_trials": 3,
}


@dataclass(frozen=True)
class Command:
    """One command that is killed.

    Attributes:
        words: without settings, folder and plan.
        share: of the kills.
    """

    name: str
    words: str
    share: int
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def compares(self) -> bool:
        """Whether it is a comparison."""
        return self.words.startswith("compare")

    @property
    def workers(self) -> bool:
        """Whether its cells are made by processes of their own."""
        return self.settings.get("compare.processes") == 2

    def line(self, out: Path, work: Path) -> list[str]:
        """All words; they begin a run and go on with one. A comparison has the plan of the one
        that was never stopped, for else its trials hang on what was timed."""
        settings = {**SHARED, **self.settings}
        words = [*self.words.split(), "--space", str(work / "three.toml"), "--image-size", "16",
                 "--device", "cpu", "--out", str(out), "--resume"]  # fmt: skip
        plan = work / "whole" / self.name / "config.json"
        if self.compares and out != plan.parent:
            words += ["--plan", str(plan)]
        return words + [
            word for key, one in settings.items() for word in ("--set", f"{key}={one}")
        ]


COMPARE = "compare --strategies pmpl,random --seeds 0"
COMMANDS = (
    Command("run pmpl", "run --backbone rfnet6 --strategy pmpl", 3),
    Command(
        "run pmpl, side by side",
        "run --backbone rfnet6 --strategy pmpl",
        1,
        {"plan.retrain_processes": 2},
    ),
    Command("run tpe", "run --backbone rfnet6 --strategy tpe", 2),
    Command("run asha", "run --backbone rfnet6 --strategy asha", 1),
    Command("compare", COMPARE, 2, {**COMPARED, "compare.processes": 1}),
    Command("compare, two workers", COMPARE, 2, {**COMPARED, "compare.processes": 2}),
)
INSIDE = ("before rename", "after rename", "before disk", "torn")


# --- processes


class Attempt:
    """One process that carries out a command, with a mark on it and all its children."""

    def __init__(self, command: Command, out: Path, work: Path, kill: str, cache: Path) -> None:
        self.command, self.out = command, out
        self.told = out.with_name(f"{out.name}.told")
        self.told.unlink(missing_ok=True)
        environment = {
            **os.environ,
            "PYTHONPATH": str(TOP),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "100",
            "XDG_CACHE_HOME": str(cache),
            "SOAK_KILL": kill,
            "SOAK_TOLD": str(self.told),
            MARK: str(out),
        }
        driver = [sys.executable, str(Path(__file__).with_name("soak_driver.py"))]
        self.said = out.with_name(f"{out.name}.said")
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [*driver, *command.line(out, work)], env=environment, stdout=said, stderr=said
            )

    def until_claimed(self) -> None:
        """Wait until it holds its folder, or has ended."""
        lock = self.out / ".lock.json"
        while self.process.poll() is None:
            if lock.exists() and f'"pid": {self.process.pid},' in lock.read_text():
                return
            time.sleep(0.02)

    def until_at_work(self) -> None:
        """Wait until it, or a worker of it, writes what another attempt has not written, or it
        has ended: workers take longer to load than small cells to be made."""
        began = self.said.stat().st_mtime
        while self.process.poll() is None:
            times = [changed(path) for path in self.out.glob("**/checkpoint/*")]
            if max(times, default=0) > began + 1:
                return
            time.sleep(0.05)

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE)

    def record(self) -> dict[str, Any]:
        """What it told of itself."""
        return json.loads(self.told.read_text()) if self.told.exists() else {}

    def family(self) -> list[int]:
        """All processes with its mark that are alive."""
        mark = f"{MARK}={self.out}".encode()
        return [pid for pid, told in environments() if mark in told.split(b"\0")]

    def workers(self) -> list[int]:
        """Its children that `multiprocessing` began to make cells."""
        return [pid for pid in self.family() if b"spawn_main" in said(pid, "cmdline")]

    def orphans(self) -> str:
        """Seconds until its children had ended; they are killed where they go on."""
        began = time.monotonic()
        while left := self.family():
            if time.monotonic() - began > GONE:
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                return "left"
            time.sleep(0.05)
        return f"{time.monotonic() - began:.1f}"


def environments() -> Iterator[tuple[int, bytes]]:
    """Of all processes; one that has ended and was not waited for has none."""
    for place in Path("/proc").iterdir():
        if place.name.isdecimal() and (told := said(int(place.name), "environ")):
            yield int(place.name), told


def changed(path: Path) -> float:
    """When; never, where it is gone by now."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def said(pid: int, name: str) -> bytes:
    """What /proc says of a process."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


# --- what is left


def timeless(record: Any) -> Any:
    """A record without what was measured by a clock, or is memory."""
    if isinstance(record, Mapping):
        kept = (key for key in record if "seconds" not in key and key not in MEASURED)
        return {key: timeless(record[key]) for key in kept}
    return [timeless(one) for one in record] if isinstance(record, list) else record


def rows_of(path: Path, *but: str) -> list[dict[str, str]]:
    """Of a table, without what was measured."""
    times = ("seconds", "search_seconds", "retrain_seconds", "latency_ms", *but)
    return [{k: v for k, v in row.items() if k not in times} for row in tables.read(path)]


def trials_of(folder: Path) -> list[tuple[object, ...]]:
    """Every trial in the study as often as it stands there, with what came of it."""
    from rfsearch.trials import load_study

    found = load_study(folder / "study.journal").get_trials(deepcopy=False)
    return sorted(
        (one.user_attrs["number"], one.state.name, str(one.value), json.dumps(one.params))
        for one in found
    )


def outcome(folder: Path) -> dict[str, object]:
    """All that a run or a comparison leaves but measured times, by file."""
    found: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if path.name in ("metrics.json", "config.json"):
            found[name] = timeless(json.loads(path.read_text()))
        elif path.name == "latency.json":
            found[name] = [one["choices"] for one in json.loads(path.read_text())["networks"]]
        elif path.name == "history.jsonl":
            found[name] = [timeless(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.name in ("trials.csv", "finals.csv"):
            found[name] = rows_of(path)
        elif path.name == "study.journal":
            found[name] = trials_of(path.parent)
        elif path.name == "report.html":
            found[name] = path.read_text().rstrip().endswith("</html>")
        elif path.name == "state.pt":
            found[name] = state_of(path)
        elif path.name not in CLAIM_FILES:  # of a process that is dead they say nothing
            found[name] = path.read_bytes()
    return found


def state_of(path: Path) -> tuple[object, ...]:
    """The last checkpoint: which training it is of, and how much history it knows."""
    from rfsearch.training import checkpoint

    state = checkpoint.load(path)
    assert state is not None
    return state["phase"], state["history_lines"], state["trainer"]["epoch"]


def differing(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Files that are not the same."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def phase(folder: Path) -> str:
    """How far the files say that a run or a comparison has come."""
    if not (folder / "config.json").exists():
        return "start"
    if (folder / "cells").exists() or json.loads((folder / "config.json").read_text()).get("kind"):
        return phase_of_comparison(folder)
    return phase_of_run(folder)


def phase_of_run(folder: Path) -> str:
    """Of a run or a cell that has a config.json."""
    if not (folder / "architecture.json").exists():
        return phase_of_search(folder)
    for kind in ("found", "plain"):
        lacks = not (folder / "checkpoint" / f"{kind}-0.safetensors").exists()
        if lacks and (kind == "found" or not cell(folder)):
            return f"retraining {kind}"
    if not (folder / "metrics.json").exists():
        return "measuring"
    return "done" if cell(folder) or (folder / "report.html").exists() else "report"


def phase_of_search(folder: Path) -> str:
    """By the last whole line of its history."""
    path = folder / "history.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    lines = [line for line in lines if line.endswith(b"\n")]
    last = json.loads(lines[-1]) if lines else {}
    if last.get("stage") == "trial":
        return "search: trials"
    if not lines:
        return "search: first epoch or trial"
    if last["epoch"] == last["epochs"]:
        return "search: end"
    return "search: freezing" if last.get("frozen") else "search: all slots open"


def phase_of_comparison(folder: Path) -> str:
    """By the cells that are begun and not done."""
    cells = sorted(folder.glob("cells/*/config.json"))
    open_ = [one.parent for one in cells if not (one.parent / "metrics.json").exists()]
    if open_:
        return f"cell: {phase_of_run(open_[0])}"
    if not (folder / "finals.csv").exists():
        return "between cells"
    return "latency" if not (folder / "latency.json").exists() else "report"


def cell(folder: Path) -> bool:
    """Whether it is one of a comparison."""
    return folder.parent.name == "cells"


# --- series


@dataclass
class Whole:
    """A command carried out in one go: what it left, seconds from claim to end, calls."""

    left: dict[str, object]
    seconds: float
    calls: dict[str, int]


def whole(command: Command, work: Path) -> Whole:
    """Made once; a folder that an earlier process finished is taken as it is."""
    out = work / "whole" / command.name
    about = out.with_name(f"{out.name}.json")
    if not about.exists():
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        attempt = Attempt(command, out, work, "none 0", work / "cache")
        attempt.until_claimed()
        began = time.monotonic()
        if code := attempt.wait():
            raise SystemExit(f"{command.name} ends with {code}:\n{attempt.said.read_text()}")
        about.write_text(
            json.dumps({"seconds": time.monotonic() - began, "calls": attempt.record()})
        )
    told = json.loads(about.read_text())
    return Whole(outcome(out), told["seconds"], told["calls"])


def moments(
    command: Command, rng: random.Random, first: Whole, kills: int, when: str
) -> Iterator[tuple[str, float]]:
    """So many kinds of moments, and when: seconds, or the number of a call; spread over what is
    not done yet. Late ones leave out the first third of that; of workers they are counted from
    when these are at work, which they are for seconds. The last ones are those of the last files,
    one in a series."""
    if when == "last":
        kind = rng.choice([kind for kind in INSIDE if kind != "after rename"])
        yield kind, _calls(first, kind) - rng.randrange(LAST)
        return
    rest, kinds, seconds, late = 1.0, ("time", "time", *INSIDE), first.seconds, when == "late"
    if command.workers:
        kinds = ("time", "time", "worker")
        seconds = min(seconds, WORKERS) if late else seconds
    for left in range(kills, 0, -1):
        kind = rng.choice(kinds)
        share = rest * rng.uniform(late / 3, 1 if late else min(1, 1.6 / (left + 0.6)))
        rest -= share
        if kind not in INSIDE:
            yield kind, share * seconds
        else:
            yield kind, 1 + int(share * _calls(first, kind))


def _calls(first: Whole, kind: str) -> int:
    return first.calls["rename" if "rename" in kind else "disk"]


def killed(attempt: Attempt, kind: str, after: float, when: str) -> str | None:
    """Wait for the kill; where it met the process, or None where that had ended before."""
    if kind not in INSIDE:
        attempt.until_claimed()
        if when == "late" and attempt.command.workers:
            attempt.until_at_work()
        try:
            attempt.process.wait(after)
        except subprocess.TimeoutExpired:
            return by_hand(attempt, kind, after)
    code = attempt.wait()
    if code == -signal.SIGKILL:
        return f"call {after}, {attempt.record()['file']}"
    return None if code == 0 else f"exit code {code}"


def by_hand(attempt: Attempt, kind: str, after: float) -> str:
    """From outside: the process, or one of its workers, after which it must tell so and end."""
    workers = attempt.workers() if kind == "worker" else []
    if not workers:
        attempt.process.kill()
        attempt.wait()
        return f"after {after:.2f} s"
    os.kill(workers[0], signal.SIGKILL)
    code = attempt.wait()
    expected = code == 2 and "--resume" in attempt.said.read_text()
    told = "" if expected or code == 0 else f", exit code {code}"  # all was made already
    return f"a worker after {after:.2f} s{told}"


def series(
    command: Command, seed: int, number: int, work: Path, when: str
) -> list[dict[str, object]]:
    """Begin, kill up to five times, come to the end; a row for every kill."""
    rng, first = random.Random(f"{seed}/{number}"), whole(command, work)
    out = work / f"series-{seed}-{number}"
    shutil.rmtree(out, ignore_errors=True)
    cache = work / "cache" if number % 4 else work / f"cache-{seed}-{number}"
    rows: list[dict[str, object]] = []
    for kind, after in moments(command, rng, first, rng.randint(2, 5), when):
        kill = f"{kind} {after}" if kind in INSIDE else "none 0"
        attempt = Attempt(command, out, work, kill, cache)
        where = killed(attempt, kind, after, when)
        orphans = attempt.orphans()
        if where is None or "exit code" in where:
            break
        told = {
            "seed": seed,
            "series": number,
            "kill": len(rows) + 1,
            "command": command.name,
            "phase": phase(out),
            "moment": kind,
            "where": where,
            "orphans": orphans,
        }
        rows.append(told)
        print(*told.values(), flush=True)
    return judged(rows, where, command, out, work, cache, first.left)


def judged(
    rows: list[dict[str, object]], where: str | None, command: Command, out: Path, work: Path,
    cache: Path, expected: Mapping[str, object],
) -> list[dict[str, object]]:  # fmt: skip
    """Go on to the end, and what came of it; the folder stays where it is not as it should be."""
    if where is not None and "exit code" in where:
        resumed, result = "no", f"{where}: {said_last(out)}"
    else:
        attempt = Attempt(command, out, work, "none 0", cache)
        code = attempt.wait()
        resumed = "yes" if code == 0 else f"no: exit code {code}: {said_last(out)}"
        wrong = differing(outcome(out), expected) if code == 0 else ["not finished"]
        result = ", ".join(wrong) or "equal"
    if result != "equal" and not rows:
        raise SystemExit(f"{command.name} in {out}, never killed: {result}")
    if result == "equal":
        shutil.rmtree(out)
        if cache != work / "cache":
            shutil.rmtree(cache, ignore_errors=True)
    return [{**row, "resumed": resumed, "result": result} for row in rows]


def said_last(out: Path) -> str:
    """The last line that a process left."""
    lines = out.with_name(f"{out.name}.said").read_text().splitlines()
    return lines[-1][:200] if lines else ""


def soak(kills: int, seed: int, work: Path, when: str, only: str) -> None:
    """Series of all commands by turns, or of one, until there are so many kills."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "three.toml").write_text(SPACE)
    table = PLACE / "soak.csv"
    turns = [command for command in COMMANDS for _ in range(command.share)
             if only in ("", command.name)]  # fmt: skip
    random.Random(seed).shuffle(turns)
    number = 0
    while sum(int(row["seed"]) == seed for row in tables.read(table)) < kills:
        done = {(int(row["seed"]), int(row["series"])) for row in tables.read(table)}
        if (seed, number) not in done:
            how = f"--when {when}" * (when != WHEN[0]) + f' --only "{only}"' * bool(only)
            for row in series(turns[number % len(turns)], seed, number, work, when):
                tables.append(table, COLUMNS, {**row, "how": how.strip()})
            write_page(tables.read(table))
        number += 1


# --- the page


def write_page(rows: Sequence[Mapping[str, str]]) -> None:
    """soak.md, from the table alone."""
    bad = [row for row in rows if row["result"] != "equal"]
    left = sum(row["orphans"] == "left" for row in rows)
    many = len({(row["seed"], row["series"]) for row in rows})
    begun = Counter((row["seed"], row["how"]) for row in rows)
    commands = "\n".join(
        f"    python benchmarks/soak.py --kills {num} --seed {seed} {how}".rstrip()
        for (seed, how), num in begun.items()
    )
    text = f"""# Killed anywhere

{commands}

{len(rows)} times `kill -9` in {many} series. A series begins a tiny run or comparison, kills it
up to five times, each time at another moment, goes on by `--resume`, and at last lets it come to
its end, which is held against the same command never stopped: architecture, weights, predictions,
layers, history, metrics, tables and trials, byte by byte or number by number, without what a clock
measures; every trial stands in the study once. **{len(rows) - len(bad)} kills stand in series that
ended equal, {len(bad)} in others.** After {left} kills a process of the killed command went on
for more than {GONE:.0f} s. One machine, its CPU, one thread for each process.

{counted(rows, "command", "phase")}
{counted(rows, "moment")}
*time*: after seconds drawn by the seed, from outside; *worker*: the same for a process that makes
cells, after which the command ends with exit code 2 and the way to go on; *before rename*, *after
rename*: a file is whole beside its place, or in it; *before disk*: it is written and not yet
brought to disk; *torn*: there, with a part of what was written last lost. Phases are those that
the files tell after the kill; *start* is all before config.json stands.

Phases that no kill met here: {unmet(rows)}.

Not shown: a power cut for real, file systems other than this machine's, GPUs. Runs on Ray have
tests of their own.
"""
    (PLACE / "soak.md").write_text(text)


def unmet(rows: Sequence[Mapping[str, str]]) -> str:
    """Phases of which there is no row."""
    met = {row["phase"].removeprefix("cell: ") for row in rows}
    known = ("start", "search: first epoch or trial", "search: all slots open", "search: trials",
             "search: freezing", "search: end", "retraining found", "retraining plain",
             "measuring", "report", "between cells", "latency")  # fmt: skip
    return ", ".join(phase for phase in known if phase not in met) or "none"


def counted(rows: Sequence[Mapping[str, str]], *names: str) -> str:
    """A table of how many kills there were, and how many of them in series that ended the same."""
    keys = Counter(tuple(row[name] for name in names) for row in rows)
    same = Counter(tuple(row[name] for name in names) for row in rows if row["result"] == "equal")
    lines = [f"| {' | '.join(names)} | kills | equal |", "|---" * (len(names) + 2) + "|"]
    lines += [f"| {' | '.join(key)} | {keys[key]} | {same[key]} |" for key in sorted(keys)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--when", choices=WHEN, default=WHEN[0])
    names = [command.name for command in COMMANDS]
    parser.add_argument("--only", default="", choices=names, help="kill this command alone")
    parser.add_argument("--work", type=Path, default=Path("runs/soak"))
    given = parser.parse_args()
    soak(given.kills, given.seed, given.work.absolute(), given.when, given.only)


if __name__ == "__main__":
    main()
