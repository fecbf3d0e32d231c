"""Where the default run stands: plain, single operators, random, found, in both forms.

    python benchmarks/quick_table.py --work runs/quick-table --processes 2

Every network is trained by the recipe, epochs and data of the quick plan, on one thread each, and
read on the test split once. Rows are written as they finish and are not done twice, so the script
goes on where it was stopped. It rebuilds reports/quick/table.csv and reports/quick/README.md.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import means
import tables

SEEDS = (0, 1, 2)
RANDOM_DRAWS = 6
REPORT = Path(__file__).parent.parent / "reports" / "quick"
FORMS = {"pooling": "residual", "pmpl": "paper"}
SEARCHES = {"found": "pmpl", "found evenly": "pmpl-even", "found near plain": "pmpl-near"}
"""Choice → the strategy that makes it."""


@dataclass(frozen=True)
class Cell:
    """One network to train: the arm, its space, the seed, and what the slots hold.

    ``choice`` is "plain", a key of `SEARCHES`, "random N" (draw N), or the label of the operator
    everywhere.
    """

    space: str
    choice: str
    seed: int


@dataclass(frozen=True)
class Row:
    """What came of a cell."""

    space: str
    choice: str
    seed: int
    accuracy: float
    architecture: str
    search_seconds: float
    train_seconds: float


def cells() -> Iterator[Cell]:
    """All cells, those that the report's first question needs first."""
    from rfsearch.spaces import load_space

    for seed in SEEDS:
        yield Cell("pooling", "found", seed)
        yield Cell("pooling", "plain", seed)
    for draw in range(RANDOM_DRAWS):
        yield Cell("pooling", f"random {draw}", draw % len(SEEDS))
    for label in load_space("pooling").labels[1:]:
        yield Cell("pooling", label, 0)
    for choice in ("ssp", "max 3"):
        yield Cell("pmpl", choice, 0)
    for seed in SEEDS:
        yield Cell("pmpl", "found", seed)
        yield Cell("pmpl", "identity", seed)
        yield Cell("pmpl", f"random {seed}", seed)
        yield Cell("pmpl", "found near plain", seed)
        yield Cell("pmpl", "found evenly", seed)
    for seed in SEEDS:
        yield Cell("pooling", "found near plain", seed)


def train(cell: Cell, work: Path) -> Row:
    """Search where the cell asks for it, then train and test one network."""
    import torch

    from rfsearch.engine.config import Request, settle
    from rfsearch.engine.run import describe, new_search, new_training
    from rfsearch.engine.start import load_data, prepare
    from rfsearch.reporting.progress import Progress
    from rfsearch.training.evaluation import accuracy
    from rfsearch.training.fit import silent
    from rfsearch.trials import RunFolder

    torch.set_num_threads(1)
    strategy = SEARCHES.get(cell.choice, "pmpl")
    request = Request(backbone="mobilenetv2", space=cell.space, seed=cell.seed, strategy=strategy)
    config = settle(request)
    config = replace(config, plan=replace(config.plan, threads=1))
    run = prepare(config, RunFolder(work), load_data(config), Progress())
    began = time.perf_counter()
    if cell.choice in SEARCHES:
        searching = new_search(run)
        while not searching.finished:
            searching.advance(silent)
        choices = searching.choices()
    else:
        choices = fixed_choices(cell, run)
    searched = time.perf_counter()
    kind = "plain" if cell.choice == "plain" else "found"
    training = new_training(run, kind, 0, describe(run, choices))
    while not training.finished:
        training.advance()
    score = accuracy(training.network, run.dataset.test, run.augmentation)
    return Row(
        **asdict(cell),
        accuracy=score,
        architecture=" | ".join(choice.label for choice in choices),
        search_seconds=searched - began if cell.choice in SEARCHES else 0.0,
        train_seconds=time.perf_counter() - searched,
    )


def fixed_choices(cell: Cell, run: object) -> tuple[object, ...]:
    """The choices of a control."""
    from rfsearch import backbones, seeds
    from rfsearch.spaces import load_space

    space = load_space(cell.space)
    slots = [slot.name for slot in backbones.slots(run.backbone)]  # type: ignore[attr-defined]
    if cell.choice.startswith("random"):
        draw = int(cell.choice.removeprefix("random "))
        return space.sample(slots, seeds.numbers(draw, "quick table", cell.space))
    label = "identity" if cell.choice == "plain" else cell.choice
    return space.choose(slots, [space.labels.index(label)] * len(slots))


def read_rows(path: Path) -> list[Row]:
    """The rows that are done."""
    kinds = {"seed": int, "accuracy": float, "search_seconds": float, "train_seconds": float}
    return [Row(**{key: kinds.get(key, str)(value) for key, value in record.items()})
            for record in tables.resumed(path)]  # fmt: skip


