"""What stands on an encoder: the model that joins them, pooling, and heads for classification. All float32.

Letters: T tokens in the batch, B texts, R rows, D width, E width of the embeddings, C labels, V vocabulary,
M masked tokens.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rocl.errors import UserError
from rocl.models.attention import dropout
from rocl.models.encoder import ACTIVATIONS, Encoder, initialise


class Encoded(NamedTuple):
    """A batch of rows after the encoder."""

    tokens: Tensor  # (T, D) float32
    starts: Tensor  # (B+1,) where the texts begin among the tokens
    rows: Tensor  # (R+1,) where the rows begin among the texts
    layers: list[Tensor] | None  # the vectors (T, D) of the embeddings and of each layer, if asked for


class Packed(Protocol):
    """What Model.encode needs of a batch."""

    ids: Tensor  # (T,)
    starts: Tensor  # (B+1,)
    rows: Tensor  # (R+1,)
    lengths: Sequence[int]  # tokens of each text


class Model(nn.Module):
    """An encoder and its heads by name. The encoder computes in `precision`; everything after it in float32."""

    def __init__(self, encoder: Encoder, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name in heads:
            if not name or "." in name or hasattr(nn.ModuleDict, name):
                raise UserError(f"a head cannot be called {name!r}: torch keeps that for itself, choose another name")
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)
        self.precision = torch.float32  # set by the training loop

    @property
    def device(self) -> torch.device:
        return self.encoder.embeddings.words.weight.device

    def encode(self, batch: Packed, layers: bool = False) -> Encoded:
        low = self.precision != torch.float32
        with torch.autocast(batch.ids.device.type, self.precision if low else None, enabled=low):
            tokens, states = self.encoder(batch.ids, batch.starts, lengths=batch.lengths, layers=layers)
        if states is not None:
            states = [state.float() for state in states]
        return Encoded(tokens.float(), batch.starts, batch.rows, states)

    def advance(self, everyone: Callable[[Tensor], Tensor] | None = None) -> None:
        """After each step: heads with a state of their own (a memory, a queue) take in what the step has shown them.
        Where each of several processes has seen some of its rows, `everyone` makes of these (R, D) those of all."""
        for head in self.heads.values():
            if hasattr(head, "advance"):
                head.advance(everyone)


class Rows(Protocol):
    """What `outputs` needs of a table of rows."""

    def __len__(self) -> int: ...

    def cut(self, rows: np.ndarray, budget: int) -> Iterator[np.ndarray]: ...

    def batch(self, rows: np.ndarray) -> Packed: ...


BUDGET = 8192  # tokens encoded at once where nothing is learned


@torch.no_grad()
def outputs(model: Model, table: "Rows", head: Callable[[Encoded], Tensor], layers: bool = False) -> np.ndarray:
    """What a head (or a pooling function) says of every row of a table, in its order, (rows, C) float32; no dropout.
    With `layers` it is given the vectors of every layer too."""
    model.eval()
    said: np.ndarray | None = None
    for rows in table.cut(np.arange(len(table)), BUDGET):
        part = head(model.encode(table.batch(rows).to(model.device), layers)).float().cpu().numpy()  # (R, C)
        said = np.empty((len(table), *part.shape[1:]), np.float32) if said is None else said
        said[rows] = part
    return said


Pool = Callable[[Encoded], Tensor]


def first(encoded: Encoded) -> Tensor:
    """The first token of each row's first text, (R, D)."""
    return encoded.tokens[encoded.starts[encoded.rows[:-1]].long()]


def mean(encoded: Encoded) -> Tensor:
    """The mean over all tokens of each row, special ones included, (R, D)."""
    return texts(encoded._replace(starts=encoded.starts[encoded.rows]))


def first_tokens(encoded: Encoded) -> Encoded:
    """The same with nothing left of a text but its first token."""
    starts = torch.arange(len(encoded.starts), device=encoded.starts.device)
    return encoded._replace(tokens=encoded.tokens[encoded.starts[:-1].long()], starts=starts, layers=None)


def owners(encoded: Encoded) -> Tensor:
    """The row that each token belongs to, (T,)."""
    lengths = encoded.starts[encoded.rows].long().diff()  # (R,)
    return torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths, output_size=len(encoded.tokens))


def by_text(encoded: Encoded) -> Encoded:
    """The same, with every text as a row of its own."""
    return encoded._replace(rows=torch.arange(len(encoded.starts), device=encoded.starts.device))


def texts(encoded: Encoded) -> Tensor:
    """The mean over all tokens of each text, special ones included, (B, D)."""
    lengths = encoded.starts.long().diff()  # (B,)
    return torch.segment_reduce(encoded.tokens, "mean", lengths=lengths, unsafe=True)  # a look at them would wait


