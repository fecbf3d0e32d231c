"""Published weights in networks that are made to measure; nothing is downloaded."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import squeezenet1_1
from torchvision.models.squeezenet import SqueezeNet1_1_Weights

from rfsearch import backbones, spaces
from rfsearch.backbones import published
from rfsearch.backbones.realise import realise
from rfsearch.backbones.sources import Model
from rfsearch.backbones.supernet import supernet
from rfsearch.errors import UserError
from rfsearch.spaces import Architecture, Backbone, Input

NAME = "torchvision:squeezenet1_1"
SIZE = 40


def backbone(classes=1000, channels=3):
    arguments = {"classes": classes, "channels": channels, "image_size": (SIZE, SIZE)}
    return Backbone(NAME, tuple(arguments.items()))


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A network with weights, and its file where published ones would lie."""
    published.weights.cache_clear()
    torch.manual_seed(3)
    network = squeezenet1_1().eval()
    file = tmp_path / "checkpoints" / SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2]
    file.parent.mkdir()
    torch.save(network.state_dict(), file)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(  # the digest in the name is that of the published file
        "torchvision.models._api.load_state_dict_from_url", lambda *_, **__: torch.load(file)
    )
    yield network
    published.weights.cache_clear()


@torch.no_grad()
def test_a_published_network_is_unchanged_number_for_number(theirs):
    images = torch.randn(2, 3, SIZE, SIZE)
    expected = theirs(images)
    assert torch.equal(published.start(backbone(), True).eval()(images), expected)
    space = spaces.load_space("pooling")
    whole = supernet(backbone(), space, pretrained=True).eval()
    assert torch.equal(whole(images), expected), "the supernet begins elsewhere"
    slots = list(whole.slots)
    taken = Input((SIZE, SIZE), 3, (0.5,) * 3, (0.2,) * 3)
    for index in (1, 6):
        choices = space.choose(slots, [index] * len(slots))
        made = Architecture(backbone(), space.name, choices, taken, ("a",))
        assert torch.equal(realise(made, pretrained=True).eval()(images), expected)
        assert not torch.equal(realise(made).eval()(images), expected)


@torch.no_grad()
def test_of_other_classes_all_but_the_head_is_kept(theirs):
    torch.manual_seed(0)
    plain = backbones.build(backbone(7)).state_dict()
    torch.manual_seed(0)
    found = published.start(backbone(7), True)
    for key, value in found.state_dict().items():
        source = plain if key.startswith("classifier.1.") else theirs.state_dict()
        assert torch.equal(value, source[key]), key
    assert found.eval()(torch.randn(1, 3, SIZE, SIZE)).shape == (1, 7)


@torch.no_grad()
def test_one_channel_is_three_that_are_alike(theirs):
    grey = torch.randn(2, 1, SIZE, SIZE)
    network = published.start(backbone(channels=1), True).eval()
    assert torch.allclose(network(grey), theirs(grey.expand(-1, 3, -1, -1)), atol=1e-5)
    with pytest.raises(UserError, match="for 3 channels and data have 4"):
        published.weights(backbone(channels=4))


@pytest.mark.usefixtures("theirs")
def test_weights_of_another_width_are_told_tensor_by_tensor(monkeypatch):
    from torchvision.models import mobilenet_v2

    monkeypatch.setattr(
        published, "load", lambda name, *_: Model(name, mobilenet_v2(), 3, pretrained=True)
    )
    narrow = Backbone("mobilenetv2", (("width", 0.5), ("stem", "published")))
    with pytest.raises(UserError) as caught:
        published.weights(narrow)
    told = str(caught.value)
    assert "features.0.0.weight is 32×3×3×3 there and 16×3×3×3 here" in told
    assert told.count(" there and ") == 3
    assert "plan.width=1" in told
    assert published.weights(Backbone("mobilenetv2", (("classes", 5),)))


def test_no_published_weights():
    published.weights.cache_clear()
    with pytest.raises(UserError, match="rfnet6 has no published weights; mobilenetv2, resnet18"):
        published.weights(Backbone("rfnet6"))
