"""The page over what was measured of stopping, limits and trust, from the tables beside it.

    python benchmarks/reliability.py              # writes reports/reliability/*.md from tables
    python benchmarks/reliability.py --measure    # makes the tables first, in an hour or two

What is shown by tests alone is named here.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import checkpoint_overhead
import soak
import tables

PLACE = Path(__file__).parents[1] / "reports" / "reliability"
MEASURED = {
    "soak": (
        "soak.py --kills 64",
        'soak.py --kills 7 --seed 2 --when late --only "compare, two workers"',
        'soak.py --kills 21 --seed 3 --when late --only "run pmpl"',
        "soak.py --kills 12 --seed 4 --when last",
        'soak.py --kills 9 --seed 6 --only "run pmpl, side by side"',
    ),
    "checkpoints": ("checkpoint_overhead.py",),
    "ray_scaling": ("ray_scaling.py",),
}
"""Table → the scripts that make it."""
TESTED = {
    "Torn files, a journal cut short, a full disk, a read-only one, a folder that is removed":
        "tests/engine/test_hardship.py, on disks mounted for it; tests/trials, byte by byte",
    "A second process on a folder; children of a killed one; SIGTERM on two workers":
        "tests/trials/test_claim.py, tests/engine/test_children.py, test_compare_workers.py",
    "SIGTERM within an epoch, losses that are no numbers":
        "tests/engine/test_preemption.py, test_run.py; tests/training/test_fit.py",
    "Bad files, images, tables and options; fuzzed parsers":
        "tests/contracts/test_bad_files.py, test_bad_data.py, test_parsers.py; tests/test_cli.py",
    "No load path runs code; pages escape every name and ask nobody":
        "tests/contracts/test_trust.py, tests/reporting/test_page.py",
    "A study in PostgreSQL, no password left anywhere": "tests/engine/test_storage.py",
    "A node of a Ray cluster is killed": "tests/engine/test_on_ray.py",
}  # fmt: skip
"""What is shown by tests and not by a table → where."""


def of_soak(rows: Sequence[Mapping[str, str]]) -> str:
    """How many kills, and how the series with them ended."""
    equal = sum(row["result"] == "equal" for row in rows)
    slowest = max((float(row["orphans"]) for row in rows if row["orphans"] != "left"), default=0)
    left = sum(row["orphans"] == "left" for row in rows)
    return (f"{len(rows)} times `kill -9`, {equal} of them in series that ended equal to the run "
            f"never stopped; children of a killed process were gone after {slowest:.1f} s at "
            f"most{f', but after {left} kills' if left else ''}")  # fmt: skip


def of_checkpoints(rows: list[dict[str, str]]) -> str:
    """The shares of the whole plans."""
    told = []
    for command in dict.fromkeys(row["command"] for row in rows):
        processor, clock = checkpoint_overhead.shares(
            [row for row in rows if row["command"] == command]
        )
        told.append(f"{command}: {processor:.2f} % ({clock:.2f} %)")
    return "Writing checkpoints, history and study, by the processor (by the clock): " + "; ".join(
        told
    )


def of_ray(rows: Sequence[Mapping[str, str]]) -> str:
    """The driver's cost of a trial, and how much faster two workers were."""
    seconds = {(row["what"], row["part"]): float(row["seconds"]) for row in rows}
    gain = seconds["wall, cores", "1"] / seconds["wall, cores", "2"]
    driver = statistics.mean(v for (what, _), v in seconds.items() if what == "driver, third")
    return (f"Two Ray workers on two cores were {gain:.2f} times as fast as one; the driver "
            f"takes {1000 * driver:.0f} ms a trial")  # fmt: skip


def page() -> str:
    """README.md."""
    lines = [
        ("soak", of_soak(tables.read(PLACE / "soak.csv"))),
        ("checkpoints", of_checkpoints(tables.read(PLACE / "checkpoints.csv"))),
        ("ray_scaling", of_ray(tables.read(PLACE / "ray_scaling.csv"))),
    ]
    text = "# Nothing lost, nothing let in\n\n    python benchmarks/reliability.py\n\n"
    text += "| measured | page | by |\n|---|---|---|\n"
    for name, told in lines:
        scripts = "; ".join(f"`python benchmarks/{one}`" for one in MEASURED[name])
        text += f"| {told} | [{name}.md]({name}.md) | {scripts} |\n"
    text += "\n| shown by tests alone | where |\n|---|---|\n"
    text += "".join(f"| {what} | {where} |\n" for what, where in TESTED.items())
    return text + (
        "\n`--measure` makes the tables again. Not shown: a real power cut, file systems other "
        "than the\nmachine's own, many machines (one was measured, the rest is a model), GPUs "
        "under any of this.\n"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="make the tables first")
    if parser.parse_args().measure:
        for script, *words in (shlex.split(one) for made in MEASURED.values() for one in made):
            command = [sys.executable, str(Path(__file__).with_name(script)), *words]
            subprocess.run(command, check=True)
    soak.write_page(tables.read(PLACE / "soak.csv"))
    checkpoint_overhead.write_page(tables.read(PLACE / "checkpoints.csv"))
    (PLACE / "README.md").write_text(page())


if __name__ == "__main__":
    main()
