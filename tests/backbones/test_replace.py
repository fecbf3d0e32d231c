"""Replace slots: an operator in the place of a convolution, alone and beside enhancers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rfsearch import backbones, spaces
from rfsearch.backbones.realise import realise
from rfsearch.backbones.supernet import supernet
from rfsearch.errors import UserError
from rfsearch.operators.blend import Blend
from rfsearch.operators.replacements import REPLACEMENTS, build_replacement, merge
from rfsearch.spaces import Architecture, Backbone, Input, Operator
from rfsearch.spaces.tables import parse
from tests.backbones.conftest import outputs, stirred

SIZE = 24
MIXED = spaces.Space(
    "both",
    "residual",
    (
        *(Operator("identity"), Operator("max_pool", (("kernel", 3),))),
        *(Operator("pf_max"), Operator("depthwise", (("kernel", 5),))),
    ),
    replacing=2,
)
SPACES = [
    *(space for space in map(spaces.load_space, spaces.names()) if space.form == "replace"),
    MIXED,
]
BACKBONES = {
    "mobilenetv2": (("stem", "small"), ("width", 0.125)),
    "resnet18": (("stem", "small"), ("width", 0.125)),
    "timm:test_resnet": (("image_size", (SIZE, SIZE)),),
}
every_space = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
every_backbone = pytest.mark.parametrize("name", list(BACKBONES))


def small(name):
    return Backbone(name, (("channels", 2), ("classes", 3), *BACKBONES[name]))


def described(backbone, space, choices):
    taken = Input((SIZE, SIZE), 2, (0.5,) * 2, (0.25,) * 2)
    made = Architecture(backbone, space.name, tuple(choices), taken, ("a", "b", "c"))
    return Architecture.from_json(made.to_json())


def carried(whole, network, kept):
    """The network's weights taken from the supernet, tensor by tensor, by names alone."""
    theirs, ours = whole.network.state_dict(), {}
    for key in network.state_dict():
        source = key
        for slot, k in kept.items():
            place, mixed = whole.slots[slot].place, whole.space.replacing
            if key.startswith(f"{slot}.") and not (mixed and key.startswith(f"{place}.")):
                first = len(whole.space.operators) - mixed
                index = max(0, k - first + 1) if mixed else k
                source = f"{slot}.operators.{index}.{key.removeprefix(f'{slot}.')}"
            elif key.startswith(f"{place}."):
                rest = key.removeprefix(f"{place}.")
                kind, _, leaf = rest.split(".", 2)
                shared = {"weight": "gamma", "bias": "beta"}
                own = kind == "norms" and leaf in shared
                source = f"{place}.{shared[leaf] if own else f'{kind}.{k}.{leaf}'}"
        ours[key] = theirs[source]
    network.load_state_dict(ours, strict=True)
    return network


@every_backbone
@every_space
def test_a_one_hot_supernet_is_the_realised_network(name, space):
    torch.manual_seed(0)
    whole = stirred(supernet(small(name), space))
    start = {key: value.clone() for key, value in whole.state_dict().items()}
    images = torch.randn(3, 2, SIZE, SIZE)
    for first in range(len(space.operators)):
        whole.load_state_dict(start)
        kept = {slot: (i + first) % len(space.operators) for i, slot in enumerate(whole.slots)}
        whole.train().keep({slot: (k,) for slot, k in kept.items()})
        network = carried(whole, realise(described(small(name), space, whole.choices())), kept)
        extracted = whole.extract()
        assert list(extracted.state_dict()) == list(network.state_dict())
        assert [n for n, _ in extracted.named_modules()] == [n for n, _ in network.named_modules()]
        expected = outputs(network, images)
        assert all(map(torch.equal, outputs(extracted, images), expected)), "extracted"
        assert all(map(torch.equal, outputs(whole, images), expected)), "kept"
        whole.load_state_dict(start)
        whole.keep(dict.fromkeys(whole.slots, ()))
        for slot, mixture in whole.mixtures.items():
            mixture.weights = F.one_hot(torch.tensor(kept[slot]), len(mixture.alpha)).float()
        assert all(map(torch.equal, outputs(whole, images), expected)), "handed weights"
        for mixture in whole.mixtures.values():
            mixture.weights = None


