"""What every entry of BACKBONES keeps, above all: a supernet with a one-hot choice is the
realised network with those weights, number for number."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from rfsearch import backbones, spaces
from rfsearch.backbones import BACKBONES
from rfsearch.backbones.realise import realise
from rfsearch.backbones.supernet import choose_slots, supernet
from rfsearch.errors import UserError
from rfsearch.spaces import Architecture, Backbone, Choice, Input, Operator

CLASSES = 4
every_backbone = pytest.mark.parametrize("name", list(BACKBONES))
SPACES = [spaces.load_space(name) for name in spaces.names()]
every_space = pytest.mark.parametrize(
    "space", [space for space in SPACES if space.kind == "enhance"]
)
PUBLISHED = {
    "mobilenetv2": torchvision.models.mobilenet_v2,
    "resnet18": torchvision.models.resnet18,
}


def small(name, classes=CLASSES, channels=1):
    """The narrowest network, for images of 16 pixels."""
    arguments = {"classes": classes, "channels": channels, "stem": "small", "width": 0.125}
    return Backbone(name, tuple(arguments.items()))


def architecture(backbone, space, choices):
    arguments = dict(backbone.arguments)
    channels, classes = arguments["channels"], arguments["classes"]
    taken = Input((16, 16), channels, (0.5,) * channels, (0.25,) * channels)
    names = tuple(str(index) for index in range(classes))
    return Architecture(backbone, space.name, tuple(choices), taken, names)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def stirred(network, seed=0):
    """The network with norms, statistics and alphas away from where they start."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor, low, high):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            kind = key.rpartition(".")[2]
            if kind in ("running_var", "gamma") or (kind == "weight" and tensor.ndim == 1):
                draw(tensor, 0.5, 1.5)
            elif kind in ("running_mean", "beta", "bias", "alpha"):
                draw(tensor, -0.3, 0.3)
    return network


def seeded_supernet(name, space, dtype=torch.float32):
    torch.manual_seed(0)
    return stirred(supernet(small(name), space)).to(dtype)


# ---- the plain networks


@every_backbone
@pytest.mark.parametrize("stem", backbones.STEMS)
def test_forward_and_backward(name, stem):
    side = BACKBONES[name].smallest_image[stem]
    arguments = (("classes", CLASSES), ("channels", 2), ("stem", stem), ("width", 0.25))
    torch.manual_seed(0)
    network = backbones.build(Backbone(name, arguments)).train()
    logits = network(noise(4, 2, side, side + 3))
    assert logits.shape == (4, CLASSES)
    F.cross_entropy(logits, torch.arange(4) % CLASSES).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, key


@every_backbone
@pytest.mark.parametrize("stem", backbones.STEMS)
def test_the_smallest_image_leaves_one_pixel(name, stem):
    side = BACKBONES[name].smallest_image[stem]
    backbone = Backbone(name, (("stem", stem), ("width", 0.125), ("classes", 2)))
    network = backbones.build(backbone)
    last = BACKBONES[name].slots(network)[-1]
    seen = []
    network.get_submodule(last.name).register_forward_hook(lambda *told: seen.append(told[2]))
    network.eval()(noise(1, 3, side, side))
    assert seen[0].shape[-2:] == (1, 1)


@every_backbone
def test_slots_are_named_by_their_convolutions(name):
    network = backbones.build(small(name))
    slots = BACKBONES[name].slots(network)
    assert slots == backbones.slots(small(name))
    modules, order = dict(network.named_modules()), []
    for slot in slots:
        conv = modules[slot.name]
        assert isinstance(conv, nn.Conv2d)
        assert max(conv.kernel_size) > 1, "no spatial convolution"
        assert (slot.channels, slot.stride) == (conv.out_channels, conv.stride[0])
        conv.register_forward_hook(lambda *_, slot=slot: order.append(slot.name))
    network.eval()(noise(1, 1, 16, 16))
    assert order == [slot.name for slot in slots], "not in network order"
    assert len({slot.place for slot in slots}) == len(slots)


