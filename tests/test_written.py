"""The hand-written sample is what its datasheet says: frozen, balanced, without near copies or paths into test."""

import re
from collections import defaultdict

import pytest

from rocl.data.corpora import written
from rocl.data.corpus import Corpus

# Frozen before any method ran: a changed text, label or split is a change of the sample and needs a reason in LOG.md.
DIGESTS = {
    "written_emotion_ro": "f0fd8b2fae2dd715",
    "written_sentiment_ro": "624814b0ee499690",
    "written_news_ro": "84e209a12d5b1f2c",
    "written_emotion_en": "6f2e7678a386f2fb",
    "written_sentiment_en": "b7820184449ac986",
    "written_news_en": "3830d8f776712e7a",
}
CORPORA = [
    written.written_emotion_ro(),
    written.written_sentiment_ro(),
    written.written_news_ro(),
    written.written_emotion_en(),
    written.written_sentiment_en(),
    written.written_news_en(),
]


@pytest.mark.parametrize("corpus", CORPORA, ids=lambda corpus: corpus.name)
def test_the_texts_are_frozen_and_their_labels_balanced(corpus: Corpus):
    assert corpus.digest == DIGESTS[corpus.name]
    sizes = {split: len(rows) for split, rows in corpus.splits.items()}
    romanian = {"train": 205, "dev": 60, "test": 155}
    assert sizes == (romanian if corpus.language == "ro" else {"train": 255, "dev": 40})
    for split in sizes:
        counts = corpus.counts(split).values()
        assert min(counts) > 0.6 * max(counts), f"{split}: {corpus.counts(split)}"
    rows = [row for rows in corpus.splits.values() for row in rows]
    two = sum(len(row.labels) == 2 for row in rows) / len(rows)
    assert 0.1 < two < 0.25 if corpus.kind == "many" else two == 0
    assert not [row.id for row in rows if "neutral" in row.labels and len(row.labels) > 1]


def grams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return {tuple(words[n : n + 4]) for n in range(len(words) - 3)} or {tuple(words)}


def test_no_two_texts_share_more_than_half_of_their_word_4_grams():
    texts = {row.id: grams(row.texts[0]) for corpus in CORPORA for rows in corpus.splits.values() for row in rows}
    assert len(texts) == 2145
    holders = defaultdict(list)
    for id, of_text in texts.items():
        for gram in of_text:
            holders[gram].append(id)
    shared = defaultdict(int)
    for ids in holders.values():
        for number, one in enumerate(ids):
            for other in ids[number + 1 :]:
                shared[one, other] += 1
    near = {pair: n for pair, n in shared.items() if n > min(len(texts[id]) for id in pair) / 2}
    assert shared and not near


@pytest.mark.parametrize("part", range(3))
def test_a_translation_leads_only_into_the_romanian_training_rows(part: int):
    romanian, english = CORPORA[part], CORPORA[part + 3]
    pairs = {
        split: [row.extra["pair"] for row in rows if "pair" in row.extra] for split, rows in english.splits.items()
    }
    train = {row.id for row in romanian.splits["train"]}
    assert not pairs["dev"] and set(pairs["train"]) <= train
    assert 50 < len(pairs["train"]) == len(set(pairs["train"]))


def test_romanian_is_spelled_with_comma_letters_and_now_and_then_without_any():
    rows = [row for corpus in CORPORA[:3] for rows in corpus.splits.values() for row in rows]
    assert not [row.id for row in rows if re.search("[şţŞŢ]", row.texts[0])]
    plain = sum(not re.search("[ăâîșțĂÂÎȘȚ]", row.texts[0]) for row in rows) / len(rows)
    assert 0.04 < plain < 0.15