@every_backbone
@every_space
def test_a_pass_that_is_drawn_evenly_is_one_network_of_the_space(name, space):
    torch.manual_seed(0)
    whole, images = stirred(supernet(small(name), space)).eval(), torch.randn(3, 2, SIZE, SIZE)
    for mixture in whole.mixtures.values():
        mixture.blend = Blend("even")
    taken = []
    hooks = [mixture.register_forward_pre_hook(lambda m, _: taken.append(m.weights))
             for mixture in whole.mixtures.values()]  # fmt: skip
    drawn = [whole(images) for _ in range(3)]
    for hook in hooks:
        hook.remove()
    assert all(mixture.weights is None for mixture in whole.mixtures.values())
    chosen = torch.stack([w.argmax() for w in taken]).view(3, len(whole.slots)).tolist()
    assert len(set(map(tuple, chosen))) == 3, "dull"
    for found, network in zip(drawn, chosen, strict=True):
        whole.keep({slot: (k,) for slot, k in zip(whole.slots, network, strict=True)})
        assert torch.equal(found, whole(images))


@every_backbone
@every_space
def test_every_weight_and_alpha_has_a_gradient(name, space):
    torch.manual_seed(0)
    whole = supernet(small(name), space).train()
    with torch.no_grad():  # larger kernels begin alike, and some norms with no weight
        for parameter in whole.weights():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    ids = [id(p) for p in (*whole.alphas().values(), *whole.weights())]
    assert len(set(ids)) == len(ids)
    assert set(ids) == {id(p) for p in whole.parameters()}
    images, labels = torch.randn(6, 2, SIZE, SIZE), torch.arange(6) % 3
    F.cross_entropy(whole(images), labels).backward()
    for key, parameter in whole.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    for slot, alpha in whole.alphas().items():
        assert alpha.grad.abs().max() > 0, slot


def test_a_mixture_is_the_weighted_sum():
    """By hand: each candidate's map normalised by the batch, and weighted by softmax(α)."""
    space = spaces.load_space("pflayer")
    whole = stirred(supernet(small("mobilenetv2"), space)).train()
    mixture = whole.mixture("features.2.conv.1.0")
    images = torch.randn(4, mixture.operators[0].in_channels, 7, 7)
    p = mixture.alpha.softmax(0)
    expected = 0
    for k, operator in enumerate(mixture.operators):
        y = operator(images)
        mean, deviation = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), False, keepdim=True)
        expected = expected + p[k] * (y - mean) / (deviation + 1e-5).sqrt()
    torch.testing.assert_close(mixture(images), expected)


# ---- operators


CONVOLUTIONS = {
    "dense": nn.Conv2d(8, 8, 3, padding=1, bias=False),
    "depthwise, stride 2": nn.Conv2d(8, 8, 5, 2, padding=2, groups=8),
    "valid": nn.Conv2d(8, 8, 7, bias=False),
    "dilated": nn.Conv2d(8, 8, 3, 2, padding=2, dilation=2),
}
ARGUMENTS = {"resized": {"kernel": 5}, "dilated": {"dilation": 3}, "depthwise": {"kernel": 3}}


