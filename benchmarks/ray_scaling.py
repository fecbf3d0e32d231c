"""How a search by trials grows with nodes: two workers measured, the driver measured, a hundred
nodes by a model of both.

    python benchmarks/ray_scaling.py     # writes reports/reliability/ray_scaling.csv and .md

Measured: seconds of the same trials on a local Ray cluster of one core and of two, after one batch
to warm up; seconds that the driver spends on a trial besides waiting for it (ask, tell, study,
history, checkpoint), by a search whose trials are made at once, in three thirds of a long study.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

import tables
from rfsearch.engine import on_ray, ray_tasks
from rfsearch.engine.config import Request
from rfsearch.engine.run import Run, Silent, search
from rfsearch.engine.start import open_run
from rfsearch.strategies.attempt import Job, Made
from rfsearch.strategies.proposal import Tried
from rfsearch.strategies.task import Task
from rfsearch.training.fit import Tick

PLACE = Path(__file__).parents[1] / "reports" / "reliability"
NODES = (1, 2, 10, 30, 100, 300)
SECONDS = (10.0, 60.0, 600.0)
"""Of a trial, for the model."""
SETTINGS = ("plan.threads=1", "plan.images=400", "plan.test_images=64", "plan.proxy_images=256",
            "plan.width=0.25", "plan.proxy_epochs=2")  # fmt: skip


class AtOnce:
    """Trials that cost nothing: what is left is the driver."""

    def __init__(self, task: Task, name: str) -> None:
        del name
        self.task = task
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        """Keep it."""
        self.jobs.append(job)

    def take(self, number: int | None, tick: Tick) -> tuple[int, Made]:
        """A score that depends on the network and on nothing else."""
        del number, tick
        job = self.jobs.pop(0)
        score = 0.5 + 0.4 * math.sin(sum(k * (n + 1) for n, k in enumerate(job.indices)))
        tried, line = Tried(job.indices, "complete", score), {"loss": 1.0, "accuracy": score}
        choices = self.task.choices(job.indices)
        return job.number, Made(tried, (line,), lambda: self.task.network(choices, 0).state_dict())


class Marks(Silent):
    """When each trial was told."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.cpu: list[float] = []

    def epoch(self, record: dict[str, object]) -> None:
        """A trial is recorded."""
        del record
        self.times.append(time.perf_counter())
        self.cpu.append(time.process_time())


def opened(folder: Path, marks: Marks, trials: int, batch: int) -> Run:
    """A search by TPE."""
    words = (*SETTINGS, f"plan.trials={trials}", f"executor.batch={batch}", "executor.cpus=1")
    return open_run(
        Request(backbone="rfnet6", strategy="tpe", device="cpu", image_size=32, out=folder,
                assignments=words),
        marks,
    )  # fmt: skip


class WithoutTrials:
    """An executor whose trials are made at once."""

    trials = AtOnce

    @contextmanager
    def session(self, config: object, note: object) -> Iterator[None]:
        """Nothing to open."""
        del config, note
        yield


def driver_seconds(folder: Path, trials: int) -> tuple[list[float], list[float]]:
    """Of one trial, in the first, second and last third of a study: by the clock, which waits for
    the disk and for other work, and of the processor."""
    marks = Marks()
    run = replace(opened(folder, marks, trials, 8), executor=WithoutTrials())  # type: ignore[arg-type]
    marks.epoch({})
    search(run)
    return thirds(marks.times), thirds(marks.cpu)


def thirds(times: list[float]) -> list[float]:
    """Mean differences.

    >>> thirds([0.0, 1.0, 2.0, 4.0, 6.0, 9.0, 12.0])
    [1.0, 2.0, 3.0]
    """
    size = (len(times) - 1) // 3
    return [(times[(k + 1) * size] - times[k * size]) / size for k in range(3)]


