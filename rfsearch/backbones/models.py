"""A network by name: one of ours, an alias, torchvision:NAME, timm:NAME or a factory."""

from __future__ import annotations

from dataclasses import replace

from rfsearch.backbones import BACKBONES, PUBLISHED, build
from rfsearch.backbones.sources import ALIASES, SOURCES, Model, hint, is_source, load, near
from rfsearch.errors import UserError
from rfsearch.spaces import Backbone

__all__ = ["ALIASES", "FORMS", "PUBLISHED", "SOURCES", "Model", "resolve"]

FORMS = "an alias, torchvision:NAME, timm:NAME, package.module:factory or a run folder"


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
    if not is_source(PUBLISHED.get(name, name)):
        raise _no_model(name)
    return replace(load(PUBLISHED.get(name, name), pretrained), name=name)


def _no_model(name: str) -> UserError:
    from torchvision.models import list_models

    ours = [*BACKBONES, *ALIASES]
    theirs = [f"torchvision:{one}" for one in list_models()]
    likely = [*near(name, ours), *near(f"torchvision:{name}", theirs)][:5]
    return UserError(
        f"no model {name!r}{hint(likely)}; a model is {FORMS}. Aliases: {', '.join(ours)}"
    )