@pytest.mark.parametrize("conv", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
@pytest.mark.parametrize("name", list(REPLACEMENTS))
def test_stride_channels_and_map_are_kept(name, conv):
    if conv.padding == (0, 0) and name not in ("conv", "dilated"):  # a smaller kernel sees less
        with pytest.raises(UserError, match="does not keep the map"):
            build_replacement(name, conv, ARGUMENTS.get(name, {}))
        return
    made = build_replacement(name, conv, ARGUMENTS.get(name, {}))
    for size in ((16, 19), (17, 12)):
        x = torch.randn(2, 8, *size)
        assert made(x).shape == conv(x).shape


def test_what_stands_there_already_keeps_its_weights():
    conv = CONVOLUTIONS["dense"]
    assert build_replacement("dense", conv, {"kernel": 3}) is conv
    assert build_replacement("resized", conv, {"kernel": 3}) is conv
    assert build_replacement("dilated", conv, {"dilation": 1}) is conv
    assert build_replacement("conv", conv, {}) is conv
    assert build_replacement("dilated", conv, {"dilation": 2}).weight is conv.weight


@pytest.mark.parametrize("kernel", [5, 7, 9])
def test_a_larger_kernel_begins_as_the_convolution(kernel):
    for conv in (CONVOLUTIONS["dense"], CONVOLUTIONS["depthwise, stride 2"]):
        x = torch.randn(2, 8, 16, 17)
        larger = build_replacement("resized", conv, {"kernel": kernel})
        torch.testing.assert_close(larger(x), conv(x))


@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_branches_merge_into_one_kernel_with_equal_outputs(groups, stride):
    branches = [
        nn.Conv2d(8, 8, 3, stride, padding=d, dilation=d, groups=groups).double()
        for d in (2, 1, 4)
    ]
    x = torch.randn(2, 8, 19, 16, dtype=torch.float64)
    expected = sum(branch(x) for branch in branches)
    for order in (branches, branches[::-1]):
        merged = merge(order)
        assert merged.kernel_size == (9, 9)
        torch.testing.assert_close(merged(x), expected)
    with pytest.raises(ValueError, match="do not move alike"):
        merge([branches[0], nn.Conv2d(8, 8, 3, stride, groups=groups)])


# ---- slots and mistakes


def test_only_convolutions_that_every_operator_fits_are_slots():
    """The stem takes other channels than it gives."""
    backbone = Backbone("timm:test_resnet", (("image_size", (SIZE, SIZE)),))
    names = [slot.name for slot in backbones.slots(backbone, spaces.load_space("pflayer"))]
    network = backbones.build(backbone)
    fitting = [name for name, one in network.named_modules()
               if isinstance(one, nn.Conv2d) and max(one.kernel_size) > 1
               and one.in_channels == one.out_channels]  # fmt: skip
    assert names == fitting
    assert len(backbones.slots(backbone, spaces.load_space("kernels"))) > len(names)


def test_resnet50_has_its_sixteen():
    backbone = Backbone("torchvision:resnet50", (("image_size", (32, 32)),))
    slots = backbones.slots(backbone, spaces.load_space("pflayer"))
    assert [slot.name for slot in slots] == [
        f"layer{stage}.{block}.conv2"
        for stage, blocks in enumerate((3, 4, 6, 3), 1)
        for block in range(blocks)
    ]


def test_mistakes():
    wide = spaces.Space("wide", "replace", (Operator("resized", (("kernel", 4),)),))
    with pytest.raises(UserError) as caught:
        backbones.slots(small("resnet18"), wide)
    for part in ("no slot", "space wide", "layer1.0.conv1", "kernel of 4"):
        assert part in str(caught.value)
    with pytest.raises(UserError, match="unknown operator in place of a convolution 'max_pool'"):
        build_replacement("max_pool", CONVOLUTIONS["dense"], {"kernel": 3})
    with pytest.raises(UserError, match="kernel must be a whole number from 1 on, not 0"):
        build_replacement("dense", CONVOLUTIONS["dense"], {"kernel": 0})
    with pytest.raises(UserError, match="does not take these arguments"):
        build_replacement("pf_max", CONVOLUTIONS["dense"], {"kernle": 3})
    with pytest.raises(UserError, match="its convolution takes 8 and gives 4"):
        build_replacement("pf_max", nn.Conv2d(8, 4, 3, padding=1), {})


TEXT = """
description = "both"
form = "{form}"

[[operators]]
name = "identity"

[[replacements]]
name = "pf_max"
kernel = 3
"""


def test_a_space_says_what_its_operators_do():
    both = parse(TEXT.format(form="residual"), "both.toml", "both")
    assert (both.kind, both.replacing) == ("enhance or replace", 1)
    assert [both.form_of(k) for k in range(2)] == ["residual", "replace"]
    assert [c.form for c in both.choose(["a", "b"], [1, 0])] == ["replace", "residual"]
    for form in ("paper", "replace"):
        with pytest.raises(UserError, match=r"both.toml: space 'both': \[\[replacements\]\]"):
            parse(TEXT.format(form=form), "both.toml", "both")
    assert spaces.load_space("pflayer").kind == "replace"
    assert spaces.load_space("pooling").kind == "enhance"
