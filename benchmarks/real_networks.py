"""Published networks on photographs: what pools, and a search among them, are worth in both forms.

    python benchmarks/real_networks.py compare cifar10 --data cifar10:PATH   # goes on by itself
    python benchmarks/real_networks.py longer cifar10-shallow --data cifar10:PATH   # likewise
    python benchmarks/real_networks.py page                                  # reports/real

A ground is a data set, a network and a size. On each, PMPL's eight candidates are compared by
`rfsearch compare` in the residual and in the published form: plain, each operator everywhere,
six networks drawn at random, and what three seeds of PMPL, of TPE and, on one ground, of random
search found, all trained by one recipe. Cells are run folders and are not made twice. What was
found can then be trained longer, beside the same controls, by the same recipe on the same images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tables
from means import above, spread
from trainings import trained

REPORT = Path(__file__).parents[1] / "reports" / "real"
WORK = Path("runs/real")
SPACES = {"residual": str(Path(__file__).with_suffix(".toml")), "paper": "pmpl"}
"""By form; the candidates are the same."""
EVEN, NEAR = "pmpl-even", "pmpl-near"
"""What PMPL is by default in the residual form, and in the paper's until slots stayed plain there
where nothing is ahead."""
BOTH = f"{EVEN},tpe"
"""Random search costs a third more time; one ground has it."""
SEEDS = "0,1,2"
COMMON = ("plan.threads=1", "compare.processes=2", "compare.retrain_seeds=1")
CONTROLS = ("compare.samples=6", "compare.single_seeds=1")
FEWEST = ("compare.samples=1", "compare.single_seeds=0")
KEPT = ("arm", "group", "search_seed", "accuracy", "params", "macs", "window_ops", "latency_ms",
        "search_seconds", "retrain_seconds", "architecture")  # fmt: skip

LONGER = 40
"""Epochs."""
OF_LONGER = {
    "residual": ("plain", "pmpl-even", "random networks"),
    "paper": ("identity everywhere (paper)", "pmpl", "pmpl-even", "random networks"),
}
"""Arms of which three networks are trained for so many."""
KEPT_LONGER = ("arm", "search_seed", "accuracy", "seconds", "architecture")

Rows = Sequence[dict[str, str]]


@dataclass(frozen=True)
class Ground:
    """Where enhancers are tried.

    Attributes:
        why: what it asks, for the page.
        data: what ``--data`` begins with.
        image_size: pixels a side.
        settings: of the plan and of the comparison.
        arms: strategies; those of the summary, or what differs between variants of one.
        forms: of the enhancer.
        seeds: of the searches, and of plain's trainings.
        also: another ground, what was found on which is trained longer beside what was found here.
    """

    why: str
    backbone: str
    data: str
    image_size: int
    settings: tuple[str, ...]
    arms: str
    forms: tuple[str, ...] = tuple(SPACES)
    seeds: str = SEEDS
    also: str = ""


FEW = ("plan.images=4000", "plan.retrain_epochs=8")
CHEAP = ("compare.least_trials=10", "sampling.startup=5")
"""As many trials as a search by PMPL costs, and not thirty, which would cost three of them."""
SMALL = ("plan.width=0.5", *FEW, *CHEAP, *CONTROLS)
LARGER = ("plan.width=0.5", "plan.images=0", "plan.retrain_epochs=12")
WHOLE = (*LARGER, *CHEAP, *CONTROLS)
NARROW = ("plan.width=0.25", *FEW, *CHEAP, *CONTROLS)
SHALLOW = ("plan.width=0.5", *FEW)
GROUNDS = {
    "cifar10": Ground("photographs", "mobilenetv2", "cifar10", 32, SMALL, BOTH,
                      also="cifar10-careful"),
    "cifar10-near": Ground("near plain there", "mobilenetv2", "cifar10", 32,
                           ("plan.width=0.5", *FEW, *FEWEST), NEAR),
    "cifar10-careful": Ground("plain where nothing is ahead, there", "mobilenetv2", "cifar10",
                              32, ("plan.width=0.5", *FEW, *FEWEST), "pmpl", ("paper",)),
    "fashionmnist": Ground("clothes", "mobilenetv2", "fashionmnist", 28, SMALL, BOTH,
                           ("residual",)),
    "fashionmnist-careful": Ground("plain where nothing is ahead, there", "mobilenetv2",
                                   "fashionmnist", 28, ("plan.width=0.5", *FEW, *FEWEST), "pmpl",
                                   ("paper",)),
    "fashionmnist-near": Ground("near plain there", "mobilenetv2", "fashionmnist", 28, SMALL,
                                f"{NEAR},tpe", ("paper",)),
    "imagenette": Ground("larger photographs, few of them", "mobilenetv2", "imagefolder", 64,
                         WHOLE, BOTH),
    "imagenette-near": Ground("near plain there", "mobilenetv2", "imagefolder", 64,
                              (*LARGER, *FEWEST), NEAR, ("paper",)),
    "imagenette-careful": Ground("plain where nothing is ahead, there", "mobilenetv2",
                                 "imagefolder", 64, (*LARGER, *FEWEST), "pmpl", ("paper",)),
    "imagenette-low": Ground("low resolution", "mobilenetv2", "imagefolder", 32, WHOLE, BOTH),
    "imagenette-low-near": Ground("near plain there", "mobilenetv2", "imagefolder", 32,
                                  (*LARGER, *FEWEST), NEAR, ("paper",)),
    "cifar10-narrow": Ground("a narrow network", "mobilenetv2", "cifar10", 32,
                             NARROW, BOTH, ("residual",)),
    "cifar10-narrow-near": Ground("near plain there", "mobilenetv2", "cifar10", 32, NARROW,
                                  f"{NEAR},tpe", ("paper",)),
    "cifar10-shallow": Ground("a shallow network", "rfnet6", "cifar10", 32,
                              (*SHALLOW, *CONTROLS), f"{BOTH},random"),
    "cifar10-shallow-near": Ground("near plain there", "rfnet6", "cifar10", 32,
                                   (*SHALLOW, *FEWEST), NEAR),
    "cifar10-shallow-beside": Ground("near plain and evenly, six searches each", "rfnet6",
                                     "cifar10", 32, (*SHALLOW, *FEWEST), f"{NEAR},{EVEN}",
                                     seeds="3,4,5,6,7,8"),
    "cifar10-price": Ground("a price on fields, there", "rfnet6", "cifar10", 32,
                            (*SHALLOW, *FEWEST),
                            f"{EVEN},{EVEN}:field_price=0.1,{EVEN}:field_price=0.02",
                            ("residual",)),
    "cifar10-mixtures": Ground("what a step of the search mixes, there", "rfnet6", "cifar10", 32,
                               (*SHALLOW, *FEWEST), "pmpl,pmpl-all,pmpl-subset", ("residual",)),
}  # fmt: skip
OF_ONE = "one operator everywhere"
"""All networks of one operator together."""
COMPARED = ("pmpl", EVEN, NEAR, "tpe", "random", "random networks", OF_ONE,
            "identity everywhere (paper)")  # fmt: skip
"""The columns of the summary."""


def compare(name: str, data: str, forms: Sequence[str]) -> None:
    """Those of a ground's forms whose tables are not in reports/real yet, from where they
    stopped."""
    from rfsearch.engine import compare as engine
    from rfsearch.engine.compare_plan import CompareRequest

    ground = GROUNDS[name]
    for form in forms:
        place, out = REPORT / f"{name}-{form}.csv", WORK / f"{name}-{form}"
        if form not in ground.forms or place.exists():
            continue
        request = CompareRequest(
            strategies=ground.arms, seeds=ground.seeds, backbone=ground.backbone,
            space=SPACES[form], data=data, image_size=ground.image_size, device="cpu", out=out,
            resume=(out / "config.json").exists(), assignments=(*COMMON, *ground.settings),
        )  # fmt: skip
        print(engine.compare(request), flush=True)
        finals = [{key: row[key] for key in KEPT} for row in tables.read(out / "finals.csv")]
        tables.write(place, KEPT, finals)


def longer(name: str, data: str, forms: Sequence[str]) -> None:
    """What a ground's searches found, and controls, for `LONGER` epochs, from where it stopped."""
    for form in forms:
        place = REPORT / f"{name}-{form}-longer.csv"
        done = {(row["arm"], row["search_seed"]) for row in tables.resumed(place)}
        todo = [(name, form, data, row) for row in three_of_each(name, form)
                if (row["arm"], row["search_seed"]) not in done]  # fmt: skip
        for row in tables.made(trained_longer, todo, num_processes=2):
            tables.append(place, KEPT_LONGER, row)
            print(form, *row.values(), flush=True)


