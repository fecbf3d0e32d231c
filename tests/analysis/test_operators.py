"""Every sort of operator in a small network of its own, against the probe at every index."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from rfsearch.analysis.verify import compare
from rfsearch.analysis.walk import walk
from tests.analysis.networks import Call

H, W, C = 8, 10, 4


def conv(kernel: int = 3, **settings: object) -> nn.Module:
    """From the image's three channels to four, and in between."""
    return nn.Conv2d(3, C, kernel, **settings)


def then(*layers: object) -> nn.Module:
    """A convolution, so that fields are more than pixels, and what is to be tried."""
    wrapped = [layer if isinstance(layer, nn.Module) else Call(layer) for layer in layers]
    return nn.Sequential(conv(padding=1), *wrapped)


def between(*layers: object) -> nn.Module:
    """The same with a dilated convolution after it: what was moved is read together."""
    return nn.Sequential(*then(*layers), nn.LazyConv2d(2, 3, padding=2, dilation=2))


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def maps(x: Tensor, height: int = H) -> Tensor:
    return x.transpose(1, 2).unflatten(2, (height, -1))


def window_attention(x: Tensor, shift: int = 0) -> Tensor:
    """Windows of 4 × 5, each with a softmax of its own, after a shift and back."""
    x = torch.roll(x, (-shift, -shift), (2, 3))
    n, c, h, w = x.shape
    w4 = x.view(n, c, h // 4, 4, w // 5, 5).permute(0, 2, 4, 3, 5, 1).reshape(-1, 20, c)
    w4 = (w4 @ w4.transpose(1, 2)).softmax(-1) @ w4
    x = w4.view(n, h // 4, w // 5, 4, 5, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)
    return torch.roll(x, (shift, shift), (2, 3))


def neighbourhood(how: str) -> object:
    """Attention within a band of tokens, by a mask of −∞."""
    length = H * W
    near = (torch.arange(length)[:, None] - torch.arange(length)).abs() <= 2

    def call(x: Tensor) -> Tensor:
        t = tokens(x)
        if how == "fused":
            return maps(F.scaled_dot_product_attention(t, t, t, near))
        scores = t @ t.transpose(1, 2)
        if how == "fill":
            scores = scores.masked_fill(~near, float("-inf"))
        else:
            scores = scores + torch.zeros(length, length).masked_fill(~near, float("-inf"))
        return maps(scores.softmax(-1) @ t)

    return call


def put(x: Tensor) -> Tensor:
    """Writes into views."""
    y = x.clone()
    y[:, :, 1:] = y[:, :, :-1] * 2
    y[:, 0, 2, 3] += x[:, 1, 0, 0]
    y.view(1, -1)[:, :7].mul_(3)
    return y


def twice(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous().view(1, H, W, 2, 2).flip(-1).flatten(3)


def linear_attention(x: Tensor) -> Tensor:
    q = k = v = tokens(x)
    return maps(q.softmax(-1) @ (k.softmax(1).transpose(1, 2) @ v))


def coordinates(x: Tensor) -> Tensor:
    grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 6)] * 2, indexing="ij"), -1)
    return F.grid_sample(x, grid[None].to(x), align_corners=False)


class Hyper(nn.Module):
    """A depthwise convolution whose kernel comes from the image."""

    def forward(self, x: Tensor) -> Tensor:
        kernel = x.mean((2, 3)).view(-1, 1, 1, 1).expand(-1, 1, 3, 3)
        return F.conv2d(x, kernel, padding=1, groups=x.shape[1])


class MultiHead(nn.Module):
    def __init__(self, weights: bool = False, mask: Tensor | None = None, **settings) -> None:
        super().__init__()
        self.weights, self.mask = weights, mask
        self.attention = nn.MultiheadAttention(C, 2, batch_first=True, **settings)

    def forward(self, x: Tensor) -> Tensor:
        t = tokens(x)
        return maps(self.attention(t, t, t, None, self.weights, self.mask)[0])


