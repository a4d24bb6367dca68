"""Texts in which a masked language model has put other words in the place of some: variants for `rocl.data.augment`.

T tokens, B texts, M words asked for, V vocabulary, D width.
"""

from collections.abc import Callable, Iterator, Sequence
from random import Random

import numpy as np
import torch
from tokenizers import Encoding
from torch import Tensor

from rocl.data.batches import Batch, offsets
from rocl.data.corpus import Row
from rocl.data.masking import Pieces, pieces
from rocl.data.tokens import tokenizer, whole
from rocl.models.heads import Model

AT_ONCE = 64  # texts


@torch.no_grad()
def rewritten(
    model: Model,
    rows: Sequence[Row],
    guess: Callable[[Model, Tensor], Tensor],
    *,
    copies: int,
    share: float,
    likely: int,
    seed: int = 0,
    max_length: int = 128,
) -> Iterator[dict]:
    """{"id": a row's, "texts": its texts, rewritten}, `copies` of each row, by `guess(model, (M, D)) -> logits (M, V)`.

    Of the words that are one piece of the vocabulary each is asked for with probability `share`, all of a text at once;
    in its place comes one of the `likely` most probable other words that are one piece, drawn by their probabilities.
    What is drawn is a function of seed, row and copy. All else stays as it is, as do words beyond `max_length` tokens.
    """
    model.eval()
    own = tokenizer(model.encoder.source)
    known = pieces(model.encoder.source)
    words = [own.backend.decode([id]).strip() for id in range(own.size)]
    allowed = torch.tensor([word.isalpha() for word in words]) & ~known.special & ~known.inside  # (V,)
    jobs = [(row, copy, place) for row in rows for copy in range(1, copies + 1) for place in range(len(row.texts))]
    made: dict[tuple[str, int], list[str]] = {}
    for some in (jobs[start : start + AT_ONCE] for start in range(0, len(jobs), AT_ONCE)):
        lucks = [Random(f"{seed} {row.id} {copy} {place}") for row, copy, place in some]
        codes = own.backend.encode_batch([whole(row.texts[place]) for row, _, place in some])
        asked = [chosen(code, known, share, luck, max_length) for code, luck in zip(codes, lucks, strict=True)]
        batch, where, before = masked(codes, asked, known.mask, max_length)
        vectors = model.encode(batch.to(model.device)).tokens[where.to(model.device)]  # (M, D)
        logits = guess(model, vectors).float().cpu()  # (M, V)
        best = logits.masked_fill(~allowed, -torch.inf).scatter(1, before[:, None], -torch.inf).topk(likely, 1)
        guesses = zip(best.indices.tolist(), best.values.softmax(1).tolist(), strict=True)
        for (row, copy, place), code, luck, places in zip(some, codes, lucks, asked, strict=True):
            new = [words[luck.choices(*next(guesses))[0]] for _ in places]
            text = replaced(row.texts[place], [code.offsets[at] for at in places], new)
            made.setdefault((row.id, copy), []).append(text)
    for (id, _), texts in made.items():
        yield {"id": id, "texts": texts}


def masked(
    codes: Sequence[Encoding], asked: Sequence[np.ndarray], mask: int, max_length: int
) -> tuple[Batch, Tensor, Tensor]:
    """The texts as a batch with the mask where words are asked for, these places in it (M,), and what stood there."""
    whole = [np.array(code.ids[:max_length], np.int64) for code in codes]
    before = np.concatenate([ids[places] for ids, places in zip(whole, asked, strict=True)])  # (M,)
    lengths = [len(ids) for ids in whole]
    starts = offsets(np.array(lengths))  # (B + 1,)
    where = np.concatenate([places + start for places, start in zip(asked, starts[:-1], strict=True)])  # (M,)
    ids = np.concatenate(whole)  # (T,)
    ids[where] = mask
    tensors = {"ids": torch.from_numpy(ids), "starts": torch.from_numpy(starts), "rows": torch.arange(len(whole) + 1)}
    batch = Batch(task="", kind="text", **tensors, lengths=lengths, columns={}, row_ids=[])
    return batch, torch.from_numpy(where), torch.from_numpy(before)


def chosen(code: Encoding, known: Pieces, share: float, luck: Random, max_length: int) -> np.ndarray:
    """The places of the tokens that are asked for: words of one piece, each with probability `share`."""
    ids = torch.tensor(code.ids)
    inside, special = known.inside[ids], known.special[ids]
    goes_on = torch.cat([inside[1:] & ~special[1:], torch.zeros(1, dtype=torch.bool)])  # the next piece is of this word
    whole = ~special & ~inside & ~goes_on  # (T,)
    return np.array([at for at in range(min(len(ids), max_length)) if whole[at] and luck.random() < share], np.int64)


def replaced(text: str, spans: Sequence[tuple[int, int]], words: Sequence[str]) -> str:
    """The text with these spans replaced, in upper case at the beginning where they were; signs and numbers stay."""
    for (begin, end), word in reversed(list(zip(spans, words, strict=True))):
        old = text[begin:end]
        if old.strip().isalpha():
            begin += len(old) - len(old.lstrip())  # some vocabularies count the space before a word as its own
            text = text[:begin] + (word[:1].upper() + word[1:] if text[begin].isupper() else word) + text[end:]
    return text
