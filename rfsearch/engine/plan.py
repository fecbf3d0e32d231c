"""Budgets as plans: fixed tables of integers, so that one command always gives one plan.

Timing never enters, with one exception: a duration such as ``4h`` stretches the standard plan's
epochs once, by timed steps; the plan that results is stored and repeats exactly.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, asdict, dataclass, fields, replace

from rfsearch.errors import UserError
from rfsearch.setting import NEEDED, check, setting
from rfsearch.spaces.checks import any_table, listed, shown, small, standing

LAYOUTS = ("channels_last",)
KERNELS = ("eager", "plain")
PRECISIONS = ("auto", "float32", "bfloat16")
ALLOCATORS = ("auto", "keep", "system")
BUDGETS = ("quick", "standard", "paper")
MOST_THREADS = 1024


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All integers of a run, and how it computes."""

    width: float = setting(NEEDED, "channels, as a share of the published network's", above=0)
    image_size: int = setting(
        NEEDED, "pixels a side, or of height; --image-size sets it too", least=1
    )
    images: int = setting(NEEDED, "most weights and alpha images together; 0 takes all", least=0)
    test_images: int = setting(NEEDED, "most test images; 0 takes all", least=0)
    warmup_epochs: int = setting(NEEDED, "epochs of the search before alpha moves", least=0)
    search_epochs: int = setting(NEEDED, "epochs in which alpha moves and slots freeze", least=1)
    adapt_epochs: int = setting(
        NEEDED, "epochs of the supernet's weights under the frozen choice", least=0
    )
    retrain_epochs: int = setting(NEEDED, "epochs of found and plain from scratch", least=1)
    retrain_seeds: int = setting(NEEDED, "trainings of found and of plain", least=1)
    effective_images: int = setting(NEEDED, "images behind the effective fields", least=1)
    latency_runs: int = setting(NEEDED, "timed passes behind a latency", least=1)
    threads: int = setting(
        NEEDED, "threads of the CPU; 0 takes all cores", least=0, most=MOST_THREADS
    )
    trials: int = setting(30, "networks that a sampling strategy tries", least=1)
    proxy_epochs: int = setting(4, "epochs of a trial's cheap training", least=1)
    proxy_images: int = setting(
        1000, "weights and alpha images of a trial's cheap training", least=1
    )
    image_width: int = setting(
        0, "pixels of width; 0 takes image_size, so that images are square", least=0
    )
    retrain_processes: int = setting(
        1,
        "on a CPU: 1 trains found and plain one after the other, 2 side by side, each in a "
        "process with half of the threads",
        least=1,
        most=2,
    )
    layout: str = setting(
        "channels_last", "memory layout of images and weights: channels_last", among=LAYOUTS
    )
    kernels: str = setting(
        "eager",
        "how networks are run: eager, where mixtures take compiled code if they can, or plain, "
        "torch's operators alone",
        among=KERNELS,
    )
    precision: str = setting(
        "float32",  # of plans that were stored before there was a choice
        "numbers that networks are trained in: float32, bfloat16 (autocast; weights, statistics "
        "of BatchNorm, alpha and losses stay float32, as do scores and latencies, and NNI's "
        "one-shot searches), or auto, which takes bfloat16 on a CUDA device that has it",
        among=PRECISIONS,
    )
    allocator: str = setting(
        "system",
        "memory that tensors gave back: keep, for the next step, until the process ends (faster, "
        "and about a sixth more of it; needs glibc), system, as the C library has it, or auto, "
        "which keeps it on a CPU under glibc, in processes of rfsearch alone, where no MALLOC_... "
        "is in the environment",
        among=ALLOCATORS,
    )

    def __post_init__(self) -> None:
        check(self, "plan")

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
