"""The loop for weights."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfsearch.data.augmentation import Augmentation
from rfsearch.data.images import Images
from rfsearch.errors import UserError
from rfsearch.seeds import stream
from rfsearch.training.batches import epoch_batches
from rfsearch.training.randomness import seeded
from rfsearch.training.recipe import Recipe
from rfsearch.training.shares import shares_of
from rfsearch.training.tally import Tally

if TYPE_CHECKING:
    from lightning_fabric import Fabric


Tick = Callable[[int, int], None]
"""Called after every step with the step, from 1, and the steps of the epoch."""


def silent(step: int, steps: int) -> None:
    """Tell nobody."""
    del step, steps


SKIPPED = 10
"""Steps in a row that are left out before it stops all the same."""


class NotFinite(UserError):
    """A loss or a gradient is NaN or infinite."""


class Descent:
    """Steps on the weights of a network under a recipe.

    Args:
        network: images (N, C, H, W) to logits (N, classes).
        parameters: the weights that are trained.
        recipe: optimizer, schedule, clipping, loss.
        steps: of the whole training, for the schedule.
        fabric: the device, and the processes.
        labels: of all images it trains on, for the weights of classes.
        drawn: whether steps leave out what was not drawn for them: a fused optimizer wants the
            gradient of every weight, every time.

    Attributes:
        loss: the recipe's, of logits (N, classes) and labels (N,); a scalar.
    """

    def __init__(
        self,
        network: nn.Module,
        parameters: list[nn.Parameter],
        recipe: Recipe,
        steps: int,
        fabric: Fabric,
        labels: Tensor,
        *,
        drawn: bool = False,
    ) -> None:
        self.network = network
        self.parameters = parameters
        self.recipe = recipe
        self.fabric = fabric
        self.shares = shares_of(fabric)
        self.skipped = 0
        self.optimizer = recipe.optimizer(parameters)
        for group in self.optimizer.param_groups if drawn else ():
            group["fused"] = False
        self.schedule = recipe.schedule(self.optimizer, steps)
        smooth = partial(F.cross_entropy, label_smoothing=recipe.label_smoothing)
        self.loss = recipe.weighing(smooth, labels)

    def step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One step; the loss and the number of images predicted right, both detached. The loss
        of a step that is left out is NaN.

        Args:
            images: this process's share of the batch.
            labels: of the whole batch.

        Raises:
            NotFinite: a loss or gradient is no number, and the recipe says stop.
        """
        logits = self.shares.logits(self.network, images, len(labels))
        loss = self.loss(logits, labels)
        self.fabric.backward(loss)
        self.shares.average(one.grad for one in self.parameters if one.grad is not None)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        right = (logits.detach().argmax(1) == labels).sum()
        if not torch.isfinite(loss.detach() + norm):
            return self._leave_out(loss.detach()), right
        self.skipped = 0
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        return loss.detach(), right

    def _leave_out(self, loss: Tensor) -> Tensor:
        """Pass over a step, where the recipe says so and that leaves the network sound."""
        told = (
            f"the loss is {float(loss)}" if not loss.isfinite() else "the gradient is not finite"
        )
        where = f"{told} in step {self.schedule.last_epoch + 1} of {self.schedule.total_steps}"
        if self.recipe.not_finite == "stop":
            raise NotFinite(
                f"{where}; a smaller --set recipe.lr may help, and --set recipe.not_finite=skip "
                "leaves such steps out"
            )
        self.skipped += 1
        sound = all(bool(one.isfinite().all()) for one in self.network.buffers())
        if self.skipped >= SKIPPED or not sound:
            why = f"{self.skipped} in a row" if sound else "BatchNorm's statistics have met it"
            raise NotFinite(f"{where}, and is not left out: {why}; try a smaller --set recipe.lr")
        self.optimizer.zero_grad(set_to_none=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it misses the optimizer's step
            self.schedule.step()
        return torch.full_like(loss, float("nan"))

    @property
    def lr(self) -> float:
        """The learning rate now."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """All that a stopped training needs besides the network's own state."""
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


class Fit:
    """Train a network for a number of epochs, one call of `advance` an epoch.

    Every epoch draws from a stream of its own name, so that a training that was stopped and
    goes on equals one that never stopped.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Images,
        augmentation: Augmentation,
        recipe: Recipe,
        *,
        epochs: int,
        seed: int,
        fabric: Fabric,
    ) -> None:
        self.network = network
        self.images = images
        self.augmentation = augmentation
        self.epochs = epochs
        self.epoch = 0
        self.tally = Tally()
        self.seed = seed
        self.steps = len(images) // recipe.batch_size
        parameters = list(network.parameters())
        self.descent = Descent(
            network, parameters, recipe, epochs * self.steps, fabric, images.labels
        )

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.epochs

    def advance(self, tick: Tick = silent) -> dict[str, Any]:
        """Train one epoch, or what is left of it, and tell of it; ``tick(step, steps)`` is called
        after every step."""
        tally = self.tally
        tally.begin()
        self.network.train()
        size = self.descent.recipe.batch_size
        with seeded(stream(self.seed, "epoch", self.epoch)) as generator:
            batches = epoch_batches(
                self.images, self.augmentation, size, generator, self.descent.shares
            )
            for images, labels in tally.resumed(batches):
                tally.add(*self.descent.step(images, labels))
                tick(tally.step, self.steps)
        self.epoch, self.tally = self.epoch + 1, Tally()
        seconds = time.perf_counter() - tally.began
        return {
            "epoch": self.epoch,
            "epochs": self.epochs,
            **tally.told(size),
            "lr": self.descent.lr,
            "seconds": seconds,
            "step_seconds": seconds / self.steps,
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on: after an epoch or, inside ``tick``, after a step."""
        return {
            "epoch": self.epoch,
            "within": self.tally.state_dict(),
            "network": self.network.state_dict(),
            **self.descent.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.epoch, self.tally = state["epoch"], Tally.of(state.get("within"))
        self.network.load_state_dict(state["network"])
        self.descent.load_state_dict(state)
