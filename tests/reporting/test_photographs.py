"""The photographs to draw on: scikit-learn's, without scikit-learn and without torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

from rfsearch.data.images import resized
from rfsearch.reporting.photographs import photographs


@pytest.mark.parametrize("image_size", [(64, 96), (48, 48), (300, 40)])
def test_they_are_scikit_learns(image_size):
    for name, found in zip(("flower.jpg", "china.jpg"), photographs(image_size), strict=True):
        whole = torch.from_numpy(np.array(load_sample_image(name)).transpose(2, 0, 1))
        by_torch = resized(whole[None], image_size)[0].permute(1, 2, 0).numpy()
        assert found.shape == by_torch.shape == (*image_size, 3)
        # each crops to a whole number of pixels, one before it scales and one behind
        assert np.abs(found.astype(float) - by_torch).mean() < 2


def test_neither_is_imported():
    code = "import rfsearch.reporting.photographs as p, sys; p.photographs((32, 32)); " \
           "sys.exit(bool({'sklearn', 'torch'} & {*sys.modules}))"  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True)
