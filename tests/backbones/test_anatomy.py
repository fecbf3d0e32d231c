"""Slots of networks that others made: found by types of operators, checked by running them."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rfsearch import backbones, spaces
from rfsearch.backbones import foreign
from rfsearch.backbones.realise import realise
from rfsearch.backbones.slots import Slot, install, mark_ends
from rfsearch.backbones.supernet import choose_slots, supernet
from rfsearch.errors import UserError
from rfsearch.spaces import Architecture, Backbone, Input
from tests.backbones.conftest import outputs, stirred

SIZE = 48
MINE = '''
import torch
import torch.nn.functional as F
from torch import nn


def block(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs),
                         nn.ReLU(inplace=True))


class Encoder(nn.Module):
    """A U-Net's way down, its features joined as a way up would, and a head."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([block(3, 4), block(4, 8), block(8, 8)])
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.join = block(16, 8)
        self.head = nn.Linear(8, 7)

    def forward(self, x):
        kept = []
        for stage in self.down:
            x = stage(x)
            kept.append(x)
            x = self.pool(x)
        x = self.join(torch.cat([self.up(x), kept[-1]], 1))
        return self.head(x.mean((2, 3)))


class Plain(nn.Module):
    """Nothing but convolutions is a module; torch's first example looks like that."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.fc = nn.Linear(6, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return self.fc(F.relu(self.conv2(x)).mean((2, 3)))


class Shared(nn.Module):
    """One activation for all, and a convolution that runs twice."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()
        self.first, self.norm = nn.Conv2d(3, 4, 3, 2, bias=False), nn.BatchNorm2d(4)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 4, 5, padding=2)
        self.out = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        x = self.relu(self.norm(self.first(x)))
        x = self.again(self.again(x))
        x = self.relu(self.last(x))
        return self.out(x).mean((2, 3))


class Branches(nn.Module):
    """A map that two others read, one of them before its norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)
        self.side, self.fc = nn.Conv2d(4, 4, 1), nn.Linear(4, 5)

    def forward(self, x):
        x = self.conv(x)
        return self.fc((F.silu(self.norm(x)) + self.side(x)).mean((2, 3)))


class Patches(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.inside(x).mean((2, 3)))


class Several(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.conv = kind, nn.Conv2d(3, 4, 3)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        if self.kind == "training":
            return (x, x) if self.training else x
        return {"dict": {"out": x, "aux": x}, "tuple": (x, x), "map": self.conv.weight}[self.kind]


def encoder():
    return Encoder()

def plain():
    return Plain()

def shared():
    return Shared()

def branches():
    return Branches()

def patches():
    return Patches()

def dicts():
    return Several("dict")

def tuples():
    return Several("tuple")

def by_turns():
    return Several("training")

def maps():
    return Several("map")

def sized(width, depth=3):
    return Encoder()

class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.a, self.b = nn.Conv2d(3, 4, 3), nn.Linear(4, 7), nn.Linear(4, 7)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return self.a(x) + self.b(x)


def odd_head():
    return TwoHeads()
'''


@pytest.fixture(autouse=True)
def mine(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("mine")
    (folder / "myencoders.py").write_text(MINE)
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("myencoders", None)


def sized(name, size=SIZE, **arguments):
    return Backbone(name, (*arguments.items(), ("image_size", (size, size))))


# ---- where slots are


class Watch(nn.Module):
    """Lets a map pass and keeps it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.clone())
        return x.clone()


NAMES = (
    "torchvision:mobilenet_v3_small",
    "timm:mobilenetv4_conv_small_035",
    "torchvision:efficientnet_b0",
    "torchvision:convnext_tiny",
    "torchvision:regnet_y_400mf",
    "torchvision:resnet50",
    "timm:vit_tiny_r_s16_p8_224",
    *("myencoders:encoder", "myencoders:plain", "myencoders:shared", "myencoders:branches"),
)


def spatial(network):
    """By types of modules, which the graph is not asked for."""
    return [name for name, one in network.named_modules()
            if isinstance(one, nn.Conv2d) and max(one.kernel_size) > 1]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_spatial_convolution_is_a_slot_that_sees_its_map_once(name):
    size = 64 if "vit" in name else SIZE
    backbone = sized(name, size)
    torch.manual_seed(0)
    network = backbones.build(backbone).eval()
    slots, left = backbones.slots(backbone), foreign.read(backbone).anatomy.left_out
    assert sorted([*(s.name for s in slots), *(name for name, _ in left)]) == sorted(
        spatial(network)
    )
    assert len({slot.place for slot in slots}) == len(slots)
    images = torch.randn(1, foreign.channels_of(network), size, size)
    watched = copy.deepcopy(network)
    watches = {slot.name: Watch() for slot in slots}
    for slot in slots:
        install(watched, slot, watches[slot.name])
    order = []
    for slot in slots:
        conv = watched.get_submodule(slot.name)
        conv.register_forward_hook(lambda *told, n=slot.name: order.append((n, told[2].shape)))
    with torch.no_grad():
        assert torch.equal(watched(images), network(images))
    assert [n for n, _ in order] == [slot.name for slot in slots], "not in network order"
    for slot, (_, shape) in zip(slots, order, strict=True):
        (seen,) = watches[slot.name].seen
        assert seen.shape == shape
        assert seen.shape[1] == slot.channels
        assert network.get_submodule(slot.name).stride[0] == slot.stride


