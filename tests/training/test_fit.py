"""The loop for weights: it learns, repeats itself bit for bit, stops and goes on."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from rfsearch.data.augmentation import Augmentation, AugmentationSettings
from rfsearch.errors import UserError
from rfsearch.seeds import stream
from rfsearch.training.batches import epoch_batches, plain_batches
from rfsearch.training.evaluation import accuracy, predict
from rfsearch.training.fit import Fit, NotFinite
from rfsearch.training.randomness import seeded
from rfsearch.training.recipe import Recipe

STILL = Augmentation(AugmentationSettings(shift=0), (0.5,), (0.25,))


def network(seed=0, dropout=0.2):
    with seeded(seed):
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(8 * 7 * 7, 4),
        )


def fit(images, augmentation, cpu, seed=0, epochs=4, **recipe):
    settings = Recipe(**{"batch_size": 16, "lr": 0.05, **recipe})
    return Fit(network(), images, augmentation, settings, epochs=epochs, seed=seed, fabric=cpu)


def finish(training):
    lines = []
    while not training.finished:
        lines.append(training.advance())
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]


def same(first, second):
    first, second = first.state_dict(), second.state_dict()
    return all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_small_batch_is_learned_by_heart(make_images, cpu):
    images = make_images(16, seed=1)
    training = fit(images, STILL, cpu, epochs=40)
    lines = finish(training)
    assert lines[-1]["loss"] < 0.05
    assert accuracy(training.network, images, STILL) == 1.0


def test_random_labels_are_learned_by_heart_too(make_images, cpu):
    images = make_images(16, seed=1)
    images.labels.copy_(images.labels.roll(1))
    training = fit(images, STILL, cpu, epochs=120)
    finish(training)
    assert accuracy(training.network, images, STILL) == 1.0


def test_the_same_seed_gives_the_same_weights(make_images, augmentation, cpu):
    images = make_images(40)
    first, second = (fit(images, augmentation, cpu) for _ in range(2))
    torch.manual_seed(1)
    one = finish(first)
    torch.manual_seed(2)  # nothing hangs on the caller's numbers
    assert finish(second) == one
    assert same(first.network, second.network)
    other = fit(images, augmentation, cpu, seed=1)
    assert finish(other) != one
    assert not same(first.network, other.network)


def test_stopped_at_any_epoch_equals_never_stopped(make_images, augmentation, cpu, tmp_path):
    images = make_images(40)
    never = fit(images, augmentation, cpu)
    lines, states = [], [copy.deepcopy(never.state_dict())]
    while not never.finished:
        lines += [{k: v for k, v in never.advance().items() if "seconds" not in k}]
        torch.save(never.state_dict(), tmp_path / "state.pt")
        states.append(torch.load(tmp_path / "state.pt", weights_only=True))
    for epoch, state in enumerate(states):
        resumed = fit(images, augmentation, cpu)
        resumed.load_state_dict(state)
        assert resumed.epoch == epoch
        assert finish(resumed) == lines[epoch:], f"stopped after epoch {epoch}"
        assert same(resumed.network, never.network)


def test_what_an_epoch_tells(make_images, augmentation, cpu):
    training = fit(make_images(40), augmentation, cpu, epochs=2)
    ticks = []
    line = training.advance(lambda step, steps: ticks.append((step, steps)))
    assert ticks == [(1, 2), (2, 2)]
    assert (line["epoch"], line["epochs"]) == (1, 2)
    assert 0 <= line["accuracy"] <= 1
    assert line["step_seconds"] == pytest.approx(line["seconds"] / 2)
    assert not training.finished


def test_the_learning_rate_rises_and_falls(make_images, augmentation, cpu):
    training = fit(make_images(40), augmentation, cpu, epochs=10, warmup=0.25)
    rates = [line["lr"] for line in finish(training)]
    assert max(rates) == pytest.approx(0.05, rel=0.02)
    assert 1 <= rates.index(max(rates)) <= 3
    assert rates[-1] < 0.001


@pytest.mark.parametrize("warmup", [0.0, 0.25, 0.5, 0.99])
def test_a_training_may_have_any_number_of_steps(warmup):
    recipe = Recipe(warmup=warmup)
    for steps in range(1, 30):
        optimizer = recipe.optimizer([nn.Parameter(torch.zeros(1))])
        schedule, rates = recipe.schedule(optimizer, steps), []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        assert all(0 < rate <= recipe.lr * (1 + 1e-9) for rate in rates), steps


def test_gradients_are_clipped(make_images, augmentation, cpu):
    """With a clip of c, no momentum and no decay, a step is at most lr · c long."""
    images = make_images(16)
    training = fit(
        images, augmentation, cpu, epochs=5, clip=1e-3, weight_decay=0.0, momentum=0.5, lr=1.0
    )
    before = torch.cat([p.detach().flatten() for p in training.network.parameters()])
    training.advance()
    after = torch.cat([p.detach().flatten() for p in training.network.parameters()])
    assert 0 < (after - before).norm() < 1.5 * 1e-3 * 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        *({"lr": 0.0}, {"clip": -1.0}, {"batch_size": 0}, {"momentum": 1.0}),
        *({"warmup": 1.5}, {"label_smoothing": -0.1}, {"weight_decay": -1e-4}),
        {"class_weights": "balance"},
    ],
    ids=str,
)
def test_a_recipe_that_cannot_be_is_the_users_mistake(wrong):
    with pytest.raises(UserError, match=f"recipe.{next(iter(wrong))}"):
        Recipe(**wrong)


def test_rare_classes_weigh_as_much_as_others(make_images, augmentation, cpu):
    """Against scikit-learn's weights and the loss written out."""
    images = make_images(120)
    images = images.take(torch.cat([torch.where(images.labels == k)[0][: 3 + 5 * k]
                                    for k in range(4)]))  # fmt: skip
    training = fit(images, augmentation, cpu, class_weights="balanced", label_smoothing=0.0)
    labels = images.labels.numpy()
    weights = torch.from_numpy(
        compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    )
    logits = torch.randn(len(images), 4, dtype=torch.float64)
    each = -logits.log_softmax(1)[torch.arange(len(images)), images.labels]
    weight = weights[images.labels]
    expected = float((weight * each).sum() / weight.sum())
    found = training.descent.loss(logits.float(), images.labels)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    told = training.descent.recipe.weights_of(images.labels, 4)
    assert torch.allclose(told.double(), weights)
    plain = fit(images, augmentation, cpu).descent.loss(logits.float(), images.labels)
    assert float(plain) == pytest.approx(float(each.mean()), rel=1e-5)
    assert float(plain) != pytest.approx(expected, rel=1e-3)


