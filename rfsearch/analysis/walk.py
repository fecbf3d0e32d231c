"""The walk: a network read without running it, as the rows of layers.csv."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

from torch import Tensor, nn
from torch.export import ExportedProgram

from rfsearch.analysis.call import Window
from rfsearch.analysis.capture import capture
from rfsearch.analysis.dependence import Value
from rfsearch.analysis.follow import AT_LEAST, AT_MOST, Step, follow, module_name, source
from rfsearch.analysis.joins import misaligned
from rfsearch.analysis.layers import Analysis, Layer, Totals
from rfsearch.analysis.reach import Axis


def walk(
    module: nn.Module,
    image_size: tuple[int, int],
    channels: int = 3,
    program: ExportedProgram | None = None,
    ignore_unknown: bool = False,
) -> Analysis:
    """Fields, shapes, parameters and cost of every layer, from one pass over the graph.

    Args:
        module: any module that takes one batch of images (N, C, H, W); it is not changed.
        image_size: (height, width).
        channels: C.
        program: the module as `capture` has it at this size, where that is known already.
        ignore_unknown: go on behind an operator without a rule, as if it were element-wise, and
            mark all that comes after it ``at_least``.

    Raises:
        UserError: an operator without a rule, or a module that torch.export cannot capture.
    """
    program = program or capture(module, image_size, channels)
    parameters = _Parameters(program)
    calls: Counter[str] = Counter()
    layers, nodes, joins = [], [], []
    for step in follow(program, ignore_unknown):
        new = parameters.take(step.call.params)
        kind = _kind(step, new)
        if kind:
            name = module_name(step.node)
            layers.append(_layer(step, name, calls[name], kind, new, image_size))
            nodes.append(step.node.name)
            joins += misaligned(step, name, calls[name])
            calls[name] += 1
    totals = Totals(
        sum(parameter.numel() for parameter in module.parameters()),
        sum(layer.macs for layer in layers),
        sum(layer.window_ops for layer in layers),
    )
    return Analysis(image_size, tuple(layers), totals, tuple(nodes), tuple(joins))


class _Parameters:
    """Counts every parameter once, by the tensor it is, whatever its names."""

    def __init__(self, program: ExportedProgram) -> None:
        signature = program.graph_signature.inputs_to_parameters
        self.tensors: dict[str, Tensor] = {t: program.state_dict[t] for t in signature.values()}
        self.counted: set[int] = set()

    def take(self, names: frozenset[str]) -> int:
        """How many numbers these parameters add to what was counted before."""
        new = {id(self.tensors[name]): self.tensors[name].numel() for name in names}
        added = sum(count for key, count in new.items() if key not in self.counted)
        self.counted |= new.keys()
        return added


def _kind(step: Step, new_params: int) -> str | None:
    """The rule's kind; a join with a constant joins nothing; parameters always make a layer."""
    kind = step.rule.kind
    if kind == "join" and len(step.call.data) < 2:
        kind = None
    return kind or ("other" if new_params else None)


def _layer(
    step: Step, name: str, call: int, kind: str, params: int, image_size: tuple[int, int]
) -> Layer:
    output, windows = step.output, step.rule.windows(step.call)
    dims = _spatial_dims(step)
    numbers: dict[str, object] = {"padding_share": _padding_share(windows)}
    for i, axis in enumerate("hw"):
        along = [window for window in windows if window.dim == dims[i]]
        numbers |= _fields(output, i, dims[i], axis)
        numbers |= _movement(step, along, i, axis, image_size[i])
    numbers |= _shape(step, dims)
    if image_size[0] == 1 and dims[0] is None is not dims[1]:
        numbers |= _one_row(step, bool(windows))
    return Layer(
        name=name, call=call, kind=kind, params=params, **numbers,  # type: ignore[arg-type]
        macs=step.rule.macs(step.call), window_ops=step.rule.window_ops(step.call),
        source=source(step.node),
        at_least=AT_LEAST in step.marks, at_most=AT_MOST in step.marks,
    )  # fmt: skip


