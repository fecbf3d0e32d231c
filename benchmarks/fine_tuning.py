"""A trained network fine-tuned with found enhancers, against the same fine-tuning without.

    python benchmarks/fine_tuning.py [--first fashionmnist] [--then digits] [--seeds 0,1,2,3,4,5]

Published weights come from a network connection, which experiments here go without. What stands
for a published network is RFNet-6 that this script trains on the first data set; then `rfsearch
run` searches on the second, and trains found and plain from those weights by one recipe, on the
same batches. An enhancer adds nothing until its γ has moved, so both begin with the same outputs.

Both data sets have one channel and ten classes, and lie on this machine. A seed is a search with
its trainings, in a run folder that goes on where it stopped; reports/fine_tuning/table.csv is
written anew from the folders that are finished.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean, stdev

from torch import nn

import rfsearch
import tables
from rfsearch import backbones, data
from rfsearch.seeds import stream
from rfsearch.spaces import Backbone
from rfsearch.training import checkpoint
from rfsearch.training.fit import Fit
from rfsearch.training.processes import fabric
from rfsearch.training.randomness import seeded
from rfsearch.training.recipe import Recipe
from rfsearch.trials import RunFolder, read_json

RUNS = Path("runs/fine-tuning")
WEIGHTS = RUNS / "first.safetensors"
REPORT = Path(__file__).parents[1] / "reports" / "fine_tuning"
BACKBONE = Backbone(
    "rfnet6", (("channels", 1), ("classes", 10), ("stem", "small"), ("width", 0.5))
)
SIZE = 28
COLUMNS = ("first", "then", "images", "seed", "trainings", "plain", "found", "difference",
           "low", "high")  # fmt: skip


def network() -> nn.Module:
    """RFNet-6 as the first data set left it; `rfsearch run` asks for it by this name."""
    made = backbones.build(BACKBONE)
    checkpoint.load_weights(WEIGHTS, made)
    return made


def train_first(spec: str, images: int, epochs: int) -> None:
    """Train it, unless that is done."""
    if WEIGHTS.exists():
        return
    made = data.load(spec, image_size=(SIZE, SIZE), images=images, test_images=1)
    settings = data.AugmentationSettings()
    with seeded(stream(0, "fine-tuning")):
        first = backbones.build(BACKBONE)
    fit = Fit(first, made.search.training(),
              data.Augmentation(settings, made.mean, made.std, made.flips), Recipe(),
              epochs=epochs, seed=stream(0, "fine-tuning", "first"),
              fabric=fabric("cpu"))  # fmt: skip
    while not fit.finished:
        told = fit.advance()
        print(f"{spec}: epoch {told['epoch']} of {epochs}, loss {told['loss']:.3f}", flush=True)
    checkpoint.save_weights(WEIGHTS, first)


def fine_tune(options: argparse.Namespace, seed: int) -> dict[str, object]:
    """One search and its trainings; a row of the table."""
    folder = rfsearch.run(
        "fine_tuning:network", data=options.then, image_size=SIZE, seed=seed, resume=True,
        out=RUNS / f"seed{seed}",
        assignments=(f"plan.images={options.images}", f"recipe.lr={options.lr}",
                     f"plan.retrain_seeds={options.trainings}", *options.set),
    )  # fmt: skip
    told = read_json(RunFolder(folder).metrics)
    networks, gap = told["networks"], told["difference"]
    return {
        "first": options.first, "then": options.then, "images": options.images, "seed": seed,
        "trainings": len(told["retrain_seeds"]),
        "plain": round(networks["plain"]["accuracy"], 5),
        "found": round(networks["found"]["accuracy"], 5),
        "difference": round(gap["found_minus_plain"], 5),
        "low": round(gap["interval"][0], 5), "high": round(gap["interval"][1], 5),
    }  # fmt: skip


def main() -> None:
    """As the options say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--first", default="fashionmnist", help="data of the first training")
    parser.add_argument("--then", default="digits", help="data of the fine-tuning")
    parser.add_argument("--first-images", type=int, default=10_000)
    parser.add_argument("--first-epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=800, help="of the fine-tuning")
    parser.add_argument("--lr", type=float, default=0.01, help="of the fine-tuning")
    parser.add_argument("--trainings", type=int, default=2, help="of found and plain, each seed")
    parser.add_argument("--seeds", default="0,1,2,3,4,5")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of rfsearch run")
    options = parser.parse_args()
    train_first(options.first, options.first_images, options.first_epochs)
    rows = []
    for seed in map(int, options.seeds.split(",")):
        rows.append(fine_tune(options, seed))
        REPORT.mkdir(parents=True, exist_ok=True)
        tables.write(REPORT / "table.csv", COLUMNS, rows)
    gaps = [100 * float(str(row["difference"])) for row in rows]
    spread = f" ± {stdev(gaps):.2f}" if len(gaps) > 1 else ""
    print(f"found − plain: {mean(gaps):+.2f}{spread} points over {len(gaps)} search seeds")


if __name__ == "__main__":
    main()
