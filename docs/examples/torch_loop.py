"""Search the receptive field of every layer of a network of your own: a bare torch loop.

    python docs/examples/torch_loop.py

Copy it, put your network, your data and your loss in, and keep the three places marked (1) to (3).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import rfsearch

WARMUP, SEARCH, ADAPT = 1, 3, 2  # epochs: weights alone, weights and α by turns, the found network


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A convolution with its norm and activation; the search adds what follows them."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def your_network() -> nn.Module:
    """Any module that takes images."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    return nn.Sequential(convolution(1, 16), convolution(16, 32, 2), convolution(32, 32), head)


def your_data() -> list[TensorDataset]:
    """Handwritten digits of 8 × 8 pixels: three parts that have no image in common."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16 - 0.5
    whole = TensorDataset(images, torch.tensor(digits.target))
    return random_split(whole, [0.5, 0.25, 0.25], torch.Generator().manual_seed(0))


def loss_on(batch: tuple[Tensor, Tensor]) -> Callable[[nn.Module], Tensor]:
    """Your loss of a network on a batch."""
    images, labels = batch
    return lambda network: F.cross_entropy(network(images), labels)


def train_epoch(network: nn.Module, batches: DataLoader, optimizer: torch.optim.Optimizer) -> None:
    """The same for any network."""
    network.train()
    for batch in batches:
        optimizer.zero_grad()
        loss_on(batch)(network).backward()
        optimizer.step()


@torch.no_grad()
def accuracy(network: nn.Module, batches: DataLoader) -> float:
    """Share of images that it tells right."""
    network.eval()
    right = [network(images).argmax(1) == labels for images, labels in batches]
    return float(torch.cat(right).float().mean())


def main() -> nn.Module:
    """Search, adapt, take it out."""
    torch.manual_seed(0)
    for_weights, for_alpha, test = your_data()
    weights_batches = DataLoader(for_weights, batch_size=32, shuffle=True, drop_last=True)
    alpha_batches = cycle(DataLoader(for_alpha, batch_size=32, shuffle=True, drop_last=True))

    # (1) A supernet, and an optimizer for its weights alone: α has one of its own.
    supernet = rfsearch.supernet(your_network(), space="pooling", image_size=8)
    search = rfsearch.PMPL(supernet, minimum_epochs=1, patience=2)
    optimizer = torch.optim.SGD(supernet.weights(), lr=0.05, momentum=0.9)

    for _ in range(WARMUP):
        train_epoch(supernet, weights_batches, optimizer)
    for _ in range(SEARCH):
        supernet.train()
        for batch in weights_batches:
            search.step(loss_on(next(alpha_batches)))  # (2) on images the weights do not see
            optimizer.zero_grad()
            loss_on(batch)(supernet).backward()
            optimizer.step()
        told = search.end_epoch()
        print(
            f"epoch {told['epoch']}: {len(told['frozen'])} of {len(supernet.slots)} slots frozen"
        )
    search.finish(loss_on(next(alpha_batches)))

    # (3) Weights and statistics get used to the choice; then it leaves.
    for _ in range(ADAPT):
        train_epoch(supernet, weights_batches, optimizer)
    network = supernet.export()
    for choice in supernet.choices():
        print(f"{choice.slot}: {', '.join(one.label for one in choice.operators)}")
    print(f"accuracy {accuracy(network, DataLoader(test, batch_size=256)):.3f}")
    return network


if __name__ == "__main__":
    main()
