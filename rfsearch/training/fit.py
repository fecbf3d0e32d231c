"""The loop for weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfsearch.data.augmentation import Augmentation
from rfsearch.data.images import Images
from rfsearch.seeds import stream
from rfsearch.training.batches import epoch_batches
from rfsearch.training.randomness import seeded
from rfsearch.training.recipe import Recipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric


Tick = Callable[[int, int], None]
"""Called after every step with the step, from 1, and the steps of the epoch."""


def silent(step: int, steps: int) -> None:
    """Tell nobody."""
    del step, steps


class Descent:
    """Steps on the weights of a network under a recipe.

    Args:
        network: images (N, C, H, W) to logits (N, classes).
        parameters: the weights that are trained.
        recipe: optimizer, schedule, clipping, loss.
        steps: of the whole training, for the schedule.
        fabric: the device, and the processes.
        labels: of all images it trains on, for the weights of classes.

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
    ) -> None:
        self.network = network
        self.parameters = parameters
        self.recipe = recipe
        self.fabric = fabric
        self.optimizer = recipe.optimizer(parameters)
        self.schedule = recipe.schedule(self.optimizer, steps)
        smooth = partial(F.cross_entropy, label_smoothing=recipe.label_smoothing)
        self.loss = recipe.weighing(smooth, labels)

    def step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One step; the loss and the number of images predicted right, both detached."""
        logits = self.network(images)
        loss = self.loss(logits, labels)
        self.fabric.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        return loss.detach(), (logits.detach().argmax(1) == labels).sum()

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
        """Train one epoch and tell of it; ``tick(step, steps)`` is called after every step."""
        began = time.perf_counter()
        self.network.train()
        size = self.descent.recipe.batch_size
        total_loss, total_right = torch.zeros(()), torch.zeros(())
        with seeded(stream(self.seed, "epoch", self.epoch)) as generator:
            batches = epoch_batches(self.images, self.augmentation, size, generator)
            for step, (images, labels) in enumerate(batches, start=1):
                loss, right = self.descent.step(images, labels)
                total_loss += loss.cpu()
                total_right += right.cpu()
                tick(step, self.steps)
        self.epoch += 1
        seconds = time.perf_counter() - began
        return {
            "epoch": self.epoch,
            "epochs": self.epochs,
            "loss": float(total_loss) / self.steps,
            "accuracy": float(total_right) / (self.steps * size),
            "lr": self.descent.lr,
            "seconds": seconds,
            "step_seconds": seconds / self.steps,
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            **self.descent.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.epoch = state["epoch"]
        self.network.load_state_dict(state["network"])
        self.descent.load_state_dict(state)