def test_slots_of_the_published_networks():
    mobilenet = backbones.slots(Backbone("mobilenetv2"))
    assert [slot.name for slot in mobilenet] == [f"features.{b}.conv.1.0" for b in range(2, 18)]
    assert all(slot.place == slot.name[:-1] + "3" for slot in mobilenet)
    strides = [2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]
    assert [slot.stride for slot in mobilenet] == strides
    resnet = backbones.slots(Backbone("resnet18"))
    assert [slot.channels for slot in resnet] == [64, 64, 128, 128, 256, 256, 512, 512]


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_torchvisions_weights_load_and_give_the_same(name):
    torch.manual_seed(0)
    theirs = stirred(PUBLISHED[name](num_classes=10))
    ours = backbones.build(Backbone(name, (("classes", 10), ("stem", "published"))))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = noise(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), theirs.eval()(x))
        torch.manual_seed(1)
        trained = ours.train()(x)
        torch.manual_seed(1)
        assert torch.equal(trained, theirs.train()(x))


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_of_mobilenetv2():
    backbone = Backbone("mobilenetv2", (("channels", 3), ("classes", 1000)))
    space = spaces.load_space("pmpl")
    assert parameters(backbones.build(backbone)) == 3_504_872
    whole = supernet(backbone, space)
    assert sum(weight.numel() for weight in whole.weights()) == 3_964_856
    assert parameters(whole) == 3_964_856 + 16 * len(space.operators)
    plain = [index for index, operator in enumerate(space.operators) if operator.name != "ssp"]
    indices = list(itertools.islice(itertools.cycle(plain), 16))
    names = [slot.name for slot in backbones.slots(backbone)]
    found = realise(architecture(backbone, space, space.choose(names, indices)))
    assert parameters(found) == 3_519_080


# ---- law 2


def realised(whole, backbone, kept):
    """The realised network of a choice, its weights taken from the supernet tensor by tensor."""
    choices = [
        Choice(slot, whole.space.form, tuple(whole.space.operators[k] for k in indices))
        for slot, indices in kept.items()
    ]
    network = realise(architecture(backbone, whole.space, choices))
    network.to(next(whole.parameters()).dtype)
    theirs, ours = whole.network.state_dict(), {}
    for key in network.state_dict():
        source = key
        for slot, indices in kept.items():
            place = f"{whole.slots[slot].place}."
            if key.startswith(place):
                source = place + _source(key.removeprefix(place), whole, indices)
        ours[key] = theirs[source]
    network.load_state_dict(ours, strict=True)
    return network


def _source(key, whole, indices):
    """Where the supernet keeps what an enhancer calls ``key``."""
    kind, _, rest = key.partition(".")
    if kind not in ("operators", "norms"):
        return key
    operators = [whole.space.operators[k].name for k in indices]
    residual = whole.space.form == "residual"
    branches = [
        k for k, n in zip(indices, operators, strict=True) if not residual or n != "identity"
    ]
    number, _, leaf = rest.partition(".")
    shared = {"weight": "gamma", "bias": "beta"}
    if kind == "norms" and leaf in shared:
        return shared[leaf]
    return f"{kind}.{branches[int(number)]}.{leaf}"


@torch.no_grad()
def outputs(network, x):
    torch.manual_seed(5)  # dropout
    return network(x)


def hand_weights(whole, kept):
    for slot, mixture in whole.mixtures.items():
        p = torch.zeros_like(mixture.alpha)
        p[list(kept[slot])] = 1
        mixture.weights = p


def assert_same_state(network, expected):
    """Also after a step in training mode: running statistics move alike."""
    found = network.state_dict()
    assert list(found) == list(expected.state_dict())
    for key, value in expected.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(found[key], value), key


def rotations(whole):
    """Choices in which slot i holds candidate (i + k) mod K: every candidate in every slot."""
    count = len(whole.space.operators)
    for k in range(count):
        yield {slot: ((i + k) % count,) for i, slot in enumerate(whole.slots)}


def both_modes(network, x):
    """Outputs of a training step, which moves running statistics, and then in evaluation."""
    return outputs(network.train(), x), outputs(network.eval(), x)


def assert_equal(found, expected, way):
    for mode, one, other in zip(("train", "eval"), found, expected, strict=True):
        assert torch.equal(one, other), f"{way}, {mode}"


