"""The encoder of BERT, ELECTRA, RoBERTa, XLM-R, CamemBERT and DistilBERT, without padding: a batch is one row of
tokens and the places where its texts begin. What differs between the families is numbers of the Config.

Letters: T tokens in the batch, B texts, D width, E width of the embeddings, H heads, d head size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rocl.errors import UserError
from rocl.models.attention import Layout, attention, dropout, layout
from rocl.models.words import Words

ACTIVATIONS = {
    "gelu": F.gelu,
    **dict.fromkeys(["gelu_new", "gelu_fast", "gelu_pytorch_tanh"], partial(F.gelu, approximate="tanh")),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """The sizes and rates of an encoder; `stored` is the config.json they were read from, for writing it back."""

    family: str  # Hugging Face's model_type
    vocabulary: int
    width: int
    layers: int
    heads: int
    inner: int  # width of the feed-forward layer
    positions: int  # rows of the position table
    first_position: int = 0  # its row for a text's first token; RoBERTa's counts from behind the padding id
    types: int  # rows of the token type table; 0 where there is none
    embedding: int  # width of the embeddings; where it is not `width`, they are projected
    padding: int | None  # id whose embedding learns nothing
    activation: str
    epsilon: float  # of the layer norms
    dropout: float  # on hidden states
    attention_dropout: float  # on attention probabilities
    output_dropout: float  # on the attention's output
    classifier_dropout: float  # in the family's classification head
    initializer_range: float = 0.02  # standard deviation of new weights
    stored: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)

    @property
    def longest(self) -> int:
        """The most tokens a text may have."""
        return self.positions - self.first_position


class Encoder(nn.Module):
    """Token vectors of packed texts."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.source: Path | None = None  # the folder it was read from, where its tokenizer lies
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.recompute = False  # True: the way back computes the layers again, in less memory
        self.pooler: nn.Linear | None = None  # stored beside some encoders; a start for heads, no part of forward
        initialise(self, config.initializer_range)

    def forward(
        self,
        ids: Tensor,
        starts: Tensor,
        *,
        lengths: Sequence[int] | None = None,
        types: Tensor | None = None,
        positions: Tensor | None = None,
        layers: bool = False,
    ) -> tuple[Tensor, list[Tensor] | None]:
        """`ids` (T,) of texts that begin at `starts` (B+1,), each of `lengths` tokens (read from starts if not given).
        `types` (T,) are token types, 0 if not given; `positions` (T,) rows of the position table, anew from each text's
        beginning if not given.

        Returns the last layer's vectors (T, D) and, with `layers`, those of the embeddings and of each layer."""
        config, weight = self.config, self.embeddings.words.weight
        rate = config.attention_dropout if self.training else 0.0
        shape = layout(starts, lengths, weight, config.heads, config.width // config.heads, rate)
        if positions is None:
            if shape.longest > config.longest:
                have = f"a text has {shape.longest} tokens, the encoder positions for {config.longest}"
                raise UserError(f"{have}: set max_length to {config.longest} or less")
            begins = shape.starts[:-1].repeat_interleave(shape.starts.diff(), output_size=len(ids))  # (T,)
            positions = torch.arange(len(ids), device=ids.device) - begins + config.first_position  # (T,)
        x = self.embeddings(ids, types, positions)  # (T, D)
        if shape.extra:
            x = F.pad(x, (0, 0, 0, shape.extra))  # (T + extra, D), what is added is never read
        states = [x[: len(ids)]] if layers else None
        again = partial(checkpoint, use_reentrant=False) if self.recompute and torch.is_grad_enabled() else None
        for layer in self.layers:
            x = again(layer, x, shape) if again else layer(x, shape)
            if states is not None:
                states.append(x[: len(ids)])
        return x[: len(ids)], states


class Embeddings(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.embedding
        self.words = Words(config.vocabulary, width, padding_idx=config.padding)
        # Positions that count from behind the padding id have a row for padding too, which learns nothing either.
        padding = config.first_position - 1 if config.first_position else None
        self.positions = nn.Embedding(config.positions, width, padding_idx=padding)
        self.types = nn.Embedding(config.types, width) if config.types else None
        self.norm = nn.LayerNorm(width, config.epsilon)
        self.project = nn.Linear(width, config.width) if width != config.width else nn.Identity()
        self.rate = config.dropout

    def forward(self, ids: Tensor, types: Tensor | None, positions: Tensor) -> Tensor:
        x = self.words(ids) + self.positions(positions)  # (T, E)
        if self.types is not None:
            x = x + (self.types.weight[0] if types is None else self.types(types))
        elif types is not None and types.any():
            raise UserError("token types were given to an encoder that has none: leave them out")
        return self.project(dropout(self.norm(x), self.rate * self.training))  # (T, D)


class Layer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, config.epsilon)
        self.up = nn.Linear(width, config.inner)
        self.down = nn.Linear(config.inner, width)
        self.output_norm = nn.LayerNorm(width, config.epsilon)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        T, D = x.shape
        c, on = self.config, self.training
        qkv = self.qkv(x).view(T, 3, c.heads, D // c.heads)
        mixed = self.out(attention(qkv, layout, c.attention_dropout * on).view(T, D))  # (T, D)
        x = self.attention_norm(x + dropout(mixed, c.output_dropout * on))
        return self.output_norm(x + dropout(self.down(self.activation(self.up(x))), c.dropout * on))


def initialise(module: nn.Module, std: float) -> None:
    """New weights, in place: a truncated normal (at two deviations), layer norms 1 and 0, biases 0."""
    for part in module.modules():
        if isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
        elif isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std)
        if isinstance(part, (nn.LayerNorm, nn.Linear)) and part.bias is not None:
            nn.init.zeros_(part.bias)
