"""What the final networks reach and cost; the one place where the test split is read."""

from __future__ import annotations

import copy
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from rfsearch.analysis.effective import effective_sizes
from rfsearch.analysis.layers import Analysis, Layer, write_layers
from rfsearch.analysis.walk import walk
from rfsearch.backbones.slots import mark_ends
from rfsearch.data.augmentation import normalise
from rfsearch.engine import passes
from rfsearch.engine.difference import paired_difference, resampled_difference
from rfsearch.engine.run import Run, all_slots, load_architecture, network_of
from rfsearch.engine.settings import MetricSettings
from rfsearch.errors import UserError
from rfsearch.spaces import Architecture
from rfsearch.training import checkpoint
from rfsearch.training.evaluation import outputs
from rfsearch.training.metrics import ACCURACY, Logits
from rfsearch.trials import Trial, read_trials, replacing, write_json

SHARES = (0.5, 0.9)


def measure(run: Run) -> None:
    """Write predictions.csv, the layers of both networks, the weights and, last, metrics.json."""
    if run.folder.metrics.exists():
        return
    began = time.perf_counter()
    run.progress.enter("measure")
    trials = recorded_trials(run)  # first: a mistake is told before anything is measured
    architecture = load_architecture(run.folder)
    networks = final_networks(run, architecture)
    predictions, logits = read_test_once(run, networks)
    analyses = {kind: analyse(run, kind, networks[f"{kind}-0"]) for kind in ("found", "plain")}
    analyses["adapted"] = analyses["found"]
    costs = {kind: cost(run, kind, networks, analyses[kind]) for kind in analyses}
    for kind, weights in (("found", run.folder.weights), ("plain", run.folder.plain_weights)):
        with replacing(weights) as partial:
            shutil.copyfile(run.folder.checkpoint / f"{kind}-0.safetensors", partial)
    record = metrics(run, predictions, costs, trials)
    record |= by_metric(run, record, predictions, logits)
    record["phases"]["measure"] = time.perf_counter() - began
    write_json(run.folder.metrics, record)


def final_networks(run: Run, architecture: Architecture) -> dict[str, nn.Module]:
    """adapted, found-0, …, plain-0, … with their trained weights, in evaluation mode."""
    kinds = {"adapted": "found"}
    for index in range(run.config.plan.retrain_seeds):
        kinds |= {f"found-{index}": "found", f"plain-{index}": "plain"}
    networks = {}
    for name, kind in kinds.items():
        network = network_of(kind, architecture)
        load_trained(run, name, network)
        networks[name] = run.place(network).eval()
    return networks


def load_trained(run: Run, name: str, network: nn.Module) -> None:
    """The weights that a search or a training has left in the checkpoint."""
    try:
        checkpoint.load_weights(run.folder.checkpoint / f"{name}.safetensors", network)
    except UserError as error:
        right = "delete it and go on by --resume, which trains it again"
        if name == "adapted":
            right = "restore it, or begin a new run"
        raise UserError(f"{error}; {right}") from error


def read_test_once(
    run: Run, networks: Mapping[str, nn.Module]
) -> tuple[pd.DataFrame, dict[str, Logits]]:
    """Every network's predictions on the test split, one reading each, and the logits behind
    them, (N, classes)."""
    test = run.dataset.test.to(run.fabric.device)
    table = {
        "index": np.arange(len(test)),
        "source": test.sources.cpu().numpy(),
        "label": test.labels.cpu().numpy(),
    }
    logits = {name: outputs(network, test, run.augmentation).float().cpu().numpy()
              for name, network in networks.items()}  # fmt: skip
    frame = pd.DataFrame(table | {name: one.argmax(1) for name, one in logits.items()})
    with replacing(run.folder.predictions) as partial:
        frame.to_csv(partial, index=False)
    return frame, logits


def analyse(run: Run, kind: str, network: nn.Module) -> Analysis:
    """Fields and costs of every layer, with the effective fields at the slots, as a CSV file."""
    on_cpu = copy.deepcopy(network).cpu()
    analysis = walk(on_cpu, run.dataset.image_size, run.dataset.channels)
    network = copy.deepcopy(network)
    mark_ends(network, all_slots(run))
    outputs = slot_outputs(run, network)
    effective = effective_sizes(network, selection_images(run), list(outputs.values()), SHARES)
    layers = list(analysis.layers)
    for slot, output in outputs.items():
        index = last_row(layers, slot, output)
        (h50, w50), (h90, w90) = (effective[output][share] for share in SHARES)
        layers[index] = replace(
            layers[index],
            effective_50_h=h50,
            effective_50_w=w50,
            effective_90_h=h90,
            effective_90_w=w90,
        )
    path = run.folder.layers if kind == "found" else run.folder.plain_layers
    with replacing(path) as partial:
        write_layers(layers, partial)
    return analysis


def slot_outputs(run: Run, network: nn.Module) -> dict[str, str]:
    """Slot → the module whose output leaves the slot: the enhancer, or the plain layer."""
    modules = dict(network.named_modules())
    outputs = {}
    for slot in all_slots(run):
        filled = slot.place in modules
        outputs[slot.name] = slot.place if filled else slot.place.rpartition(".")[0]
    return outputs