class Deformed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Conv2d(C, 18, 3, padding=1)
        self.weight = nn.Parameter(torch.randn(C, C, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return deform_conv2d(x, self.offset(x), self.weight, padding=1)


class SpatialTransformer(nn.Module):
    """A grid from the image's own means, or one that is the same for all images."""

    def __init__(self, learned: bool) -> None:
        super().__init__()
        self.matrix = nn.Linear(C, 6) if learned else None

    def forward(self, x: Tensor) -> Tensor:
        if self.matrix is None:
            matrix = torch.tensor([[1, 0.5, 0], [0, 1, 0.25]]).to(x)
        else:
            matrix = self.matrix(x.mean((2, 3))).view(-1, 2, 3)
        grid = F.affine_grid(matrix.expand(1, 2, 3), (1, C, 5, 6), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False), grid


class GroupedQueries(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        queries, keys = tokens(x).unflatten(2, (2, 2)).transpose(1, 2), tokens(x)[:, None, :, :2]
        found = F.scaled_dot_product_attention(queries, keys, keys, enable_gqa=True)
        return maps(found.transpose(1, 2).flatten(2))


class RelativePositions(nn.Module):
    """A learned bias for every difference of places, looked up by a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn((2 * H - 1) * (2 * W - 1)))
        y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
        apart = [place.flatten()[:, None] - place.flatten() for place in (y, x)]
        self.register_buffer("index", (apart[0] + H - 1) * (2 * W - 1) + apart[1] + W - 1)

    def forward(self, x: Tensor) -> Tensor:
        t = tokens(x)
        return maps((t @ t.mT + self.table[self.index]).softmax(-1) @ t)


class Pyramid(nn.Module):
    """Dilated branches, and one that is pooled and enlarged."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(C, C, 3, 1, d, d) for d in (1, 2, 3))

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, (2, 3))
        pooled = F.interpolate(pooled, x.shape[2:], mode="bilinear", align_corners=False)
        return torch.cat([*(branch(x) for branch in self.branches), pooled], 1)


class DownAndUp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(C, C, 3, 2, 1), nn.ConvTranspose2d(C, C, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.up(F.relu(self.down(x), inplace=True))], 1)


class Recurrent(nn.Module):
    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.rows = nn.LSTM(C, C, batch_first=True, **settings)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        found = self.rows(x.permute(0, 2, 3, 1).reshape(n * h, w, c))[0]
        return found.view(n, h, w, -1).permute(0, 3, 1, 2)


class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Bilinear(C, C, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.both(x.mean(2).mT, x.amax(2).mT)


class Autocast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = x[:, :, 1:-1].softmax(1)
        return F.pad(y, (0, 0, 1, 1)) + x


NETWORKS = {
    # convolutions
    "even": conv((2, 4), padding=(1, 2)),
    "asymmetric": nn.Sequential(conv((1, 5), padding=(0, 2)), nn.Conv2d(C, C, (3, 1), (2, 1))),
    "same": conv((4, 3), padding="same", dilation=(1, 2)),
    "groups": nn.Sequential(conv(padding=1), nn.Conv2d(C, 8, 3, groups=2, dilation=2)),
    "asymmetric padding": nn.Sequential(nn.ZeroPad2d((0, 2, 1, 0)), conv(stride=2)),
    **{mode: nn.Sequential(conv(padding=2, dilation=2, padding_mode=mode), nn.Conv2d(C, C, 3))
       for mode in ("reflect", "replicate", "circular")},
    "transposed": then(nn.ConvTranspose2d(C, C, (3, 4), (2, 3), (1, 0), (1, 0), 2, dilation=2)),
    "transposed with holes": then(nn.ConvTranspose2d(C, C, 2, 3), nn.Conv2d(C, C, 1)),
    "1-D over rows": then(lambda x: x[..., 0], nn.Conv1d(C, C, 3, padding=1)),
    "1-D over channels": then(lambda x: x * F.conv1d(
        x.mean((2, 3))[:, None], torch.ones(1, 1, 3).to(x), padding=1)[0, 0, :, None, None]),
    "3-D": then(lambda x: x[:, None], nn.Conv3d(1, 2, (2, 3, 3), (2, 1, 2), (0, 1, 1)),
                lambda x: x.flatten(1, 2)),
    "3-D transposed": then(lambda x: x[:, None], nn.ConvTranspose3d(1, 2, (2, 2, 3), (1, 2, 1))),
    "kernel of the image": then(Hyper()),
    "deformed": then(Deformed()),
    "weight norm": nn.utils.parametrizations.weight_norm(conv(padding=1)),
    # pooling
    "ceil_mode": then(nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2, 2, ceil_mode=True)),
    "pool with indices": then(lambda x: F.max_pool2d(x, 2, return_indices=True)[0]),
    "lp_pool": then(nn.LPPool2d(2, 3, 2)),
    "lp_pool 1-D": then(lambda x: x.flatten(2), nn.LPPool1d(2, 3, 2)),
    "1-D pools": then(lambda x: x.flatten(2), nn.MaxPool1d(3, 2), nn.AvgPool1d(2)),
    "3-D pools": then(lambda x: x[:, None], nn.MaxPool3d(2, 1), nn.AvgPool3d((1, 2, 3), 1),
                      nn.AdaptiveAvgPool3d((2, 3, 4))),
    "adaptive max": then(nn.AdaptiveMaxPool2d((3, 7))),
    "adaptive to itself": then(nn.AdaptiveAvgPool2d((None, 4))),
    "unpool": then(lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)),
    "max of a dimension": between(lambda x: torch.cat([x.max(1, True)[0], x.mean(1, True)], 1)),
    "unbatched": then(lambda x: F.max_pool2d(x[0], 2), lambda x: x[None]),
    "blur": nn.Sequential(nn.ReflectionPad2d(1), conv(stride=2)),
    # resampling
    **{f"{mode} {scale}": then(nn.Upsample(scale_factor=scale, mode=mode))
       for mode in ("nearest", "bilinear", "bicubic", "nearest-exact") for scale in (2, 1.7, .6)},
    **{f"{mode} with corners": then(nn.Upsample((13, 5), mode=mode, align_corners=True))
       for mode in ("bilinear", "bicubic")},
    **{f"{mode} antialiased": then(lambda x, mode=mode: F.interpolate(
        x, (5, 13), mode=mode, antialias=True)) for mode in ("bilinear", "bicubic")},
    "linear 1-D": then(lambda x: x.flatten(2), nn.Upsample(37, mode="linear")),
    "trilinear": then(lambda x: x[:, None], nn.Upsample((5, 9, 20), mode="trilinear")),
    "nearest 3-D": then(lambda x: x[:, None], nn.Upsample((5, 9, 20))),
    "pixel shuffle": between(nn.PixelShuffle(2)),
    "pixel unshuffle": between(nn.PixelUnshuffle(2)),
    "grid_sample": then(coordinates),
    **{f"spatial transformer, learned {learned}": then(SpatialTransformer(learned))
       for learned in (False, True)},
    # views and movements
    "writes into views": then(put, nn.ReLU(True)),
    "flip": between(lambda x: x.flip(2, 3)),
    "roll": between(lambda x: x.roll((1, -3), (2, 3))),
    "roll all": between(lambda x: x.roll(5)),
    "rot90": between(lambda x: x.rot90(1, (2, 3))),
    "repeat": between(lambda x: x.repeat(1, 2, 2, 1)),
    "repeat_interleave": between(lambda x: x.repeat_interleave(2, 3)),
    "channel shuffle": between(nn.ChannelShuffle(2)),
    "unfold": then(lambda x: x.unfold(2, 3, 2).unfold(3, 4, 1).amax((-1, -2))),
    "im2col": then(nn.Unfold(3, 2, 1, 2), lambda x: x.view(1, C, 9, -1).amax(2)),
    "im2col, col2im": between(lambda x: F.fold(F.unfold(x, 3, 1, 1, 2) ** 2, (H, W), 3, 1, 1, 2)),
    "gather": then(lambda x: x.gather(2, torch.tensor([3, 1, 1]).view(1, 1, 3, 1).expand(
        1, C, 3, W))),
    "index": between(lambda x: x[:, [2, 0, 1]][..., torch.arange(0, W, 2)]),
    "index by the image": then(lambda x: x[:, :, x.mean((1, 3))[0].argsort()]),
    "topk": then(lambda x: x.flatten(2).topk(3, -1)[0]),
    "where": then(lambda x: torch.where(x > 0, x, x.flip(3))),
    "constant mask": between(lambda x: torch.where(torch.eye(H, W) > 0, x, 0.0)),
    "tril": between(lambda x: x.tril()),
    "stack, unbind": between(lambda x: torch.stack(x.unbind(2)[::2] + x.unbind(2)[1::2], 2)),
    "chunk, cat": between(lambda x: torch.cat(x.chunk(3, 2)[::-1], 2)),
    "split in channels": between(lambda x: torch.cat([x[:, :1], F.avg_pool2d(x[:, 1:], 3, 1, 1)],
                                                     1)),
    "channels last": between(twice, nn.LayerNorm(C), nn.Linear(C, 6),
                             lambda x: x.permute(0, 3, 1, 2)),
    "movedim": between(lambda x: x.movedim(1, -1).swapaxes(1, 2).movedim((3, 1), (1, 2))),
    "diff": then(lambda x: x.diff(2, 3)),
    "cdist": then(lambda x: torch.cdist(tokens(x), tokens(x)[:, ::2])),
    "cross": then(lambda x: torch.linalg.cross(x[:, :3], x[:, 1:].roll(1, 3), dim=1)),
    "embedding": then(lambda x: F.embedding((x.mean(1) > 0).long(), torch.ones(2, 5).to(x))),
    "cumsum": then(lambda x: x.cumsum(3)),
    "einsum": then(lambda x: torch.einsum("nchw,ndhw->ncd", x, x)),
    "einsum by rows": then(lambda x: torch.einsum("...hw,...hv->...wv", x, x)),
    "index_fill": between(lambda x: x.index_fill(2, torch.tensor([1, 4]), 0.5)),
    "quantiles": then(lambda x: x.kthvalue(3, 2)[0][:, :, None] + x.quantile(.3, 3, True)),
    "norm of a dimension": then(lambda x: x / torch.linalg.norm(x, dim=1, keepdim=True)),
    "cummax": then(lambda x: x.cummax(2)[0] + x.cummin(3)[0]),
    "bilinear": then(Pairs()),
    "cosine": between(lambda x: x * F.cosine_similarity(x, x.flip(2), dim=1)[:, None]),
    "distance": then(lambda x: F.pairwise_distance(x, x.roll(1, 2))),
    "tensordot": then(lambda x: torch.tensordot(x, x[..., :3], dims=([1, 2], [1, 2]))),
    "scatter_add": between(lambda x: torch.zeros_like(x).scatter_add(2, torch.tensor(
        [3, 1, 1, 0, 3]).view(1, 1, 5, 1).expand(1, C, 5, W), x[:, :, ::2].repeat(1, 1, 2, 1))),
    "scatter_add to data": then(lambda x: x.scatter_add(3, torch.tensor([3, 1, 1]).expand(
        1, C, H, 3), x.flip(3))),
    "scatter_reduce": then(lambda x: x.scatter_reduce(2, torch.tensor([4, 4]).view(
        1, 1, 2, 1).expand(1, C, 2, W), x.flip(2), "sum")),
    "index_add": between(lambda x: x.index_add(3, torch.tensor([0, 0, 5]), x[..., 6:9])),
    "index_add to nothing": then(lambda x: torch.zeros(1, C, 3, W).to(x).index_add_(
        2, torch.tensor([0, 2, 2, 0, 2, 2, 0, 0]), x)),
    "index_put, added": then(lambda x: x.index_put(
        (torch.tensor([0]), torch.tensor([1]), torch.tensor([[2], [2]]), torch.tensor([3, 4])),
        x[0, 0, :2, :2], accumulate=True)),
    "scatter by the image": then(lambda x: torch.zeros_like(x).scatter_add(
        2, (x > 0).long(), x)),
    "kron": then(lambda x: torch.kron(x[0, 0], torch.ones(2, 3).to(x)) * 2),
    "kron of data": then(lambda x: torch.kron(x[0, 0, :3], x[0, 1, :2])),
    "as_strided": then(lambda x: x.as_strided((1, C, 3, 4), (H * W * C, H * W, 2 * W, 3), 5)),
    "fft": then(lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * 2)),
    "fft of rows": then(lambda x: torch.fft.rfft(x, dim=3).abs()),
    # norms
    **{f"norm {type(layer).__name__} {i}": then(layer) for i, layer in enumerate([
        nn.GroupNorm(2, C), nn.InstanceNorm2d(C), nn.InstanceNorm2d(C, track_running_stats=True),
        nn.LayerNorm([C, H, W]), nn.LayerNorm(W), nn.LocalResponseNorm(2),
        nn.BatchNorm2d(C, track_running_stats=False), nn.RMSNorm([H, W]),
    ])},
    "normalize": then(lambda x: F.normalize(x, dim=1)),
    "standardised": then(lambda x: (x - x.mean((2, 3), True)) / x.std((2, 3), keepdim=True)),
    # activations with something to them
    "glu": between(nn.GLU(1)),
    "prelu": then(nn.PReLU(C), nn.Softplus(), nn.Mish(), nn.SELU(), nn.Hardtanh(), nn.CELU(),
                  nn.LogSigmoid(), nn.Tanhshrink(), nn.Softsign(), nn.Softshrink(), nn.RReLU()),
    "softmax over space": then(nn.Softmax(3), nn.LogSoftmax(1)),
    "context": then(lambda x: x + (x.flatten(2) @ x[:, :1].flatten(2).softmax(-1).mT)[..., None]),
    # attention
    "attention": then(lambda x: maps(F.scaled_dot_product_attention(*[tokens(x)] * 3))),
    "causal attention": then(lambda x: maps(F.scaled_dot_product_attention(
        *[tokens(x)] * 3, is_causal=True))),
    "attention by hand": then(lambda x: maps(
        (tokens(x) @ x.flatten(2)).softmax(-1) @ tokens(x))),
    "attention within rows": then(lambda x: (x @ x.mT).softmax(-1) @ x),
    "multi-head": then(MultiHead()),
    "multi-head with extra key": then(MultiHead(add_bias_kv=True, add_zero_attn=True)),
    **{f"multi-head with a mask, weights {weights}": then(MultiHead(weights, torch.ones(
        H * W, H * W).triu(1).bool())) for weights in (False, True)},
    "encoder layer": then(tokens, nn.TransformerEncoderLayer(C, 2, 8, batch_first=True), maps),
    "windows": between(window_attention),
    "shifted windows": between(lambda x: window_attention(x, 2)),
    "linear attention": then(linear_attention),
    **{f"neighbourhood, {how}": then(neighbourhood(how)) for how in ("fused", "fill", "add")},
    "class token": between(lambda x: maps(torch.cat([torch.zeros(1, 1, C), tokens(x)], 1)[:, 1:])),
    "patches by conv": nn.Sequential(nn.Conv2d(3, C, (4, 5), (4, 5)), Call(tokens)),
    "patches by views": nn.Sequential(
        Call(lambda x: x.view(1, 3, 2, 4, 2, 5).permute(0, 2, 4, 1, 3, 5).reshape(1, 4, 60)),
        nn.Linear(60, 5), Call(lambda x: maps(x, 2)), nn.Conv2d(5, 2, 2, padding=1)),
    "frozen encoder": then(tokens, nn.TransformerEncoderLayer(C, 2, 8, batch_first=True), maps
                           ).requires_grad_(False),
    "grouped queries": then(GroupedQueries()),
    "relative positions": then(RelativePositions()),
    "dilated pyramid": between(Pyramid()),
    "down and up": between(DownAndUp()),
    # recurrence
    "lstm": then(Recurrent()),
    "both ways": then(Recurrent(bidirectional=True)),
    "both ways twice": then(Recurrent(bidirectional=True, num_layers=2)),
    "without gradients": then(Autocast()),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", NETWORKS)
def test_walk_equals_probe(name):
    torch.manual_seed(0)
    net = NETWORKS[name].eval()
    with torch.no_grad():
        net(torch.zeros(1, 3, H, W))  # lazy layers learn their width
    assert compare(net, (H, W), runs="every line").disagreements == ()
    assert compare(net, (H, W), runs="half-planes").disagreements == ()
    walk(net, (H, W))