ENDS = {
    "torchvision:mobilenet_v3_small": ("features.4.block.1.0", "features.4.block.1.3"),
    "torchvision:convnext_tiny": ("features.1.0.block.0", "features.1.0.block.0.enhance"),
    "torchvision:resnet50": ("layer1.0.conv2", "layer1.0.conv3.enhance_input"),
    "timm:mobilenetv4_conv_small_035": ("conv_stem", "bn1.act.enhance"),
    "myencoders:encoder": ("down.0.0", "down.0.3"),
    "myencoders:plain": ("conv1", "conv1.enhance"),
    "myencoders:shared": ("first", "norm.enhance"),
    "myencoders:branches": ("conv", "conv.enhance"),
}


@pytest.mark.parametrize(("name", "slot"), ENDS.items(), ids=ENDS.keys())
def test_places(name, slot):
    known = {one.name: one.place for one in backbones.slots(sized(name))}
    assert known[slot[0]] == slot[1]


def test_the_map_at_a_slot_has_its_norm_and_activation_behind_it():
    """By hand, on what two blocks have: a shared activation, and one of a sequence."""
    for name, slot, behind in (
        ("torchvision:resnet50", "layer1.0.conv2", lambda n, x: F.relu(n.layer1[0].bn2(x))),
        ("torchvision:mobilenet_v3_small", "features.4.block.1.0",
         lambda n, x: F.hardswish(n.features[4].block[1][1](x))),
        ("myencoders:encoder", "down.1.0", lambda n, x: F.relu(n.down[1][1](x))),
    ):  # fmt: skip
        network = backbones.build(sized(name)).eval()
        watch, given = Watch(), []
        install(network, choose_slots(backbones.slots(sized(name)), [slot], None)[0], watch)
        network.get_submodule(slot).register_forward_hook(lambda *told, g=given: g.append(told[2]))
        with torch.no_grad():
            network(torch.randn(1, 3, SIZE, SIZE))
            assert torch.equal(watch.seen[0], behind(network, given[0])), name


def test_torchvisions_mobilenetv2_has_the_same_sixteen():
    ours = backbones.slots(Backbone("mobilenetv2"))
    theirs = backbones.slots(sized("torchvision:mobilenet_v2"))
    assert len(theirs) == 18, "the stem and the block without expansion too"
    assert choose_slots(theirs, [slot.name for slot in ours], None) == ours


# ---- what holds for every supernet


def described(backbone, space, choices):
    channels = dict(backbone.arguments).get("channels", 3)
    taken = Input((SIZE, SIZE), channels, (0.5,) * channels, (0.25,) * channels)
    names = tuple(map(str, range(dict(backbone.arguments).get("classes", 1))))
    made = Architecture(backbone, space.name, tuple(choices), taken, names)
    return Architecture.from_json(made.to_json())


CHEAP = (
    ("myencoders:encoder", 3),
    ("myencoders:plain", 1),
    ("myencoders:shared", 2),
    ("myencoders:branches", 3),
    ("timm:test_resnet", 1),
)


@pytest.mark.parametrize(
    ("name", "channels", "space"),
    [*((*one, "pooling") for one in CHEAP), ("myencoders:shared", 3, "pmpl")],
)
def test_a_one_hot_supernet_is_the_realised_network(name, channels, space):
    backbone, space = sized(name, classes=4, channels=channels), spaces.load_space(space)
    torch.manual_seed(0)
    whole = stirred(supernet(backbone, space))
    start = copy.deepcopy(whole.state_dict())
    images = torch.randn(3, channels, SIZE, SIZE)
    seen = []
    for first in (0, 1, 3):
        count = len(space.operators)
        whole.load_state_dict(start)
        kept = {slot: ((i + first) % count,) for i, slot in enumerate(whole.slots)}
        whole.train().keep(kept)
        extracted = whole.extract()
        network = realise(described(backbone, space, whole.choices()))
        assert list(network.state_dict()) == list(extracted.state_dict())
        network.load_state_dict(extracted.state_dict())
        expected = outputs(network, images)
        for one in (extracted, whole):
            assert all(map(torch.equal, outputs(one, images), expected))
        seen.append(expected[1])
    assert len({tuple(logits.flatten().tolist()) for logits in seen}) == len(seen)