def three_of_each(name: str, form: str) -> list[dict[str, str]]:
    """Of the arms that are trained longer, as they were found: one network a search seed."""
    rows = [row for ground in (name, GROUNDS[name].also) if ground
            for row in tables.read(REPORT / f"{ground}-{form}.csv")]  # fmt: skip
    first = {(row["arm"], row["search_seed"]): row for row in reversed(rows)}
    return [first[arm, seed] for arm in OF_LONGER[form] for seed in SEEDS.split(",")
            if (arm, seed) in first]  # fmt: skip


def trained_longer(name: str, form: str, data: str, found: dict[str, str]) -> dict[str, object]:
    """A row."""
    from rfsearch.engine.config import Request

    ground, seed = GROUNDS[name], found["search_seed"]
    settings = (*ground.settings, "plan.threads=1", f"plan.retrain_epochs={LONGER}")
    request = Request(
        backbone=ground.backbone, space=SPACES[form], seed=int(seed), data=data,
        image_size=ground.image_size, device="cpu", assignments=settings,
    )  # fmt: skip
    score, seconds = trained(request, found["architecture"].split(" | "))
    told = (found["arm"], seed, f"{score:.6f}", f"{seconds:.0f}", found["architecture"])
    return dict(zip(KEPT_LONGER, told, strict=True))


