"""A trained network fine-tuned with found enhancers, against the same fine-tuning without.

    python benchmarks/fine_tuning.py [--first fashionmnist] [--then digits] [--seeds 0,1,2,3,4,5]

Published weights come from a network connection, which experiments here go without. What stands
for a published network is RFNet-6 that this script trains on the first data set; then `rfsearch
run` searches on the second, and trains found and plain from those weights by one recipe, on the
same batches. Two controls are trained just so: enhancers drawn at random, and plain from weights
drawn anew. An enhancer adds nothing until its γ has moved, so the first three begin with the same
outputs.

Both data sets have one channel and ten classes, and lie on this machine. A seed is a search with
its trainings, in a run folder that goes on where it stopped; reports/fine_tuning is written anew
after each from the folders that are finished.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

import torch
from torch import nn

import rfsearch
import tables
from rfsearch import backbones, data
from rfsearch.engine.config import Config
from rfsearch.engine.run import Run, Silent, describe, new_training
from rfsearch.engine.start import load_data, prepare
from rfsearch.reporting.compare_statistics import contrast, summarise
from rfsearch.seeds import numbers, stream
from rfsearch.spaces import Backbone, Choice, load_space
from rfsearch.training import checkpoint
from rfsearch.training.evaluation import accuracy
from rfsearch.training.fit import Fit
from rfsearch.training.processes import fabric
from rfsearch.training.randomness import seeded
from rfsearch.training.recipe import Recipe
from rfsearch.trials import RunFolder, read_json, write_json

RUNS = Path("runs/fine-tuning")
WEIGHTS = RUNS / "first.safetensors"
FIRST = RUNS / "first.json"
REPORT = Path(__file__).parents[1] / "reports" / "fine_tuning"
BACKBONE = Backbone(
    "rfnet6", (("channels", 1), ("classes", 10), ("stem", "small"), ("width", 0.5))
)
SIZE = 28
ARMS = ("plain", "found", "random", "scratch")
WORDS = {
    "found": "found by {strategy}",
    "random": "drawn at random",
    "plain": "plain",
    "scratch": "plain from weights drawn anew",
}
COLUMNS = ("seed", *ARMS, "low", "high")


def network() -> nn.Module:
    """RFNet-6 as the first data set left it; `rfsearch run` asks for it by this name."""
    made = untrained()
    checkpoint.load_weights(WEIGHTS, made)
    return made


def untrained() -> nn.Module:
    """The same network with weights drawn anew."""
    return backbones.build(BACKBONE)


def train_first(spec: str, images: int, epochs: int) -> dict[str, object]:
    """Train it, unless that is done; how, and what it gets right of its own test images."""
    asked = {"data": spec.partition(":")[0], "images": images, "epochs": epochs}
    if FIRST.exists():
        told = read_json(FIRST)
        if asked.items() <= told.items():
            return told
        raise SystemExit(f"{FIRST} is of {told}, not of {asked}; move {RUNS} away")
    made = data.load(spec, image_size=(SIZE, SIZE), images=images, test_images=2000)
    varied = data.Augmentation(data.AugmentationSettings(), made.mean, made.std, made.flips)
    with seeded(stream(0, "fine-tuning")):
        first = untrained()
    fit = Fit(first, made.search.training(), varied, Recipe(), epochs=epochs,
              seed=stream(0, "fine-tuning", "first"), fabric=fabric("cpu"))  # fmt: skip
    while not fit.finished:
        told = fit.advance()
        print(f"{spec}: epoch {told['epoch']} of {epochs}, loss {told['loss']:.3f}", flush=True)
    checkpoint.save_weights(WEIGHTS, first)
    told = {**asked, "accuracy": accuracy(first, made.test, varied)}
    write_json(FIRST, told)
    return told


def fine_tune(options: argparse.Namespace, seed: int) -> dict[str, object]:
    """One search and its trainings, and the controls; a row of the table."""
    folder = rfsearch.run(
        "fine_tuning:network", data=options.then, image_size=SIZE, seed=seed, resume=True,
        strategy=options.strategy,
        out=RUNS / f"seed{seed}",
        assignments=(f"plan.images={options.images}", f"recipe.lr={options.lr}",
                     f"plan.retrain_seeds={options.trainings}", "plan.threads=1", *options.set),
    )  # fmt: skip
    told = read_json(RunFolder(folder).metrics)
    shown = {name: told["networks"][name]["accuracy"] for name in ("plain", "found")}
    low, high = told["difference"]["interval"]
    return {
        "seed": seed,
        **{name: f"{share:.5f}" for name, share in {**shown, **controls(folder)}.items()},
        "low": f"{low:.5f}", "high": f"{high:.5f}",
    }  # fmt: skip


def controls(folder: Path) -> Mapping[str, float]:
    """Mean accuracy of each control, trained as the networks of this run were."""
    kept = folder / "controls.json"
    if kept.exists():
        return read_json(kept)
    config = Config.from_json(read_json(folder / "config.json"), str(folder))
    run = prepare(config, RunFolder(folder), load_data(config), Silent())
    space = load_space(config.space)
    slots = [slot.name for slot in backbones.slots(run.backbone)]
    drawn = space.sample(slots, numbers(config.seed, "fine-tuning", "random"))
    anew = Run(**{**vars(run), "config": scratch(config)})
    found = {"random": trained(run, "found", drawn), "scratch": trained(anew, "plain", ())}
    write_json(kept, found)
    return found


def scratch(config: Config) -> Config:
    """The same with weights drawn anew."""
    return Config(**{**vars(config), "backbone": "fine_tuning:untrained"})


def trained(run: Run, kind: str, choices: Sequence[Choice]) -> float:
    """Mean test accuracy over the run's trainings of one network."""
    made = describe(run, tuple(choices))
    scores = []
    for index in range(run.config.plan.retrain_seeds):
        fit = new_training(run, kind, index, made)
        while not fit.finished:
            fit.advance()
        scores.append(accuracy(fit.network, run.dataset.test, run.augmentation))
    return mean(scores)


