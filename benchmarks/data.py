"""Tokens a second on the way from texts to batches: tokenise, open what was stored, pack; and Hugging Face's collator.

python -m benchmarks.data [--short]

Texts are random pieces of the bundled vocabulary, as many as tweets have. The collator gets lists of ids that its
tokenizer has made before, as a dataset's rows are, and pads them; reading them from a dataset is not counted.
"""

import importlib.metadata
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import rocl
from benchmarks import made_up, measure
from rocl.data import tokens
from rocl.data.corpus import Row

TOKENIZER = Path(rocl.__file__).parent / "models" / "rocl-tiny"
FULL = {"texts": 20_000, "batch": 32, "longest": 256, "rounds": 5}
SHORT = {"texts": 2_000, "batch": 32, "longest": 256, "rounds": 3}


def made_up_rows(tokenizer: tokens.Tokenizer, texts: int, longest: int) -> list[Row]:
    lengths = made_up.lengths("tweets", texts, longest)
    ids = np.random.default_rng(0).integers(5, tokenizer.size, lengths.sum())
    parts = np.split(ids, np.cumsum(lengths)[:-1])
    return [Row(str(n), (tokenizer.backend.decode(part.tolist()),), ()) for n, part in enumerate(parts)]


def collator(
    tokenizer: tokens.Tokenizer, rows: Sequence[Row], orders: Sequence[np.ndarray], longest: int
) -> Callable[[], object] | None:
    """Hugging Face's way from ids to padded batches of these rows; None where transformers is not installed."""
    try:
        from transformers import DataCollatorWithPadding, PreTrainedTokenizerFast
    except ImportError:
        return None
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend, pad_token="[PAD]", model_max_length=longest)
    encoded = fast([text for row in rows for text in row.texts], truncation=True, return_token_type_ids=False)
    features = [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]
    pad = DataCollatorWithPadding(fast)
    return lambda: [pad([features[row] for row in order]) for order in orders]


def run(*, texts: int, batch: int, longest: int, rounds: int) -> None:
    tokenizer = tokens.tokenizer(TOKENIZER)
    rows = made_up_rows(tokenizer, texts, longest)
    orders = np.random.default_rng(0).permutation(texts)[: texts // batch * batch].reshape(-1, batch)
    collate = collator(tokenizer, rows, orders, longest)
    with tempfile.TemporaryDirectory() as folder:
        table = made_up.table("tweets", tokens.pack(rows, tokenizer, longest, Path(folder)), 7)
        total, batched = int(table.lengths.sum()), int(table.lengths[orders].sum())
        works = {
            "tokenise": (total, lambda: tokens.pack(rows, tokenizer, longest, None)),
            "open what was stored": (total, lambda: tokens.pack(rows, tokenizer, longest, Path(folder))),
            "pack batches": (batched, lambda: [table.batch(order) for order in orders]),
            "Hugging Face's collator": (batched, collate),
        }
        seconds = measure.timed({name: work for name, (_, work) in works.items() if work}, rounds)
    results = [
        {
            "step": name,
            "tokens": count,
            **measure.told(seconds.get(name)),
            "tokens_per_second": count / statistics.median(seconds[name]) if work else None,
        }
        for name, (count, work) in works.items()
    ]
    peer = importlib.metadata.version("transformers") if collate else None
    measure.tell("data", results, texts=texts, batch=batch, transformers=peer)


def main(short: bool) -> None:
    run(**(SHORT if short else FULL))


if __name__ == "__main__":
    main(measure.short(__doc__))