@every_backbone
@every_space
@pytest.mark.parametrize(
    ("dtype", "layout"),
    [(torch.float32, torch.channels_last), (torch.float64, torch.contiguous_format)],
    ids=str,
)
def test_a_one_hot_supernet_is_the_realised_network(name, space, dtype, layout):
    whole = seeded_supernet(name, space, dtype).to(memory_format=layout)
    start = {key: value.clone() for key, value in whole.state_dict().items()}
    x = noise(3, 1, 16, 16, dtype=dtype).contiguous(memory_format=layout)
    seen = []
    for kept in rotations(whole):
        whole.load_state_dict(start)
        whole.train().keep(kept)
        network = realised(whole, small(name), kept).to(memory_format=layout)
        extracted = whole.extract()
        expected = both_modes(network, x)
        assert_equal(both_modes(whole, x), expected, "kept")
        assert_equal(both_modes(extracted, x), expected, "extracted before")
        assert torch.equal(outputs(whole.extract(), x), expected[1]), "extracted while in eval"
        assert_same_state(extracted, network)
        whole.load_state_dict(start)
        whole.keep(dict.fromkeys(whole.slots, ()))
        hand_weights(whole, kept)
        assert_equal(both_modes(whole, x), expected, "handed weights")
        for mixture in whole.mixtures.values():
            mixture.weights = None
        seen += expected
    for a, b in itertools.combinations(seen, 2):
        assert (a - b).abs().max() > 1e-3, "two choices cannot be told apart"


