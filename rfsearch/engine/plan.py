"""Budgets as plans: fixed tables of integers, so that one command always gives one plan.

Timing never enters, with one exception: a duration such as ``4h`` stretches the standard plan's
epochs once, by timed steps; the plan that results is stored and repeats exactly.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any

from rfsearch.errors import UserError, unknown
from rfsearch.spaces.checks import any_table, listed, shown, small, standing

LAYOUTS = ("channels_last",)
KERNELS = ("eager", "plain")
PRECISIONS = ("auto", "float32", "bfloat16")
ALLOCATORS = ("auto", "keep", "system")
BUDGETS = ("quick", "standard", "paper")
MOST_THREADS = 1024


def told(text: str, default: Any = MISSING) -> Any:
    """A field with a line of help, which `rfsearch settings` prints."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All integers of a run, and how it computes."""

    width: float = told("channels, as a share of the published network's")
    image_size: int = told("pixels a side, or of height; --image-size sets it too")
    images: int = told("most weights and alpha images together; 0 takes all")
    test_images: int = told("most test images; 0 takes all")
    warmup_epochs: int = told("epochs of the search before alpha moves")
    search_epochs: int = told("epochs in which alpha moves and slots freeze")
    adapt_epochs: int = told("epochs of the supernet's weights under the frozen choice")
    retrain_epochs: int = told("epochs of found and plain from scratch")
    retrain_seeds: int = told("trainings of found and of plain")
    effective_images: int = told("images behind the effective fields")
    latency_runs: int = told("timed passes behind a latency")
    threads: int = told("threads of the CPU; 0 takes all cores")
    trials: int = told("networks that a sampling strategy tries", 30)
    proxy_epochs: int = told("epochs of a trial's cheap training", 4)
    proxy_images: int = told("weights and alpha images of a trial's cheap training", 1000)
    image_width: int = told("pixels of width; 0 takes image_size, so that images are square", 0)
    retrain_processes: int = told(
        "on a CPU: 1 trains found and plain one after the other, 2 side by side, each in a "
        "process with half of the threads",
        1,
    )
    layout: str = told("memory layout of images and weights: channels_last", "channels_last")
    kernels: str = told(
        "how networks are run: eager, where mixtures take compiled code if they can, or plain, "
        "torch's operators alone",
        "eager",
    )
    precision: str = told(
        "numbers that networks are trained in: float32, bfloat16 (autocast; weights, statistics "
        "of BatchNorm, alpha and losses stay float32, as do scores and latencies, and NNI's "
        "one-shot searches), or auto, which takes bfloat16 on a CUDA device that has it",
        "float32",  # of plans that were stored before there was a choice
    )
    allocator: str = told(
        "memory that tensors gave back: keep, for the next step, until the process ends (faster, "
        "and about a sixth more of it; needs glibc), system, as the C library has it, or auto, "
        "which keeps it on a CPU under glibc, in processes of rfsearch alone, where no MALLOC_... "
        "is in the environment",
        "system",
    )

    def __post_init__(self) -> None:
        for name in (
            "warmup_epochs",
            "adapt_epochs",
            "images",
            "test_images",
            "threads",
            "image_width",
        ):
            if getattr(self, name) < 0:
                raise UserError(f"plan.{name} must be 0 or more, not {getattr(self, name)}")
        for name in (
            "image_size",
            "search_epochs",
            "retrain_epochs",
            "retrain_seeds",
            "width",
            "effective_images",
            "latency_runs",
            "trials",
            "proxy_epochs",
            "proxy_images",
        ):
            if getattr(self, name) <= 0:
                raise UserError(f"plan.{name} must be more than 0, not {getattr(self, name)}")

        if self.threads > MOST_THREADS:
            raise UserError(f"plan.threads must be at most {MOST_THREADS}, not {self.threads}")
        if self.retrain_processes not in (1, 2):
            raise UserError(f"plan.retrain_processes must be 1 or 2, not {self.retrain_processes}")
        if self.layout not in LAYOUTS:
            raise unknown("plan.layout", self.layout, LAYOUTS)
        if self.kernels not in KERNELS:
            raise unknown("plan.kernels", self.kernels, KERNELS)
        if self.precision not in PRECISIONS:
            raise unknown("plan.precision", self.precision, PRECISIONS)
        if self.allocator not in ALLOCATORS:
            raise unknown("plan.allocator", self.allocator, ALLOCATORS)

    def to_json(self) -> dict[str, object]:
        """A flat table."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: object, where: str) -> Plan:
        """The plan in a config.json; an older one may lack what has a default."""
        record = any_table(record, f"{where}: plan")
        known = {item.name: str(item.type) for item in fields(cls)}
        needed = {item.name for item in fields(cls) if item.default is MISSING}
        wrong = sorted((set(record) - set(known)) | (needed - set(record)))
        if wrong:
            raise UserError(f"{where}: its plan misses or adds {listed(wrong)}")
        for name, value in record.items():
            kinds = {"float": (int, float), "int": (int,), "str": (str,)}[known[name]]
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise UserError(f"{where}: plan.{name} must be {known[name]}, not {shown(value)}")
            if not isinstance(value, str):
                small(value, f"{where}: plan.{name}")
        with standing(where):
            return cls(**record)  # type: ignore[arg-type]

    @property
    def supernet_epochs(self) -> int:
        """Epochs of the search with its warm-up and adaptation."""
        return self.warmup_epochs + self.search_epochs + self.adapt_epochs


_QUICK = Plan(
    width=0.5,
    image_size=64,
    images=4000,
    test_images=2000,
    warmup_epochs=16,
    search_epochs=10,
    adapt_epochs=2,
    retrain_epochs=12,
    retrain_seeds=1,
    effective_images=16,
    latency_runs=50,
    threads=2,
    retrain_processes=2,
    precision="auto",
    allocator="auto",
)
_STANDARD = replace(
    _QUICK,
    retrain_processes=1,
    width=1.0,
    images=12000,
    test_images=10000,
    retrain_epochs=30,
    retrain_seeds=3,
    threads=0,
    trials=40,
    proxy_epochs=6,
    proxy_images=4000,
)
_PAPER = replace(
    _STANDARD,
    images=0,
    test_images=0,
    image_size=224,
    warmup_epochs=30,
    search_epochs=70,
    adapt_epochs=50,
    retrain_epochs=150,
    retrain_seeds=3,
    trials=60,
    proxy_epochs=15,
    proxy_images=100_000,
)
_SMALL = replace(
    _QUICK,
    images=2000,
    search_epochs=8,
    adapt_epochs=4,
    retrain_epochs=10,
    threads=1,
    retrain_processes=1,
    proxy_epochs=3,
    proxy_images=640,
)

PLANS: dict[tuple[str, str], Plan] = {
    ("mobilenetv2", "quick"): _QUICK,
    ("mobilenetv2", "standard"): _STANDARD,
    ("mobilenetv2", "paper"): _PAPER,
    ("resnet18", "quick"): replace(_QUICK, width=0.25),
    ("resnet18", "standard"): replace(_STANDARD, width=1.0),
    ("resnet18", "paper"): _PAPER,
    ("rfnet6", "quick"): _SMALL,
    ("rfnet6", "standard"): replace(_STANDARD, width=0.5, images=4000, threads=1),
    ("rfnet6", "paper"): _PAPER,
}
"""(backbone, budget) → plan. 0 stands for all ``images``, ``test_images`` and ``threads``."""

OTHERS: dict[str, Plan] = {
    "quick": replace(_QUICK, width=1.0),
    "standard": _STANDARD,
    "paper": _PAPER,
}
"""Budget → plan of a network that stands in no table of ours; it is taken as wide as it is."""

IMAGE_SIZES = {"digits": (48, 64, 64), "fashionmnist": (28, 28, 28), "cifar10": (32, 32, 32)}
"""Pixels of data sets that have a size of their own, by budget; others take the plan's."""

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(s|m|min|h)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600}


def duration(budget: str) -> float | None:
    """Seconds of a budget such as ``4h`` or ``90m``; None for the name of a plan.

    >>> duration("4h"), duration("quick")
    (14400.0, None)
    """
    match = _DURATION.fullmatch(budget)
    return float(match[1]) * _SECONDS[match[2]] if match else None


def named_plan(backbone: str, budget: str, data: str = "") -> Plan:
    """The plan of the table for this data; a duration begins as the standard one."""
    if duration(budget) is not None:
        budget = "standard"
    if budget not in BUDGETS:
        raise UserError(
            f"unknown budget {budget!r}. Known: {', '.join(BUDGETS)}, or a duration such as 4h"
        )
    plan = PLANS.get((backbone, budget), OTHERS[budget])
    if data not in IMAGE_SIZES:
        return plan
    return replace(plan, image_size=IMAGE_SIZES[data][BUDGETS.index(budget)])


def stretch(plan: Plan, factor: float) -> Plan:
    """The plan with all epochs times ``factor``, none below one."""
    names = ("warmup_epochs", "search_epochs", "adapt_epochs", "retrain_epochs")
    epochs = {name: max(1, round(getattr(plan, name) * factor)) for name in names}
    return replace(plan, **epochs)
