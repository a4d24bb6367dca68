"""Packed self-attention: every text of a row of tokens attends to itself. The only file that knows about devices.

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
ROWS = 64  # what matrix products on a CPU get is a multiple of so many rows
TOKENS = {"cpu": 1024, "cuda": 65536}  # of a group at most; on a CPU its scores stay in the cache


@dataclass(frozen=True)
class Layout:
    """Where the texts of a batch lie; computed once for a forward pass and shared by its layers."""

    starts: Tensor  # (B+1,) int32, on the device
    lengths: Sequence[int]  # tokens of each text
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
    def groups(self) -> tuple[list[tuple[int, int, Tensor | None]], Tensor, Tensor]:
        """Groups of texts that are equally long when rounded up to a MULTIPLE, as (g, L, bias (g, 1, 1, L), -inf at the
        padding, None where there is none); for each padded place its token (P,); for each token its padded place (T,).
        """
        device, lengths, most = self.starts.device, torch.tensor(self.lengths), TOKENS[self.starts.device.type]
        order = lengths.argsort(descending=True, stable=True)
        sizes, groups, spans = lengths[order].tolist(), [], []
        while sizes:
            longest = -(-sizes[0] // MULTIPLE) * MULTIPLE
            alike = sum(size > longest - MULTIPLE for size in sizes)
            texts = max(1, min(most // longest, alike))
            inside, sizes = sizes[:texts], sizes[texts:]
            bias = None
            if inside[-1] < longest:
                padding = torch.arange(longest) >= torch.tensor(inside)[:, None]  # (g, L)
                bias = torch.zeros(padding.shape, dtype=self.dtype).masked_fill_(padding, -torch.inf)
                bias = sent(bias[:, None, None], device)  # (g, 1, 1, L)
            groups.append((texts, longest, bias))
            spans += [longest] * texts
        spans = torch.tensor(spans)  # (B,) places of each text, in the order of the groups
        begins = torch.empty_like(spans)  # (B,) where each text's places begin, in the order of the batch
        begins[order] = spans.cumsum(0) - spans
        tokens = torch.arange(int(lengths.sum()))
        places = tokens + (begins - lengths.cumsum(0) + lengths).repeat_interleave(lengths)  # (T,)
        # Padding repeats the first token: any would do, for its keys are masked and its outputs are not read.
        sources = torch.zeros(int(spans.sum()), dtype=torch.long).index_copy_(0, places, tokens)  # (P,)
        return groups, sent(sources, device), sent(places, device)


def sent(x: Tensor, device: torch.device) -> Tensor:
    """x of this machine's memory on the device; a GPU copies it on its own, nobody waits."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)


def layout(starts: Tensor, lengths: Sequence[int] | None, weight: Tensor, size: int, dropout: float) -> Layout:
    """The layout of texts that begin at `starts` (B+1,) for an encoder with this weight, head size and dropout.

    Without `lengths` starts are read back from the device."""
    kind = weight.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    if lengths is None:
        lengths = starts.diff().tolist()
    starts = starts.to(weight.device, torch.int32, non_blocking=True)
    return Layout(starts, lengths, dtype, choose(kind, dtype, size, dropout))


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
    """Attention by `inside(q, k, v, bias, dropout)`, (g, H, L, d) each, over the length-sorted groups."""
    T, _, H, d = qkv.shape
    groups, sources, places = layout.groups
    if T > len(places):
        places = F.pad(places, (0, T - len(places)))  # rows behind the tokens get any token's output
    parts = qkv.reshape(T, -1).index_select(0, sources).split([texts * longest for texts, longest, _ in groups])
    outputs = []
    for (texts, longest, bias), part in zip(groups, parts, strict=True):
        q, k, v = part.view(texts, longest, 3, H, d).permute(2, 0, 3, 1, 4).contiguous()  # (g, H, L, d)
        outputs.append(inside(q, k, v, bias, dropout).transpose(1, 2).reshape(-1, H * d))  # (g * L, H * d)
    return torch.cat(outputs).index_select(0, places).view(T, H, d)


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
    return F.dropout(x, rate) if x.device.type != "cpu" else Dropped.apply(x, round(rate * 65536))


class Dropped(torch.autograd.Function):
    """The mask is of whole numbers, and zeroes by "and": a product would first make it numbers of x's kind."""

    @staticmethod
    def forward(ctx, x: Tensor, threshold: int) -> Tensor:
        bits = torch.empty(x.numel() // 4 + 1, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        kept = bits[: x.numel()].ge_(threshold - 32768).neg_().view(x.shape)  # -1, all bits set, or 0
        ctx.save_for_backward(kept)
        ctx.scale = 65536 / (65536 - threshold)
        return masked(x, kept).mul_(ctx.scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return masked(slope, kept).mul_(ctx.scale), None


def masked(x: Tensor, kept: Tensor) -> Tensor:
    """x where `kept` (int16) is -1, 0 where it is 0."""
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
    return (x.view(whole) & kept.to(whole)).view(x.dtype)
