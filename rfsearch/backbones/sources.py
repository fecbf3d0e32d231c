"""Networks that others made: torchvision:NAME, timm:NAME or package.module:factory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rfsearch.data.factory import find
from rfsearch.errors import UserError

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
    "resnet50_max": "rfsearch.backbones.pflayer:resnet50_max",
    "resnet50_hybrid": "rfsearch.backbones.pflayer:resnet50_hybrid",
}
"""Short names of some of them."""
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


@dataclass(frozen=True)
class Wish:
    """How a library is to build a network, where it can; None leaves it as it is published."""

    classes: int | None = None
    channels: int | None = None
    image_size: tuple[int, int] | None = None


PUBLISHED = Wish()


def is_source(name: str) -> bool:
    """Whether a name has the form of a network that others made."""
    source, colon, rest = ALIASES.get(name, name).partition(":")
    parts = [*source.split("."), rest]
    return bool(colon) and (source in SOURCES or all(map(str.isidentifier, parts)))


def load(name: str, pretrained: bool = False, wish: Wish = PUBLISHED) -> Model:
    """The network called ``name``, with random weights from torch's global generator or with
    published ones, if they lie on this machine: nothing is downloaded."""
    whole = ALIASES.get(name, name)
    source, _, rest = whole.partition(":")
    if source in SOURCES:
        return SOURCES[source](name, rest, pretrained, wish)
    return replace(_from_factory(whole, pretrained), name=name)


def near(name: str, known: Iterable[str]) -> list[str]:
    """The names most like this one, the likest first."""
    return get_close_matches(name, list(known), n=NEAREST, cutoff=0.6)


def hint(names: list[str]) -> str:
    """The end of a sentence that tells of them."""
    return f"; nearest: {', '.join(names)}" if names else ""


def _torchvision(name: str, rest: str, pretrained: bool, wish: Wish) -> Model:
    from torchvision import models

    known = models.list_models()
    if rest not in known:
        raise UserError(
            f"torchvision has no model {rest!r}{hint(near(rest, known))}; "
            "torchvision.models.list_models() lists all"
        )
    if not pretrained:
        classes = {} if wish.classes is None else {"num_classes": wish.classes}
        with _quiet(), _told(name):
            module = models.get_model(rest, weights=None, **_bare(rest), **classes)
        return Model(name, module, 3)
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
    from torchvision.models import get_model_builder

    wanted = signature(get_model_builder(name)).parameters
    return {"weights_backbone": None} if "weights_backbone" in wanted else {}


def _timm(name: str, rest: str, pretrained: bool, wish: Wish) -> Model:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise UserError(f"{name} needs timm: pip install 'rfsearch[timm]'") from error
    if not timm.is_model(rest):
        likely = near(rest.partition(".")[0], timm.list_models())
        raise UserError(f"timm has no model {rest!r}{hint(likely)}; timm.list_models() lists all")
    arguments = _timms_arguments(timm.get_pretrained_cfg(rest), wish)
    size = arguments.get("img_size")
    what = f"{name} for images of {size[0]}×{size[1]} pixels" if size else name
    with _quiet(), _told(what), _from_cache(name, rest) if pretrained else nullcontext():
        module: Any = timm.create_model(rest, pretrained=pretrained, **arguments)
    about: dict[str, Any] = module.pretrained_cfg
    channels = wish.channels or int(about.get("input_size", (3,))[0])
    if not pretrained:
        return Model(name, module, channels)
    return Model(name, module, channels, tuple(about["mean"]), tuple(about["std"]), True)


def _timms_arguments(about: Any, wish: Wish) -> dict[str, Any]:
    """timm's names for what is wished; only networks of one image size take another one."""
    fixed = bool(getattr(about, "fixed_input_size", False))
    wished = {
        "num_classes": wish.classes,
        "in_chans": wish.channels,
        "img_size": wish.image_size if fixed else None,
    }
    return {key: value for key, value in wished.items() if value is not None}


SOURCES: dict[str, Callable[[str, str, bool, Wish], Model]] = {
    "torchvision": _torchvision,
    "timm": _timm,
}


def _from_factory(name: str, pretrained: bool) -> Model:
    if pretrained:
        raise UserError(f"--pretrained is for published networks; {name} brings its own weights")
    factory = find(name, "model")
    if needed := _needed(factory):
        raise UserError(
            f"{name} needs the argument{'s' if len(needed) > 1 else ''} {', '.join(needed)}; "
            "a factory is called with none: give them defaults, or name a function without any"
        )
    with _told(f"{name}()"):
        made = factory()
    if not isinstance(made, nn.Module):
        raise UserError(f"{name}() returned a {type(made).__name__}, not a torch.nn.Module")
    return Model(name, made)


def _needed(factory: Callable[..., Any]) -> list[str]:
    """Names of the arguments that it cannot be called without."""
    try:
        wanted: Mapping[str, Parameter] = signature(factory).parameters
    except (TypeError, ValueError):  # built-in functions tell nothing
        return []
    starred = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return [key for key, one in wanted.items()
            if one.default is Parameter.empty and one.kind not in starred]  # fmt: skip


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
