"""What NNI and Lightning ask for a one-shot search: layer choices, batches, a training, a trainer.

The classes that are theirs by inheritance are made inside of functions, so that importing this
module imports neither.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rfsearch.data.augmentation import Augmentation
from rfsearch.data.images import Images
from rfsearch.operators.mixture import Mixture, PaperMixture, ResidualMixture
from rfsearch.operators.replaced import ReplaceMixture
from rfsearch.strategies.within import STRENGTH, penalty
from rfsearch.training.batches import epoch_batches
from rfsearch.training.fit import NotFinite, Tick

if TYPE_CHECKING:
    from rfsearch.strategies.nni_oneshot import OneShot

ACCELERATORS = {"cpu": "cpu", "cuda": "gpu", "mps": "mps"}
"""Device of torch → Lightning's word for it."""


class Expressed(nn.Module):
    """A mixture as NNI's layer choice in the place of its sum; every weight is the mixture's."""

    def __init__(self, mixture: Mixture, label: str) -> None:
        super().__init__()
        from nni.nas.nn.pytorch import LayerChoice

        self.residual = isinstance(mixture, ResidualMixture)
        candidates: list[nn.Module] = list(mixture.operators)
        if isinstance(mixture, ResidualMixture | ReplaceMixture):
            normed = zip(mixture.operators, mixture.norms, strict=True)
            candidates = [nn.Sequential(operator, norm) for operator, norm in normed]
        if isinstance(mixture, ResidualMixture):
            self.gamma, self.beta = mixture.gamma, mixture.beta
        elif isinstance(mixture, ReplaceMixture):
            self.norm: nn.Module = nn.Identity()
            self.activation: nn.Module = nn.Identity()
        else:
            assert isinstance(mixture, PaperMixture)
            self.norm, self.activation = mixture.norm, mixture.activation
        self.choice = LayerChoice(candidates, label=label)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        mixed: Tensor = self.choice(x)
        if self.residual:
            return x + self.gamma[:, None, None] * mixed + self.beta[:, None, None]
        activated: Tensor = self.activation(self.norm(mixed))
        return activated


class Batches:
    """What Lightning iterates over: so many batches, again from their start where they end."""

    def __init__(
        self, images: Images, augmentation: Augmentation, size: int, count: int, seed: int
    ) -> None:
        self.images, self.augmentation = images, augmentation
        self.size, self.count, self.seed = size, count, seed

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed)
        left = self.count
        while left:
            batches = epoch_batches(self.images, self.augmentation, self.size, generator)
            for batch in batches:
                yield batch
                left -= 1
                if not left:
                    return


class Meter:
    """What one epoch's steps were, on the weights and on α."""

    def __init__(self, steps: int, tick: Tick) -> None:
        self.steps, self.tick = steps, tick
        self.losses: list[Tensor] = []
        self.alpha_losses: list[Tensor] = []
        self.right: list[Tensor] = []
        self.moments: list[float] = []

    def of_alpha(self, loss: Tensor) -> None:
        """A step on α."""
        self.alpha_losses.append(self._finite(loss))

    def of_weights(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """A step on the weights, by logits (N, classes) and labels (N,)."""
        self.losses.append(self._finite(loss))
        self.right.append((logits.detach().argmax(1) == labels).float().mean().cpu())
        self.moments.append(time.perf_counter())
        self.tick(len(self.losses), self.steps)

    def told(self) -> dict[str, Any]:
        """Means over the steps; None of what is no number."""
        return {
            "loss": _mean(self.losses),
            "accuracy": _mean(self.right),
            "alpha_loss": _mean(self.alpha_losses),
        }

    def _finite(self, loss: Tensor) -> Tensor:
        if not loss.isfinite():
            raise NotFinite(
                f"the loss is {float(loss)} in step {len(self.losses) + 1} of "
                f"{self.steps}; a smaller --set recipe.lr may help"
            )
        return loss.detach().cpu()


def module(search: OneShot) -> Any:
    """NNI's one-shot module around the supernet, whose slots it expresses."""
    space, training = _space(search), _training(search)
    search.strategy.mutate_model(space)
    training.set_model(space)
    return search.strategy.configure_oneshot_module(training)


def _space(search: OneShot) -> Any:
    from nni.nas.nn.pytorch import ModelSpace

    class Space(ModelSpace):
        """The supernet's network as NNI's space."""

        def __init__(self) -> None:
            super().__init__()
            search.places = {
                slot: Expressed(mixture, f"slot{number}")
                for number, (slot, mixture) in enumerate(search.mixtures.items())
            }
            search.express()
            self.network = search.supernet.network

        def forward(self, x: Tensor) -> Tensor:
            """Images to logits."""
            logits: Tensor = self.network(x)
            return logits

    return Space()


def _training(search: OneShot) -> Any:
    from nni.nas.evaluator.pytorch import LightningModule

    class Training(LightningModule):
        """The recipe of the weights; NNI calls it for steps on α too, at even numbers."""

        meter: Meter

        def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
            """The loss of a batch."""
            images, labels = batch
            logits = self.model(images)
            loss = search.descent.loss(logits, labels)
            if number % 2 == 0:
                self.meter.of_alpha(loss)
                return loss + _penalty(search)
            self.meter.of_weights(loss, logits, labels)
            return loss

        def configure_optimizers(self) -> Any:
            """Those of the recipe, which go on from epoch to epoch."""
            schedule = {"scheduler": search.descent.schedule, "interval": "step"}
            return [search.descent.optimizer], [schedule]

        def on_train_start(self) -> None:
            """NNI makes its Adam anew in every fit; what it had comes back."""
            adam = _adam(self.trainer)
            for slot, state in search.adam.items():
                adam.state[search.mixtures[slot].alpha] = _copied(state)

        def on_train_end(self) -> None:
            """Keep what NNI's Adam has."""
            state = _adam(self.trainer).state
            search.adam = {
                slot: _copied(state[mixture.alpha])
                for slot, mixture in search.mixtures.items()
                if mixture.alpha in state
            }

    return Training()


def _penalty(search: OneShot) -> Tensor | float:
    caps, costs = search.task.caps, search.task.costs
    if costs is None or not caps.limits:
        return 0.0
    return STRENGTH * penalty(list(search.mixtures.values()), caps, costs)


def _adam(trainer: Any) -> torch.optim.Optimizer:
    """NNI's optimizer of α."""
    found: torch.optim.Optimizer
    found = next(one for one in trainer.optimizers if getattr(one, "is_arch_optimizer", False))
    return found


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in state.items()}


def _mean(values: list[Tensor]) -> float | None:
    mean = float(torch.stack(values).mean()) if values else float("nan")
    return mean if mean == mean else None


def one_epoch(search: OneShot) -> Any:
    """Lightning for one epoch, which counts as the search's present one."""
    import pytorch_lightning as pl

    class OneEpoch(pl.Callback):
        """Stops after it."""

        def on_train_epoch_end(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
            """The epoch is over."""
            trainer.should_stop = True

    device = search.task.fabric.device
    trainer = pl.Trainer(
        accelerator=ACCELERATORS[device.type],
        devices=1,
        max_epochs=search.epochs,
        callbacks=[OneEpoch()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    progress: Any = trainer.fit_loop.epoch_progress.current
    progress.processed = progress.completed = search.epoch
    search.module.train()
    return trainer