def _spatial_dims(step: Step) -> tuple[int | None, int | None]:
    """Which dimensions of the output run over height and width.

    Those along which it moves over the image; where it does not, as after global pooling, the
    layout that the operator goes with. Three dimensions may run over one of the two: a map of
    rows or of columns alone, a signal.
    """
    output = step.output
    num = len(output.shape)
    if num < 4:
        return _along_one(output) if num == 3 else (None, None)
    moving = [[d for d, jump in enumerate(axis.jumps) if jump] for axis in output.axes]
    if all(len(dims) == 1 for dims in moving) and moving[0] != moving[1]:
        return moving[0][0], moving[1][0]
    last = step.rule.kind == "linear" or len(step.call.arguments.get("normalized_shape", ())) == 1
    return (num - 3, num - 2) if last else (num - 2, num - 1)


def _along_one(output: Value) -> tuple[int | None, int | None]:
    """The dimension that runs over one of height and width, where nothing runs over the other."""
    over = [[d for d, jump in enumerate(axis.jumps) if jump != 0] for axis in output.axes]
    if sorted(map(len, over)) != [0, 1]:
        return None, None
    return (over[0][0], None) if over[0] else (None, over[1][0])


def _one_row(step: Step, moves: bool) -> dict[str, object]:
    """What a signal's layers are along the height of 1 of the image that it is read as."""
    numbers: dict[str, object] = {"height": 1, "jump_h": 1, "start_h": 0}
    if moves:
        numbers |= {"kernel_h": 1, "stride_h": 1}
        numbers |= {"unproductive_h": False} if step.rule.kind in ("conv", "pool") else {}
    return numbers


def _shape(step: Step, dims: tuple[int | None, int | None]) -> dict[str, int | None]:
    before, after = step.call.input.shape, step.output.shape
    num = len(after)
    last = dims == (num - 2, num - 1) if num >= 4 else num - 1 in dims
    channel = 1 if last else -1
    height, width = (after[d] if d is not None else None for d in dims)
    if len(after) == 2:
        height = width = 1
    inside = before[channel] if len(before) == len(after) > 0 else None
    return {"in_channels": inside, "out_channels": after[channel] if after else None,
            "height": height, "width": width}  # fmt: skip


def _fields(output: Value, i: int, dim: int | None, axis: str) -> dict[str, object]:
    """The field's columns along one image axis."""
    reaches = output.axes[i].reaches
    jump = _jump(output.axes[i], dim)
    return {
        f"field_{axis}": int(reaches["largest"].intervals.sizes.max()),
        f"field_no_gates_{axis}": int(reaches["no_gates"].intervals.sizes.max()),
        f"field_min_{axis}": int(reaches["smallest"].intervals.sizes.min()),
        f"field_clipped_{axis}": int(reaches["seen"].intervals.sizes.max()),
        f"jump_{axis}": jump,
        f"start_{axis}": None if jump is None else int(reaches["no_gates"].lo.min()),
    }


def _jump(axis: Axis, dim: int | None) -> int | float | None:
    """Pixels per step of the output, where the output is a map."""
    jump = axis.jumps[dim] if dim is not None else None
    if jump is None or jump == 0:
        return None
    return int(jump) if jump.denominator == 1 else float(jump)


def _movement(
    step: Step, windows: list[Window], i: int, axis: str, length: int
) -> dict[str, object]:
    """Kernel, stride and whether the kernel can still see something new."""
    if not windows:
        return {}
    window = windows[-1]
    numbers: dict[str, object] = {
        f"kernel_{axis}": window.kernel, f"stride_{axis}": window.stride
    }  # fmt: skip
    if step.rule.kind in ("conv", "pool"):
        sizes = step.call.input.axes[i].reaches["smallest"].intervals.sizes
        alone = int(window.taps.inside.sum(1).max()) <= 1
        numbers[f"unproductive_{axis}"] = window.kernel > 1 and (
            alone or int(sizes.min()) >= length
        )
    return numbers


def _padding_share(windows: Sequence[Window]) -> float | None:
    """Share of all window positions that lie on padding; the axes' real shares multiply."""
    if not windows:
        return None
    return 1 - prod(int(w.taps.inside.sum()) / int(w.taps.used.sum()) for w in windows)
