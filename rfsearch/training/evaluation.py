"""What a network predicts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from rfsearch.data.augmentation import Augmentation
from rfsearch.data.images import Images
from rfsearch.training.batches import plain_batches
from rfsearch.training.metrics import Metric

_BATCH = 200


@torch.no_grad()
def outputs(network: nn.Module, images: Images, augmentation: Augmentation) -> Tensor:
    """Logits of every image, (N, classes), in evaluation mode."""
    was_training = network.training
    network.eval()
    batches = plain_batches(images, augmentation, _BATCH)
    logits = torch.cat([network(x) for x, _ in batches])
    network.train(was_training)
    return logits


def predict(network: nn.Module, images: Images, augmentation: Augmentation) -> Tensor:
    """Predicted class of every image, (N,) int64, in evaluation mode."""
    return outputs(network, images, augmentation).argmax(1)


def score(network: nn.Module, images: Images, augmentation: Augmentation, metric: Metric) -> float:
    """The metric on these images, in single precision, as `accuracy` is."""
    logits = outputs(network, images, augmentation).float().cpu().numpy()
    return float(np.float32(metric.of(images.labels.cpu().numpy(), logits)))


def accuracy(network: nn.Module, images: Images, augmentation: Augmentation) -> float:
    """Share of the images that are predicted right."""
    predicted = predict(network, images, augmentation)
    return float((predicted == images.labels).float().mean())