# ---- random numbers


def test_seeded_leaves_the_global_generator():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with seeded(1):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(7)
    with pytest.raises(RuntimeError), seeded(1):
        torch.rand(5).view(2)
    assert torch.equal(torch.rand(3), expected), "after an error too"
    with seeded(1) as generator:
        assert torch.equal(torch.rand(3), inside)
        assert torch.equal(torch.rand(3, generator=generator), inside)


def test_training_leaves_the_global_generator(make_images, augmentation, cpu):
    torch.manual_seed(7)
    expected = torch.rand(3)
    training = fit(make_images(16), augmentation, cpu)
    torch.manual_seed(7)
    finish(training)
    predict(training.network, make_images(16), augmentation)
    assert torch.equal(torch.rand(3), expected)


def test_dropout_is_reproducible_and_there():
    layer, x = nn.Dropout(0.5), torch.ones(50)
    with seeded(stream(0, "epoch", 0)):
        first = layer(x)
    with seeded(stream(0, "epoch", 0)):
        assert torch.equal(layer(x), first)
    with seeded(stream(0, "epoch", 1)):
        assert not torch.equal(layer(x), first)


# ---- batches


def test_an_epoch_takes_every_image_at_most_once_and_in_another_order(make_images):
    images = make_images(37)
    images.pixels.copy_(
        torch.arange(37, dtype=torch.uint8).view(-1, 1, 1, 1).expand(37, 1, 16, 16)
    )
    mark = Augmentation(AugmentationSettings(shift=0), (0.0,), (1.0,))

    def order(seed, size):
        generator = torch.Generator().manual_seed(seed)
        batches = list(epoch_batches(images, mark, size, generator))
        assert all(x.shape == (size, 1, 16, 16) for x, _ in batches)
        found = (torch.cat([x[:, 0, 0, 0] for x, _ in batches]) * 255).round().long()
        assert torch.equal(torch.cat([y for _, y in batches]), images.labels[found])
        return found.tolist()

    first = order(0, 10)
    assert len(first) == len(set(first)) == 30
    assert order(0, 5)[:30] == first, "the order does not hang on how it is cut"
    assert order(1, 10) != first


def test_augmentation_does_not_hang_on_how_an_epoch_is_cut(make_images, augmentation):
    images = make_images(32)
    cuts = []
    for size in (4, 16):
        generator = torch.Generator().manual_seed(0)
        cuts.append(
            torch.cat([x for x, _ in epoch_batches(images, augmentation, size, generator)])
        )
    assert torch.equal(*cuts)


def test_plain_batches_are_all_images_in_order(make_images, augmentation):
    images = make_images(13)
    batches = list(plain_batches(images, augmentation, 5))
    assert [len(labels) for _, labels in batches] == [5, 5, 3]
    assert torch.equal(torch.cat([labels for _, labels in batches]), images.labels)
    pixels = torch.cat([x for x, _ in batches])
    expected = (images.pixels.double() / 255 - 0.5) / 0.25
    assert torch.allclose(pixels.double(), expected, atol=1e-5)


