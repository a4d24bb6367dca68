"""Corpora of nonsense words that a tiny encoder learns in a second, for the tests of the loop."""

import json
import random
from pathlib import Path

from rocl.data.corpus import Corpus, Row
from rocl.data.task import Task
from rocl.models.checkpoints import Checkpoint

WORDS = [a + b for a in ("ba", "de", "fi", "go", "lu", "ma") for b in ("ra", "si", "to", "nu", "pe")]


def task(name: str, labels: int = 3, kind: str = "one", size: int = 60, **options) -> Task:
    """Rows of 2 to 12 words; each label has a word of its own that gives it away."""
    names = tuple(f"{name}{n}" for n in range(labels))

    def read(paths) -> dict[str, list[Row]]:
        draw = random.Random(name)
        splits = {}
        for split, count in (("train", size), ("dev", 24), ("test", 24)):
            splits[split] = []
            for number in range(count):
                own = draw.sample(range(labels), draw.choice((1, 2)) if kind == "many" else 1)
                words = draw.choices(WORDS[labels:], k=draw.randint(1, 10)) + [WORDS[n] for n in own]
                draw.shuffle(words)
                row = Row(f"{split}-{number}", (" ".join(words),), tuple(names[n] for n in sorted(own)))
                splits[split].append(row)
        return splits

    corpus = Corpus(name=f"tiny-{name}", language="ro", labels=names, kind=kind, licence="none", read=read)
    return Task(name=name, corpus=corpus, max_length=16, **options)


def checkpoint(folder: Path, dropout: float = 0.1) -> Checkpoint:
    """A folder with a configuration and a vocabulary but no weights."""
    folder.mkdir(exist_ok=True)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    config = {"model_type": "bert", "vocab_size": len(pieces), "max_position_embeddings": 32, **sizes, **rates}
    (folder / "config.json").write_text(json.dumps(config))
    return Checkpoint(str(folder))
