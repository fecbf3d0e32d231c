"""What data costs: its share of a step of training, and folders of images read a second time.

    python benchmarks/data_speed.py [share|folders ...]   # both by default

One thread, by its processor time, so that other work on the machine does not count. Rows go to
reports/speed/ as they are made, what stands there is not measured again, and data.md there is
written anew.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import tables
from rfsearch import backbones, data
from rfsearch.data import Augmentation, AugmentationSettings
from rfsearch.data.images import Images
from rfsearch.engine.plan import PLANS
from rfsearch.spaces import Backbone
from rfsearch.training.batches import epoch_batches
from rfsearch.training.fit import Descent
from rfsearch.training.processes import fabric
from rfsearch.training.recipe import Recipe

PLACE = Path(__file__).parents[1] / "reports" / "speed"
ROUNDS = 3
STEPS = 10
MOST = 2**30

SHARE_COLUMNS = ("backbone", "width", "image_size", "augmentation", "data_ms", "step_ms", "share")


def share() -> None:
    """Batches and their augmentation beside the steps of the plain network, which are the
    cheapest; widths of the quick budget."""
    path = PLACE / "data_share.csv"
    done = {tuple(row.values())[:4] for row in tables.read(path)}
    for name in ("rfnet6", "mobilenetv2", "resnet18"):
        width = PLANS[name, "quick"].width
        for size in (32, 48, 64):
            for label, settings in AUGMENTED.items():
                if (name, str(width), str(size), label) not in done:
                    pairs = _epochs(_backbone(name, width, size), size, settings)
                    batch, step = (1000 * statistics.median(part) / STEPS
                                   for part in zip(*pairs, strict=True))  # fmt: skip
                    share = statistics.median(own / (own + rest) for own, rest in pairs)
                    _keep(path, SHARE_COLUMNS, name, width, size, label, batch, step, share)


AUGMENTED = {
    "default": AugmentationSettings(),
    "augment.scale=0.2": AugmentationSettings(scale=0.2),
}


def _epochs(backbone: Backbone, size: int, settings: AugmentationSettings
            ) -> list[tuple[float, float]]:  # fmt: skip
    """Seconds that epochs spend on batches, and on steps; one before them warms up."""
    network, recipe = backbones.build(backbone), Recipe()
    network.to(memory_format=torch.channels_last).train()
    generator = torch.Generator().manual_seed(0)
    count = STEPS * recipe.batch_size
    pixels = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    images = Images(pixels, torch.arange(count) % 10, torch.arange(count))
    descent = Descent(network, list(network.parameters()), recipe, 10**6, fabric("cpu"),
                      images.labels)  # fmt: skip
    augmentation = Augmentation(settings, (0.5,) * 3, (0.25,) * 3, True)
    spent = []
    for _ in range(1 + ROUNDS):
        waited, stepped, began = 0.0, 0.0, time.process_time()
        for batch in epoch_batches(images, augmentation, recipe.batch_size, generator):
            ready = time.process_time()
            descent.step(*batch)
            waited, stepped = waited + ready - began, stepped - ready
            began = time.process_time()
            stepped += began
        spent.append((waited, stepped))
    return spent[1:]


def _backbone(name: str, width: float, size: int) -> Backbone:
    stem = "small" if size <= 40 else "published"
    given = {"channels": 3, "classes": 10, "stem": stem, "width": width}
    return Backbone(name, tuple(given.items()))


FOLDER_COLUMNS = ("files", "image_size", "uncached_s", "first_s", "second_s", "second_of_uncached")
FOLDERS = {
    "500 jpeg 500x375": (500, (375, 500), ".jpg"),
    "1000 png 128x128": (1000, (128, 128), ".png"),
}


def folders() -> None:
    """Made photographs, read without the cache, into it and out of it, by turns."""
    path = PLACE / "data_folders.csv"
    done = {row["files"] for row in tables.read(path)}
    for label, (count, side, suffix) in FOLDERS.items():
        if label not in done:
            with tempfile.TemporaryDirectory() as place:
                os.environ["XDG_CACHE_HOME"] = f"{place}/cache"
                root = _photographs(Path(place, "photos"), count, side, suffix)
                rounds = [_readings(root, Path(place, "cache")) for _ in range(ROUNDS)]
            plain, first, second = (statistics.median(part) for part in zip(*rounds, strict=True))
            ratio = statistics.median(last / begin for begin, _, last in rounds)
            _keep(path, FOLDER_COLUMNS, label, 64, plain, first, second, ratio)


def _readings(root: Path, cache: Path) -> list[float]:
    shutil.rmtree(cache, ignore_errors=True)
    taken, hashes = [], set()
    for most in (0, MOST, MOST):
        began = time.process_time()
        made = data.load(f"imagefolder:{root}", image_size=(64, 64), cache=most)
        taken.append(time.process_time() - began)
        hashes.add(made.data_hash)
    assert len(hashes) == 1, "the same bit for bit"
    return taken


def _photographs(root: Path, count: int, side: tuple[int, int], suffix: str) -> Path:
    """Ten classes of smooth noise, which is compressed about as photographs are."""
    rng = np.random.default_rng(0)
    for i in range(count):
        path = root / str(i % 10) / f"{i}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (side[0] // 4, side[1] // 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(side[::-1]).save(path)
    return root


def _keep(path: Path, columns: Sequence[str], *values: object) -> None:
    """A row of a table, printed too; numbers to three places."""
    short = [f"{value:.3g}" if isinstance(value, float) else value for value in values]
    tables.append(path, columns, dict(zip(columns, short, strict=True)))
    print(*short)


def page() -> str:
    """data.md of reports/speed."""
    return "\n\n".join([
        "# What data costs",
        f"`python benchmarks/data_speed.py`: one thread, by its processor time, medians of "
        f"{ROUNDS}. torch {torch.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}. No GPU was at hand.",
        "## Share of a step",
        f"An epoch of {STEPS} batches of {Recipe().batch_size}: the order, the draws, shifts and "
        "mirroring (or, with a scale, bilinear sampling) and normalisation, beside the steps of "
        "the plain network, the cheapest that a run takes. At most 0.05 is the aim: "
        + _kept(tables.read(PLACE / "data_share.csv")),
        tables.shown(PLACE / "data_share.csv"),
        "## A folder read again",
        "`imagefolder:` at 64 pixels: without the cache of decoded images "
        "(`data.cache_gib=0`), into it, and out of it; the same `data_hash` each time. Every "
        "file is read and hashed all the same, so that none that changed is missed.",
        tables.shown(PLACE / "data_folders.csv"),
    ]) + "\n"  # fmt: skip


def _kept(rows: list[dict[str, str]]) -> str:
    over = [row for row in rows if float(row["share"]) > 0.05]
    if not over:
        return "kept everywhere."
    return f"**not kept** in {len(over)} of {len(rows)} rows."


MEASURES: dict[str, Callable[[], None]] = {"share": share, "folders": folders}


def main() -> None:
    """Measures what is named, and writes the page."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=[[], *MEASURES])
    for name in parser.parse_args().what or MEASURES:
        MEASURES[name]()
        (PLACE / "data.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
