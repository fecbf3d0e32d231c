"""Search the receptive field of every layer of a network of your own: with Lightning.

    python docs/examples/lightning_loop.py

Two optimizers take turns, so optimization is manual. `rfsearch.PMPL` is no module: its state
travels in the checkpoint by two hooks, beside the supernet's, which Lightning saves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import rfsearch

Batch = tuple[Tensor, Tensor]


def your_network() -> nn.Module:
    """Any module that takes images."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((1, 16, 1), (16, 32, 2), (32, 32, 1)):
        conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def your_data() -> dict[str, DataLoader]:
    """Handwritten digits of 8 × 8 pixels: one half for the weights, one for α."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16 - 0.5
    whole = TensorDataset(images, torch.tensor(digits.target))
    halves = random_split(whole, [0.5, 0.5], torch.Generator().manual_seed(0))
    return {
        name: DataLoader(half, batch_size=32, shuffle=True, drop_last=True)
        for name, half in zip(("weights", "alpha"), halves, strict=True)
    }


class Search(pl.LightningModule):
    """A supernet that is trained and searched by turns."""

    def __init__(self, network: nn.Module, warmup: int, search: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.begins, self.ends = warmup, warmup + search
        self.supernet = rfsearch.supernet(network, space="pooling", image_size=8)
        self.search = rfsearch.PMPL(self.supernet, minimum_epochs=1, patience=2)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """For the weights alone: α has an optimizer of its own."""
        return torch.optim.SGD(self.supernet.weights(), lr=0.05, momentum=0.9)

    def loss_on(self, batch: Batch) -> Callable[[nn.Module], Tensor]:
        """Your loss of a network on a batch."""
        images, labels = batch
        return lambda network: F.cross_entropy(network(images), labels)

    def training_step(self, batch: dict[str, Batch]) -> None:
        """First α, on images the weights do not see; then the weights."""
        if self.begins <= self.current_epoch < self.ends:
            self.search.step(self.loss_on(batch["alpha"]))
        optimizer = self.optimizers()
        optimizer.zero_grad()
        loss = self.loss_on(batch["weights"])(self.supernet)
        self.manual_backward(loss)
        optimizer.step()
        self.log("loss", loss, on_step=False, on_epoch=True)

    def on_train_epoch_end(self) -> None:
        """The deadline after the last epoch of the search; the others adapt the weights."""
        if self.current_epoch + 1 == self.ends:
            self.search.finish()
        told = self.search.end_epoch()
        self.log("frozen", float(len(told["frozen"])))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Beside the supernet's state."""
        checkpoint["search"] = self.search.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Beside the supernet's state."""
        self.search.load_state_dict(checkpoint["search"])


def main() -> nn.Module:
    """Search, adapt, take it out."""
    pl.seed_everything(0)
    searching = Search(your_network(), warmup=1, search=3)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_epochs=6, accelerator="cpu", enable_model_summary=False, **quiet)
    trainer.fit(searching, your_data())
    network = searching.supernet.export()
    for choice in searching.supernet.choices():
        print(f"{choice.slot}: {', '.join(one.label for one in choice.operators)}")
    print(f"loss {float(trainer.callback_metrics['loss']):.3f}")
    return network


if __name__ == "__main__":
    main()
