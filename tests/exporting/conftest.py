"""Networks to export, away from where they start."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session")
def make_subject():
    """``make_subject(network, side, channels)``: stirred, in evaluation mode, ready to export."""
    from rfsearch.exporting import Subject
    from rfsearch.spaces import Input

    def make(network, side=16, channels=3, classes=("cat", 'the "dog"', "naïve\\")):
        stirred(network).eval()
        taken = Input((side, side), channels, (0.5,) * channels, (0.25,) * channels)
        return Subject("tiny-run", network, network, taken, tuple(classes))

    return make


def stirred(network, seed=0):
    """Norms and statistics that matter; weights as they were drawn."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            kind = key.rpartition(".")[2]
            if kind == "running_var" or (kind == "weight" and tensor.ndim == 1):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif kind in ("running_mean", "bias"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.6 - 0.3)
    return network
