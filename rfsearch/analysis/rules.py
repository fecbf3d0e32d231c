"""The table of tensor operators: to support one more, add a line.

An operator that stands in no line stops the walk with its name and place: there is no default
field and no default cost. Operators on constants alone need no rule.

MACs count convolutions, linear layers and matrix products; ``window_ops`` counts pooling.
"""

from __future__ import annotations

import torch

from rfsearch import field
from rfsearch.analysis import elements, windows
from rfsearch.analysis.call import Rule

aten = torch.ops.aten

IMAGE = ("input", "self")

CONVOLUTION = Rule(
    windows.convolution, "conv", IMAGE, windows.convolution_windows, windows.convolution_macs
)
TRANSPOSED = Rule(windows.transposed, "conv_transpose", IMAGE, windows.transposed_windows,
                  windows.transposed_macs)  # fmt: skip
POOL = Rule(windows.pool, "pool", IMAGE, windows.pool_windows,
            window_ops=windows.window_ops(windows.pool_windows))  # fmt: skip
ADAPTIVE = Rule(windows.adaptive, "pool", IMAGE, windows.adaptive_windows,
                window_ops=windows.window_ops(windows.adaptive_windows))  # fmt: skip
REDUCTION = Rule(windows.reduction, "pool", IMAGE, windows.reduction_windows,
                 window_ops=windows.window_ops(windows.reduction_windows))  # fmt: skip
NEAREST = Rule(windows.resample(field.nearest_taps), "resample", IMAGE,
               windows.resample_windows(field.nearest_taps))  # fmt: skip
PADDING = Rule(windows.pad, None, IMAGE)

LINEAR = Rule(elements.over_last, "linear", IMAGE, macs=elements.linear_macs)
PRODUCT = Rule(elements.product, "linear", macs=elements.linear_macs)
JOIN = Rule(elements.joined, "join")
ACTIVATION = Rule(elements.same, "activation", IMAGE)
CHANNEL_NORM = Rule(elements.same, "norm", IMAGE)
COPY = Rule(elements.same, None, IMAGE)
VIEW = Rule(elements.reshaped, None, IMAGE)

RULES: dict[object, Rule] = {
    aten.conv1d.default: CONVOLUTION,
    aten.conv2d.default: CONVOLUTION,
    aten.conv2d.padding: CONVOLUTION,
    aten.conv3d.default: CONVOLUTION,
    aten.conv_transpose2d.input: TRANSPOSED,
    aten.max_pool2d.default: POOL,
    aten.avg_pool2d.default: POOL,
    aten.adaptive_avg_pool2d.default: ADAPTIVE,
    aten.mean.dim: REDUCTION,
    aten.mean.default: REDUCTION,
    aten.sum.dim_IntList: REDUCTION,
    aten.amax.default: REDUCTION,
    aten.upsample_nearest2d.vec: NEAREST,
    aten.pad.default: PADDING,
    aten.constant_pad_nd.default: PADDING,
    aten.linear.default: LINEAR,
    aten.matmul.default: PRODUCT,
    aten.bmm.default: PRODUCT,
    aten.mm.default: PRODUCT,
    aten.add.Tensor: JOIN,
    aten.add_.Tensor: JOIN,
    aten.sub.Tensor: JOIN,
    aten.sub_.Tensor: JOIN,
    aten.rsub.Scalar: JOIN,
    aten.mul.Tensor: JOIN,
    aten.mul_.Tensor: JOIN,
    aten.mul.Scalar: JOIN,
    aten.add.Scalar: JOIN,
    aten.div.Tensor: JOIN,
    aten.div_.Tensor: JOIN,
    aten.maximum.default: JOIN,
    aten.minimum.default: JOIN,
    aten.relu.default: ACTIVATION,
    aten.relu_.default: ACTIVATION,
    aten.relu6.default: ACTIVATION,
    aten.relu6_.default: ACTIVATION,
    aten.hardtanh.default: ACTIVATION,
    aten.hardtanh_.default: ACTIVATION,
    aten.hardswish.default: ACTIVATION,
    aten.hardswish_.default: ACTIVATION,
    aten.hardsigmoid.default: ACTIVATION,
    aten.hardsigmoid_.default: ACTIVATION,
    aten.sigmoid.default: ACTIVATION,
    aten.sigmoid_.default: ACTIVATION,
    aten.silu.default: ACTIVATION,
    aten.silu_.default: ACTIVATION,
    aten.gelu.default: ACTIVATION,
    aten.tanh.default: ACTIVATION,
    aten.elu.default: ACTIVATION,
    aten.leaky_relu.default: ACTIVATION,
    aten.leaky_relu_.default: ACTIVATION,
    aten.clamp.default: ACTIVATION,
    aten.clamp_min.default: ACTIVATION,
    aten.softmax.int: Rule(elements.softmax, "activation", IMAGE),
    aten.batch_norm.default: CHANNEL_NORM,
    aten.layer_norm.default: Rule(elements.layer_norm, "norm", IMAGE),
    aten.group_norm.default: Rule(elements.group_norm, "norm", IMAGE),
    aten.dropout.default: COPY,
    aten.dropout_.default: COPY,
    aten.clone.default: COPY,
    aten.contiguous.default: COPY,
    aten.alias.default: COPY,
    aten.detach.default: COPY,
    aten.detach_.default: COPY,
    aten.to.dtype: COPY,
    aten.sqrt.default: COPY,
    aten.neg.default: COPY,
    aten.exp.default: COPY,
    aten.pow.Tensor_Scalar: COPY,
    aten.view.default: VIEW,
    aten.reshape.default: VIEW,
    aten.flatten.using_ints: VIEW,
    aten.squeeze.dim: VIEW,
    aten.squeeze.dims: VIEW,
    aten.unsqueeze.default: VIEW,
    aten.permute.default: Rule(elements.permuted, None, IMAGE),
    aten.transpose.int: Rule(elements.transposed_dims, None, IMAGE),
    aten.expand.default: Rule(elements.expanded, None, IMAGE),
    aten.cat.default: Rule(elements.concatenated, "join"),
    aten.stack.default: Rule(elements.stacked, "join"),
    aten.slice.Tensor: Rule(elements.sliced, None, IMAGE),
    aten.select.int: Rule(elements.selected, None, IMAGE),
    aten.split.Tensor: Rule(elements.parted, None, IMAGE),
    aten.split_with_sizes.default: Rule(elements.parted, None, IMAGE),
    aten.chunk.default: Rule(elements.parted, None, IMAGE),
}
