"""Two photographs that come with scikit-learn: something to draw a field on without a network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rfsearch.data.images import resized

NAMES = ("flower", "temple")


def photographs(image_size: tuple[int, int]) -> Tensor:
    """uint8 (2, 3, height, width): a flower and a temple, cropped about the centre."""
    from sklearn.datasets import load_sample_image  # heavy, and only wanted here

    files = ("flower.jpg", "china.jpg")
    found = [np.array(load_sample_image(file)).transpose(2, 0, 1) for file in files]
    return resized(torch.from_numpy(np.stack(found)), image_size)
