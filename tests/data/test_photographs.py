"""The photographs to draw on: scikit-learn's, without scikit-learn."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import torch
from sklearn.datasets import load_sample_image

from rfsearch.data.images import resized
from rfsearch.data.photographs import photographs


def test_they_are_scikit_learns():
    flower, temple = (
        torch.from_numpy(np.array(load_sample_image(name)).transpose(2, 0, 1))
        for name in ("flower.jpg", "china.jpg")
    )
    assert torch.equal(photographs((64, 96)), resized(torch.stack([flower, temple]), (64, 96)))


def test_it_is_not_imported():
    code = "import rfsearch.data.photographs as p, sys; p.photographs((32, 32)); " \
           "sys.exit('sklearn' in sys.modules)"  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True)
