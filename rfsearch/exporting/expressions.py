"""Tensor operators as Python expressions that need torch alone.

Operators with a well-known form are written in it; any other of torch's by its full name, as
``torch.ops.aten.NAME.OVERLOAD(...)``, which is less pretty and as exact.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from rfsearch.errors import UserError

Show = Callable[[Any], str]

INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "matmul": "@", "pow": "**"}
NUMBERS = {
    operator.add: "+", operator.sub: "-", operator.mul: "*", operator.floordiv: "//",
    operator.truediv: "/", operator.mod: "%", operator.pow: "**",
}  # fmt: skip
"""Arithmetic of sizes."""
FUNCTIONS = {
    "conv1d", "conv2d", "conv3d", "linear", "relu", "relu6", "hardtanh", "hardswish",
    "hardsigmoid", "silu", "mish", "gelu", "elu", "selu", "celu", "leaky_relu", "prelu",
    "softplus", "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "pad",
    "pixel_shuffle", "pixel_unshuffle", "scaled_dot_product_attention", "log_softmax",
    "logsigmoid", "softsign",
}  # fmt: skip
"""torch.nn.functional has them by the same name, with arguments in the same order."""
WRITING = {"relu", "relu6", "hardtanh", "hardswish", "hardsigmoid", "silu", "mish", "elu",
           "leaky_relu", "selu", "celu"}  # fmt: skip
"""Of these, which take ``inplace=True``."""
METHODS = {
    "abs", "amax", "amin", "argmax", "argsort", "bmm", "chunk", "clamp", "clone", "contiguous",
    "cos", "cumsum", "exp", "expand", "expand_as", "flatten", "flip", "index_select", "log",
    "masked_fill", "mean", "mul_", "add_", "sub_", "div_", "neg", "norm", "permute", "prod",
    "reciprocal", "repeat", "reshape", "roll", "rsqrt", "select", "sigmoid", "sigmoid_", "sin",
    "softmax", "split", "split_with_sizes", "sqrt", "square", "squeeze", "std", "sum", "swapaxes",
    "t", "tanh", "to", "transpose", "unbind", "unflatten", "unfold", "unsqueeze", "var", "view",
    "view_as", "zero_", "clamp_", "type_as", "narrow", "movedim", "repeat_interleave",
}  # fmt: skip
"""A tensor has them by the same name, with arguments in the same order."""
OF_TORCH = {"cat", "stack", "concat", "where", "einsum", "outer", "minimum", "maximum",
            "channel_shuffle", "meshgrid", "zeros_like", "ones_like", "full_like"}  # fmt: skip
MAKING = {"arange", "zeros", "ones", "full", "linspace", "eye", "empty"}
"""Functions of torch that make a tensor out of none."""
PLACED = ("device", "layout", "pin_memory")
"""Arguments that say where a tensor lies, which is for the user to say."""
INTERPOLATION = {"upsample_nearest2d": "nearest", "upsample_bilinear2d": "bilinear",
                 "upsample_bicubic2d": "bicubic", "upsample_nearest1d": "nearest",
                 "upsample_linear1d": "linear"}  # fmt: skip


def expression(node: fx.Node, show: Show, device: str) -> str:
    """An operator's call.

    Args:
        show: of an argument, which may be a node.
        device: an expression for the device of new tensors.

    Raises:
        UserError: an operator that is not torch's own.
    """
    target: Any = node.target
    if target is operator.getitem:
        return f"{show(node.args[0])}[{show(node.args[1])}]"
    if target in NUMBERS:
        return f"({show(node.args[0])} {NUMBERS[target]} {show(node.args[1])})"
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        raise UserError(
            f"code needs torch alone, and {target} is none of torch's operators; "
            "use --format pt2 or onnx"
        )
    name = target._opname
    if name in SPECIAL:
        return SPECIAL[name](node, show)
    infix = name in INFIX and len(node.args) == 2 and not node.kwargs
    if infix and any(isinstance(one, fx.Node) for one in node.args):
        return f"{show(node.args[0])} {INFIX[name]} {show(node.args[1])}"
    return _called(node, name, show, device)


def _called(node: fx.Node, name: str, show: Show, device: str) -> str:
    given = [show(one) for one in node.args]
    named = {key: show(one) for key, one in node.kwargs.items() if key not in PLACED}
    bare = name.removesuffix("_")
    if name in FUNCTIONS:
        return f"F.{name}({_listed(given, named)})"
    if bare != name and bare in WRITING:
        return f"F.{bare}({_listed(given, {**named, 'inplace': 'True'})})"
    if name in MAKING:
        return f"torch.{name}({_listed(given, {**named, 'device': device})})"
    if name in OF_TORCH:
        return f"torch.{name}({_listed(given, named)})"
    if name in METHODS:
        method = "split" if name == "split_with_sizes" else name
        return f"{given[0]}.{method}({_listed(given[1:], named)})"
    full: Any = node.target
    whole = {key: show(one) for key, one in node.kwargs.items()}
    if "device" in whole:
        whole["device"] = device
    return f"torch.ops.aten.{name}.{full._overloadname}({_listed(given, whole)})"


def _listed(given: list[str], named: dict[str, str]) -> str:
    return ", ".join([*given, *(f"{key}={text}" for key, text in named.items())])


def literal(value: Any) -> str:
    """A plain value as Python source."""
    if isinstance(value, tuple) and len(value) == 1:
        return f"({literal(value[0])},)"
    if isinstance(value, list | tuple):
        inside = ", ".join(map(literal, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, torch.device):
        return f'"{value}"'
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, torch.dtype | torch.memory_format | torch.layout):
        return str(value)
    raise UserError(f"code cannot have a {type(value).__name__} in it: {value!r}")


def _sliced(node: fx.Node, show: Show) -> str:
    """x[:, a:b] of aten.slice(x, dim, start, end, step)."""
    usual = (None, 0, None, None, 1)
    given: list[Any] = [*node.args, *usual[len(node.args) :]]
    x, dim, start, end, step = given
    first = "" if start in (None, 0) else show(start)
    last = "" if end is None or (isinstance(end, int) and end >= 2**62) else show(end)
    pace = "" if step == 1 else f":{show(step)}"
    window = f"{first}:{last}{pace}"
    if not isinstance(dim, int) or dim < 0:
        return f"{show(x)}[..., {window}]" if dim == -1 else _plainly(node, show)
    return f"{show(x)}[{':, ' * dim}{window}]"


def _plainly(node: fx.Node, show: Show) -> str:
    full: Any = node.target
    given, named = map(show, node.args), {k: show(v) for k, v in node.kwargs.items()}
    return f"torch.ops.aten.{full._opname}.{full._overloadname}({_listed(list(given), named)})"


def _indexed(node: fx.Node, show: Show) -> str:
    """x[:, i] of aten.index(x, [None, i])."""
    x, places = node.args
    assert isinstance(places, list | tuple)
    return f"{show(x)}[{', '.join(':' if one is None else show(one) for one in places)}]"


def _batch_norm(node: fx.Node, show: Show) -> str:
    x, weight, bias, mean, var, training, momentum, eps = map(show, node.args[:8])
    if training == "True" and mean != "None":
        raise UserError("code is for evaluation, and a norm of this network is always training")
    return f"F.batch_norm({x}, {mean}, {var}, {weight}, {bias}, {training}, {momentum}, {eps})"


def _norm(node: fx.Node, show: Show) -> str:
    """layer_norm and group_norm, without the last argument, which is for cuDNN."""
    full: Any = node.target
    return f"F.{full._opname}({', '.join(map(show, node.args[:5]))})"


def _interpolated(node: fx.Node, show: Show) -> str:
    full: Any = node.target
    if full._overloadname != "vec":
        return _plainly(node, show)
    names = [one.name for one in full._schema.arguments]
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    words = {"size": given.get("output_size"), "scale_factor": given.get("scale_factors"),
             "mode": INTERPOLATION[full._opname],
             "align_corners": given.get("align_corners") or None}  # fmt: skip
    named = {key: show(one) for key, one in words.items() if one is not None}
    return f"F.interpolate({_listed([show(node.args[0])], named)})"


def _transposed(node: fx.Node, show: Show) -> str:
    """aten.conv_transpose2d.input is F.conv_transpose2d."""
    full: Any = node.target
    return f"F.{full._opname}({_listed(list(map(show, node.args)), {})})"


SPECIAL: dict[str, Callable[[fx.Node, Show], str]] = {
    "slice": _sliced,
    "index": _indexed,
    "batch_norm": _batch_norm,
    "layer_norm": _norm,
    "group_norm": _norm,
    "conv_transpose1d": _transposed,
    "conv_transpose2d": _transposed,
    **dict.fromkeys(INTERPOLATION, _interpolated),
    "rsub": lambda node, show: f"{show(node.args[1])} - {show(node.args[0])}",
    "lift_fresh_copy": lambda node, show: f"{show(node.args[0])}.clone()",
}
