"""Families of tensor operators: those of one family share a rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

aten = torch.ops.aten


def overloads(packets: Iterable[Any]) -> Iterator[Any]:
    """Every overload of these operators that takes and returns tensors, written into or not."""
    for packet in packets:
        for name in packet.overloads():
            found = getattr(packet, name)
            written = [a for a in found._schema.arguments if a.is_out]
            tensors = any("Tensor" in str(a.type) for a in found._schema.arguments)
            if tensors and not written:
                yield found


ACTIVATIONS = (
    aten.relu, aten.relu_, aten.relu6, aten.relu6_, aten.hardtanh, aten.hardtanh_, aten.hardswish,
    aten.hardswish_, aten.hardsigmoid, aten.hardsigmoid_, aten.sigmoid, aten.sigmoid_, aten.silu,
    aten.silu_, aten.gelu, aten.gelu_, aten.tanh, aten.tanh_, aten.elu, aten.elu_, aten.selu,
    aten.selu_, aten.celu, aten.celu_, aten.leaky_relu, aten.leaky_relu_, aten.rrelu, aten.rrelu_,
    aten.mish, aten.mish_, aten.softplus, aten.hardshrink, aten.softshrink, aten.threshold,
    aten.threshold_, aten.log_sigmoid, aten.clamp_min, aten.clamp_min_, aten.clamp_max,
    aten.clamp_max_,
)  # fmt: skip
ELEMENTWISE = (
    aten.abs, aten.abs_, aten.absolute, aten.exp, aten.exp_, aten.expm1, aten.log, aten.log_,
    aten.log1p, aten.log2, aten.log10, aten.sqrt, aten.sqrt_, aten.rsqrt, aten.rsqrt_,
    aten.reciprocal, aten.reciprocal_, aten.square, aten.square_, aten.neg, aten.neg_, aten.sin,
    aten.cos, aten.tan, aten.asin, aten.acos, aten.atan, aten.sinh, aten.cosh, aten.erf, aten.erfc,
    aten.sign, aten.sgn, aten.floor, aten.ceil, aten.round, aten.trunc, aten.frac, aten.positive,
    aten.logit, aten.sigmoid, aten.nan_to_num, aten.logical_not, aten.bitwise_not, aten.isnan,
    aten.isinf, aten.isfinite, aten.angle, aten.real, aten.imag, aten.conj, aten._conj,
    aten.resolve_conj, aten.resolve_neg, aten.clone, aten.contiguous, aten.alias, aten.detach,
    aten.detach_, aten.to, aten._to_copy, aten.type_as, aten.lift_fresh, aten.lift_fresh_copy,
    aten.dropout, aten.dropout_, aten.feature_dropout, aten.feature_dropout_, aten.alpha_dropout,
    aten.alpha_dropout_, aten.feature_alpha_dropout, aten.special_erf,
    aten.special_expit, aten.special_log1p, aten.pow, aten.pow_, aten.float_power,
    aten.deg2rad, aten.rad2deg,
)  # fmt: skip
ARITHMETIC = (
    aten.mul, aten.mul_, aten.multiply, aten.multiply_, aten.div, aten.div_, aten.divide,
    aten.true_divide, aten.floor_divide, aten.remainder, aten.fmod, aten.maximum, aten.minimum,
    aten.fmax, aten.fmin, aten.lerp, aten.lerp_, aten.addcmul, aten.addcmul_, aten.addcdiv,
    aten.addcdiv_, aten.atan2, aten.hypot, aten.logaddexp, aten.xlogy, aten.copysign, aten.complex,
    aten.clamp, aten.clamp_, aten.clip, aten.polar,
)  # fmt: skip
SUMS = (aten.add, aten.add_, aten.sub, aten.sub_, aten.subtract, aten.rsub)
COMPARISONS = (
    aten.gt, aten.ge, aten.lt, aten.le, aten.eq, aten.ne, aten.greater, aten.less,
    aten.logical_and, aten.logical_or, aten.logical_xor, aten.bitwise_and, aten.bitwise_or,
    aten.bitwise_xor,
)  # fmt: skip
REDUCTIONS = (
    aten.mean, aten.sum, aten.amax, aten.amin, aten.prod, aten.var, aten.std, aten.var_mean,
    aten.std_mean, aten.linalg_vector_norm, aten.norm, aten.logsumexp, aten.nansum, aten.nanmean,
    aten.any, aten.all, aten.argmax, aten.argmin, aten.median, aten.aminmax, aten.count_nonzero,
    aten.nanmedian, aten.kthvalue, aten.mode, aten.linalg_norm,
)  # fmt: skip
SPECTRA = (
    aten.fft_fft, aten.fft_ifft, aten.fft_rfft, aten.fft_irfft, aten.fft_fft2, aten.fft_ifft2,
    aten.fft_rfft2, aten.fft_irfft2, aten.fft_fftn, aten.fft_ifftn, aten.fft_rfftn,
    aten.fft_irfftn,
)  # fmt: skip
SHAPES = (
    aten.zeros_like, aten.ones_like, aten.empty_like, aten.full_like, aten.rand_like,
    aten.randn_like, aten.new_zeros, aten.new_ones, aten.new_empty, aten.new_full,
    aten._assert_tensor_metadata, aten.sym_size,
)  # fmt: skip
