"""Every path of attention against a slow one in float64: largest errors, and milliseconds.

python -m benchmarks.attention [--short]

Texts of real lengths lie packed, without padding. An error is the largest difference from float64, over the largest
value there; a path that this device or dtype does not have is shown as not run. No path drops anything here.
Letters: T tokens, L tokens of a text, H heads, d head size.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks import made_up, measure
from rocl.data.batches import offsets
from rocl.models import attention
from rocl.predict import device

PATHS = {
    "grouped": attention.grouped,
    "sdpa": attention.sdpa,
    "varlen": attention.varlen,
    "reference": attention.reference,
}
FULL = {"texts": 32, "longest": 256, "heads": ((12, 32), (12, 64)), "rounds": 7}
SHORT = {"texts": 8, "longest": 128, "heads": ((12, 32),), "rounds": 3}


def slow(qkv: Tensor, lengths: Sequence[int]) -> Tensor:
    """softmax(q k^T / sqrt(d)) v in float64, text by text and head by head: `qkv` (T, 3, H, d) to (T, H, d)."""
    outputs = []
    for text in qkv.double().split(list(lengths)):  # (L, 3, H, d)
        heads = [(q @ k.T / q.shape[1] ** 0.5).softmax(1) @ v for q, k, v in text.permute(2, 1, 0, 3)]  # (L, d) each
        outputs.append(torch.stack(heads, 1))
    return torch.cat(outputs)


def both(function: Callable[[Tensor], Tensor], qkv: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs (T, H, d) and, of the gradient `upstream` (T, H, d), what comes back (T, 3, H, d)."""
    output = function(qkv)
    return output.detach(), torch.autograd.grad(output, qkv, upstream.to(output.dtype))[0]


def error(value: Tensor, exact: Tensor) -> float:
    return ((value.double() - exact).abs().max() / exact.abs().max()).item()


def compared(lengths: Sequence[int], heads: int, size: int, dtype: torch.dtype, rounds: int) -> list[dict]:
    """A line for each path: the errors of outputs and gradients, and the time of forward, and forward and backward."""
    draw = torch.Generator().manual_seed(0)
    qkv = torch.randn(sum(lengths), 3, heads, size, generator=draw).to(device(), dtype).requires_grad_()
    upstream = torch.randn(sum(lengths), heads, size, generator=draw).to(device(), dtype)
    starts = torch.from_numpy(offsets(lengths)).to(device(), torch.int32)
    exact = both(partial(slow, lengths=lengths), qkv, upstream)
    errors, why_not, works = {}, {}, {}
    for name, path in PATHS.items():
        function = partial(attention.attention, layout=attention.Layout(starts, lengths, heads, dtype, path))
        try:
            errors[name] = [error(one, true) for one, true in zip(both(function, qkv, upstream), exact, strict=True)]
        except (RuntimeError, ValueError, AssertionError) as problem:  # not of this device or dtype
            why_not[name] = str(problem).strip().partition("\n")[0][:60]
            continue
        works[name, "forward"] = torch.no_grad()(partial(function, qkv.detach()))
        works[name, "both"] = partial(both, function, qkv, upstream)
    seconds = measure.timed(works, rounds)
    return [
        {
            "path": name,
            **dict(zip(("output_error", "gradient_error"), errors.get(name, (None, None)), strict=True)),
            **measure.told(seconds.get((name, "forward")), "forward_"),
            **measure.told(seconds.get((name, "both")), "both_"),
            "why_not": why_not.get(name, ""),
        }
        for name in PATHS
    ]


def run(*, texts: int, longest: int, heads: Sequence[tuple[int, int]], rounds: int) -> None:
    results = []
    for work in made_up.LENGTHS:
        lengths = made_up.lengths(work, texts, longest).tolist()
        for (number, size), dtype in [(shape, dtype) for shape in heads for dtype in (torch.float32, torch.bfloat16)]:
            facts = {"texts": work, "tokens": sum(lengths), "heads": f"{number} of {size}", "dtype": str(dtype)[6:]}
            results += [facts | line for line in compared(lengths, number, size, dtype, rounds)]
    measure.tell("attention", results, texts=texts, longest=longest, rounds=rounds)


def main(short: bool) -> None:
    run(**(SHORT if short else FULL))


if __name__ == "__main__":
    main(measure.short(__doc__))