# ---- evaluation


def test_prediction_is_in_evaluation_mode_and_leaves_the_network(make_images, augmentation):
    images, model = make_images(450), network().train()
    before = copy.deepcopy(model.state_dict())
    predicted = predict(model, images, augmentation)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    x = torch.cat([x for x, _ in plain_batches(images, augmentation, 450)])
    assert torch.equal(predicted, model.eval()(x).argmax(1))
    share = (predicted == images.labels).sum().item() / 450
    assert accuracy(model, images, augmentation) == pytest.approx(share)


# ---- stopped within an epoch


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_stopped_after_any_step_equals_never_stopped(
    make_images, augmentation, cpu, tmp_path, stop
):
    """Dropout draws from torch's global numbers, augmentation from the epoch's own."""
    images = make_images(70)
    never, stopped = (fit(images, augmentation, cpu, epochs=2) for _ in range(2))
    lines = finish(never)

    def tick(step, steps):
        if stopped.epoch == 1 and step == stop:
            assert steps == 4
            torch.save(stopped.state_dict(), tmp_path / "state.pt")

    stopped.advance(tick)
    stopped.advance(tick)
    resumed = fit(images, augmentation, cpu, epochs=2)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    torch.manual_seed(99)
    steps = []
    (line,) = [resumed.advance(lambda step, _: steps.append(step))]
    assert steps == list(range(stop + 1, 5))
    assert {k: v for k, v in line.items() if "seconds" not in k} == lines[1]
    assert same(resumed.network, never.network)


# ---- losses that are no numbers


class Sick(nn.Module):
    """A network whose logits, or their gradient, are no numbers at some calls."""

    def __init__(self, at, factor=float("nan")):
        super().__init__()
        self.inner, self.at, self.factor, self.calls = network(), at, factor, 0

    def forward(self, x):
        self.calls += 1
        logits = self.inner(x)
        return logits * self.factor if self.calls in self.at else logits


class NoGradient(torch.autograd.Function):
    """Its value is its input, its gradient no number."""

    @staticmethod
    def forward(_, x):
        return x.clone()

    @staticmethod
    def backward(_, gradient):
        return gradient * float("inf")


def sick_fit(images, cpu, at, factor=float("nan"), **recipe):
    settings = Recipe(batch_size=16, lr=0.05, **recipe)
    return Fit(Sick(at, factor), images, STILL, settings, epochs=2, seed=0, fabric=cpu)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_and_its_step_is_named(make_images, cpu, factor):
    training = sick_fit(make_images(70), cpu, {6}, factor)
    training.advance()
    before = {key: value.clone() for key, value in training.network.state_dict().items()}
    with pytest.raises(NotFinite, match=r"the loss is (nan|inf) in step 6 of 8; .*recipe\.lr"):
        training.advance()
    learned = {key for key in before if "weight" in key}
    moved = {
        key for key in learned if not torch.equal(before[key], training.network.state_dict()[key])
    }
    assert moved == learned, "step 5 was made"
    assert all(value.isfinite().all() for value in training.network.state_dict().values())


def test_a_gradient_that_is_no_number_stops_too(make_images, cpu):
    training = sick_fit(make_images(70), cpu, set())
    training.network.register_forward_hook(lambda _, __, out: NoGradient.apply(out))
    with pytest.raises(NotFinite, match="the gradient is not finite in step 1 of 8"):
        training.advance()


def test_such_steps_are_left_out_where_the_recipe_says_so(make_images, cpu):
    training = sick_fit(make_images(70), cpu, {2, 4}, not_finite="skip")
    losses = []
    real = training.descent.step
    training.descent.step = lambda *batch: losses.append(real(*batch)) or losses[-1]
    line = training.advance()
    counted = [(float(loss), int(right)) for loss, right in losses if loss.isfinite()]
    assert line["left_out"] == 2
    assert line["loss"] == pytest.approx(np.mean([loss for loss, _ in counted]))
    assert line["accuracy"] == pytest.approx(sum(right for _, right in counted) / 32)
    assert all(value.isfinite().all() for value in training.network.state_dict().values())
    assert "left_out" not in training.advance()
    assert training.descent.schedule.last_epoch == 8, "the schedule goes on"


def test_ten_in_a_row_stop_all_the_same(make_images, cpu):
    training = sick_fit(make_images(16 * 12), cpu, set(range(2, 99)), not_finite="skip")
    with pytest.raises(NotFinite, match=r"in step 11 of 24, and is not left out: 10 in a row"):
        training.advance()


def test_statistics_that_have_met_it_stop(make_images, cpu):
    training = sick_fit(make_images(70), cpu, set(), not_finite="skip")
    with torch.no_grad():
        training.network.inner[0].weight.fill_(float("inf"))
    with pytest.raises(NotFinite, match="BatchNorm's statistics have met it"):
        training.advance()
