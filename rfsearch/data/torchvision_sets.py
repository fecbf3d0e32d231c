"""torchvision's data sets of images and labels by name: ``torchvision:NAME[:ROOT]``.

Those with a training and a test set; a set of another kind comes by a factory. Their files are
looked for in ROOT, or where `published.default_root` says, and fetched only if asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfsearch.data import factory
from rfsearch.data.images import Dataset
from rfsearch.data.published import default_root
from rfsearch.data.request import Request, place
from rfsearch.errors import UserError, unknown

FLAG = ({"train": True}, {"train": False})
SPLIT = ({"split": "train"}, {"split": "test"})
BOTH = ({"split": "trainval"}, {"split": "test"})


@dataclass(frozen=True)
class Parts:
    """What the class is told for its training and its test set, and whether a mirrored image
    keeps its label."""

    told: tuple[dict[str, Any], dict[str, Any]]
    flips: bool = True


SETS: dict[str, Parts] = {
    "CIFAR10": Parts(FLAG),
    "CIFAR100": Parts(FLAG),
    "Country211": Parts(SPLIT),
    "DTD": Parts(SPLIT),
    "EMNIST": Parts(tuple({"split": "balanced", **one} for one in FLAG), False),  # type: ignore[arg-type]
    "FashionMNIST": Parts(FLAG),
    "FGVCAircraft": Parts(BOTH),
    "Flowers102": Parts(SPLIT),
    "Food101": Parts(SPLIT),
    "GTSRB": Parts(SPLIT, False),
    "Imagenette": Parts(({"split": "train"}, {"split": "val"})),
    "KMNIST": Parts(FLAG, False),
    "MNIST": Parts(FLAG, False),
    "OxfordIIITPet": Parts(BOTH),
    "PCAM": Parts(SPLIT),
    "QMNIST": Parts(FLAG, False),
    "STL10": Parts(SPLIT),
    "SVHN": Parts(SPLIT, False),
    "USPS": Parts(FLAG, False),
}
"""Class of torchvision.datasets → its two parts; the test split is the published one."""


def load(request: Request) -> Dataset:
    """The data set called ``request.root`` ("NAME" or "NAME:ROOT"), cut into four splits."""
    asked, _, where = request.root.partition(":")
    name = {known.lower(): known for known in SETS}.get(asked.lower())
    if name is None:
        raise unknown("torchvision data set", asked, SETS)
    root = place(where) if where else default_root()
    train, test = (_opened(name, root, told, request.download) for told in SETS[name].told)
    made = {"train": train, "test": test, "flips": SETS[name].flips}
    return factory.assembled(f"torchvision:{name}", str(root), made, request)


def _opened(name: str, root: Path, told: dict[str, Any], download: bool) -> Any:
    from torchvision import datasets  # slow to import

    try:
        return getattr(datasets, name)(str(root), download=download, **told)
    # torchvision, where files are missing, broken or dangerous, or cannot be fetched or written
    except Exception as error:
        first = str(error).partition("\n")[0][:200]
        if download:
            raise UserError(f"torchvision:{name} was not fetched to {root}: {first}") from error
        raise UserError(
            f"torchvision:{name} is not in {root}, or broken there ({first}): add --download to "
            f"fetch it, or say where it is: --data torchvision:{name}:ROOT"
        ) from error