def cluster_seconds(folder: Path, cores: int, batch: int) -> tuple[float, list[float]]:
    """Wall seconds of the second batch on so many cores, and seconds of each of its trials."""
    ray = ray_tasks.load()
    ray.init("local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
    try:
        marks = Marks()
        run = opened(folder, marks, 2 * batch, batch)
        search(replace(run, executor=on_ray.OnRay()))
        lines = run.history.read()[batch:]
        return marks.times[-1] - marks.times[batch - 1], [line["seconds"] for line in lines]
    finally:
        ray.shutdown()


def efficiency(nodes: int, batch: int, trial: float, driver: float, spread: float) -> float:
    """Share of the nodes' time that is spent on trials, by the model: a batch takes as many waves
    as it needs, each as long as its longest trial (mean and ``spread`` standard deviations for
    every one of `nodes`, √(2 ln n) for normal times), and the driver's time for each trial.

    >>> efficiency(2, 4, 10.0, 0.0, 0.0), efficiency(1, 1, 9.0, 1.0, 0.5)
    (1.0, 0.9)
    """
    waves = math.ceil(batch / nodes)
    longest = trial * (1 + spread * math.sqrt(2 * math.log(nodes)))
    return batch * trial / (nodes * (waves * longest + batch * driver))


def main() -> None:
    """Measure, then write the table and the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--trials", type=int, default=240)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        waited, driver = driver_seconds(place / "driver", options.trials)
        print("driver", waited, driver)
        walls, trials = {}, {}
        for cores in (1, 2):
            walls[cores], trials[cores] = cluster_seconds(place / f"{cores}", cores, options.batch)
            print(cores, walls[cores], trials[cores])
    load = os.getloadavg()[1]
    parts = {
        "driver, third": waited,
        "driver's processor, third": driver,
        "wall, cores": list(walls.values()),
    }
    parts |= {f"trial on {cores} cores": found for cores, found in trials.items()}
    rows = [
        {"what": what, "part": part, "seconds": f"{one:.4f}"}
        for what, seconds in parts.items()
        for part, one in enumerate(seconds, 1)
    ]
    PLACE.mkdir(parents=True, exist_ok=True)
    tables.write(PLACE / "ray_scaling.csv", ("what", "part", "seconds"), rows)
    (PLACE / "ray_scaling.md").write_text(page(waited, driver, walls, trials, options, load))


def page(
    waited: list[float],
    driver: list[float],
    walls: dict[int, float],
    trials: dict[int, list[float]],
    options: argparse.Namespace,
    load: float,
) -> str:
    """The report."""
    one = trials[1]
    spread = statistics.stdev(one) / statistics.mean(one)
    rows = [
        f"| {n} | "
        + " | ".join(f"{100 * efficiency(n, n, t, waited[-1], spread):.0f} %" for t in SECONDS)
        + " |"
        for n in NODES
    ]
    heads = " | ".join(f"trials of {t:.0f} s" for t in SECONDS)
    ratio, mean = walls[1] / walls[2], statistics.mean(one)
    inside = sum(trials[2]) / (2 * walls[2])
    beside = "other work ran beside it" if load > 3 else "little else ran"
    return f"""# Ray: two workers, the driver, and a model of a hundred nodes

    python benchmarks/ray_scaling.py --batch {options.batch} --trials {options.trials}

One machine of {os.cpu_count()} cores; {beside} (mean load of the last five minutes: {load:.1f}).

**Two workers.** {options.batch} trials (TPE on `rfnet6`, one thread each) took {walls[1]:.1f} s
on one core and {walls[2]:.1f} s on two: {ratio:.2f} times as fast, an efficiency of
{50 * ratio:.0f} %. A trial took {mean:.2f} s alone (standard deviation {100 * spread:.0f} %)
and {statistics.mean(trials[2]):.2f} s beside another one. Where other work ran, its load was not
the same both times, and this ratio carries that; what does not: one worker was inside of trials
for {100 * sum(one) / walls[1]:.0f} % of the time, two for {100 * inside:.0f} % (the rest is Ray,
the driver, and waiting for the last trial).

**The driver.** Ask, tell, study (journal), history and checkpoint cost {1000 * driver[0]:.0f} ms
of the processor a trial in the first third of {options.trials} trials, {1000 * driver[1]:.0f} ms
in the second and {1000 * driver[2]:.0f} ms in the last; by the clock {1000 * waited[0]:.0f},
{1000 * waited[1]:.0f} and {1000 * waited[2]:.0f} ms, disk and other work included:
{1 / waited[-1]:.1f} trials a second here, at most {1 / driver[-1]:.0f} on a processor of its own.
It grows with the study, for the sampler is built anew and learns from all that was told.

**A hundred nodes, by the model.** A batch of n proposals on n nodes takes as long as its longest
trial, mean · (1 + {spread:.2f} · √(2 ln n)), and the driver {1000 * waited[-1]:.0f} ms for each
trial (by the clock), one after the other while nobody computes. Share of the nodes' time in
trials:

| nodes | {heads} |
|---|{"---|" * len(SECONDS)}
{chr(10).join(rows)}

Not in the model: starting a node (seconds, once), images to each node once (their size over the
network's speed), nodes of unequal speed, which a batch waits for; `executor.asynchronous` does
not wait, and cannot be repeated. Batches of several times n even out trials of unequal length,
and let a sampler that learns learn later. One machine was measured, and no hundred nodes.
"""


if __name__ == "__main__":
    main()
