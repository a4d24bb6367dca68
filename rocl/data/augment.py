r"""More training rows out of a task's own, and two views of its texts: EDA, back-translation, answers read from disk.

    augmented(task, partial(eda, alpha=0.05), copies=8)
    augmented(task, partial(back_translated, corpora=[translated(translated(corpus, other, engine), own, engine)]))
    augmented(task, partial(rewritten, answers=answers(path)), copies=2)
    views(task, eda)

Words are found in the text as it is; what stands between them stays as it is. Everything drawn is a function of seed,
row id and copy, so that a row has the same variants whatever stands beside it.
"""

import json
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache, partial
from itertools import chain, pairwise, product
from pathlib import Path
from random import Random

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import bad, lines
from rocl.data.task import Task, folded, followed
from rocl.data.text import characters
from rocl.errors import UserError

# What the group `word` finds is a word; what else the pattern finds is left alone, here a stretch between spaces with a
# number, a sign that is no common punctuation, or a point or colon inside: addresses, $NE$, <|PERSON|>, @, #, 3.5, :D.
# \p{N} and \p{M} in a class stand for all numbers and all marks that letters carry in Unicode.
WORDS = (
    r"(?<!\S)\S*(?:[\p{N}@#$%&*+/<=>\\^_`{|}~\[\]]|\w\.\w|[:;]['’-]?\w)\S*"
    r"|(?P<word>\w(?:[\w\p{M}]+|['’‐‑·\xad\u200c\u200d-](?=\w))*)"
)

Lexicon = Mapping[str, Sequence[str]]  # synonyms of words in lower case, composed (NFC)
Operation = Callable[[str, Random], str]  # a text and its luck -> another text
Variants = Callable[[Row, int], Sequence[str] | None]  # a row and 1, 2, ... -> texts in place of its own, or none


def augmented(task: Task, variants: Variants, *, copies: int = 4) -> Task:
    """The task with at most so many variants of each training row behind its rows, dev and test as they were.

    Variant n of row `id` is called `id~n`; it has the row's labels, what the source says of it, and its columns: soft
    labels stay those of the original. Left out, counted and told when the rows are first asked for: what is not made,
    what equals the original or an earlier variant but for case and spacing and, where the task drops leaks, what equals
    a dev or test text. Cut a task before this, not after: a fold would part rows from their variants.
    """
    note = f"train: and up to {copies} variants of each row"
    return _over(task, "augmented", note, variants, partial(_more, task, variants, copies))


def views(task: Task, variants: Variants) -> Task:
    """The task as bare text whose training and dev rows hold variants 1 and 2 of a row, for contrast (CERT, Fang et al.
    2020, arXiv 2005.12766); several texts of a row are joined by newlines. Rows of which one is not made, or
    both are equal, are left out, counted and told, as is what equals a dev or test text where the task drops leaks.
    Columns follow their rows; the metric is "retrieval", of one view by the other.
    """
    note, read = "train and dev: two views of each row", partial(_pairs, task, variants)
    pairs = _over(task, "views", note, variants, read, labels=(), kind="text")
    return replace(pairs, name=f"{task.name}-views", metric="retrieval")


def eda(
    row: Row, copy: int, *, seed: int = 0, alpha: float = 0.1, lexicon: Lexicon | None = None, words: str = WORDS
) -> tuple[str, ...]:
    """Easy data augmentation (Wei and Zou 2019, EMNLP, section 2): one operation a variant, by turns.

    The operations are `swapped` and `deleted`, and with a lexicon also `replaced` and `inserted`. `alpha` is the share
    of words that each changes; the paper's advice is 0.05 and 16 copies for 500 rows, 0.05 and 8 for 2,000, 0.1 and 4
    for 5,000 and more. Scripts without spaces between words need another pattern for `words`.
    """
    if not 0 < alpha <= 1:
        raise UserError(f"alpha is {alpha}: give the share of words to change, above 0 and at most 1")
    informed = [partial(change, lexicon=lexicon) for change in (replaced, inserted) if lexicon]
    operations = [partial(change, alpha=alpha, words=words) for change in (swapped, deleted, *informed)]
    return by_turns(row, copy, operations=operations, seed=seed)


def by_turns(row: Row, copy: int, *, operations: Sequence[Operation], seed: int = 0) -> tuple[str, ...]:
    """The row's texts after one of the operations: the next with each copy, beginning with any."""
    turn = Random(f"{seed} {row.id}").randrange(len(operations)) + copy
    luck = Random(f"{seed} {row.id} {copy}")
    return tuple(operations[turn % len(operations)](text, luck) for text in row.texts)


