"""A network by name: an alias, torchvision:NAME, timm:NAME or package.module:factory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rfsearch.backbones import BACKBONES, build
from rfsearch.data.factory import find
from rfsearch.errors import UserError
from rfsearch.spaces import Backbone

ALIASES: dict[str, str] = {
    "alexnet": "torchvision:alexnet",
    "vgg16": "torchvision:vgg16",
    "resnet34": "torchvision:resnet34",
    "resnet50": "torchvision:resnet50",
    "resnet101": "torchvision:resnet101",
    "densenet121": "torchvision:densenet121",
    "mobilenetv3": "torchvision:mobilenet_v3_large",
    "efficientnet": "torchvision:efficientnet_b0",
    "convnext": "torchvision:convnext_tiny",
    "swin": "torchvision:swin_t",
    "vit": "torchvision:vit_b_16",
}
"""Short names beside those of `BACKBONES`, which come first."""
PUBLISHED: dict[str, str] = {
    "mobilenetv2": "torchvision:mobilenet_v2",
    "resnet18": "torchvision:resnet18",
}
"""For those of `BACKBONES` that have one, the network whose published weights fit."""
FORMS = "an alias, torchvision:NAME, timm:NAME, package.module:factory or a run folder"
NEAREST = 5
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation per channel that torchvision's weights expect."""


@dataclass(frozen=True)
class Model:
    """A network that was asked for by name.

    Attributes:
        name: as it was asked for.
        module: the network.
        channels: of its images; None where only running it can tell.
        mean, std: per channel, what its weights expect of pixels 0..1; None for random weights.
        pretrained: whether its weights are published ones.
    """

    name: str
    module: nn.Module
    channels: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    pretrained: bool = False


def resolve(name: str, pretrained: bool = False, stem: str = "published") -> Model:
    """The network called ``name``, with random weights from torch's global generator or with
    published ones, if they lie on this machine: nothing is downloaded. ``stem`` is for the
    networks of `BACKBONES`."""
    if name in BACKBONES and not pretrained:
        return Model(name, build(Backbone(name, (("stem", stem),))), 3)
    if stem != "published":
        raise UserError(f"backbone.stem is for random {', '.join(BACKBONES)}, not {name}")
    if name in BACKBONES and name not in PUBLISHED:
        raise UserError(f"{name} has no published weights; {', '.join(PUBLISHED)} have some")
    source, colon, rest = {**ALIASES, **PUBLISHED}.get(name, name).partition(":")
    if colon and source in SOURCES:
        return SOURCES[source](name, rest, pretrained)
    if not all(part.isidentifier() for part in [*source.split("."), rest]):
        raise _no_model(name)
    return _from_factory(name, pretrained)


def _no_model(name: str) -> UserError:
    from torchvision.models import list_models

    ours = [*BACKBONES, *ALIASES]
    theirs = [f"torchvision:{one}" for one in list_models()]
    near = [*_near(name, ours), *_near(f"torchvision:{name}", theirs)][:NEAREST]
    return UserError(
        f"no model {name!r}{_hint(near)}; a model is {FORMS}. Aliases: {', '.join(ours)}"
    )


def _near(name: str, known: Iterable[str]) -> list[str]:
    return get_close_matches(name, list(known), n=NEAREST, cutoff=0.6)


def _hint(near: list[str]) -> str:
    return f"; nearest: {', '.join(near)}" if near else ""


def _torchvision(name: str, rest: str, pretrained: bool) -> Model:
    from torchvision import models

    known = models.list_models()
    if rest not in known:
        raise UserError(
            f"torchvision has no model {rest!r}{_hint(_near(rest, known))}; "
            "torchvision.models.list_models() lists all"
        )
    if not pretrained:
        with _quiet(), _told(name):
            return Model(name, models.get_model(rest, weights=None, **_bare(rest)), 3)
    weights = models.get_model_weights(rest).DEFAULT
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if not file.is_file():
        raise UserError(
            f"the weights of {name} are not on this machine, and nothing is downloaded; "
            f"put {weights.url} into {file.parent}"
        )
    with _quiet(), _told(name):
        module = models.get_model(rest, weights=weights)
    expects = weights.transforms()
    mean, std = (tuple(getattr(expects, key, own)) for key, own in
                 zip(("mean", "std"), IMAGENET, strict=True))  # fmt: skip
    return Model(name, module, 3, mean, std, True)


def _bare(name: str) -> dict[str, Any]:
    """Models with a backbone of their own load published weights into it unless told."""
    from inspect import signature

    from torchvision.models import get_model_builder

    wanted = signature(get_model_builder(name)).parameters
    return {"weights_backbone": None} if "weights_backbone" in wanted else {}


def _timm(name: str, rest: str, pretrained: bool) -> Model:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise UserError(f"{name} needs timm: pip install 'rfsearch[timm]'") from error
    if not timm.is_model(rest):
        near = _near(rest.partition(".")[0], timm.list_models())
        raise UserError(f"timm has no model {rest!r}{_hint(near)}; timm.list_models() lists all")
    with _quiet(), _told(name), _from_cache(name, rest) if pretrained else nullcontext():
        module: Any = timm.create_model(rest, pretrained=pretrained)
    about: dict[str, Any] = module.pretrained_cfg
    channels = int(about.get("input_size", (3,))[0])
    if not pretrained:
        return Model(name, module, channels)
    return Model(name, module, channels, tuple(about["mean"]), tuple(about["std"]), True)


SOURCES: dict[str, Callable[[str, str, bool], Model]] = {
    "torchvision": _torchvision,
    "timm": _timm,
}


def _from_factory(name: str, pretrained: bool) -> Model:
    if pretrained:
        raise UserError(f"--pretrained is for published networks; {name} brings its own weights")
    factory = find(name, "model")
    with _told(f"{name}()"):
        made = factory()
    if not isinstance(made, nn.Module):
        raise UserError(f"{name}() returned a {type(made).__name__}, not a torch.nn.Module")
    return Model(name, made)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever building a network raises, in one line; the traceback is its cause."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        first = next(filter(str.strip, str(error).splitlines()), "").strip()
        kind = type(error).__name__
        raise UserError(f"{what} failed: {kind}{f': {first}' if first else ''}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Their advice on how they are built is not for our users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _from_cache(name: str, rest: str) -> Iterator[None]:
    """timm's weights from this machine or not at all."""
    import timm
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    about = timm.get_pretrained_cfg(rest)
    where = (about and about.hf_hub_id) or ""
    missing = UserError(
        f"the weights of {name} are not on this machine, and nothing is downloaded"
        + (f"; `hf download {where}` fetches them" if where else "")
    )
    if not where:  # timm would fetch them from an address instead
        raise missing
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise missing from error
    finally:
        constants.HF_HUB_OFFLINE = before
