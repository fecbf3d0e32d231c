"""Where pools make networks that differ by more than their trainings do.

    python benchmarks/rfbench_forms.py --networks 24   # goes on where it stopped

The first networks of RF-Bench, their pools in place of convolutions as the table has them, and
behind them in the residual and in the published form, two seeds each, by one recipe: the spread of
their means, the noise of a training, and how the two seeds rank them.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence

import numpy as np

import rfbench
import tables
from ranks import tau

OTHERS = ("residual", "paper")
PLACE = rfbench.REPORT / "forms.csv"
COLUMNS = ("form", "architecture", "seed", "test_accuracy")

Accuracies = dict[str, list[float]]


def train(num_networks: int) -> None:
    """What is missing of the other forms."""
    done = {(row["form"], row["architecture"], row["seed"]) for row in tables.resumed(PLACE)}
    drawn = rfbench.shuffled()[:num_networks]
    for network, form, seed in itertools.product(drawn, OTHERS, rfbench.SEEDS):
        if (form, rfbench.name(network), str(seed)) not in done:
            trained, _ = rfbench.train(network, seed, form)
            row = {key: trained.get(key, form) for key in COLUMNS}
            tables.append(PLACE, COLUMNS, row)
            print(*row.values(), flush=True)


def whole(rows: Sequence[dict[str, str]]) -> Accuracies:
    """Test accuracy in % by seed, of the networks that have all seeds."""
    told: Accuracies = {}
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        told.setdefault(row["architecture"], []).append(100 * float(row["test_accuracy"]))
    return {one: both for one, both in told.items() if len(both) == len(rfbench.SEEDS)}


def of_form(form: str, told: Accuracies, alike: Sequence[str]) -> Sequence[object]:
    """A row of the page."""
    values = np.array([told[one] for one in alike])
    noise = (values[:, 0] - values[:, 1]).std(ddof=1) / 2**0.5
    return (form, len(values), f"{values.mean():.2f}", f"{values.mean(axis=1).std(ddof=1):.2f}",
            f"{noise:.2f}", f"{tau(values[:, 0], values[:, 1]):.2f}")  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=24, help="drawn at random")
    train(parser.parse_args().networks)
    columns = ("form", "networks", "test accuracy, %", "sd of networks", "sd of a training",
               "τ between seeds")  # fmt: skip
    others = tables.read(PLACE)
    found = {rfbench.FORM: whole(rfbench.rows()[0])} | {
        form: whole([row for row in others if row["form"] == form]) for form in OTHERS
    }
    alike = sorted(set.intersection(*(set(told) for told in found.values())))
    rows = [of_form(form, told, alike) for form, told in found.items()]
    lines = tables.markdown(columns, rows)
    text = "\n".join(["# Where pools are ground for a table", "",
                      "    python benchmarks/rfbench_forms.py", "", *lines])  # fmt: skip
    PLACE.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