def back_translated(row: Row, copy: int, *, corpora: Sequence[Corpus]) -> tuple[str, ...] | None:
    """Of variant n the texts that stand in the n-th corpus under the row's id: there and back by a way of its own."""
    found = _by_id(corpora[copy - 1]).get(row.id) if copy <= len(corpora) else None
    return found.texts if found else None


def rewritten(row: Row, copy: int, *, answers: Mapping[str, Sequence[Sequence[str]]]) -> Sequence[str] | None:
    """Of variant n the n-th answer under the row's id: texts that a model made of those of the row."""
    given = answers.get(row.id, ())
    return given[copy - 1] if copy <= len(given) else None


def answers(path: Path) -> dict[str, list[list[str]]]:
    """Answers by row id out of JSON lines, {"id": a row's, "texts": [all its texts, rewritten]}; a row may have several
    lines."""
    found = defaultdict(list)
    for number, line in enumerate(lines(path), 1):
        try:
            record = json.loads(line)
            found[record["id"] + ""].append([text + "" for text in record["texts"]])  # or a TypeError
        except (ValueError, KeyError, TypeError) as error:
            raise bad(path, number, 'not {"id": "...", "texts": ["...", ...]}: mend or remove the line') from error
    return dict(found)


def swapped(text: str, luck: Random, *, alpha: float = 0.1, words: str = WORDS) -> str:
    """Random swap: max(1, int(alpha * words)) times two words change places; for the second one a place is drawn up to
    three times, until it is another."""
    parts = list(pieces(text, words))
    for _ in range(_number(parts, alpha)):
        one, *others = (luck.randrange(1, len(parts), 2) for _ in range(4))
        two = next((place for place in others if place != one), one)
        parts[one], parts[two] = parts[two], parts[one]
    return "".join(parts)


def deleted(text: str, luck: Random, *, alpha: float = 0.1, words: str = WORDS) -> str:
    """Random deletion: each word goes with probability `alpha`; one stays, drawn at random, if all would go. Where a
    word goes from between two spaces, or from the beginning of text or line, the space behind it goes too."""
    parts = list(pieces(text, words))
    places = range(1, len(parts), 2)
    gone = [place for place in places if luck.random() <= alpha]
    if len(gone) == len(places) > 0:
        gone.remove(luck.choice(gone))
    for place in reversed(gone):
        parts[place] = ""
        if parts[place - 1][-1:].isspace() or (place == 1 and not parts[0]):
            parts[place + 1] = parts[place + 1].removeprefix(" ")
    return "".join(parts)


def replaced(text: str, luck: Random, *, lexicon: Lexicon, alpha: float = 0.1, words: str = WORDS) -> str:
    """Synonym replacement: max(1, int(alpha * words)) different words of those with synonyms, wherever each occurs.

    The lexicon's keys are in lower case and composed (NFC). Function words, which the paper spares, are those that it
    leaves out. A synonym begins in upper case where its word does.
    """
    parts = list(pieces(text, words))
    have = [_key(word) for word in parts[1::2]]
    known = [key for key in dict.fromkeys(have) if _synonyms(key, lexicon)]
    chosen = luck.sample(known, min(len(known), _number(parts, alpha)))
    other = {key: luck.choice(_synonyms(key, lexicon)) for key in chosen}
    parts[1::2] = [_cased(other[k], word) if k in other else word for k, word in zip(have, parts[1::2], strict=True)]
    return "".join(parts)


def inserted(text: str, luck: Random, *, lexicon: Lexicon, alpha: float = 0.1, words: str = WORDS) -> str:
    """Random insertion: max(1, int(alpha * words)) times a synonym of a random word, and a space, before a random word.
    A time goes by without one if none of ten words drawn has a synonym. Of the lexicon see `replaced`."""
    parts = list(pieces(text, words))
    for _ in range(_number(parts, alpha)):
        drawn = (_key(parts[luck.randrange(1, len(parts), 2)]) for _ in range(10))
        if synonyms := next(filter(None, (_synonyms(key, lexicon) for key in drawn)), None):
            place = luck.randrange(1, len(parts), 2)
            parts[place:place] = [luck.choice(synonyms), " "]
    return "".join(parts)


@lru_cache(maxsize=64)  # the copies of a row follow each other
def pieces(text: str, words: str = WORDS) -> tuple[str, ...]:
    """The text cut at its words: (what is before, word, between, word, ..., what is after), all of it."""
    pattern, group = _compiled(words)
    found = (match.span(group) for match in pattern.finditer(text) if match[group])
    return tuple(text[begin:end] for begin, end in pairwise([0, *chain.from_iterable(found), len(text)]))


