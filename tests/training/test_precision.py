"""Training in bfloat16: what is in it, what stays float32, and float32 as it ever was."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rfsearch import spaces
from rfsearch.backbones.supernet import supernet
from rfsearch.engine.plan import Plan, named_plan
from rfsearch.operators.mixture import ResidualMixture
from rfsearch.spaces import Backbone
from rfsearch.training.fit import Descent, Fit
from rfsearch.training.processes import fabric, numbers, precision_of
from rfsearch.training.recipe import Recipe
from rfsearch.training.shares import ALONE, shares_of


@pytest.fixture(scope="module")
def bfloat16():
    return fabric("cpu", "bfloat16")


class Net(nn.Module):
    """Remembers in what it was run."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 7 * 7, 4)
        self.seen = set()

    def forward(self, x):
        maps = self.conv(x)
        self.seen.add(maps.dtype)
        return self.head(F.relu(self.norm(maps)).flatten(1))


def trained(images, augmentation, placed, epochs=12):
    torch.manual_seed(0)
    settings = Recipe(batch_size=16, lr=0.05)
    training = Fit(Net(), images, augmentation, settings, epochs=epochs, seed=0, fabric=placed)
    lines = []
    while not training.finished:
        lines.append(training.advance())
    return training, lines


def test_it_learns_as_float32_does(make_images, augmentation, bfloat16, cpu):
    images = make_images(64, seed=1)
    exact, of_exact = trained(images, augmentation, cpu)
    short, of_short = trained(images, augmentation, bfloat16)
    assert exact.network.seen == {torch.float32}
    assert short.network.seen == {torch.bfloat16}
    assert of_short[-1]["loss"] < of_short[0]["loss"] / 4
    assert abs(of_short[-1]["loss"] - of_exact[-1]["loss"]) < 0.1
    assert of_short[-1]["loss"] != of_exact[-1]["loss"]
    state = [*short.network.state_dict().values()]
    moments = [value for one in short.descent.optimizer.state.values() for value in one.values()]
    for tensor in [*state, *(m for m in moments if isinstance(m, torch.Tensor))]:
        assert tensor.dtype in (torch.float32, torch.int64)


def test_losses_and_gradients_are_float32(bfloat16):
    torch.manual_seed(0)
    network, images = Net(), torch.randn(8, 1, 16, 16)
    descent = Descent(network, list(network.parameters()), Recipe(), 10, bfloat16, torch.empty(0))
    logits = descent.shares.logits(network, images, 8)
    assert logits.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(logits, network(images).float())
    descent.loss(logits, torch.arange(8) % 4).backward()
    assert {p.grad.dtype for p in network.parameters()} == {torch.float32}


def test_float32_is_no_context_at_all(cpu):
    assert shares_of(cpu) is ALONE
    assert precision_of(cpu) == precision_of(fabric("cpu", "auto")) == "float32"


def test_doubles_stay_doubles():
    assert (
        ALONE.logits(nn.Identity(), torch.ones(1, dtype=torch.float64), 1).dtype == torch.float64
    )


def test_alpha_and_statistics_of_a_supernet_stay_float32(bfloat16):
    torch.manual_seed(0)
    backbone = Backbone("rfnet6", (("channels", 3), ("classes", 4), ("stem", "small"),
                                   ("width", 0.25)))  # fmt: skip
    network = supernet(backbone, spaces.load_space("pooling"))
    for alpha in network.alphas().values():
        nn.init.normal_(alpha)
    exact = copy.deepcopy(network)
    images, labels = torch.randn(16, 3, 32, 32), torch.arange(16) % 4
    for one, shares in ((network, shares_of(bfloat16)), (exact, ALONE)):
        F.cross_entropy(shares.logits(one, images, 16), labels).backward()
    for alpha, other in zip(network.alphas().values(), exact.alphas().values(), strict=True):
        assert alpha.dtype == alpha.grad.dtype == torch.float32
        assert alpha.grad.isfinite().all()
        assert (alpha.grad - other.grad).abs().max() < 0.02
    assert {b.dtype for b in network.buffers()} <= {torch.float32, torch.int64}
    for (name, short), long in zip(network.named_buffers(), exact.buffers(), strict=True):
        assert torch.allclose(short.float(), long.float(), rtol=0.1, atol=0.05), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("large", [1.0, 8000.0])
def test_mixtures_of_short_numbers_take_the_plain_path_and_do_not_overflow(dtype, large):
    """A window of 7×7 at 8,000 sums to six times what float16 holds, and squares do too: sums of
    pools and of statistics are float32."""
    torch.manual_seed(0)
    operators = [nn.Identity(), nn.MaxPool2d(3, 1, 1),
                 nn.AvgPool2d(7, 1, 3, count_include_pad=False)]  # fmt: skip
    given = ResidualMixture(4, operators).to(memory_format=torch.channels_last)
    plain = copy.deepcopy(given)
    plain.fuse = False
    exact = copy.deepcopy(plain)
    x = (large * (1 + 0.1 * torch.randn(2, 4, 9, 9))).to(dtype)
    p = torch.tensor([0.5, 0.2, 0.3])
    found = given.mix(x, p)
    assert torch.equal(found, plain.mix(x, p))
    wanted = exact.mix(x.double().float(), p)
    step = torch.finfo(dtype).eps * large
    assert found.isfinite().all()
    assert (found.float() - wanted).abs().max() < 4 * step
    for short, long in zip(given.norms, exact.norms, strict=True):
        assert short.running_mean.dtype == torch.float32
        assert short.running_var.isfinite().all()
        assert torch.allclose(
            short.running_mean, long.running_mean, rtol=4 * torch.finfo(dtype).eps
        )


def test_what_a_device_cannot_do_is_told(told, monkeypatch):
    told(["plan.precision=bfloat16", "mps"], numbers, "bfloat16", torch.device("mps"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    told(["cuda", "float32 or auto"], numbers, "bfloat16", torch.device("cuda"))
    assert numbers("auto", torch.device("cuda")) == "float32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert numbers("auto", torch.device("cuda")) == "bfloat16"
    assert numbers("float32", torch.device("cuda")) == "float32"
    assert (
        numbers("auto", torch.device("cpu")) == numbers("auto", torch.device("mps")) == "float32"
    )
    assert numbers("bfloat16", torch.device("cpu")) == "bfloat16"


def test_another_word_is_told(told):
    record = named_plan("rfnet6", "quick").to_json()
    told(["plan.precision", "float16", "bfloat16"], Plan.from_json,
         {**record, "precision": "float16"}, "--set")  # fmt: skip
    del record["precision"]
    assert Plan.from_json(record, "an older config.json").precision == "float32"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_it_learns_on_the_device(make_images, augmentation):
    placed = fabric("cuda", "auto")
    assert precision_of(placed) == numbers("auto", placed.device)
    images = make_images(64, seed=1).to(placed.device)
    torch.manual_seed(0)
    training = Fit(Net().to(placed.device), images, augmentation,
                   Recipe(batch_size=16, lr=0.05), epochs=12, seed=0, fabric=placed)  # fmt: skip
    first = training.advance()
    while not training.finished:
        last = training.advance()
    assert last["loss"] < first["loss"] / 4
