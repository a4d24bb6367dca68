"""Packed self-attention: every text of a row of tokens attends to itself. The file that chooses by the device.

Letters: T tokens in the batch, B texts, H heads, d head size, P padded places, g texts of a group, L its longest.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial

import torch
import torch.nn.functional as F
from torch import Tensor

MULTIPLE = 32  # of which lengths of groups are: on other rows a CPU's softmax in bf16 takes up to ten times as long
ROWS = 32  # what matrix products on a CPU get is a multiple of so many rows
TOKENS = {"cpu": 1024, "cuda": 65536}  # of a group at most; on a CPU its scores stay in the cache


@dataclass(frozen=True)
class Layout:
    """Where the texts of a batch lie; computed once for a forward pass and shared by its layers."""

    starts: Tensor  # (B+1,) int32, on the device
    lengths: Sequence[int]  # tokens of each text
    heads: int
    dtype: torch.dtype  # what attention is computed in
    path: Callable[[Tensor, "Layout", float], Tensor]

    @cached_property
    def longest(self) -> int:
        return max(self.lengths)

    @cached_property
    def extra(self) -> int:
        """Rows to add to those of the tokens: on a CPU every new number of rows has oneDNN make new kernels of the
        matrix products, some 5 ms each, so their numbers are few."""
        return -sum(self.lengths) % ROWS if self.path is grouped else 0

    @cached_property
    def groups(self) -> list[tuple[int, int, Tensor | None]]:
        """Texts that are equally long when rounded up to a MULTIPLE, the longest first: their number g, that length L,
        and a bias (g, 1, 1, L), -inf at the padding, None where there is none."""
        device, sizes, groups = self.starts.device, sorted(self.lengths, reverse=True), []
        while sizes:
            longest = -(-sizes[0] // MULTIPLE) * MULTIPLE
            alike = sum(size > longest - MULTIPLE for size in sizes)
            texts = max(1, min(TOKENS[device.type] // longest, alike))
            inside, sizes = sizes[:texts], sizes[texts:]
            bias = None
            if inside[-1] < longest:
                padding = torch.arange(longest) >= torch.tensor(inside)[:, None]  # (g, L)
                bias = torch.zeros(padding.shape, dtype=self.dtype).masked_fill_(padding, -torch.inf)
                bias = sent(bias[:, None, None], device)  # (g, 1, 1, L)
            groups.append((texts, longest, bias))
        return groups

    @cached_property
    def places(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where vectors (d,) lie. Of tokens the queries, keys and values of the heads are rows (T, 3, H); of groups,
        one after the other, they are rows (3, g, H, L). For each row of tokens that of groups (3HT,); for each row of
        groups that of tokens (3HP,), any at the padding; for each output (T, H) that of groups (g, H, L), (HT,)."""
        heads, lengths = torch.arange(self.heads), torch.tensor(self.lengths)
        counts, longest = torch.tensor([(texts, longest) for texts, longest, _ in self.groups]).T  # (groups,) each
        before = (counts * longest).cumsum(0) - counts * longest  # places of all groups before
        inside = torch.arange(len(lengths)) - (counts.cumsum(0) - counts).repeat_interleave(counts)  # (B,) in its group
        before, texts, longest = (each.repeat_interleave(counts) for each in (before, counts, longest))  # (B,) each
        # From the order of the groups to that of the batch, and from texts to tokens.
        back = lengths.argsort(descending=True, stable=True).argsort().repeat_interleave(lengths)  # (T,)
        place = torch.arange(len(back)) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)  # (T,) in its text
        row = self.heads * inside * longest
        row = (row[back] + place)[:, None] + longest[back, None] * heads  # (T, H) in its group
        first = self.heads * before[back, None]  # (T, 1) of the group, among outputs
        kinds = torch.arange(3)[:, None] * (self.heads * texts * longest)[back, None, None]  # (T, 3, 1)
        tokens = (row[:, None] + 3 * first[:, None] + kinds).flatten()  # (3HT,)
        groups = torch.zeros(3 * self.heads * int(longest.sum()), dtype=torch.long)  # (3HP,)
        groups.index_copy_(0, tokens, torch.arange(len(tokens)))
        return tuple(sent(each, self.starts.device) for each in (tokens, groups, (row + first).flatten()))


def sent(x: Tensor, device: torch.device) -> Tensor:
    """x of this machine's memory on the device; a GPU copies it on its own, nobody waits."""
    return (x.contiguous().pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)


def layout(
    starts: Tensor, lengths: Sequence[int] | None, weight: Tensor, heads: int, size: int, dropout: float
) -> Layout:
    """The layout of texts that begin at `starts` (B+1,) for an encoder with this weight, heads, head size and dropout.

    Without `lengths` starts are read back from the device."""
    kind = weight.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    if lengths is None:
        lengths = starts.diff().tolist()
    starts = starts.to(weight.device, torch.int32, non_blocking=True)
    return Layout(starts, lengths, heads, dtype, choose(kind, dtype, size, dropout))


