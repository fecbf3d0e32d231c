"""Networks away from where they start."""

from __future__ import annotations

import torch


def stirred(network):
    """The network with norms, statistics, biases and alphas that matter; others as drawn."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            kind = key.rpartition(".")[2]
            if tensor.is_floating_point() and (tensor.ndim == 1 or kind == "alpha"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.4 + 0.6)
    return network


@torch.no_grad()
def outputs(network, images):
    """Of the network in training, then in evaluation."""
    found = []
    for training in (True, False):
        torch.manual_seed(5)
        found.append(network.train(training)(images))
    return found
