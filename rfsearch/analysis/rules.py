"""The table of tensor operators: to support one more, add a line.

An operator that stands in no line stops the walk with its name and place: there is no default
field and no default cost. Operators on constants alone need no rule.

MACs count convolutions, linear layers and matrix products; ``window_ops`` counts pooling.
"""

from __future__ import annotations

from typing import Any

import torch

from rfsearch import field
from rfsearch.analysis import attention, elements, movement, scatter, windows
from rfsearch.analysis.call import Rule, always
from rfsearch.analysis.families import (
    ACTIVATIONS,
    ARITHMETIC,
    COMPARISONS,
    ELEMENTWISE,
    REDUCTIONS,
    SHAPES,
    SPECTRA,
    SUMS,
    overloads,
)

aten = torch.ops.aten

IMAGE = ("input", "self")

CONVOLUTION = Rule(
    windows.convolution, "conv", ("input", "weight", "bias"), windows.convolution_windows,
    windows.convolution_macs,
)  # fmt: skip
TRANSPOSED = Rule(
    windows.transposed, "conv_transpose", ("input", "weight", "bias"), windows.transposed_windows,
    windows.transposed_macs,
)  # fmt: skip
POOL = Rule(windows.pool, "pool", IMAGE, windows.pool_windows,
            window_ops=windows.window_ops(windows.pool_windows))  # fmt: skip
ADAPTIVE = Rule(windows.adaptive, "pool", IMAGE, windows.adaptive_windows,
                window_ops=windows.window_ops(windows.adaptive_windows))  # fmt: skip
REDUCTION = Rule(windows.reduction, "pool", IMAGE, windows.reduction_windows,
                 window_ops=windows.window_ops(windows.reduction_windows))  # fmt: skip
CHOICE = Rule(
    elements.sorted_values,
    None,
    IMAGE,
    data_dependent=always,
)

LINEAR = Rule(attention.linear, "linear", macs=attention.linear_macs)
PRODUCT = Rule(attention.product, "linear", macs=attention.product_macs)
RECURRENT = Rule(attention.recurrent, "other", IMAGE, macs=attention.recurrent_macs)
SUM = Rule(attention.added, "join")
JOIN = Rule(elements.joined, "join")
COMPARISON = Rule(elements.joined)
ACTIVATION = Rule(elements.same, "activation", IMAGE)
SLOPED = Rule(elements.same, "activation", ("self",))
CHANNEL_NORM = Rule(elements.channel_norm, "norm", IMAGE)
VECTOR_NORM = Rule(elements.layer_norm, "norm", IMAGE)
COPY = Rule(elements.same, None, IMAGE)
VIEW = Rule(elements.reshaped, None, IMAGE)
VIEW_AS = Rule(elements.reshaped)
PARTS = Rule(elements.parted, None, IMAGE)
SWAP = Rule(elements.transposed_dims, None, IMAGE)
MOVE = Rule(movement.moved)
SPECTRUM = Rule(elements.over_vectors, None, IMAGE)
SHAPE = Rule(elements.constants)
PLACES = ("indices", "index")
INDEXED = Rule(movement.placed, data_dependent=movement.unknown_places(*PLACES))
PUT = Rule(scatter.put, data_dependent=movement.unknown_places("indices"))
INDEX_ADDED = Rule(scatter.index_added, data_dependent=movement.unknown_places("index"))
SCATTER_ADDED = Rule(scatter.scatter_added, data_dependent=movement.unknown_places("index"))
GATHERED = Rule(movement.gathered, data_dependent=movement.unknown_places(*PLACES))


def resampling(taps: Any) -> Rule:
    """Resampling of maps by the taps of one axis."""
    return Rule(windows.resample(taps), "resample", IMAGE, windows.resample_windows(taps))


NEAREST = resampling(field.nearest_taps)
NEAREST_EXACT = resampling(field.nearest_exact_taps)
LINEARLY = resampling(field.linear_taps)
CUBIC = resampling(field.cubic_taps)
SMOOTH_LINEAR = resampling(windows.smoothly(2))
SMOOTH_CUBIC = resampling(windows.smoothly(4))


