"""What a network predicts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rfsearch.data.augmentation import Augmentation
from rfsearch.data.images import Images
from rfsearch.training.batches import plain_batches

_BATCH = 200


@torch.no_grad()
def predict(network: nn.Module, images: Images, augmentation: Augmentation) -> Tensor:
    """Predicted class of every image, (N,) int64, in evaluation mode."""
    was_training = network.training
    network.eval()
    batches = plain_batches(images, augmentation, _BATCH)
    predicted = torch.cat([network(x).argmax(1) for x, _ in batches])
    network.train(was_training)
    return predicted


def accuracy(network: nn.Module, images: Images, augmentation: Augmentation) -> float:
    """Share of the images that are predicted right."""
    predicted = predict(network, images, augmentation)
    return float((predicted == images.labels).float().mean())
