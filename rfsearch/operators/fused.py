"""The mixture of identity, max- and average-pools in one pass, with its gradient written by hand.

Notation (that of `enhancer`, and)
    v_b     bases: x, then M_1, M_2, ..., then A_1, A_2, ...
    M_r     max over (2r + 1)² pixels = M_1 of M_{r−1};  A_s = mean over the real ones of (2s + 1)²
    b(k)    the base that candidate k is; a window larger than the map is the one that covers it
    μ, σ²   of v_b over (N, H, W), biased;  ô_b = (v_b − μ_b) / √(σ²_b + ε)
    P_b     Σ p_k over the candidates that are v_b

    y    = x + γ Σ_b P_b ô_b + β Σ_k p_k
    S_b  = Σ g ô_b over (N, H, W), g being y's gradient;  G = Σ g
    p_k' = Σ_c γ S_b(k) + β G;   γ' = Σ_b P_b S_b;   β' = G Σ_k p_k
    v_b' = γ P_b (g − G/M − ô_b S_b/M) / √(σ²_b + ε), which the windows send back to x; M = N·H·W

Only x and the statistics are kept for the gradient. Of values that tie in a maximum the first in
reading order has all the gradient, as in `max_pyramid`; where several windows cover the whole map
they are one base, and another of the values that tie may have it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rfsearch.operators.compiled import library

SOURCE = Path(__file__).with_suffix(".c")
REALS = {torch.float32: "float", torch.float64: "double"}
WIDEST = 31
"""Largest r and s: what the C code has room for."""

Norms = Sequence[nn.BatchNorm2d]


class _Map(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        *((f"stride_{axis}", ctypes.c_int64) for axis in "nchw"),
    )


class _Shape(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "channels", "height", "width", "maxima",
                                              "averages", "candidates", "threads")),
        ("base", ctypes.c_void_p),
        ("eps", ctypes.c_double),
    )  # fmt: skip


def available() -> str:
    """ "compiled" where mixtures of float32 maps on this CPU are fused, else why they are not."""
    found = library(SOURCE, REALS[torch.float32])
    return found if isinstance(found, str) else "compiled"


def reach(operator: nn.Module) -> tuple[str, int] | None:
    """The family of a candidate, "max" or "mean", and r or s; 0 for identity; None for others."""
    if isinstance(operator, nn.Identity):
        return "max", 0
    if not isinstance(operator, nn.MaxPool2d | nn.AvgPool2d):
        return None
    kernel = operator.kernel_size
    if not isinstance(kernel, int) or kernel % 2 == 0 or kernel // 2 > WIDEST:
        return None
    same = operator.stride == 1 and operator.padding == kernel // 2 and not operator.ceil_mode
    if isinstance(operator, nn.MaxPool2d):
        fits = same and operator.dilation == 1 and not operator.return_indices
        return ("max", kernel // 2) if fits else None
    fits = same and not operator.count_include_pad and operator.divisor_override is None
    return ("mean", kernel // 2) if fits else None


def obstacle(x: Tensor, parameters: Sequence[Tensor], norms: Norms) -> str:
    """Why these maps cannot take the fused path, in a few words; empty where they can."""
    if type(x) not in (Tensor, nn.Parameter) or x.device.type != "cpu" or x.dtype not in REALS:
        return "only float32 and float64 on a CPU are fused"
    if torch.overrides.has_torch_function((x,)):
        return "processes share the statistics of a batch"  # `training.shares`, or another watcher
    if any(p.dtype != x.dtype or p.device != x.device for p in parameters):
        return "the parameters are not of the maps' type"
    if not all(norm.training and norm.eps == norms[0].eps for norm in norms):
        return "only a batch's own statistics are fused"
    if x.numel() <= x.shape[1] or torch.compiler.is_compiling():
        return "nothing to normalise by"  # or a trace, which must see tensor operators
    found = library(SOURCE, REALS[x.dtype])
    return found if isinstance(found, str) else ""


def mix(
    x: Tensor, p: Tensor, gamma: Tensor, beta: Tensor,
    reaches: Sequence[tuple[str, int]], norms: Norms,
) -> Tensor:  # fmt: skip
    """y, (N, C, H, W), of the candidates whose `reach` is given; their norms follow the batch.

    Args:
        x: (N, C, H, W) in any layout.
        p: (K,).
        gamma, beta: (C,).
    """
    y: Tensor = _Mixture.apply(x, p.to(x.dtype), gamma, beta, tuple(reaches), norms)
    return y


class _Mixture(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, p: Tensor, gamma: Tensor, beta: Tensor,
        reaches: tuple[tuple[str, int], ...], norms: Norms,
    ) -> Tensor:  # fmt: skip
        picture = _picture(x.shape, reaches, norms[0].eps, torch.get_num_threads())
        given = p.contiguous(), gamma.contiguous(), beta.contiguous()
        y = torch.empty_like(x)
        statistics = torch.empty(2, picture.bases, x.shape[1], dtype=torch.float64)
        mean, variance = _at((statistics, statistics[1]))
        _call("mix", x, picture.shape, _map(x), _map(y), *_at(given), mean, variance)
        if norms[0].track_running_stats:
            momenta, means, variances = _running(norms)
            _call("follow", x, picture.shape, momenta, means, variances, mean, variance)
        ctx.save_for_backward(x, *given, statistics)
        ctx.picture = picture
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, *given, statistics = ctx.saved_tensors
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        gradients = [torch.empty_like(parameter) for parameter in given]
        sums = torch.empty(ctx.picture.bases + 1, x.shape[1], dtype=torch.float64)
        _call(
            "unmix", x, ctx.picture.shape, _map(x), _map(g), _map(dx),
            *_at((*given, statistics, statistics[1], sums, sums[-1], *gradients)),
        )  # fmt: skip
        return dx, *gradients, None, None


class _Picture:
    """What the C code is told of a mixture on maps of one shape."""

    def __init__(
        self, size: Sequence[int], reaches: Sequence[tuple[str, int]], eps: float, threads: int
    ) -> None:
        whole = max(size[2:]) - 1  # a window of that reach has the map in it, wherever it stands
        cut = [(family, min(reach, whole)) for family, reach in reaches]
        maxima, averages = (
            max((reach for family, reach in cut if family == name), default=0)
            for name in ("max", "mean")
        )
        places = [reach + maxima * (family == "mean" and reach > 0) for family, reach in cut]
        self.bases = 1 + maxima + averages
        self.places = (ctypes.c_int64 * len(places))(*places)  # kept: the shape has its address
        self.structure = _Shape(
            *size, maxima, averages, len(places), threads, ctypes.addressof(self.places), eps
        )
        self.shape = ctypes.byref(self.structure)


_picture = lru_cache(maxsize=256)(_Picture)


def _call(function: str, x: Tensor, *arguments: object) -> None:
    c = library(SOURCE, REALS[x.dtype])
    assert isinstance(c, ctypes.CDLL)
    if getattr(c, function)(*arguments):
        raise MemoryError("no memory for the tiles of a mixture")


def _map(x: Tensor | None) -> object:
    return ctypes.byref(_Map() if x is None else _Map(x.data_ptr(), *x.stride()))


def _at(tensors: Iterable[Tensor]) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]


def _running(norms: Norms) -> tuple[ctypes.Array, ctypes.Array, ctypes.Array]:
    """Momenta, and where the running means and variances are."""
    pointers, doubles = ctypes.c_void_p * len(norms), ctypes.c_double * len(norms)
    momenta: list[Any] = [norm.momentum for norm in norms]
    buffers: list[dict[str, Any]] = [
        norm._buffers for norm in norms
    ]  # its attributes take ten times as long
    return (
        doubles(*momenta),
        pointers(*[buffer["running_mean"].data_ptr() for buffer in buffers]),
        pointers(*[buffer["running_var"].data_ptr() for buffer in buffers]),
    )