@pytest.mark.parametrize(("name", "channels"), CHEAP)
def test_nothing_else_changes_its_name_and_the_start_is_the_plain_network(name, channels):
    backbone, space = sized(name, classes=4, channels=channels), spaces.load_space("pooling")
    slots = [slot.name for slot in backbones.slots(backbone)]
    torch.manual_seed(0)
    plain = stirred(backbones.build(backbone))
    images = torch.randn(3, channels, SIZE, SIZE)
    modules, state = dict(plain.named_modules()), plain.state_dict()
    for index in (0, 1, 5):
        choices = space.choose(slots, [index] * len(slots))
        found = realise(described(backbone, space, choices))
        missing = found.load_state_dict(state, strict=False)
        assert not missing.unexpected_keys
        assert all("enhance" in key or key.split(".")[-3] == "operators" or "norms" in key
                   for key in missing.missing_keys)  # fmt: skip
        names = dict(found.named_modules())
        assert {n: type(m) for n, m in modules.items()}.items() <= {
            n: type(m) for n, m in names.items()
        }.items()
        if index == 0:
            assert list(names) == list(modules), "identity is the plain network itself"
        start = copy.deepcopy(plain)
        assert all(map(torch.equal, outputs(found, images), outputs(start, images)))


def test_marks_change_nothing_and_stand_where_slots_end():
    backbone = sized("timm:test_resnet")
    network = backbones.build(backbone)
    slots = backbones.slots(backbone)
    images = torch.randn(2, 3, SIZE, SIZE)
    before = outputs(copy.deepcopy(network), images)
    mark_ends(network, slots)
    ends = dict(network.named_modules())
    for slot in slots:
        assert slot.way != "before" or isinstance(ends[slot.place], nn.Identity)
    assert all(map(torch.equal, outputs(network, images), before))


def test_a_backbone_is_built_to_measure():
    for name in ("timm:test_resnet", "myencoders:plain", "myencoders:shared"):
        backbone = sized(name, classes=6, channels=2)
        torch.manual_seed(0)
        network = backbones.build(backbone).eval()
        assert network(torch.randn(2, 2, SIZE, SIZE)).shape == (2, 6)
        torch.manual_seed(0)
        again = backbones.build(backbone).state_dict()
        assert all(torch.equal(v, again[k]) for k, v in network.state_dict().items())


# ---- mistakes

WRONG = {
    "myencoders:patches": ["no slot at 48×48 pixels", "kernel above 1", "1 conv 1×1", "1 linear"],
    "myencoders:dicts": ["returns a dict of out, aux", "(N, classes)"],
    "myencoders:tuples": ["returns a tuple of 2"],
    "myencoders:by_turns": ["returns a tuple of 2 in training"],
    "myencoders:maps": ["returns a tensor of shape (4, 3, 3, 3)"],
    "myencoders:sized": ["needs the argument width", "give them defaults"],
    "torchvision:resnet51": ["torchvision has no model 'resnet51'", "resnet50"],
    "resnet51": ["unknown backbone 'resnet51'", "timm:NAME"],
}


@pytest.mark.parametrize(("name", "told"), WRONG.items(), ids=WRONG.keys())
def test_mistakes(name, told):
    with pytest.raises(UserError) as caught:
        backbones.slots(sized(name))
    for part in told:
        assert part in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_a_head_that_cannot_be_replaced():
    with pytest.raises(UserError, match="gives 7 outputs for 4 classes"):
        backbones.build(sized("myencoders:odd_head", classes=4))
    assert backbones.build(sized("myencoders:odd_head", classes=7))


def test_a_slot_that_is_not_there_is_told_with_the_nearest():
    slots = [Slot(f"stages.{n}.conv", f"stages.{n}.act.enhance", 8, 1) for n in range(30)]
    with pytest.raises(UserError) as caught:
        choose_slots(slots, ["stages.17"], None)
    assert "nearest: stages.17.conv, " in str(caught.value)
    assert "lists all 30" in str(caught.value)
    with pytest.raises(UserError, match="did you mean 'stages"):
        choose_slots(slots[:3], ["stages.1"], None)


def test_arguments_that_no_network_takes():
    with pytest.raises(UserError, match="does not take these arguments: width"):
        backbones.build(Backbone("timm:test_resnet", (("width", 0.5),)))
    with pytest.raises(UserError, match=r"image_size must be \[height, width\]"):
        backbones.build(Backbone("timm:test_resnet", (("image_size", 64),)))
