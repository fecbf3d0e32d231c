"""Several processes that train one network: each has its share of every batch.

Notation
    R       processes;  N images of a batch, n of this one's share
    S       sums over the N images, added up over all processes
    x̂       (x − μ) / √(σ² + ε), with μ and σ² of all N images

All processes have the same weights and draw the same numbers; they gather the logits of a batch,
and each computes the loss of all N images, whatever that loss does with a batch (weights of
classes, a temperature). Its gradient goes back into the own share alone, R times, and gradients
of parameters are averaged: so a term that every process has, such as a penalty on α, counts once.

BatchNorm's statistics are those of all N images (`_Norm`), and masks of dropout are drawn for all
N images, of which each process takes its rows (torch's SyncBatchNorm has no CPU, and its dropout
draws for a share):
    y = w x̂ + b;   x' = w (y' − S(y')/M − x̂ S(y' x̂)/M) / √(σ² + ε),   M = N·H·W
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from rfsearch.errors import UserError
from rfsearch.training.processes import precision_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")


class Lost(UserError):
    """Another process has ended."""


class Shares:
    """One process that has all of every batch. What is here is nothing; `Together` does it.

    Args:
        autocast: the context in which networks are run; what leaves it is float32 at least.

    Attributes:
        rank: of this process, from 0.
        num: processes.
    """

    rank, num = 0, 1

    def __init__(
        self, autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        self.autocast = autocast

    def part(self, batch: Tensor) -> Tensor:
        """The rows of a batch, (N, ...), that this process has, (n, ...)."""
        return batch

    def logits(self, network: nn.Module, images: Tensor, num: int) -> Tensor:
        """Of all images of a batch.

        Args:
            images: this process's part of them, (n, C, H, W).
            num: N.

        Returns:
            (N, classes), in the order of the batch.
        """
        del num
        with self.autocast():
            logits: Tensor = network(images)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each by its mean over the processes, which is the same in all of them."""

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process."""
        return flag

    def first(self, make: Callable[[], T]) -> T:
        """What the first process makes; its mistake is everybody's."""
        return make()

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Around what every process does for itself: a mistake of one is everybody's."""
        yield

    def differing(self, told: Mapping[str, object]) -> dict[str, list[str]]:
        """Where processes tell different things: name → as text, by process."""
        del told
        return {}


ALONE = Shares()