RULES: dict[object, Rule] = {
    **dict.fromkeys(overloads(ELEMENTWISE), COPY),
    **dict.fromkeys(overloads(ACTIVATIONS), ACTIVATION),
    **dict.fromkeys(overloads(ARITHMETIC), JOIN),
    **dict.fromkeys(overloads(SUMS), SUM),
    **dict.fromkeys(overloads(COMPARISONS), COMPARISON),
    **dict.fromkeys(overloads(REDUCTIONS), REDUCTION),
    **dict.fromkeys(overloads(SPECTRA), SPECTRUM),
    **dict.fromkeys(overloads(SHAPES), SHAPE),
    aten.clamp.default: ACTIVATION,
    aten.clamp_.default: ACTIVATION,
    aten.clip.default: ACTIVATION,
    aten.pow.Tensor_Tensor: JOIN,
    aten.prelu.default: SLOPED,
    aten.glu.default: Rule(elements.halves, "activation", IMAGE),
    aten.max.default: REDUCTION,
    aten.max.dim: REDUCTION,
    aten.max.other: JOIN,
    aten.min.default: REDUCTION,
    aten.min.dim: REDUCTION,
    aten.min.other: JOIN,
    aten.conv1d.default: CONVOLUTION,
    aten.conv1d.padding: CONVOLUTION,
    aten.conv2d.default: CONVOLUTION,
    aten.conv2d.padding: CONVOLUTION,
    aten.conv3d.default: CONVOLUTION,
    aten.conv3d.padding: CONVOLUTION,
    aten.conv_transpose1d.default: TRANSPOSED,
    aten.conv_transpose2d.input: TRANSPOSED,
    aten.conv_transpose3d.input: TRANSPOSED,
    aten.max_pool1d.default: POOL,
    aten.max_pool2d.default: POOL,
    aten.max_pool3d.default: POOL,
    aten.max_pool1d_with_indices.default: POOL,
    aten.max_pool2d_with_indices.default: POOL,
    aten.max_pool3d_with_indices.default: POOL,
    aten.avg_pool1d.default: POOL,
    aten.avg_pool2d.default: POOL,
    aten.avg_pool3d.default: POOL,
    aten.adaptive_avg_pool1d.default: ADAPTIVE,
    aten.adaptive_avg_pool2d.default: ADAPTIVE,
    aten.adaptive_avg_pool3d.default: ADAPTIVE,
    aten.adaptive_max_pool1d.default: ADAPTIVE,
    aten.adaptive_max_pool2d.default: ADAPTIVE,
    aten.adaptive_max_pool3d.default: ADAPTIVE,
    aten.max_unpool2d.default: Rule(
        windows.unpooled,
        "resample",
        ("self", "indices"),
        data_dependent=always,
    ),
    aten.upsample_nearest1d.vec: NEAREST,
    aten.upsample_nearest1d.default: NEAREST,
    aten.upsample_nearest2d.vec: NEAREST,
    aten.upsample_nearest2d.default: NEAREST,
    aten.upsample_nearest3d.vec: NEAREST,
    aten.upsample_nearest3d.default: NEAREST,
    aten._upsample_nearest_exact1d.vec: NEAREST_EXACT,
    aten._upsample_nearest_exact2d.vec: NEAREST_EXACT,
    aten._upsample_nearest_exact3d.vec: NEAREST_EXACT,
    aten.upsample_linear1d.vec: LINEARLY,
    aten.upsample_linear1d.default: LINEARLY,
    aten.upsample_bilinear2d.vec: LINEARLY,
    aten.upsample_bilinear2d.default: LINEARLY,
    aten.upsample_trilinear3d.vec: LINEARLY,
    aten.upsample_trilinear3d.default: LINEARLY,
    aten.upsample_bicubic2d.vec: CUBIC,
    aten.upsample_bicubic2d.default: CUBIC,
    aten._upsample_bilinear2d_aa.vec: SMOOTH_LINEAR,
    aten._upsample_bilinear2d_aa.default: SMOOTH_LINEAR,
    aten._upsample_bicubic2d_aa.vec: SMOOTH_CUBIC,
    aten._upsample_bicubic2d_aa.default: SMOOTH_CUBIC,
    aten.pad.default: Rule(windows.padded(), None, IMAGE),
    aten.constant_pad_nd.default: Rule(windows.padded("constant"), None, IMAGE),
    aten.reflection_pad1d.default: Rule(windows.padded("reflect"), None, IMAGE),
    aten.reflection_pad2d.default: Rule(windows.padded("reflect"), None, IMAGE),
    aten.reflection_pad3d.default: Rule(windows.padded("reflect"), None, IMAGE),
    aten.replication_pad1d.default: Rule(windows.padded("replicate"), None, IMAGE),
    aten.replication_pad2d.default: Rule(windows.padded("replicate"), None, IMAGE),
    aten.replication_pad3d.default: Rule(windows.padded("replicate"), None, IMAGE),
    aten.affine_grid_generator.default: Rule(windows.grid, None, ("theta",)),
    aten.grid_sampler.default: Rule(
        windows.sampled,
        "resample",
        data_dependent=always,
    ),
    aten.linear.default: LINEAR,
    aten.matmul.default: PRODUCT,
    aten.bmm.default: PRODUCT,
    aten.mm.default: PRODUCT,
    aten.mv.default: PRODUCT,
    aten.dot.default: PRODUCT,
    aten.addmm.default: PRODUCT,
    aten.baddbmm.default: PRODUCT,
    aten.outer.default: Rule(elements.outer, "linear"),
    aten.kron.default: Rule(elements.kronecker, "linear"),
    aten.einsum.default: Rule(attention.einsum, "linear", macs=attention.einsum_macs),
    aten.scaled_dot_product_attention.default: Rule(
        attention.scaled, "attention", macs=attention.scaled_macs
    ),
    aten._native_multi_head_attention.default: Rule(attention.fast_attention, "attention"),
    aten.lstm.input: RECURRENT,
    aten.gru.input: RECURRENT,
    aten.rnn_tanh.input: RECURRENT,
    aten.rnn_relu.input: RECURRENT,
    aten.softmax.int: Rule(attention.softmax, "activation", IMAGE),
    aten._softmax.default: Rule(attention.softmax, "activation", IMAGE),
    aten.log_softmax.int: Rule(attention.softmax, "activation", IMAGE),
    aten.batch_norm.default: CHANNEL_NORM,
    aten.instance_norm.default: CHANNEL_NORM,
    aten._native_batch_norm_legit_no_training.default: CHANNEL_NORM,
    aten._native_batch_norm_legit.no_stats: CHANNEL_NORM,
    aten._native_batch_norm_legit.default: CHANNEL_NORM,
    aten._native_batch_norm_legit_functional.default: CHANNEL_NORM,
    aten.layer_norm.default: VECTOR_NORM,
    aten.rms_norm.default: VECTOR_NORM,
    aten.group_norm.default: Rule(elements.group_norm, "norm", IMAGE),
    aten.diff.default: Rule(elements.differences, None, IMAGE),
    aten.cdist.default: Rule(attention.distances, "linear"),
    aten.cosine_similarity.default: Rule(attention.similarity, "join"),
    aten.pairwise_distance.default: Rule(attention.similarity, "join"),
    aten.tensordot.default: Rule(attention.tensordot, "linear", macs=attention.tensordot_macs),
    aten.bilinear.default: Rule(
        attention.bilinear, "linear", ("input1", "input2"), macs=attention.bilinear_macs
    ),
    aten.linalg_cross.default: Rule(elements.crossed, "join"),
    aten.embedding.default: Rule(elements.looked_up, None, ("indices",)),
    aten.one_hot.default: Rule(elements.looked_up, None, IMAGE),
    aten.cumsum.default: Rule(elements.cumulative, None, IMAGE),
    aten.cumprod.default: Rule(elements.cumulative, None, IMAGE),
    aten.logcumsumexp.default: Rule(elements.cumulative, None, IMAGE),
    aten.cummax.default: Rule(elements.most_so_far, None, IMAGE),
    aten.cummin.default: Rule(elements.most_so_far, None, IMAGE),
    aten.topk.default: CHOICE,
    aten.sort.default: CHOICE,
    aten.sort.stable: CHOICE,
    aten.argsort.default: Rule(
        elements.over_vectors,
        None,
        IMAGE,
        data_dependent=always,
    ),
    aten.view.default: VIEW,
    aten._unsafe_view.default: VIEW,
    aten.reshape.default: VIEW,
    aten.flatten.using_ints: VIEW,
    aten.unflatten.int: VIEW,
    aten.squeeze.default: VIEW,
    aten.squeeze.dim: VIEW,
    aten.squeeze.dims: VIEW,
    aten.squeeze_.dim: VIEW,
    aten.unsqueeze.default: VIEW,
    aten.unsqueeze_.default: VIEW,
    aten.ravel.default: VIEW,
    aten.view_as_complex.default: Rule(movement.as_complex, None, IMAGE),
    aten.view_as_real.default: Rule(movement.as_real, None, IMAGE),
    aten.type_as.default: Rule(elements.same),
    aten.view_as.default: VIEW_AS,
    aten.reshape_as.default: VIEW_AS,
    aten.permute.default: Rule(elements.permuted, None, IMAGE),
    aten.transpose.int: SWAP,
    aten.swapaxes.default: SWAP,
    aten.swapdims.default: SWAP,
    aten.t.default: Rule(elements.reversed_dims, None, IMAGE),
    aten.mT.default: Rule(elements.reversed_dims, None, IMAGE),
    aten.adjoint.default: Rule(elements.reversed_dims, None, IMAGE),
    aten.movedim.int: Rule(elements.moved_dims, None, IMAGE),
    aten.movedim.intlist: Rule(elements.moved_dims, None, IMAGE),
    aten.moveaxis.int: Rule(elements.moved_dims, None, IMAGE),
    aten.moveaxis.intlist: Rule(elements.moved_dims, None, IMAGE),
    aten.expand.default: Rule(elements.expanded, None, IMAGE),
    aten.expand_as.default: Rule(elements.expanded),
    aten.broadcast_to.default: Rule(elements.expanded, None, IMAGE),
    aten.broadcast_tensors.default: Rule(elements.spread_together),
    aten.cat.default: Rule(elements.concatenated, "join"),
    aten.concat.default: Rule(elements.concatenated, "join"),
    aten.concatenate.default: Rule(elements.concatenated, "join"),
    aten.hstack.default: Rule(elements.along(1), "join"),
    aten.vstack.default: Rule(elements.along(0), "join"),
    aten.stack.default: Rule(elements.stacked, "join"),
    aten.slice.Tensor: Rule(elements.sliced, None, IMAGE),
    aten.narrow.default: MOVE,
    aten.select.int: Rule(elements.selected, None, IMAGE),
    aten.split.Tensor: PARTS,
    aten.split.sizes: PARTS,
    aten.split_with_sizes.default: PARTS,
    aten.chunk.default: PARTS,
    aten.tensor_split.sections: PARTS,
    aten.tensor_split.indices: PARTS,
    aten.unsafe_chunk.default: PARTS,
    aten.unsafe_split.Tensor: PARTS,
    aten.unbind.int: Rule(elements.taken_apart, None, IMAGE),
    aten.roll.default: Rule(movement.rolled, None, IMAGE),
    aten.flip.default: Rule(movement.flipped, None, IMAGE),
    aten.repeat.default: Rule(movement.tiled, None, IMAGE),
    aten.tile.default: Rule(movement.tiled, None, IMAGE),
    aten.unfold.default: Rule(movement.unfolded, None, IMAGE),
    aten.im2col.default: Rule(movement.columns, None, IMAGE),
    aten.col2im.default: Rule(movement.folded, None, IMAGE),
    aten.pixel_shuffle.default: Rule(movement.pixel_shuffled, None, IMAGE),
    aten.pixel_unshuffle.default: Rule(movement.pixel_unshuffled, None, IMAGE),
    aten.channel_shuffle.default: MOVE,
    aten.native_channel_shuffle.default: MOVE,
    aten.repeat_interleave.self_int: MOVE,
    aten.rot90.default: MOVE,
    aten.as_strided.default: Rule(movement.moved, contiguous=True),
    aten.diagonal.default: MOVE,
    aten.index_fill.int_Scalar: INDEXED,
    aten.quantile.scalar: REDUCTION,
    aten.diag_embed.default: MOVE,
    aten.tril.default: MOVE,
    aten.triu.default: MOVE,
    aten.slice_scatter.default: MOVE,
    aten.select_scatter.default: MOVE,
    aten.fill.Scalar: SHAPE,
    aten.fill_.Scalar: SHAPE,
    aten.zero.default: SHAPE,
    aten.zero_.default: SHAPE,
    aten.copy.default: Rule(elements.copied),
    aten.copy_.default: Rule(elements.copied),
    aten.index.Tensor: INDEXED,
    aten.index_select.default: INDEXED,
    aten.index_put.default: PUT,
    aten.index_put_.default: PUT,
    aten.index_add.default: INDEX_ADDED,
    aten.index_add_.default: INDEX_ADDED,
    aten.scatter_add.default: SCATTER_ADDED,
    aten.scatter_add_.default: SCATTER_ADDED,
    aten.scatter_reduce.two: SCATTER_ADDED,
    aten.scatter_reduce_.two: SCATTER_ADDED,
    aten.take_along_dim.default: INDEXED,
    aten.scatter.src: INDEXED,
    aten.gather.default: GATHERED,
    aten.masked_fill.Scalar: Rule(movement.masked("mask")),
    aten.masked_fill.Tensor: Rule(movement.masked("mask")),
    aten.masked_fill_.Scalar: Rule(movement.masked("mask")),
    aten.masked_fill_.Tensor: Rule(movement.masked("mask")),
    aten.where.self: Rule(movement.masked("condition")),
    aten.where.ScalarOther: Rule(movement.masked("condition")),
    aten.where.ScalarSelf: Rule(movement.masked("condition")),
    aten.where.Scalar: Rule(movement.masked("condition")),
}

# Operators that cannot have a rule, and why.
REFUSED: dict[object, str] = dict.fromkeys(
    (aten.fractional_max_pool2d.default, aten.fractional_max_pool3d.default),
    "it draws its windows at random on every run, so it has no field of its own",
)

# Operators of other libraries, by name: they are registered only once the library is imported.
FOREIGN: dict[str, Rule] = {
    "torchvision.deform_conv2d.default": Rule(
        windows.deformed, "conv", ("input", "offset", "mask"), macs=windows.convolution_macs,
        data_dependent=always,
    ),
    "torchvision.roi_align.default": Rule(
        windows.regions, "pool", ("input",), data_dependent=always,
    ),
}  # fmt: skip
