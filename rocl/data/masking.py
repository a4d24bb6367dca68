"""Which tokens a masked language model is asked for, and what it sees in their place. T tokens, V vocabulary."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from rocl.data.batches import Batch, Draw
from rocl.data.tokens import tokenizer
from rocl.errors import UserError


@dataclass(frozen=True, eq=False)
class Pieces:
    """What masking needs to know of a vocabulary."""

    mask: int
    special: Tensor  # (V,) bool: never asked for
    inside: Tensor  # (V,) bool: goes on with the word before it


@cache
def pieces(folder: Path) -> Pieces:
    """The pieces of a folder's tokenizer. In WordPiece "##" goes on with a word, else "▁" or "Ġ" begins one."""
    own = tokenizer(folder)
    if own.mask is None:
        raise UserError(f"{folder}: the tokenizer has no mask token: name one in tokenizer_config.json")
    names = [own.backend.id_to_token(id) or "" for id in range(own.size)]
    begins = [name.startswith(("▁", "Ġ")) for name in names]
    inside = [not begin for begin in begins] if any(begins) else [name.startswith("##") for name in names]
    special = torch.zeros(own.size, dtype=torch.bool)
    special[[*own.backend.get_added_tokens_decoder(), own.cls, own.sep, own.pad, own.unk, own.mask]] = True
    return Pieces(own.mask, special, torch.tensor(inside))


def mask(batch: Batch, draw: Draw, pieces: Pieces, *, rate: float = 0.15, whole_words: bool = False) -> Batch:
    """The batch with a share of its tokens asked for: 80 % become the mask, 10 % another piece, 10 % stay (BERT).

    `tokens["answers"]` (T,) holds the id that stood where one is asked for, elsewhere -1. With `whole_words` all
    pieces of a word are asked for or none.
    """
    ids, special = batch.ids, pieces.special[batch.ids]  # (T,)
    luck = draw(0)  # (T,)
    if whole_words:
        first = ~pieces.inside[ids] | special
        first[batch.starts[:-1]] = True
        luck = luck[torch.where(first)[0][first.cumsum(0) - 1]]  # that of the word's first piece
    asked = (luck < rate) & ~special
    action = draw(1)
    common = torch.where(~pieces.special)[0]
    other = common[(draw(2) * len(common)).long()]
    seen = torch.where(action < 0.8, pieces.mask, torch.where(action < 0.9, other, ids))
    return replace(batch, ids=torch.where(asked, seen, ids), tokens={"answers": torch.where(asked, ids, -1)})