def choose(device: str, dtype: torch.dtype, size: int, dropout: float) -> Callable[[Tensor, Layout, float], Tensor]:
    """The attention function for these, announced."""
    half = dtype in (torch.float16, torch.bfloat16)
    if device == "cpu":
        path, why = grouped, "matmul, softmax, matmul over length-sorted groups"
    elif half and size % 8 == 0 and size <= 256 and dropout == 0 and has_flash():
        path, why = varlen, "variable-length flash kernel"
    else:
        path, why = sdpa, "scaled_dot_product_attention over length-sorted groups"
        if half:
            takes = "no dropout, head sizes 8, 16 .. 256, GPUs from Ampere on"
            why += f" (the flash kernel takes {takes}; here {dropout:g} and {size})"
    announce(f"attention on {device}, {str(dtype).removeprefix('torch.')}, dropout {dropout:g}: {why}")
    return path


def has_flash() -> bool:
    """Whether the GPU runs the flash kernel, which those before Ampere (V100, T4) do not."""
    return not torch.cuda.is_available() or torch.cuda.get_device_capability() >= (8, 0)


@cache
def announce(line: str) -> None:
    """Say it, once in a process."""
    print(line, file=sys.stderr)


def attention(qkv: Tensor, layout: Layout, dropout: float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(d)) v within each text, its probabilities dropped at the rate `dropout`: `qkv`
    (T, 3, H, d) to (T, H, d)."""
    return layout.path(qkv, layout, dropout)


def varlen(qkv: Tensor, layout: Layout, dropout: float) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn  # a second to import, and for CUDA alone

    q, k, v = qkv.unbind(1)  # (T, H, d) each
    return varlen_attn(q, k, v, layout.starts, layout.starts, layout.longest, layout.longest)


def padded(qkv: Tensor, layout: Layout, dropout: float, inside: Callable[..., Tensor]) -> Tensor:
    """Attention by `inside(q, k, v, bias, dropout)`, (g, H, L, d) each, over the groups."""
    T, _, H, d = qkv.shape
    tokens, groups, outputs = layout.places
    sizes = [texts * H * longest for texts, longest, _ in layout.groups for _ in range(3)]
    parts, mixed = iter(Spread.apply(qkv.reshape(-1, d), groups, tokens).split(sizes)), []
    for texts, longest, bias in layout.groups:
        q, k, v = (next(parts).view(texts, H, longest, d) for _ in range(3))
        mixed.append(inside(q, k, v, bias, dropout).reshape(-1, d))  # (g * H * L, d)
    return Gathered.apply(torch.cat(mixed), outputs, T * H).view(T, H, d)


class Spread(torch.autograd.Function):
    """Rows of x (N, d) in another order with padding (M, d). On the way back the padding's gradient, which is 0, need
    not be added up: rows are taken from where they went (n,), and those behind the n-th went nowhere."""

    @staticmethod
    def forward(ctx, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        ctx.size = len(x)
        return x.index_select(0, there)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope: Tensor) -> tuple[Tensor, None, None]:
        return rows_at(slope, *ctx.saved_tensors, ctx.size), None, None


class Gathered(torch.autograd.Function):
    """Rows (n,) of x (M, d), and zeros behind them up to `size`; the way back from `Spread`'s order."""

    @staticmethod
    def forward(ctx, x: Tensor, rows: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.size = len(x)
        return rows_at(x, rows, size)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope: Tensor) -> tuple[Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        return slope.new_zeros(ctx.size, slope.shape[1]).index_copy_(0, rows, slope[: len(rows)]), None, None


def rows_at(x: Tensor, rows: Tensor, size: int) -> Tensor:
    """These rows (n,) of x (M, d), then zeros: (size, d)."""
    out = x.new_empty(size, x.shape[1])
    torch.index_select(x, 0, rows, out=out[: len(rows)])
    out[len(rows) :] = 0
    return out


def by_hand(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, rate: float) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.mT  # (g, H, L, L)
    if bias is not None:
        scores += bias
    return dropout(scores.softmax(-1), rate) @ v  # (g, H, L, d)


grouped = partial(padded, inside=by_hand)
sdpa = partial(padded, inside=F.scaled_dot_product_attention)


def reference(qkv: Tensor, layout: Layout, dropout: float = 0.0) -> Tensor:
    """The equation in float32, text by text: what every other path is tested against. It drops nothing."""
    outputs = []
    for text in qkv.float().split(list(layout.lengths)):
        q, k, v = text.permute(1, 2, 0, 3)  # (H, L, d) each
        outputs.append(((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v).transpose(0, 1))
    return torch.cat(outputs).to(qkv.dtype)  # (T, H, d)


def dropout(x: Tensor, rate: float) -> Tensor:
    """x with elements zeroed at the rate and the others scaled up, drawn from torch's global generator.

    On CPU 16 random bits decide an element, which is many times cheaper than the mask of F.dropout; the rate is then
    a multiple of 2^-16, and the scale is that of the rate so rounded."""
    if rate == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, rate)
    threshold = round(rate * 65536)
    bits = torch.empty(x.numel() // 4 + 1, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    kept = bits[: x.numel()].ge_(threshold - 32768).neg_().view(x.shape)  # -1, all bits set, or 0
    return Masked.apply(x, kept, 65536 / (65536 - threshold))


class Masked(torch.autograd.Function):
    """x times `scale` where `kept` (int16) is -1, 0 where it is 0. A product would first make numbers of the mask."""

    @staticmethod
    def forward(ctx, x: Tensor, kept: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
        return (x.view(whole) & kept.to(whole)).view(x.dtype).mul_(scale)

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple[Tensor, None, None]:
        return Masked.apply(slope, *ctx.saved_tensors, ctx.scale), None, None
