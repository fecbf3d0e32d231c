"""Every network of a small space on RFNet-6, trained; and strategies replayed on the table.

    python benchmarks/rfnet6_table.py train                 # goes on where it was stopped
    python benchmarks/rfnet6_table.py search --seeds 10     # supernets; goes on likewise
    python benchmarks/rfnet6_table.py replay --seeds 50     # seconds; rewrites reports/rfnet6

The space: two operators (identity, max 5) in six slots, 64 networks, two training seeds each, by
the recipe, data and epochs of the quick plan of rfnet6. A row is on disk as soon as it is trained.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tables
from ranks import tau

SEEDS = (0, 1)
OPERATORS = ("identity", "max 5")
REPORT = Path(__file__).parent.parent / "reports" / "rfnet6"
COLUMNS = ("network", "seed", "score", "accuracy", "seconds", "params", "macs", "window_ops")
SUPERNETS = ("pmpl", "pmpl-mixed", "darts")
SEARCHED = ("strategy", "seed", "network", "seconds")
SPACE = """description = "identity or max 5"
form = "residual"
operators = [{ name = "identity" }, { name = "max_pool", kernel = 5 }]
"""
REPLAYED = ("random", "tpe", "evolution", "nsga2", "nni-tpe", "nni-evolution")


def open_run(strategy: str = "random", space: str = "pooling", seed: int = 0) -> Any:
    """A quick run of rfnet6, of which nothing is written."""
    from rfsearch.engine.config import Request, settle
    from rfsearch.engine.run import Silent
    from rfsearch.engine.start import load_data, prepare
    from rfsearch.trials import RunFolder

    config = settle(Request(backbone="rfnet6", strategy=strategy, space=space, seed=seed))
    return prepare(config, RunFolder(Path("runs/rfnet6-table")), load_data(config), Silent())


def networks(num_slots: int) -> list[tuple[int, ...]]:
    """All of the space; the last slot changes fastest."""
    return list(itertools.product(range(len(OPERATORS)), repeat=num_slots))


def train_row(run: Any, network: tuple[int, ...], seed: int) -> dict[str, Any]:
    """Train one network and read selection and test once."""
    from dataclasses import replace

    from rfsearch import spaces
    from rfsearch.backbones.realise import realise
    from rfsearch.engine.costs import counted
    from rfsearch.engine.run import describe, new_training, slot_names
    from rfsearch.strategies.tabular import name
    from rfsearch.training.evaluation import accuracy

    began = time.perf_counter()
    run = replace(run, config=replace(run.config, seed=seed))
    space = spaces.load_space(run.config.space)
    indices = [space.labels.index(OPERATORS[k]) for k in network]
    architecture = describe(run, space.choose(slot_names(run), indices))
    training = new_training(run, "found", 0, architecture)
    while not training.finished:
        training.advance()
    seconds = time.perf_counter() - began
    data, trained = run.dataset, training.network
    return {
        "network": name(network),
        "seed": seed,
        "score": accuracy(trained, data.search.selection, run.augmentation),
        "accuracy": accuracy(trained, data.test, run.augmentation),
        "seconds": round(seconds, 3),
        **counted(realise(architecture), data.image_size, data.channels),
    }


def about(run: Any) -> dict[str, Any]:
    """table.json."""
    from rfsearch.engine.compare_plan import definition, digest
    from rfsearch.engine.environment import environment
    from rfsearch.engine.run import slot_names

    frozen = definition(run.config, environment(run.dataset, str(run.fabric.device)))
    frozen.pop("commit")
    return {
        "backbone": "rfnet6",
        "slots": list(slot_names(run)),
        "operators": list(OPERATORS),
        "seeds": list(SEEDS),
        "definition": frozen,
        "hash": digest(frozen),
    }


def train(limit: int | None) -> None:
    """Train what is missing, at most ``limit`` rows; another benchmark is refused."""
    from rfsearch.trials import read_json, write_json

    run = open_run()
    told, path = about(run), REPORT / "table.csv"
    stored = REPORT / "table.json"
    if stored.exists() and read_json(stored)["hash"] != told["hash"]:
        raise SystemExit(f"{stored} is of another benchmark; move it away to begin a new table")
    write_json(stored, told)
    done = done_rows(path)
    todo = [
        (network, seed)
        for seed in SEEDS
        for network in networks(len(told["slots"]))
        if ("-".join(map(str, network)), seed) not in done
    ]
    for network, seed in todo[:limit]:
        row = train_row(run, network, seed)
        tables.append(path, COLUMNS, row)
        print(
            row["network"], seed, f"{row['accuracy']:.4f}", f"{row['seconds']:.0f} s", flush=True
        )
    print(f"{len(todo[limit or len(todo) :])} rows are left")


def search(num_seeds: int) -> None:
    """What supernets find in the table's space, in the epochs of the quick plan."""
    from rfsearch.engine.run import new_search
    from rfsearch.training.fit import silent

    space = Path("runs/rfnet6-table/space.toml")
    space.parent.mkdir(parents=True, exist_ok=True)
    space.write_text(SPACE, encoding="utf-8")
    path = REPORT / "searched.csv"
    done = done_rows(path, "strategy")
    for seed, strategy in itertools.product(range(num_seeds), SUPERNETS):
        if (strategy, seed) in done:
            continue
        began = time.perf_counter()
        searching = new_search(open_run(strategy, str(space), seed))
        while not searching.finished:
            searching.advance(silent)
        found = "-".join(str(OPERATORS.index(one.label)) for one in searching.choices())
        seconds = round(time.perf_counter() - began, 3)
        row = {"strategy": strategy, "seed": seed, "network": found, "seconds": seconds}
        tables.append(path, SEARCHED, row)
        print(*row.values(), flush=True)