def page() -> str:
    """README.md of reports/real."""
    found = {(name, form): rows for name, ground in GROUNDS.items() for form in ground.forms
             if (rows := tables.read(REPORT / f"{name}-{form}.csv"))}  # fmt: skip
    lines = ["# Enhancers in networks on photographs", ""]
    lines += [(REPORT / "reading.md").read_text(encoding="utf-8").strip(), "", *summary(found), ""]
    for name in dict.fromkeys(name for name, _ in found):
        lines += [f"## {name}: {GROUNDS[name].why}", "", of_ground(GROUNDS[name]), ""]
        for form in SPACES:
            rows = found.get((name, form))
            lines += [f"### The {form} form", "", *arms(rows), ""] if rows else []
        lines += trained_for_longer(name)
    missing = [f"{name} ({form})" for name, ground in GROUNDS.items() for form in ground.forms
               if (name, form) not in found]  # fmt: skip
    lines += [f"Not measured yet: {', '.join(missing)}.", ""] if missing else []
    return "\n".join([*lines, "Made by `python benchmarks/real_networks.py compare GROUND --data "
                      "NAME:PATH` for each ground, and `longer` in place of "
                      "`compare` where a table says so."]) + "\n"  # fmt: skip


def summary(found: Mapping[tuple[str, str], Rows]) -> list[str]:
    """A line for each ground and form: plain, and how far the others lie above it."""
    return tables.markdown(("ground", "form", "plain, %", *COMPARED), [
        (name, form, spread(plain := accuracies(rows, "plain")),
         *(above(accuracies(rows, arm), plain) for arm in COMPARED))
        for (name, form), rows in found.items()
        if set(GROUNDS[name].arms.split(",")) <= set(COMPARED)
    ])  # fmt: skip