def page(options: argparse.Namespace, first: Mapping[str, object],
         rows: Sequence[Mapping[str, object]]) -> str:  # fmt: skip
    """What came of it, in words."""
    arms = {name: [float(str(row[name])) for row in rows] for name in ARMS}
    lines = [
        "# Fine-tuning with found enhancers",
        "",
        f"RFNet-6, half as wide, trained on {first['data']} ({first['images']} images, "
        f"{first['epochs']} epochs; {100 * float(str(first['accuracy'])):.1f} % of its own test "
        f"images), then fine-tuned on {options.images} images of {options.then}, "
        f"{SIZE}×{SIZE} pixels, learning rate {options.lr}: {len(rows)} search seeds, "
        f"{options.trainings} trainings of each network, one recipe, the same batches.",
        "",
        "| network | accuracy, % | beside plain, points | 95 % interval |",
        "|---|---|---|---|",
    ]
    for name, words in WORDS.items():
        gap = contrast(name, "plain", arms[name], arms["plain"])
        told = summarise(arms[name])
        beside = f"{100 * gap.mean:+.1f} | {100 * gap.low:+.1f} to {100 * gap.high:+.1f}"
        lines.append(
            f"| {words.format(strategy=options.strategy)} | "
            f"{100 * told.mean:.1f} ± {100 * (told.sd or 0):.1f} | "
            + ("| |" if name == "plain" else f"{beside} |")
        )
    gap = contrast("found", "random", arms["found"], arms["random"])
    lines += [
        "",
        f"Found beside random: {100 * gap.mean:+.1f} points ({100 * gap.low:+.1f} to "
        f"{100 * gap.high:+.1f}). Intervals are paired t over search seeds; all seeds begin with "
        "the same first network and share its test images, and the search itself costs found "
        "epochs that plain does not get.",
        "",
        f"`python benchmarks/fine_tuning.py --strategy {options.strategy}`, one thread, torch "
        f"{torch.__version__}, Python {platform.python_version()}. `table.csv`: a row per "
        "search seed; low and high are the run's own interval of found − plain over test sources.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """As the options say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--first", default="fashionmnist", help="data of the first training")
    parser.add_argument("--then", default="digits", help="data of the fine-tuning")
    parser.add_argument("--first-images", type=int, default=10_000)
    parser.add_argument("--first-epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=800, help="of the fine-tuning")
    parser.add_argument("--lr", type=float, default=0.01, help="of the fine-tuning")
    parser.add_argument("--trainings", type=int, default=2, help="of each network, each seed")
    parser.add_argument("--seeds", default="0,1,2,3,4,5")
    parser.add_argument("--strategy", default="pmpl", help="of the search")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of rfsearch run")
    options = parser.parse_args()
    first = train_first(options.first, options.first_images, options.first_epochs)
    rows = []
    for seed in map(int, options.seeds.split(",")):
        rows.append(fine_tune(options, seed))
        REPORT.mkdir(parents=True, exist_ok=True)
        tables.write(REPORT / "table.csv", COLUMNS, rows)
        (REPORT / "README.md").write_text(page(options, first, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