class Classifier(nn.Module):
    """The head Hugging Face gives a family: first token -> dense -> activation -> dropout -> logits."""

    def __init__(self, encoder: Encoder, labels: int) -> None:
        super().__init__()
        config = encoder.config
        self.family, self.rate = config.family, config.classifier_dropout
        self.activation, self.drop_first, self.pooled = CLASSIFIERS[config.family]
        self.dense = nn.Linear(config.width, config.width)
        self.output = nn.Linear(config.width, labels)
        initialise(self, config.initializer_range)
        if self.pooled and encoder.pooler is not None:
            self.dense.load_state_dict(encoder.pooler.state_dict())

    def forward(self, encoded: Encoded) -> Tensor:
        rate = self.rate * self.training
        x = dropout(first(encoded), rate * self.drop_first)
        return self.output(dropout(self.activation(self.dense(x)), rate))  # (R, C)


# By family: the activation, whether the first token is dropped too, whether the dense layer is the stored pooler.
CLASSIFIERS = {
    "bert": (torch.tanh, False, True),
    "electra": (F.gelu, True, False),  # gelu whatever the encoder's activation
    **dict.fromkeys(["roberta", "xlm-roberta", "camembert"], (torch.tanh, True, False)),
    "distilbert": (F.relu, False, False),
}


def classification_head(encoder: Encoder, labels: int) -> Classifier:
    """The encoder's family's own head, (R, C), which export writes exactly; BERT's starts from the stored pooler."""
    return Classifier(encoder, labels)


class MaskedLanguage(nn.Module):
    """BERT's head for masked tokens: dense, activation, layer norm, and the word embeddings as decoder, with a bias."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        config = encoder.config
        self.dense = nn.Linear(config.width, config.embedding)
        self.norm = nn.LayerNorm(config.embedding, config.epsilon)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))
        self.activation = ACTIVATIONS[config.activation]
        initialise(self, config.initializer_range)

    def forward(self, vectors: Tensor, words: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
        """Logits (M, V) float32 of masked places, from their vectors (M, D) and the encoder's word embeddings (V, E).

        The product with the vocabulary, as large as the encoder's own, is taken in `precision`.
        """
        x = self.norm(self.activation(self.dense(vectors)))  # (M, E)
        return F.linear(x.to(precision), words.to(precision)).float() + self.bias


class Momentum(nn.Module):
    """A copy of encoder and projection that follows them slowly, and a queue of the keys it made (MoCo, He et al. 2020,
    1911.05722, section 3.2). All of it is state; nothing is trained."""

    def __init__(self, encoder: Encoder, projection: nn.Module, keys: int, momentum: float = 0.999) -> None:
        super().__init__()
        self.leader = [Model(encoder, {"projection": projection})]  # in a list, for it is no part of this head
        self.follower = copy.deepcopy(self.leader[0]).requires_grad_(False)
        self.momentum = momentum
        width = list(projection.parameters())[-1].shape[0]
        self.register_buffer("queue", F.normalize(torch.randn(keys, width), dim=1))  # (K, D)
        self.register_buffer("place", torch.zeros((), dtype=torch.long))  # of the oldest key
        self.waiting: list[Tensor] = []  # keys of this step

    @torch.no_grad()
    def forward(self, batch: Packed, precision: torch.dtype = torch.float32) -> Tensor:
        """The keys (B, D) of all texts of a batch; they enter the queue after the step."""
        self.follower.precision = precision
        keys = F.normalize(self.follower.heads["projection"](by_text(self.follower.encode(batch))), dim=1)  # (B, D)
        self.waiting.append(keys)
        return keys

    @torch.no_grad()
    def advance(self, everyone: Callable[[Tensor], Tensor] | None = None) -> None:
        for own, leading in zip(self.follower.parameters(), self.leader[0].parameters(), strict=True):
            own.lerp_(leading, 1 - self.momentum)
        keys = torch.cat([self.queue[:0], *self.waiting])
        keys = (everyone(keys) if everyone else keys)[-len(self.queue) :]
        places = (self.place + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue[places] = keys
        self.place.add_(len(keys)).remainder_(len(self.queue))
        self.waiting.clear()


class Pooled(nn.Sequential):
    """New layers on the pooled vectors of the rows."""

    def __init__(self, encoder: Encoder, pool: Pool, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.pool = pool
        initialise(self, encoder.config.initializer_range)

    def on(self, vectors: Tensor) -> Tensor:
        """What it says of vectors (R, D) that are pooled already."""
        return super().forward(vectors)

    def forward(self, encoded: Encoded) -> Tensor:
        return self.on(self.pool(encoded))


def linear(encoder: Encoder, labels: int, pool: Pool = mean) -> Pooled:
    """One layer on the pooled vectors, (R, C)."""
    return Pooled(encoder, pool, nn.Linear(encoder.config.width, labels))


def mlp(encoder: Encoder, labels: int, hidden: int | None = None, pool: Pool = mean) -> Pooled:
    """Two layers with a GELU between them, `hidden` wide or as wide as the encoder, (R, C)."""
    width = encoder.config.width
    return Pooled(encoder, pool, nn.Linear(width, hidden or width), nn.GELU(), nn.Linear(hidden or width, labels))
