"""A module of one's own, a loop of one's own, any loss; and out again as a plain module."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

import rfsearch
from rfsearch.errors import UserError

EAGER = {"minimum_epochs": 0, "patience": 1, "threshold": 0.0, "alpha_lr": 0.3}
BOTH = """
description = "both"
form = "residual"
[[operators]]
name = "identity"
[[operators]]
name = "avg_pool"
kernel = 3
[[replacements]]
name = "depthwise"
kernel = 5
"""


class Rows(nn.Module):
    """A few convolutions and a linear layer, for images of any size."""

    def __init__(self, outputs=3, channels=1):
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(channels, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.second = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, outputs))

    def forward(self, x):
        return self.head(F.relu(self.norm(self.second(self.first(x)))).mean((2, 3)))


class Shaped(nn.Module):
    """U-Net-like: a map of every pixel, in a dictionary, and another one beside it."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in ((3, 8), (8, 16))
        )
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.join = nn.Conv2d(16, 8, 3, padding=1)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        first = self.down[0](x)
        second = self.down[1](first)
        joined = F.relu(self.join(torch.cat([first, self.up(second)], 1)))
        dense = F.interpolate(self.out(joined), size=x.shape[-2:], mode="bilinear")
        return {"out": dense, "deep": [second]}


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def search_it(supernet, loss, epochs=2, steps=3):
    """A loop of one's own."""
    search = rfsearch.PMPL(supernet, **EAGER)
    optimizer = torch.optim.SGD(supernet.weights(), lr=0.05, momentum=0.9)
    for _ in range(epochs):
        for _ in range(steps):
            search.step(loss)
            optimizer.zero_grad()
            loss(supernet).backward()
            optimizer.step()
        search.end_epoch()
    search.finish()


def search_that_learns(supernet, loss):
    """The loss that was given is what weights and α go down."""
    began = float(loss(supernet).detach())
    search_it(supernet, loss, epochs=4, steps=5)
    assert float(loss(supernet).detach()) < 0.9 * began
    assert all(alpha.abs().max() > 0.1 for alpha in supernet.alphas().values()), "from 0.001"


def same_outputs(supernet, network, batch):
    with torch.no_grad():
        expected, found = supernet.eval()(batch), network.eval()(batch)
    for one, other in zip(tensors(expected), tensors(found), strict=True):
        assert torch.equal(one, other)


def tensors(output):
    return torch.utils._pytree.tree_leaves(output)


def ours(network):
    return [name for name, one in network.named_modules()
            if type(one).__module__.startswith("rfsearch")]  # fmt: skip


# --- any loss ----------------------------------------------------------------------------------

X = images(8, 1, 20, 28)
LABELS = (X[:, 0, 0, :3] > 0).float()
MANY = {
    "multi-label": lambda net: F.binary_cross_entropy_with_logits(net(X), LABELS),
    "regression": lambda net: F.mse_loss(net(X), X.mean((1, 2, 3))[:, None].expand(-1, 3)),
    "classes": lambda net: F.cross_entropy(net(X), torch.arange(8) % 3),
}


@pytest.mark.parametrize("name", MANY)
def test_any_loss_is_searched_and_exported(name):
    torch.manual_seed(0)
    model = Rows()
    before = copy.deepcopy(model.state_dict())
    supernet = rfsearch.supernet(model, image_size=(20, 28))
    search_that_learns(supernet, MANY[name])
    network = supernet.export()
    same_outputs(supernet, network, X)
    assert type(network) is Rows
    assert set(dict(model.named_modules())) <= set(dict(network.named_modules()))
    assert ours(network) == []
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert set(dict(model.named_modules())) == set(dict(Rows().named_modules())), "not changed"


def test_segmentation_with_a_dictionary_of_maps():
    torch.manual_seed(0)
    batch = F.interpolate(images(4, 3, 4, 6), scale_factor=4)
    wanted = (batch[:, 0] > 0).long()
    supernet = rfsearch.supernet(Shaped(), image_size="16x24")
    assert list(supernet.slots) == ["down.0.0", "down.1.0", "join"]
    search_that_learns(supernet, lambda net: F.cross_entropy(net(batch)["out"], wanted))
    network = supernet.export()
    assert ours(network) == []
    same_outputs(supernet, network, batch)


