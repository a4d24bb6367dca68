"""The table of words, whose gradient a step reaches in some hundreds of its tens of thousands of rows.

Where autograd makes a dense gradient, more than half of what MiniLM's has is zeros that are written, measured, scaled
and cleared at every step. Here it lies in memory that stays, and only the rows of the step's pieces are touched.

Letters: T tokens, V pieces, U different ones in a step, E width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Words(nn.Embedding):
    """`nn.Embedding` whose gradient, on a CPU, is dense as ever but made and cleared by rows.

    `step_rows` and then, once the step is taken, `cleared` let it use the memory again. Where nothing calls them, every
    gradient has memory of its own, as with `nn.Embedding`. It is in `.grad` after `backward`, where it ends with
    `cleared`; `torch.autograd.grad` has none to give and adds to `.grad` too.
    """

    spare: Tensor | None = None  # (V, E) of zeros, the next gradient
    held: Tensor | None = None  # (V, E), the gradient now, if only look-ups have written to it
    version: int = 0  # of `held` after the last of them
    seen: tuple[Tensor, ...] = ()  # rows of `held` that look-ups have written to, one tensor each
    rows: Tensor | None = None  # (U,), all of them, once they are asked for

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors (T, E) of pieces (T,)."""
        if self.weight.device.type == "cpu" and self.weight.requires_grad and torch.is_grad_enabled():
            return LookUp.apply(self.weight, ids, self)
        return super().forward(ids)

    def add(self, ids: Tensor, slope: Tensor) -> None:
        """Adds to the gradient what comes back (T, E) for pieces (T,)."""
        rows, places = ids.unique(return_inverse=True)  # (U,), (T,)
        found = torch.ops.aten.embedding_dense_backward(slope, places, len(rows), -1, False)  # (U, E)
        if self.padding_idx is not None:
            found[rows == self.padding_idx] = 0
        weight = self.weight
        self.rows = None
        if weight.grad is None:
            fits = self.spare is not None and (self.spare.shape, self.spare.dtype) == (weight.shape, weight.dtype)
            weight.grad = self.spare if fits else torch.zeros_like(weight)
            self.held, self.spare, self.seen, self.version = weight.grad, None, (), weight.grad._version
        known = weight.grad is self.held and self.version == self.held._version
        weight.grad.index_put_((rows,), found, accumulate=True)
        if known:
            self.seen, self.version = (*self.seen, rows), self.held._version

    def step_rows(self) -> Tensor | None:
        """Rows (U,) beside which the gradient is 0; None if another has written to it: a tied layer, other ranks."""
        ours = self.held is not None and self.weight.grad is self.held and self.version == self.held._version
        self.rows = torch.cat(self.seen).unique() if ours else None
        return self.rows

    def cleared(self) -> None:
        """Takes the gradient away; if the rows are known, its memory is that of the next."""
        self.spare = None if self.rows is None else self.held.index_fill_(0, self.rows, 0)
        self.weight.grad, self.held, self.seen, self.rows = None, None, (), None


class LookUp(torch.autograd.Function):
    """`F.embedding` that adds to the table's gradient by itself."""

    @staticmethod
    def forward(ctx, weight: Tensor, ids: Tensor, table: Words) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.table = table
        return F.embedding(ids, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope: Tensor) -> tuple[None, None, None]:
        ctx.table.add(*ctx.saved_tensors, slope)
        return None, None, None
