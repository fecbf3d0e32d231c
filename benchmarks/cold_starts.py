"""How long commands take from nothing, and how much of that torch and torchvision take alone.

    python benchmarks/cold_starts.py

Processor time, user and system, of a fresh process each, taken by turns; wall-clock says more of
what else a machine does. The report is of a small run with as many epochs as the standard budget
has. Writes reports/speed/cold.csv and cold.md anew.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import tables
from rfsearch.engine.plan import PLANS

PLACE = Path(__file__).parents[1] / "reports" / "speed"
ROUNDS = 5
COLUMNS = ("command", "seconds", "seconds_of_theirs", "asked")
TORCH = "import torch"
EXPORT = """
import torch
from torchvision.models import mobilenet_v2
torch.export.export(mobilenet_v2().eval(), (torch.zeros(1, 3, 224, 224),))
"""
SMALL = {"plan.width": 0.125, "plan.images": 128, "plan.test_images": 64, "plan.threads": 1,
         "plan.retrain_seeds": 1, "plan.effective_images": 2, "plan.latency_runs": 2,
         "recipe.batch_size": 32, "pmpl.alpha_batch": 32}  # fmt: skip
ASKED = {"rfsearch --help": 0.5, "rfsearch analyze mobilenetv2": 6.0, "rfsearch report RUN": 3.0}


def seconds(*words: str) -> float:
    """Of the processor, for a Python with these words."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def small_run(folder: Path) -> str:
    """A finished run whose history is as long as one of the standard budget."""
    sets = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    epochs = ("warmup_epochs", "search_epochs", "adapt_epochs", "retrain_epochs")
    plan = PLANS["rfnet6", "standard"]
    sets += [word for name in epochs for word in ("--set", f"plan.{name}={getattr(plan, name)}")]
    seconds("-m", "rfsearch", "run", "--backbone", "rfnet6", "--image-size", "32",
            "--device", "cpu", "--out", str(folder), *sets)  # fmt: skip
    return str(folder)


def measured(run: str) -> dict[str, float]:
    """Median seconds of every command, and of what is not ours in it."""
    commands = {
        "torch": ("-c", TORCH),
        "export": ("-c", EXPORT),
        "rfsearch --help": ("-m", "rfsearch", "--help"),
        "rfsearch analyze mobilenetv2": ("-m", "rfsearch", "analyze", "mobilenetv2"),
        "rfsearch report RUN": ("-m", "rfsearch", "report", run),
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, words in commands.items():
            taken[name].append(seconds(*words))
    return {name: statistics.median(found) for name, found in taken.items()}


def page() -> str:
    """cold.md of reports/speed."""
    return "\n\n".join([
        "# From nothing",
        f"`python benchmarks/cold_starts.py`: processor seconds of a fresh process, medians of "
        f"{ROUNDS} by turns. torch {torch.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}.",
        "Theirs is a process with nothing of ours in it: for `analyze` one that imports torch and "
        "torchvision and calls `torch.export` on the same network, for `report` one that imports "
        "torch.",
        tables.shown(PLACE / "cold.csv"),
    ]) + "\n"  # fmt: skip


def main() -> None:
    """Measures and writes."""
    with tempfile.TemporaryDirectory() as folder:
        found = measured(small_run(Path(folder, "run")))
    theirs = {"rfsearch analyze mobilenetv2": found["export"], "rfsearch report RUN":
              found["torch"]}  # fmt: skip
    rows = [
        {"command": name, "seconds": f"{found[name]:.2f}",
         "seconds_of_theirs": f"{theirs[name]:.2f}" if name in theirs else "0", "asked": str(most)}
        for name, most in ASKED.items()
    ]  # fmt: skip
    tables.write(PLACE / "cold.csv", COLUMNS, rows)
    (PLACE / "cold.md").write_text(page(), encoding="utf-8")
    print(page())


if __name__ == "__main__":
    main()