def of_ground(ground: Ground) -> str:
    """A line."""
    told = ", ".join(f"`{one}`" for one in ground.settings)
    return f"`{ground.backbone}` on {ground.data}, {ground.image_size} pixels; {told}."


def arms(rows: Rows) -> list[str]:
    """A line for each arm, plain first, then by accuracy."""
    plain = accuracies(rows, "plain")
    names = sorted(dict.fromkeys(row["arm"] for row in rows),
                   key=lambda arm: (arm != "plain", -np.mean(accuracies(rows, arm))))  # fmt: skip
    columns = ("arm", "n", "accuracy, %", "above plain, points", "params", "MACs", "window ops",
               "latency, ms", "search, s", "training, s")  # fmt: skip
    return tables.markdown(columns, [
        (arm, len(found := accuracies(rows, arm)), spread(found),
         "" if arm == "plain" else above(found, plain), *prices(rows, arm))
        for arm in names
    ])  # fmt: skip


def trained_for_longer(name: str) -> list[str]:
    """A line for each arm and form: the same networks after both budgets, above plain's."""
    short = {form: three_of_each(name, form) for form in OF_LONGER}
    long = {form: tables.read(REPORT / f"{name}-{form}-longer.csv") for form in OF_LONGER}
    plains = [accuracies(told["residual"], "plain") for told in (short, long)]
    rows = [
        (form, arm, len(both[1]), *map(spread, both),
         *("" if arm == "plain" else above(*one) for one in zip(both, plains, strict=True)))
        for form, names in OF_LONGER.items() for arm in names
        if len((both := [accuracies(told[form], arm) for told in (short, long)])[1])
    ]  # fmt: skip
    if not rows:
        return []
    epochs = next(one for one in GROUNDS[name].settings if "retrain_epochs" in one).split("=")[1]
    columns = ("form", "arm", "n", *(f"{told}, %" for told in (epochs, LONGER)),
               *(f"above plain at {told}" for told in (epochs, LONGER)))  # fmt: skip
    return [f"### The same networks after {epochs} and after {LONGER} epochs", "",
            *tables.markdown(columns, rows), ""]  # fmt: skip


def accuracies(rows: Rows, arm: str) -> list[float]:
    """In per cent, one for each network of an arm, or of all that hold one operator everywhere."""
    alone = arm == OF_ONE
    return [100 * float(row["accuracy"]) for row in rows
            if row["arm"] == arm or (alone and row["arm"].endswith(" everywhere"))]  # fmt: skip


def prices(rows: Rows, arm: str) -> Iterator[str]:
    """Means of what its networks cost."""
    for column in ("params", "macs", "window_ops", "latency_ms", "search_seconds",
                   "retrain_seconds"):  # fmt: skip
        told = [float(row[column]) for row in rows if row["arm"] == arm and row[column]]
        yield f"{np.mean(told):.3g}" if told else ""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("compare", "longer", "page"))
    parser.add_argument("ground", nargs="?", choices=tuple(GROUNDS))
    parser.add_argument("--data", default="", help="where the ground's images are")
    parser.add_argument("--form", choices=tuple(SPACES), help="one of them alone")
    given = parser.parse_args()
    if given.what != "page":
        if given.ground is None:
            parser.error(f"say which ground: {', '.join(GROUNDS)}")
        if given.data.partition(":")[0] != (kind := GROUNDS[given.ground].data):
            parser.error(f"{given.ground} is made of {kind}: say --data {kind}:PATH")
        forms = (given.form,) if given.form else tuple(SPACES)
        {"compare": compare, "longer": longer}[given.what](given.ground, given.data, forms)
    (REPORT / "README.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
