"""Networks by name: every alias, both libraries, a user's factory, and every mistake."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn
from torchvision.models import list_models

from rfsearch.backbones import BACKBONES, models, pflayer
from rfsearch.backbones.models import ALIASES, PUBLISHED, resolve
from rfsearch.errors import UserError

MINE = """
import torch
from torch import nn

def network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())

def fails():
    raise RuntimeError("no weights here\\nmore of it")

def three():
    return 3

word = "no function"
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mynetworks.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("mynetworks", None)


def test_every_alias_stands_for_a_model_there_is():
    for alias, name in ALIASES.items():
        source, _, rest = name.partition(":")
        ours = source == "rfsearch.backbones.pflayer"
        assert hasattr(pflayer, rest) if ours else rest in list_models()
        assert source == "torchvision" or ours
        assert alias not in BACKBONES
        assert ":" not in alias


def test_published_twins_are_torchvisions():
    assert set(PUBLISHED) < set(BACKBONES)
    with pytest.raises(UserError, match="rfnet6 has no published weights"):
        resolve("rfnet6", pretrained=True)
    for name in PUBLISHED.values():
        source, _, rest = name.partition(":")
        assert source == "torchvision"
        assert rest in list_models()


@pytest.mark.parametrize(
    ("name", "kind", "channels"),
    [
        ("mobilenetv2", "MobileNetV2", 3),
        ("resnet18", "ResNet18", 3),
        ("alexnet", "AlexNet", 3),
        ("torchvision:squeezenet1_1", "SqueezeNet", 3),
        ("torchvision:lraspp_mobilenet_v3_large", "LRASPP", 3),
        ("timm:resnet18", "ResNet", 3),
        ("mynetworks:network", "Sequential", None),
        ("resnet50_max", "ResNet", None),
    ],
)
@pytest.mark.usefixtures("mine")
def test_networks_by_name(name, kind, channels):
    found = resolve(name)
    assert type(found.module).__name__ == kind
    assert (found.name, found.channels, found.pretrained) == (name, channels, False)


def test_the_stem_of_a_backbone():
    network = resolve("resnet18", stem="small").module
    assert next(p for p in network.modules() if isinstance(p, nn.Conv2d)).stride == (1, 1)
    with pytest.raises(UserError, match="random mobilenetv2, resnet18, rfnet6, not alexnet"):
        resolve("alexnet", stem="small")


def test_weights_that_lie_here_are_taken(tmp_path, monkeypatch):
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    network = squeezenet1_1()
    file = tmp_path / "checkpoints" / SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2]
    file.parent.mkdir()
    torch.save(network.state_dict(), file)
    monkeypatch.setattr(  # the digest in the name is that of the published file
        "torchvision.models._api.load_state_dict_from_url", lambda *_, **__: torch.load(file)
    )
    found = resolve("torchvision:squeezenet1_1", pretrained=True)
    assert found.pretrained
    assert found.mean == (0.485, 0.456, 0.406)
    assert torch.equal(found.module.features[0].weight, network.features[0].weight)


WRONG = {
    "resnet51": ["no model 'resnet51'", "resnet50", "torchvision:NAME"],
    "": ["no model ''", "Aliases: mobilenetv2"],
    "not a name": ["no model 'not a name'"],
    "torchvision:resnet51": ["torchvision has no model 'resnet51'", "resnet50"],
    "timm:resnt50": ["timm has no model 'resnt50'", "resnet50"],
    "no.such:thing": ["no module named 'no'", "for model 'no.such:thing'"],
    "mynetworks:other": ["module mynetworks has no function", "'other'"],
    "mynetworks:word": ["a str, no function"],
    "mynetworks:three": ["returned a int, not a torch.nn.Module"],
    "mynetworks:fails": ["mynetworks:fails() failed: RuntimeError: no weights here"],
}


@pytest.mark.parametrize(("name", "told"), WRONG.items(), ids=WRONG.keys())
@pytest.mark.usefixtures("mine")
def test_mistakes(name, told):
    with pytest.raises(UserError) as caught:
        resolve(name)
    for part in told:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("mine")
def test_weights_that_do_not_lie_here(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match="weights of alexnet are not on this machine"):
        resolve("alexnet", pretrained=True)
    with pytest.raises(UserError, match="brings its own weights"):
        resolve("mynetworks:network", pretrained=True)


def test_timm_answers_from_its_cache_alone(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="weights of timm:resnet18 are not on this machine"):
        resolve("timm:resnet18", pretrained=True)
    assert not constants.HF_HUB_OFFLINE
    assert list(models.SOURCES) == ["torchvision", "timm"]