@cache
def _compiled(words: str) -> tuple[re.Pattern[str], int]:
    try:
        pattern = re.compile(re.sub(r"\\p\{(\w)\}", lambda kind: characters(kind[1]), words))
        return pattern, pattern.groupindex["word"]
    except (re.error, KeyError) as error:
        raise UserError(f"words={words!r} must be a regular expression with a group (?P<word>...): {error}") from error


def _number(parts: Sequence[str], alpha: float) -> int:
    return max(1, int(alpha * (len(parts) // 2))) if len(parts) > 1 else 0


def _key(word: str) -> str:
    return unicodedata.normalize("NFC", word).lower()


def _synonyms(key: str, lexicon: Lexicon) -> list[str]:
    found = lexicon.get(key, ())
    return [other for other in ([found] if isinstance(found, str) else found) if other != key]


def _cased(word: str, like: str) -> str:
    return word[:1].upper() + word[1:] if like[:1].isupper() else word


@cache
def _by_id(corpus: Corpus) -> dict[str, Row]:
    return {row.id: row for rows in corpus.splits.values() for row in rows}


def _over(task: Task, ending: str, note: str, variants: Variants, read: Callable[..., Splits], **bare) -> Task:
    """The task over a corpus made of it; its columns are repeated for the rows that come of its own."""
    name = getattr(variants, "func", variants).__name__  # a function's, or that of one with bound arguments
    note = "; ".join(filter(None, [task.corpus.note, f"{note} by {name}"]))
    corpus = replace(task.corpus, name=f"{task.corpus.name}-{ending}", note=note, read=read, **bare)
    return followed(replace(task, corpus=corpus, cuts=()), task)


def _more(task: Task, variants: Variants, copies: int, _: Mapping[str, Path]) -> Splits:
    rows = task.rows("train")
    made = _made(task, variants, copies, "train", {(row.id, folded(row)) for row in rows})
    return {**task.corpus.splits, "train": [*rows, *chain.from_iterable(made.values())]}


def _pairs(task: Task, variants: Variants, _: Mapping[str, Path]) -> Splits:
    splits = {}
    for split in ("train", "dev"):
        made = _made(task, variants, 2, split, set())
        two = [(row, [view.texts for view in made[row.id]]) for row in task.rows(split) if len(made[row.id]) == 2]
        splits[split] = [replace(row, texts=tuple(map("\n".join, views)), labels=()) for row, views in two]
        print(f"{task.name}: {len(two):,} of {len(made):,} {split} rows have two views", file=sys.stderr)
    return splits


def _made(task: Task, variants: Variants, copies: int, split: str, seen: set[tuple[str, str]]) -> dict[str, list[Row]]:
    """The variants of each row of a split, by the row's id, but those `seen` as (id, folded text) or held out; what is
    left out is counted and told."""
    rows, left = task.rows(split), Counter()
    held_out = {folded(row) for other in ("dev", "test") for row in task.rows(other) if task.drop_leaks}
    made: dict[str, list[Row]] = {row.id: [] for row in rows}
    for row, copy in product(rows, range(1, copies + 1)):
        variant = _variant(task, variants, row, copy)
        if variant is None:
            left["not made"] += 1
        elif (row.id, text := folded(variant)) in seen:
            left["equal to what the row has already"] += 1
        elif text in held_out:
            left["equal to a dev or test text"] += 1
        else:
            seen.add((row.id, text))
            made[row.id].append(variant)
    told = f"{sum(map(len, made.values())):,} variants of {len(rows):,} {split} rows"
    told += "".join(f"; {number:,} left out, {why}" for why, number in left.items())
    print(f"{task.name}: {told}", file=sys.stderr)
    if left and not any(made.values()):
        raise UserError(f"{task.name}: {told}: look at what makes them, its ids or its pattern of words")
    return made


def _variant(task: Task, variants: Variants, row: Row, copy: int) -> Row | None:
    """A variant as a row, or None where there is none or a text of it is empty."""
    texts = variants(row, copy)
    if texts is not None and len(texts) != len(row.texts):
        have = f"variant {copy} of row {row.id} has {len(texts)} texts, the row {len(row.texts)}"
        raise UserError(f"{task.name}: {have}: make it a list of as many")
    return replace(row, id=f"{row.id}~{copy}", texts=tuple(texts)) if texts and all(map(str.strip, texts)) else None
