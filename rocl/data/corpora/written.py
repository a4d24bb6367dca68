"""Six little corpora written by hand for rocl, three Romanian and their English twins (written/DATASHEET.md; CC0).

They show a method at work on real sentences, offline and in a minute. They are too small for a paper's table.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import lines


def corpus(name: str, *labels: str, kind: str = "one") -> Corpus:
    read = partial(_read, Path(__file__).parent / "written" / f"{name}.jsonl")
    return Corpus(name=f"written_{name}", language=name[-2:], labels=labels, kind=kind, licence="CC0 1.0", read=read)


def _read(path: Path, _: Mapping[str, Path]) -> Splits:
    """`extra` names under "pair" the Romanian row that an English one translates."""
    splits: dict[str, list[Row]] = {}
    for line in map(json.loads, lines(path)):
        of = splits.setdefault(line.pop("split"), [])
        of.append(Row(line.pop("id"), (line.pop("text"),), tuple(line.pop("labels")), line))
    return splits


def written_emotion_ro() -> Corpus:
    return corpus("emotion_ro", "sadness", "surprise", "fear", "anger", "neutral", "trust", "joy", kind="many")


def written_sentiment_ro() -> Corpus:
    return corpus("sentiment_ro", "negative", "positive")


def written_news_ro() -> Corpus:
    return corpus("news_ro", "culture", "finance", "politics", "science", "sports", "tech")


def written_emotion_en() -> Corpus:
    return corpus("emotion_en", "sadness", "joy", "love", "anger", "fear", "surprise")


def written_sentiment_en() -> Corpus:
    return corpus("sentiment_en", "negative", "positive")


def written_news_en() -> Corpus:
    return corpus("news_en", "World", "Sports", "Business", "Sci/Tech")


def written_pairs() -> Corpus:
    """Bare pairs of an English text and the Romanian training text that it translates; a fifth each is dev and test."""
    return Corpus(name="written_pairs", language="ro", labels=(), kind="text", licence="CC0 1.0", read=_pairs)


def _pairs(_: Mapping[str, Path]) -> Splits:
    rows = []
    for part in ("emotion", "sentiment", "news"):
        romanian, english = (corpus(f"{part}_{language}").read({})["train"] for language in ("ro", "en"))
        texts = {row.id: row.texts for row in romanian}
        rows += [Row(row.id, row.texts + texts[row.extra["pair"]], ()) for row in english if "pair" in row.extra]
    return {"train": [r for n, r in enumerate(rows) if n % 5 > 1], "dev": rows[::5], "test": rows[1::5]}