def work_off(todo: Iterable[Cell], work: Path, processes: int, path: Path) -> None:
    """Train the cells in processes of one thread; a row is on disk as soon as it is done."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for row in tables.made(train, [(cell, work) for cell in todo], processes):
        tables.append(path, [field.name for field in fields(Row)], asdict(row))
        print(row.space, row.choice, row.seed, f"{row.accuracy:.4f}", flush=True)


def summary(rows: list[Row]) -> str:
    """The table as Markdown: mean ± sd of test accuracy in per cent, n, difference to plain."""
    plain = {row.seed: row.accuracy for row in rows if row.choice == "plain"}
    base = statistics.mean(plain.values())
    lines = []
    for (space, arm), group in grouped(rows).items():
        values = [100 * row.accuracy for row in group]
        mean = statistics.mean(values)
        is_plain = group[0].choice == "plain"
        form = "none" if is_plain else FORMS[space]
        above = "" if is_plain else f"{mean - 100 * base:+.1f}"
        lines.append((form, arm, len(values), means.spread(values), above))
    return "\n".join(tables.markdown(
        ("form", "slots hold", "n", "test accuracy, %", "above plain, points"), lines
    ))  # fmt: skip


def grouped(rows: list[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows by form and arm; all random draws are one arm, and one operator is 'X everywhere'."""
    groups: dict[tuple[str, str], list[Row]] = {}
    names = {
        "plain": "plain backbone",
        "found": "found by PMPL",
        "found evenly": "found by PMPL, drawn evenly, leaders kept (`pmpl-even`)",
        "found near plain": "found by PMPL, drawn near plain, leaders kept (`pmpl-near`)",
    }
    for row in sorted(rows, key=lambda row: (row.space != "pooling", row.choice, row.seed)):
        arm = "random choice" if row.choice.startswith("random") else row.choice
        arm = names.get(arm, arm)
        if arm not in ("random choice", *names.values()):
            arm = f"{arm} everywhere"
        groups.setdefault((row.space, arm), []).append(row)
    return groups


def agreement(rows: list[Row]) -> str:
    """In how many slots two searches agree, against chance."""
    lines = []
    for space in FORMS:
        found = [
            row.architecture.split(" | ")
            for row in rows
            if (row.space, row.choice) == (space, "found")
        ]
        pairs = [
            sum(a == b for a, b in zip(x, y, strict=True))
            for x, y in itertools.combinations(found, 2)
        ]
        if not pairs:
            continue
        shares = [expected_agreement(x, y) for x, y in itertools.combinations(found, 2)]
        lines.append(
            f"Space `{space}`: two searches agree in {statistics.mean(pairs):.1f} of "
            f"{len(found[0])} slots; {statistics.mean(shares):.1f} are expected when the same "
            "operators fall on slots at random."
        )
    return "\n".join(lines)


def expected_agreement(first: list[str], second: list[str]) -> float:
    """Mean agreements of two lists over all orders of one of them."""
    return sum(first.count(label) * second.count(label) for label in set(first)) / len(first)


def missing(rows: list[Row]) -> str:
    """A sentence on what is not trained yet."""
    todo = {(cell.space, cell.choice, cell.seed) for cell in cells()}
    left = len(todo - {(row.space, row.choice, row.seed) for row in rows})
    return (
        f"\n**Not finished:** {left} of {len(todo)} networks are not trained yet.\n"
        if left
        else ""
    )


def page(rows: list[Row]) -> str:
    """reports/quick/README.md."""
    import torch

    seconds = sum(row.search_seconds + row.train_seconds for row in rows)
    return f"""# Where the default run stands

Quick plan of `rfsearch run --backbone mobilenetv2` (cluttered digits, 48 × 48 pixels, width 0.5):
every network is trained from scratch by one recipe and read on the test split once. n counts
training seeds; for found, search seeds; for random, drawn architectures. ± is the sd.

{summary(rows)}

{agreement(rows)}
{missing(rows)}
Rebuilt by `python benchmarks/quick_table.py`; raw rows in `table.csv`. {len(rows)} networks,
{seconds / 60:.0f} minutes of one thread each; torch {torch.__version__}, Python
{platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores. With so few seeds these
are means, not verdicts: compare a difference with the sd beside it.

`report.png` is the first screen of `rfsearch run --backbone mobilenetv2`, two threads, seed 0; it
took 4 min 21 s on two cores with nothing else running.
"""


def main() -> None:
    """Train what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/quick-table"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", choices=("controls", "found"), help="train a part only")
    options = parser.parse_args()
    path = REPORT / "table.csv"
    done = {(row.space, row.choice, row.seed) for row in read_rows(path)}
    todo = [cell for cell in cells() if (cell.space, cell.choice, cell.seed) not in done]
    if options.only:
        found = options.only == "found"
        todo = [cell for cell in todo if (cell.choice in SEARCHES) == found]
    work_off(todo, options.work, options.processes, path)
    (REPORT / "README.md").write_text(page(read_rows(path)))


if __name__ == "__main__":
    main()