def test_the_exported_network_trains_on():
    torch.manual_seed(0)
    supernet = rfsearch.supernet(Rows(), image_size=20)
    loss = MANY["classes"]
    search_it(supernet, loss)
    network = supernet.export().train()
    reached = float(loss(network).detach())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        loss(network).backward()
        optimizer.step()
    assert float(loss(network).detach()) < reached


# --- export --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def residual_network():
    """The class of a torchvision network, whose slots are run by hooks of both kinds."""
    torch.manual_seed(0)
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3)


@pytest.mark.slow
def test_an_exported_network_is_read_where_this_package_is_not(residual_network, tmp_path):
    supernet = rfsearch.supernet(residual_network, image_size=32)
    assert {"after", "before"} <= {slot.way for slot in supernet.slots.values()}
    supernet.keep({slot: (1 + i % 6,) for i, slot in enumerate(supernet.slots)})
    x = images(2, 3, 32, 32)
    searching = copy.deepcopy(supernet)
    network = supernet.export()
    same_outputs(supernet, network, x)
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    same_outputs(searching, network, x)
    torch.save((network, x, network(x).detach()), tmp_path / "network.pt")
    script = (
        "import sys; sys.modules['rfsearch'] = None; import torch; torch.set_num_threads(1)\n"
        "network, x, y = torch.load(sys.argv[1], weights_only=False)\n"
        "assert torch.equal(network(x), y)\n"
        "network.train()(x).sum().backward()\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "network.pt")]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


class Bare(nn.Module):
    """Convolutions that neither norm nor activation follows: enhancers stand in them."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(n, 4, 3, padding=1) for n in (1, 4, 4, 4))

    def forward(self, x):
        for conv in self.convs:
            x = conv(x) + 1
        return x.mean((2, 3))


def test_an_enhancer_in_a_convolution_leaves_with_it():
    supernet = rfsearch.supernet(Bare(), image_size=20)
    assert {slot.place for slot in supernet.slots.values()} == {
        f"{slot}.enhance" for slot in supernet.slots
    }
    supernet.keep({slot: (1 + i,) for i, slot in enumerate(supernet.slots)})
    network = supernet.export()
    assert ours(network) == []
    same_outputs(supernet, network, X)


@pytest.mark.parametrize("space", ["pmpl", "kernels", "dilations", "pflayer", "both"])
def test_every_space_leaves_as_torchs_own_modules(space, tmp_path):
    if space == "both":
        (tmp_path / "both.toml").write_text(BOTH)
        space = tmp_path / "both.toml"
    torch.manual_seed(0)
    supernet = rfsearch.supernet(Rows(), space, 20)
    with torch.no_grad():
        for _ in range(3):
            supernet(X)  # statistics that matter
    for k in range(len(supernet.space.operators)):
        supernet.keep(dict.fromkeys(supernet.slots, (k,)))
        network = supernet.export()
        assert ours(network) == [], supernet.space.operators[k].label
        same_outputs(supernet, network, X)
        supernet.train()


def test_an_exported_network_is_a_program_for_any_batch():
    supernet = rfsearch.supernet(Rows(), image_size=20)
    supernet.keep(dict.fromkeys(supernet.slots, (2,)))
    network = supernet.export().eval()
    sizes = ({0: torch.export.Dim("N")},)
    program = torch.export.export(network, (X,), dynamic_shapes=sizes)
    torch.testing.assert_close(program.module()(X[:3]), network(X[:3]))


def test_open_slots_are_named():
    supernet = rfsearch.supernet(Rows(), image_size=20)
    supernet.keep({"first.0": (1,)})
    with pytest.raises(UserError, match=r"1 of 2 slots are open: second; finish\(\)"):
        supernet.export()


def test_public_names_lead_somewhere():
    assert all(callable(getattr(rfsearch, name)) for name in rfsearch._PUBLIC)
    assert rfsearch._PUBLIC.keys() <= set(dir(rfsearch))


# --- the supernet --------------------------------------------------------------------------------


def test_a_supernet_begins_as_the_module_where_it_is_asked_to():
    torch.manual_seed(0)
    model = Rows().double().eval()
    supernet = rfsearch.supernet(model, image_size=20)
    assert not supernet.network.training
    assert {alpha.dtype for alpha in supernet.alphas().values()} == {torch.float64}
    supernet.begin_plain()
    same_outputs(supernet, model, X.double())


def test_weights_and_alphas_are_apart():
    supernet = rfsearch.supernet(Rows(), image_size=20)
    weights, alphas = set(map(id, supernet.weights())), set(map(id, supernet.alphas().values()))
    assert not weights & alphas
    assert weights | alphas == set(map(id, supernet.parameters()))


def test_slots_are_included_and_excluded():
    assert list(rfsearch.supernet(Rows(), image_size=20, include=["second"]).slots) == ["second"]
    assert list(rfsearch.supernet(Rows(), image_size=20, exclude=["second"]).slots) == ["first.0"]


class Two(nn.Module):
    def forward(self, x, y):
        return x + y


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: rfsearch.supernet("resnet18"), "takes a torch.nn.Module, not a str"),
        (lambda: rfsearch.supernet(Rows), "not the class Rows: call it first"),
        (lambda: rfsearch.supernet(nn.Flatten()), "Flatten has no slot at 224×224 pixels: looked"),
        (
            lambda: rfsearch.supernet(nn.Conv2d(1, 2, 1), image_size=8),
            "Conv2d has no slot at 8×8 pixels: .* found 1 conv 1×1",
        ),
        (
            lambda: rfsearch.supernet(nn.Conv2d(1, 2, 3), "pflayer", 8),
            "Conv2d has no slot in which every operator of space pflayer may stand",
        ),
        (lambda: rfsearch.supernet(Two()), "does not take a batch of images .* argument: 'y'"),
        (lambda: rfsearch.supernet(Rows(), "poling"), "unknown space 'poling'; did you mean"),
        (lambda: rfsearch.supernet(Rows(), image_size="a"), "image size 'a'"),
        (lambda: rfsearch.supernet(Rows(), include=["secnd"]), "did you mean 'second'"),
        (lambda: rfsearch.supernet(Rows(), include="second"), r"such as \['second'\]"),
        (
            lambda: rfsearch.supernet(Rows(), exclude=["first.0", "second"]),
            "no slot is left: exclude names every",
        ),
        (
            lambda: rfsearch.supernet(rfsearch.supernet(Rows(), image_size=20)),
            "a supernet already",
        ),
    ],
)
def test_mistakes_with_a_module(make, told):
    with pytest.raises(UserError, match=told) as caught:
        make()
    assert len(str(caught.value).splitlines()) == 1


# --- the search ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def begun():
    """A supernet at its start, found once."""
    torch.manual_seed(0)
    return rfsearch.supernet(Rows(), image_size=20)


@pytest.fixture
def supernet(begun):
    return copy.deepcopy(begun)


def test_a_step_of_alpha_moves_alpha_alone(supernet):
    """Statistics of a norm in the head stay too; the next slot has the next turn."""
    search = rfsearch.PMPL(supernet, **EAGER)
    before = copy.deepcopy(supernet.state_dict())
    search.step(MANY["classes"])
    moved = {k for k, v in supernet.state_dict().items() if not torch.equal(v, before[k])}
    assert [key.rpartition(".")[2] for key in moved] == ["alpha"]
    search.step(MANY["classes"])
    moved = {k for k, v in supernet.state_dict().items() if not torch.equal(v, before[k])}
    assert [key.rpartition(".")[2] for key in moved] == ["alpha"] * 2
    assert all(norm.track_running_stats for norm in supernet.modules() if hasattr(norm, "eps"))


def test_what_an_epoch_tells(supernet):
    search = rfsearch.PMPL(supernet, **EAGER, progressive=False)
    losses = [search.step(MANY["classes"]) for _ in range(4)]
    told = search.end_epoch()
    assert told["epoch"] == 1
    assert told["alpha_loss"] == pytest.approx(sum(losses) / 4)
    assert list(told["p"]) == list(supernet.slots)
    assert told["froze"] == []
    search.finish(MANY["classes"])
    entries = search.end_epoch()["froze"]
    assert [entry["slot"] for entry in entries] == list(supernet.slots)
    assert all(entry["loss_after"] > 0 for entry in entries)
    assert search.step(MANY["classes"]) is None
    assert supernet.open_slots == []


@pytest.mark.parametrize("settings", [
    {}, {"null": "signs"}, {"mixing": "all"}, {"relaxation": "mixed", "mixing": "all"}
], ids=str)  # fmt: skip
def test_stopped_between_any_two_steps_equals_never_stopped(supernet, settings):
    """With another supernet and another search, by what torch.save can write."""
    settings = {"alpha_lr": 0.3, "minimum_epochs": 1, "patience": 1, "threshold": 0.01, **settings}
    twin, state = copy.deepcopy(supernet), None
    search = rfsearch.PMPL(supernet, **settings)

    def go_on(network, searching, first):
        for number in range(first, 8):
            searching.step(MANY["classes"])
            with torch.no_grad():
                for weight in network.weights():
                    weight.mul_(0.99)
            if number % 3 == 2:
                searching.end_epoch()
            if number == 3:
                yield copy.deepcopy((network.state_dict(), searching.state_dict()))
        searching.finish()
        yield searching.end_epoch(), network.choices()

    weights, state = next(steps := go_on(supernet, search, 0))
    never = next(steps)
    resumed = rfsearch.PMPL(twin, **settings, seed=0)
    twin.load_state_dict(weights)
    resumed.load_state_dict(state)
    assert next(go_on(twin, resumed, 4)) == never
    left, right = supernet.state_dict(), twin.state_dict()
    assert all(torch.equal(left[key], right[key]) for key in left)


def test_an_optimizer_that_has_alpha_is_found_out(supernet):
    search = rfsearch.PMPL(supernet, **EAGER, progressive=False, mixing="all")
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.1, weight_decay=0.1)
    search.step(MANY["classes"])
    MANY["classes"](supernet).backward()
    optimizer.step()
    with pytest.raises(UserError, match=r"supernet\.weights\(\), not supernet\.parameters\(\)"):
        search.step(MANY["classes"])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"treshold": 0.3}, "unknown setting of PMPL 'treshold'; did you mean 'threshold'"),
        ({"alpha_batch": 32}, "no alpha_batch: in your own loop it is how large"),
        ({"alpha_loss": "plain"}, "in your own loop it is the loss that `step` is given"),
        ({"threshold": "0.3"}, "threshold must be float, not '0.3'"),
        ({"patience": True}, "patience must be int, not True"),
        ({"threshold": -1}, "threshold must be 0 or more"),
        ({"select": "masking"}, "images of its own"),
        ({"null": "labels"}, "permute the targets"),
    ],
)
def test_mistakes_with_settings(supernet, settings, told):
    with pytest.raises(UserError, match=told):
        rfsearch.PMPL(supernet, **settings)


def test_mistakes_with_a_search(supernet):
    with pytest.raises(UserError, match=r"what rfsearch\.supernet returns, not a Rows"):
        rfsearch.PMPL(Rows())
    search = rfsearch.PMPL(supernet)
    with pytest.raises(UserError, match="nothing was searched"):
        search.finish()
    with pytest.raises(UserError, match=r"a tensor of one number, not shape \(8,\)"):
        search.step(lambda net: net(X).mean(1))
    with pytest.raises(UserError, match="not float"):
        search.step(lambda net: float(net(X).mean()))
    before = copy.deepcopy(supernet.state_dict())
    with pytest.raises(UserError, match="the loss of alpha is nan in its step 1"):
        search.step(lambda net: net(X).mean() * float("nan"))
    assert all(torch.equal(value, before[key]) for key, value in supernet.state_dict().items())