def last_row(layers: Sequence[Layer], slot: str, output: str) -> int:
    """Index of the row that ends the slot: the last inside ``output``, else the convolution."""
    inside = [i for i, row in enumerate(layers) if f"{row.name}.".startswith(f"{output}.")]
    return inside[-1] if inside else next(i for i, row in enumerate(layers) if row.name == slot)


def selection_images(run: Run) -> Tensor:
    """The first images of the selection split, normalised: test data is not for pictures."""
    pixels = run.dataset.search.selection.pixels[: run.config.plan.effective_images]
    data = run.dataset
    return normalise(pixels.to(run.fabric.device), data.mean, data.std, channels_last=True)


def cost(
    run: Run, kind: str, networks: Mapping[str, nn.Module], analysis: Analysis
) -> dict[str, Any]:
    """Parameters, MACs, window operations (per image), measured latency."""
    network = networks[kind if kind == "adapted" else f"{kind}-0"]
    return {
        "params": sum(parameter.numel() for parameter in network.parameters()),
        "macs": analysis.totals.macs,
        "window_ops": analysis.totals.window_ops,
        "latency": latency(run, network),
    }


def latency(run: Run, network: nn.Module) -> dict[str, Any]:
    """Median seconds of one image through the network."""
    height, width = run.dataset.image_size
    image = torch.rand(1, run.dataset.channels, height, width, device=run.fabric.device)
    taken = passes.seconds({"": network}, image, run.config.plan.latency_runs)[""]
    return passes.latency(taken, run.fabric.device)


def metrics(
    run: Run,
    predictions: pd.DataFrame,
    costs: Mapping[str, dict[str, Any]],
    trials: Sequence[Trial],
) -> dict[str, Any]:
    """The content of metrics.json."""
    right = {kind: _right(predictions, kind) for kind in ("adapted", "found", "plain")}
    seconds = phase_seconds(run)
    spent = {"adapted": seconds["search"], "found": seconds["found"], "plain": seconds["plain"]}
    networks = {
        kind: {
            "accuracy": float(table.mean()),
            "accuracies": table.mean(1).tolist(),
            **costs[kind],
            "seconds": spent[kind],
        }
        for kind, table in right.items()
    }
    score = max(trial.score for trial in trials if trial.score is not None)
    lines = [line for line in run.history.read() if line["phase"] == "search"]
    return {
        "seed": run.config.seed,
        "retrain_seeds": list(range(run.config.plan.retrain_seeds)),
        "test": run.dataset.sizes["test"],
        "networks": networks,
        "selection": {"adapted": score},
        "difference": paired_difference(
            right["found"], right["plain"], predictions["source"].to_numpy()
        ),
        "phases": seconds,
        "side_by_side": run.side_by_side,
        "alpha_steps": lines[-1].get("alpha_steps"),
        "peak_memory_bytes": peak_memory(),
    }


def recorded_trials(run: Run) -> tuple[Trial, ...]:
    """The trials in the study; a `UserError` where it has lost some since trials.csv was made."""
    trials, rows = read_trials(run.study.load()), len(pd.read_csv(run.folder.trials))
    if len(trials) < rows:
        raise UserError(
            f"{run.study} in {run.folder.path} holds {len(trials)} of the {rows} trials of "
            f"{run.folder.trials.name}; restore it, or begin a new run"
        )
    return trials


def by_metric(
    run: Run, record: Mapping[str, Any], predictions: pd.DataFrame, logits: Mapping[str, Logits]
) -> dict[str, Any]:
    """What metrics.json has besides where the metric is another than accuracy: scores by it, and
    the difference of scores in the place of that of accuracies."""
    settings = run.config.group(MetricSettings)
    if settings.name == ACCURACY:
        return {}
    figure, labels = settings.metric.of, predictions["label"].to_numpy()
    trained = {kind: [one for name, one in logits.items() if name.partition("-")[0] == kind]
               for kind in record["networks"]}  # fmt: skip
    networks = {}
    for kind, told in record["networks"].items():
        scores = [figure(labels, one) for one in trained[kind]]
        networks[kind] = {**told, "score": float(np.mean(scores)), "scores": scores}
    difference = resampled_difference(
        figure, labels, trained["found"], trained["plain"], predictions["source"].to_numpy()
    )
    return {"metric": settings.name, "networks": networks, "difference": difference}


def phase_seconds(run: Run) -> dict[str, float]:
    """Seconds of every phase, as its epochs measured them, whoever ran them."""
    seconds = {"search": 0.0, "found": 0.0, "plain": 0.0}
    for line in run.history.read():
        seconds[line["phase"]] += line["seconds"]
    return seconds


def peak_memory() -> int:
    """Largest resident memory of this process, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _right(predictions: pd.DataFrame, kind: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    columns = [name for name in predictions.columns if str(name).partition("-")[0] == kind]
    label = predictions["label"].to_numpy()
    return np.stack([predictions[name].to_numpy() == label for name in columns])