def done_rows(path: Path, what: str = "network") -> set[tuple[str, int]]:
    """(what, seed) of the rows that are there; a torn last line is cut off."""
    from rfsearch.trials.history import cut_torn_line

    cut_torn_line(path)
    return {(row[what], int(row["seed"])) for row in tables.read(path)}


def replay(num_seeds: int, trials: int) -> None:
    """Mean regret of every strategy, to reports/rfnet6/README.md."""
    from rfsearch.strategies.optuna_samplers import SamplingSettings
    from rfsearch.strategies.tabular import read_table, regrets, replay_on

    table = read_table(REPORT)
    if not table.complete:
        raise SystemExit("the table is not finished; python benchmarks/rfnet6_table.py train")
    marks = [count for count in (5, 10, 20, 30, 40) if count <= trials]
    lines = [
        "# RFNet-6, two operators in six slots: every network trained",
        "",
        f"Points of test accuracy below the best network ({100 * table.best():.1f} %), after so "
        f"many trials; mean of {num_seeds} searches replayed on `table.csv`.",
        "",
        f"| strategy | {' | '.join(map(str, marks))} |",
        f"|---|{'---|' * len(marks)}",
    ]
    for strategy in REPLAYED:
        curves = [
            regrets(table, replay_on(table, strategy, trials, seed, SamplingSettings()))
            for seed in range(num_seeds)
        ]
        means = [sum(100 * curve[mark - 1] for curve in curves) / num_seeds for mark in marks]
        lines.append(f"| {strategy} | {' | '.join(f'{mean:.2f}' for mean in means)} |")
    lines += ["", *found(), *noise(), "", "Rebuilt by `python benchmarks/rfnet6_table.py replay`."]
    (REPORT / "README.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def accuracies() -> Any:
    """Test accuracy in %, a row per network and a column per training seed."""
    import pandas as pd

    rows = pd.read_csv(REPORT / "table.csv")
    return 100 * rows.pivot(index="network", columns="seed", values="accuracy")


def held(names: Iterable[str]) -> Any:
    """The operator of every slot, a row per name of a network."""
    import numpy as np

    return np.array([[int(one) for one in name.split("-")] for name in names])


def worths(by_seed: Any) -> Any:
    """What the second operator is worth in each slot, in points, by least squares."""
    import numpy as np

    networks = held(by_seed.index)
    design = np.column_stack([np.ones(len(networks)), networks])
    return np.linalg.lstsq(design, by_seed.mean(axis=1).to_numpy(), rcond=None)[0][1:]


def found() -> list[str]:
    """What supernets found: its accuracy in the table, and by the worth of its slots alone."""
    import pandas as pd

    path, by_seed = REPORT / "searched.csv", accuracies()
    if not path.exists():
        return []
    mean, worth = by_seed.mean(axis=1), worths(by_seed)
    fitted = pd.Series(held(by_seed.index) @ worth, by_seed.index)
    searched = pd.read_csv(path)
    rows = [
        f"| {strategy} | {len(names)} | {mean[names].mean():.1f} ± {mean[names].std():.1f} "
        f"| {fitted[names].mean():.1f} ± {fitted[names].std():.1f} |"
        for strategy, names in searched.groupby("strategy")["network"]
    ]
    return [
        "A supernet searched in the same space, and what the table says of the network it found; "
        "the",
        "worth of its slots (below) has less of the noise of training.",
        "",
        "| strategy | searches | accuracy, % | worth of its slots, points |",
        "|---|---|---|---|",
        *rows,
        f"| drawn at random | {len(mean)} | {mean.mean():.1f} ± {mean.std():.1f} "
        f"| {fitted.mean():.1f} ± {fitted.std():.1f} |",
        f"| best of all | | {mean.max():.1f} | {fitted.max():.1f} |",
        "",
    ]


def noise() -> list[str]:
    """What the table can tell apart: agreement of its seeds, plain, the worth of each slot."""
    by_seed = accuracies()
    worth = worths(by_seed)
    plain = by_seed.loc["-".join("0" * len(worth))].mean()
    every, agree = by_seed.stack(), tau(by_seed[SEEDS[0]], by_seed[SEEDS[1]])
    each = ", ".join(f"{one:+.1f}" for one in worth)
    return [
        f"- All {len(by_seed)} networks: {every.mean():.1f} ± {every.std():.1f} %; plain "
        f"{plain:.1f} %. Kendall's τ between the two training seeds is {agree:.2f}: most of the",
        "  differences are noise of training.",
        f"- {OPERATORS[1]} in place of {OPERATORS[0]} is worth, slot by slot (least squares over",
        f"  all rows): {each} points.",
    ]


def main() -> None:
    """Train, search or replay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("train", "search", "replay"))
    parser.add_argument("--limit", type=int, help="rows to train now; all by default")
    parser.add_argument("--seeds", type=int, default=20, help="searches of every strategy")
    parser.add_argument("--trials", type=int, default=40)
    options = parser.parse_args()
    if options.what == "train":
        train(options.limit)
    elif options.what == "search":
        search(options.seeds)
    else:
        replay(options.seeds, options.trials)


if __name__ == "__main__":
    main()
