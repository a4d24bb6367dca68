"""Bare text, for what learns from it alone: training rows of other corpora, text files, and sides of translations."""

import hashlib
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import streamed
from rocl.data.stored import kept
from rocl.data.task import Task, folded, rows
from rocl.download import File
from rocl.errors import UserError

DEV = 50  # one passage in so many is kept for dev


def passages(
    name: str, language: str, sources: Sequence[Corpus], *, without: Sequence[Corpus] = (), words: int = 64
) -> Corpus:
    """The texts of the training rows of corpora as passages of at most `words` words, each once.

    A row of which any text also stands in a dev or test split of `without`, whatever its case, accent form and spacing,
    stays out as a whole. One passage in 50 is dev, drawn by its hash; there is no test split.
    """
    note = f"training texts of {', '.join(corpus.name for corpus in sources)}, cut into passages of {words} words"
    note += f", without what {', '.join(corpus.name for corpus in without)} hold out" if without else ""
    read = partial(_passages, tuple(sources), tuple(without), words)
    about = {"name": name, "language": language, "labels": (), "kind": "text", "note": note}
    return Corpus(**about, licence=licences(sources), files=files(*sources, *without), read=read)


def _passages(sources: Sequence[Corpus], without: Sequence[Corpus], words: int, _: Mapping[str, Path]) -> Splits:
    judged = [row for corpus in without for split in ("dev", "test") for row in corpus.splits.get(split, [])]
    held_out = {form for row in judged for form in forms(row)}
    found: dict[str, str] = {}  # passages by their folded form
    for corpus in sources:
        for row in corpus.splits["train"]:
            texts = [] if held_out & forms(row) else row.texts
            for passage in (passage for text in texts for passage in cut(text, words)):
                found.setdefault(" ".join(passage.casefold().split()), passage)
    splits: dict[str, list[Row]] = {"train": [], "dev": []}
    for key, passage in found.items():
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        splits["train" if int(digest[:8], 16) % DEV else "dev"].append(Row(digest[:16], (passage,), ()))
    if len(found) > 1 and not splits["dev"]:
        splits["dev"] = [splits["train"].pop()]
    return splits


def licences(corpora: Sequence[Corpus]) -> str:
    """Those of all the corpora, each once."""
    return "; ".join(dict.fromkeys(corpus.licence for corpus in corpora))


def files(*corpora: Corpus) -> tuple[File, ...]:
    """Those of all the corpora, each once."""
    return tuple(dict.fromkeys(file for corpus in corpora for file in corpus.files))


def cut(text: str, words: int) -> Iterator[str]:
    """The words of a text in equal passages of at most so many, joined by single spaces."""
    have = text.split()
    parts = -(-len(have) // words)
    for part in range(parts):
        yield " ".join(have[part * len(have) // parts : (part + 1) * len(have) // parts])


@cache
def characters(category: str) -> str:
    """All characters of Unicode whose category begins so: M, the marks that letters carry; N, the numbers."""
    return "".join(c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c).startswith(category))


def plain(name: str, language: str, *paths: Path, licence: str = "not stated") -> Corpus:
    """Text files as a corpus of bare text, a training row a line that is not empty; .gz and .xz are unpacked."""
    read = partial(_plain, tuple(paths))
    return Corpus(name=name, language=language, labels=(), kind="text", licence=licence, read=read)


def _plain(paths: Sequence[Path], _: Mapping[str, Path]) -> Splits:
    found = ((f"{path}-{n}", line.strip()) for path in paths for n, line in enumerate(streamed(path), 1))
    return {"train": kept(Row(id, (text,), ()) for id, text in found if text)}


def joined(name: str, **splits: Sequence[tuple[Corpus, str]]) -> Corpus:
    """Splits put together from those of other corpora of one kind: `train=[(ntrex(), "train"), ...]`."""
    parts = [corpus for several in splits.values() for corpus, _ in several]
    note = "; ".join(f"{s}: {', '.join(f'{c.name} {split}' for c, split in of)}" for s, of in splits.items())
    read = partial(_joined, splits)
    return replace(parts[0], name=name, licence=licences(parts), note=note, files=files(*parts), read=read)


def _joined(splits: Mapping[str, Sequence[tuple[Corpus, str]]], _: Mapping[str, Path]) -> Splits:
    return {
        name: [replace(row, id=f"{c.name}-{split}-{row.id}") for c, split in of for row in c.splits[split]]
        for name, of in splits.items()
    }


def apart(corpus: Corpus) -> Corpus:
    """The corpus without the training rows of which any text also stands in dev or test, whatever its case and form."""
    note = "; ".join(filter(None, [corpus.note, "training rows that share a text with dev or test are left out"]))
    return replace(corpus, note=note, read=partial(_apart, corpus))


def _apart(corpus: Corpus, _: Mapping[str, Path]) -> Splits:
    held_out = {form for split in ("dev", "test") for row in corpus.splits.get(split, []) for form in forms(row)}
    return {**corpus.splits, "train": [row for row in corpus.splits["train"] if not held_out & forms(row)]}


def forms(row: Row) -> set[str]:
    """The folded form of each text of a row."""
    return {folded(replace(row, texts=(text,))) for text in row.texts}


def translations(one: Corpus, other: Corpus) -> Corpus:
    """Pairs of texts: those of the one and those of the other in the row of the same id, in the one's splits. UserError
    where there is no such row."""
    name, note = f"{one.name}-{other.name}", f"{one.name} with {other.name} by id"
    read = partial(_translations, one, other)
    return replace(one, name=name, labels=(), kind="text", note=note, files=files(one, other), read=read)


def _translations(one: Corpus, other: Corpus, _: Mapping[str, Path]) -> Splits:
    theirs = {row.id: row for rows in other.splits.values() for row in rows}
    if absent := [row.id for rows in one.splits.values() for row in rows if row.id not in theirs]:
        raise UserError(f"{other.name} has no row {absent[0]}, which {one.name} has: give translated rows the same id")
    return {
        split: [Row(row.id, tuple(" ".join(texts) for texts in (row.texts, theirs[row.id].texts)), ()) for row in rows]
        for split, rows in one.splits.items()
    }


def side(task: Task, number: int) -> Task:
    """The task with only the text at this place of each row: one language of a corpus of translations."""
    corpus = replace(task.corpus, read=partial(_side, task.corpus, number))
    bare = replace(task, name=f"{task.name}-{number}", corpus=corpus, drop_leaks=False, cuts=(), columns={})
    return rows(bare, [row.id for row in task.rows("train")])


def _side(corpus: Corpus, number: int, _: Mapping[str, Path]) -> Splits:
    return {s: [replace(row, texts=(row.texts[number],)) for row in of] for s, of in corpus.splits.items()}
