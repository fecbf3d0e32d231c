"""Where the two forms of the enhancer meet: one operator everywhere, trained longer and longer.

    python benchmarks/longer_training.py --backbone rfnet6 --processes 2   # goes on by itself
    python benchmarks/longer_training.py --backbone mobilenetv2 --seeds 1

Networks are trained from scratch by the recipe and on the data of the quick plan, each budget with
a schedule of its own, on one thread, and read on the test split once. Rows go to
reports/longer/table.csv as they are made, and the page there is written anew.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import means
import tables
from trainings import trained

REPORT = Path(__file__).parents[1] / "reports" / "longer"
PLACE = REPORT / "table.csv"
COLUMNS = ("backbone", "epochs", "space", "operator", "seed", "accuracy", "seconds")
EPOCHS = {"rfnet6": (10, 30, 90, 270), "mobilenetv2": (12, 36, 108)}
"""Of the quick plan first."""
PLAIN = ("pooling", "identity")
NETWORKS = (PLAIN, ("pooling", "max 3"), ("pooling", "avg 3"),
            ("pmpl", "identity"), ("pmpl", "max 3"), ("pmpl", "avg 3"))  # fmt: skip
"""Space, which has one form, and the operator in every slot. The first is the plain network."""
FORMS = {"pooling": "residual", "pmpl": "paper"}

Rows = Sequence[dict[str, str]]


def train(backbone: str, epochs: int, space: str, operator: str, seed: int) -> dict[str, Any]:
    """A row."""
    from rfsearch.engine.config import Request

    settings = (f"plan.retrain_epochs={epochs}", "plan.threads=1")
    request = Request(
        backbone=backbone, space=space, seed=seed, device="cpu", assignments=settings
    )
    score, seconds = trained(request, [operator])
    told = (backbone, epochs, space, operator, seed, f"{score:.6f}", f"{seconds:.0f}")
    return dict(zip(COLUMNS, told, strict=True))


def train_all(backbone: str, num_seeds: int, longest: int, num_processes: int) -> None:
    """What is missing, short budgets first."""
    keys = COLUMNS[:5]
    done = {tuple(row[key] for key in keys) for row in tables.resumed(PLACE)}
    budgets = [epochs for epochs in EPOCHS[backbone] if epochs <= longest]
    todo = [(backbone, epochs, *network, seed)
            for epochs, seed, network in itertools.product(budgets, range(num_seeds), NETWORKS)
            if tuple(map(str, (backbone, epochs, *network, seed))) not in done]  # fmt: skip
    for number, row in enumerate(tables.made(train, todo, num_processes), 1):
        tables.append(PLACE, COLUMNS, row)
        print(f"{number} of {len(todo)}:", *row.values(), flush=True)


# ---- the page


def accuracies(rows: Rows, epochs: int, network: tuple[str, str]) -> list[float]:
    """In per cent, one for each seed."""
    wanted = (str(epochs), *network)
    return [100 * float(row["accuracy"]) for row in rows
            if (row["epochs"], row["space"], row["operator"]) == wanted]  # fmt: skip


def of_network(rows: Rows, network: tuple[str, str], budgets: Sequence[int]) -> list[str]:
    """A line: mean ± sd at every budget."""
    return [named(network), *(means.spread(accuracies(rows, epochs, network))
                              for epochs in budgets)]  # fmt: skip


def named(network: tuple[str, str]) -> str:
    """As tables call it."""
    space, operator = network
    return "plain" if network == PLAIN else f"{FORMS[space]}, {operator} everywhere"


def above_plain(rows: Rows, network: tuple[str, str], budgets: Sequence[int]) -> list[str]:
    """A line: how far it lies above the plain network at every budget."""
    told = (means.above(accuracies(rows, epochs, network), accuracies(rows, epochs, PLAIN))
            for epochs in budgets)  # fmt: skip
    return [named(network), *told]


def paper_above(rows: Rows, operator: str, budgets: Sequence[int]) -> list[str]:
    """A line: how far the paper's form of an operator lies above the residual one."""
    told = (means.above(accuracies(rows, epochs, ("pmpl", operator)),
                         accuracies(rows, epochs, ("pooling", operator)))
            for epochs in budgets)  # fmt: skip
    return [operator, *told]


def of_backbone(backbone: str, rows: Rows) -> list[str]:
    """Its two tables."""
    budgets = sorted({int(row["epochs"]) for row in rows})
    seeds = len({row["seed"] for row in rows})
    minutes = np.sum([float(row["seconds"]) for row in rows]) / 60
    columns = [f"{epochs} epochs" for epochs in budgets]
    return [
        f"## {backbone}", "",
        f"Test accuracy in %, {seeds} training seeds, {minutes:.0f} minutes of a core in all.", "",
        *tables.markdown(["network", *columns],
                         [of_network(rows, network, budgets) for network in NETWORKS]), "",
        "Above the plain network, in points, with Welch's 95 % interval:", "",
        *tables.markdown(["network", *columns],
                         [above_plain(rows, network, budgets) for network in NETWORKS[1:]]), "",
        "The paper's form above the residual form of the same operator:", "",
        *tables.markdown(["operator everywhere", *columns],
                         [paper_above(rows, operator, budgets)
                          for operator in ("max 3", "avg 3")]), "",
    ]  # fmt: skip


def page() -> str:
    """README.md of reports/longer."""
    rows = tables.read(PLACE)
    parts = [of_backbone(one, told) for one in EPOCHS
             if (told := [row for row in rows if row["backbone"] == one])]  # fmt: skip
    reading = (REPORT / "reading.md").read_text(encoding="utf-8").strip()
    lines = ["# Where the two forms of the enhancer meet", "", reading, ""]
    made = "Made by `python benchmarks/longer_training.py`; raw rows in `table.csv`."
    return "\n".join([*lines, *itertools.chain(*parts), made]) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=tuple(EPOCHS), default="rfnet6")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--longest", type=int, default=90, help="budgets of at most so many epochs"
    )
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    train_all(given.backbone, given.seeds, given.longest, given.processes)
    (REPORT / "README.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