class Together(Shares):
    """This process among others.

    Args:
        device: where this process has its tensors.
    """

    def __init__(self, rank: int, num: int, device: torch.device) -> None:
        super().__init__()
        self.rank, self.num, self.device = rank, num, device

    def sizes(self, num: int) -> list[int]:
        """Rows of every process's share of N."""
        return [(num + self.num - 1 - rank) // self.num for rank in range(self.num)]

    def rows(self, num: int) -> slice:
        """Those of this process."""
        sizes = self.sizes(num)
        start = sum(sizes[: self.rank])
        return slice(start, start + sizes[self.rank])

    def part(self, batch: Tensor) -> Tensor:
        return batch[self.rows(len(batch))]

    def logits(self, network: nn.Module, images: Tensor, num: int) -> Tensor:
        with _Whole(self, num):
            own = network(images)
        logits: Tensor = _Gather.apply(own, self, num)
        return logits

    def average(self, tensors: Iterable[Tensor]) -> None:
        given = list(tensors)
        if not given:
            return
        flat = torch.cat([tensor.detach().flatten() for tensor in given])
        self.add(flat)
        flat /= self.num
        for tensor, mean in zip(given, flat.split([t.numel() for t in given]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def any(self, flag: bool) -> bool:
        count = torch.tensor(float(flag), device=self.device)
        self.add(count)
        return bool(count)

    def first(self, make: Callable[[], T]) -> T:
        found: list[Any] = [None, None]
        if self.rank == 0:
            try:
                found[0] = make()
            except UserError as error:
                found[1] = error
        with _present():
            dist.broadcast_object_list(found, src=0, device=self.device)
        if found[1] is not None:
            raise found[1]
        value: T = found[0]
        return value

    @contextmanager
    def agreed(self) -> Iterator[None]:
        mistake = ""
        try:
            yield
        except UserError as error:
            mistake = str(error)
        told = self.gathered(mistake)
        if told[0]:
            raise UserError(told[0])
        for rank, text in enumerate(told):
            if text:
                raise UserError(f"process {rank} of {self.num}: {text}")

    def differing(self, told: Mapping[str, object]) -> dict[str, list[str]]:
        texts = {name: str(value) for name, value in told.items()}
        digest = hashlib.sha256(repr(texts).encode()).digest()
        number = int.from_bytes(digest[:8], "big") >> 1
        largest = torch.tensor([number, -number], device=self.device)
        with _present():
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        if int(largest[0]) == -int(largest[1]):  # the largest is the smallest
            return {}
        by_process = self.gathered(texts)
        names = dict.fromkeys(name for one in by_process for name in one)
        columns = {name: [one.get(name, "") for one in by_process] for name in names}
        return {name: column for name, column in columns.items() if len(set(column)) > 1}

    def gathered(self, told: T) -> list[T]:
        """What every process tells, by its rank."""
        found: list[Any] = [None] * self.num
        with _present():
            dist.all_gather_object(found, told)
        return found

    def add(self, tensor: Tensor) -> None:
        """Replace it by the sum over all processes, which is the same in all of them."""
        with _present():
            dist.all_reduce(tensor)

    def whole(self, part: Tensor, rows: slice, num: int) -> Tensor:
        """(num, ...) of every process's rows; what is added to zeros is not changed."""
        found = part.new_zeros(num, *part.shape[1:])
        found[rows] = part
        self.add(found)
        return found


def shares_of(fabric: Fabric) -> Shares:
    """Of the processes that Fabric has brought together."""
    if fabric.world_size == 1:
        return ALONE if precision_of(fabric) == "float32" else Shares(fabric.autocast)
    return Together(fabric.global_rank, fabric.world_size, fabric.device)


@contextmanager
def _present() -> Iterator[None]:
    """A message that does not get through means that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise Lost(
            "another process of this training has ended; if it has told why, put that right; go "
            "on by --resume"
        ) from error


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, shares: Together, num: int) -> Tensor:
        ctx.rows, ctx.times = shares.rows(num), shares.num
        return shares.whole(part, ctx.rows, num)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return g[ctx.rows] * ctx.times, None, None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float,
        shares: Together, num: int,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        own = torch.stack(torch.var_mean(x, _axes(x), correction=0))
        rank = slice(shares.rank, shares.rank + 1)
        variances, means = shares.whole(own[None], rank, shares.num).unbind(1)
        share = own.new_tensor(shares.sizes(num))[:, None] / num
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean) ** 2)).sum(0)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.shares = eps, shares
        ctx.count = x.numel() // x.shape[1] // len(x) * num
        y = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        shape = (1, -1, *[1] * (x.dim() - 2))
        inverse = (variance + ctx.eps).rsqrt()
        normal = (x - mean.view(shape)) * inverse.view(shape)
        own = torch.stack([g.sum(_axes(g)), (g * normal).sum(_axes(g))])
        sums = own.clone()
        ctx.shares.add(sums)
        first, second = (sums / ctx.count).view(2, *shape)
        slope = inverse if weight is None else inverse * weight
        dx = (g - first - normal * second) * slope.view(shape)
        needs = ctx.needs_input_grad
        return dx, own[1] if needs[1] else None, own[0] if needs[2] else None, *[None] * 3


def _axes(x: Tensor) -> list[int]:
    """All but the channels'."""
    return [0, *range(2, x.dim())]


class _Whole(TorchFunctionMode):
    """Inside, what a network does with its batch it does with all N images of it."""

    def __init__(self, shares: Together, num: int) -> None:
        super().__init__()
        self.shares, self.num = shares, num

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        del types
        ours = _OF_BATCHES.get(function)
        if ours is None:
            return function(*arguments, **(named or {}))
        return ours(self, function, *arguments, **(named or {}))

    def norm(
        self, original: Callable[..., Tensor], x: Tensor, running_mean: Tensor | None,
        running_var: Tensor | None, weight: Tensor | None = None, bias: Tensor | None = None,
        training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
    ) -> Tensor:  # fmt: skip
        """F.batch_norm."""
        if not training:
            return original(x, running_mean, running_var, weight, bias, False, momentum, eps)
        y, mean, variance = _Norm.apply(x, weight, bias, eps, self.shares, self.num)
        if running_mean is not None and running_var is not None:
            count = x.numel() // x.shape[1] // len(x) * self.num
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((variance * (count / (count - 1))).to(running_var), momentum)
        found: Tensor = y
        return found

    def dropout(
        self, original: Callable[..., Tensor], x: Tensor, p: float = 0.5, training: bool = True,
        inplace: bool = False,
    ) -> Tensor:  # fmt: skip
        """F.dropout and those of whole channels."""
        if not training or not self.is_batch(x):
            return original(x, p, training, inplace)
        mask = original(torch.ones_like(self.of_all(x)), p, True, False)[
            self.shares.rows(self.num)
        ]
        return x.mul_(mask) if inplace else x * mask

    def bernoulli(
        self, original: Callable[..., Tensor], x: Tensor, *arguments: Any, **named: Any
    ) -> Tensor:
        """Tensor.bernoulli_, which layers draw that leave out whole images."""
        if not self.is_batch(x):
            return original(x, *arguments, **named)
        drawn = original(self.of_all(x), *arguments, **named)
        return x.copy_(drawn[self.shares.rows(self.num)])

    def is_batch(self, x: Tensor) -> bool:
        """Whether it has a row for each image of this process's share."""
        return x.dim() > 0 and len(x) == self.shares.sizes(self.num)[self.shares.rank]

    def of_all(self, x: Tensor) -> Tensor:
        """Room for all N images in the layout of x."""
        layout = torch.channels_last if _is_channels_last(x) else torch.contiguous_format
        shape = (self.num, *x.shape[1:])
        return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)


def _is_channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


_OF_BATCHES: dict[Any, Callable[..., Tensor]] = {
    F.batch_norm: _Whole.norm,
    F.dropout: _Whole.dropout,
    F.dropout1d: _Whole.dropout,
    F.dropout2d: _Whole.dropout,
    F.dropout3d: _Whole.dropout,
    torch.Tensor.bernoulli_: _Whole.bernoulli,
}
"""What of torch looks at a batch as a whole, or draws for each of its images."""