@every_backbone
@every_space
def test_a_kept_pair_is_the_realised_pair(name, space):
    whole = seeded_supernet(name, space)
    start = {key: value.clone() for key, value in whole.state_dict().items()}
    x = noise(3, 1, 16, 16)
    pairs = list(itertools.permutations(range(len(space.operators)), 2))
    for first in (0, len(pairs) // 2):
        kept = {slot: pairs[(i + first) % len(pairs)] for i, slot in enumerate(whole.slots)}
        whole.load_state_dict(start)
        whole.keep(kept)
        network = realised(whole, small(name), kept)
        extracted = whole.extract()
        expected = both_modes(network, x)
        assert_equal(both_modes(whole, x), expected, "kept")
        assert_equal(both_modes(extracted, x), expected, "extracted")
        described = realise(architecture(small(name), space, whole.choices()))
        assert list(described.state_dict()) == list(extracted.state_dict())


@every_backbone
@every_space
def test_extraction_shares_nothing_and_leaves_the_supernet(name, space):
    whole = seeded_supernet(name, space).eval()
    whole.keep(dict.fromkeys(whole.slots, (1,)))
    before = {key: value.clone() for key, value in whole.state_dict().items()}
    extracted = whole.extract()
    assert not any(module.training for module in extracted.modules())
    with torch.no_grad():
        for tensor in extracted.state_dict().values():
            tensor.fill_(7)
    after = whole.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


# ---- the residual form


@every_backbone
def test_identity_everywhere_is_the_plain_network(name):
    space = spaces.load_space("pooling")
    names = [slot.name for slot in backbones.slots(small(name))]
    none = [space.labels.index("identity")] * len(names)
    torch.manual_seed(0)
    plain = stirred(backbones.build(small(name)))
    found = realise(architecture(small(name), space, space.choose(names, none)))
    assert list(found.state_dict()) == list(plain.state_dict())
    assert [n for n, _ in found.named_parameters()] == [n for n, _ in plain.named_parameters()]
    assert [n for n, _ in found.named_modules()] == [n for n, _ in plain.named_modules()]
    assert parameters(found) == parameters(plain)
    found.load_state_dict(plain.state_dict())
    x = noise(3, 1, 16, 16)
    for training in (True, False):
        assert torch.equal(outputs(found.train(training), x), outputs(plain.train(training), x))


@every_backbone
@pytest.mark.parametrize("index", [1, 3, 5])
def test_a_new_realised_network_starts_as_the_plain_one(name, index):
    space = spaces.load_space("pooling")
    names = [slot.name for slot in backbones.slots(small(name))]
    torch.manual_seed(0)
    plain = backbones.build(small(name))
    torch.manual_seed(0)
    found = realise(architecture(small(name), space, space.choose(names, [index] * len(names))))
    shared = found.state_dict()
    for key, value in plain.state_dict().items():
        assert torch.equal(shared[key], value), f"the same seed starts elsewhere: {key}"
    assert parameters(found) > parameters(plain)
    x = noise(3, 1, 16, 16)
    for training in (True, False):
        assert torch.equal(outputs(found.train(training), x), outputs(plain.train(training), x))


@every_backbone
def test_alpha_has_a_gradient_as_soon_as_gamma_has_moved(name):
    """On maps of two pixels or more: on one pixel all candidates are the same."""
    whole = seeded_supernet(name, spaces.load_space("pooling")).train()
    x, labels = noise(8, 1, 48, 48), torch.arange(8) % CLASSES
    norms = {}
    for gamma in (0.0, 0.1):
        with torch.no_grad():
            for mixture in whole.mixtures.values():
                mixture.gamma.fill_(gamma)
                mixture.beta.zero_()
        loss = F.cross_entropy(whole(x), labels)
        alphas = whole.alphas()
        gradients = torch.autograd.grad(loss, list(alphas.values()))
        norms[gamma] = {s: float(g.norm()) for s, g in zip(alphas, gradients, strict=True)}
    assert not any(norms[0.0].values())
    assert all(norms[0.1].values())


def test_a_new_supernets_gamma_is_a_tenth():
    whole = supernet(small("resnet18"), spaces.load_space("pooling"))
    for mixture in whole.mixtures.values():
        assert torch.equal(mixture.gamma, torch.full_like(mixture.gamma, 0.1))
        assert not mixture.beta.any()


@every_backbone
@every_space
def test_identitys_share_reaches_the_output(name, space):
    """Slot by slot: half of identity's share given to one other operator is seen."""
    whole = seeded_supernet(name, space).eval()
    x = noise(3, 1, 32, 32)
    none = space.labels.index("identity")
    other = space.labels.index("max 3")
    for mixture in whole.mixtures.values():
        mixture.weights = F.one_hot(torch.tensor(none), len(space.operators)).float()
    before = outputs(whole, x)
    for slot, mixture in whole.mixtures.items():
        p = torch.zeros(len(space.operators))
        p[none] = p[other] = 0.5
        mixture.weights = p
        after = outputs(whole, x)
        assert not torch.equal(after, before), slot
        before = after


# ---- the supernet as a module


@every_backbone
@every_space
def test_alphas_and_weights_are_all_parameters_once(name, space):
    whole = seeded_supernet(name, space)
    ids = [id(p) for p in (*whole.alphas().values(), *whole.weights())]
    assert len(set(ids)) == len(ids)
    assert set(ids) == {id(p) for p in whole.parameters()}
    assert list(whole.alphas()) == [slot.name for slot in backbones.slots(small(name))]
    assert all(alpha.shape == (len(space.operators),) for alpha in whole.alphas().values())


@every_backbone
@every_space
def test_state_dict_round_trip(name, space):
    first = seeded_supernet(name, space)
    torch.manual_seed(9)
    second = supernet(small(name), space)
    second.load_state_dict(first.state_dict(), strict=True)
    x = noise(2, 1, 16, 16)
    assert torch.equal(outputs(first.eval(), x), outputs(second.eval(), x))


def test_include_and_exclude_choose_slots_in_network_order():
    slots = backbones.slots(small("resnet18"))
    names = [slot.name for slot in slots]
    chosen = choose_slots(slots, [names[5], names[2], names[0]], [names[2]])
    assert [slot.name for slot in chosen] == [names[0], names[5]]
    whole = supernet(small("resnet18"), spaces.load_space("pooling"), exclude=names[1:])
    assert list(whole.slots) == names[:1]
    whole.keep({names[0]: (1,)})
    assert [choice.label for choice in whole.choices()] == ["max 3"]
    with pytest.raises(UserError, match=r"unknown slot 'layer1\.0\.conv'"):
        choose_slots(slots, ["layer1.0.conv"], None)
    with pytest.raises(UserError, match="unknown slot 'nowhere'"):
        choose_slots(slots, None, ["nowhere"])
    with pytest.raises(UserError, match="no slot is left"):
        choose_slots(slots, None, names)


# ---- what is unknown is loud


def test_unknown_backbones_stems_and_arguments():
    with pytest.raises(UserError, match=r"unknown backbone 'resnet81'.*'resnet18'"):
        backbones.build(Backbone("resnet81"))
    with pytest.raises(UserError, match=r"unknown stem 'tiny'.*published, small"):
        backbones.build(Backbone("resnet18", (("stem", "tiny"),)))
    for name in BACKBONES:
        with pytest.raises(UserError, match="depth"):
            backbones.build(Backbone(name, (("depth", 3),)))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice("features.1", "residual", (Operator("identity"),)), "unknown slot 'features.1'"),
        (Choice("layer1.0.conv1", "residual", (Operator("pool"),)), "unknown operator 'pool'"),
        (
            Choice("layer1.0.conv1", "paper", (Operator("max_pool", (("kernel", 4),)),)),
            "odd number",
        ),
    ],
)
def test_unknown_slots_and_operators(choice, message):
    space = spaces.load_space("pooling")
    with pytest.raises(UserError, match=message):
        realise(architecture(small("resnet18"), space, [choice]))
