"""LaRoSeDa: 15,000 Romanian product reviews, positive or negative (Tache et al., EACL 2021)."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import objects, one_of
from rocl.data.splits import draw
from rocl.download import File
from rocl.errors import UserError

POLARITY = {"1": "negative", "2": "negative", "4": "positive", "5": "positive"}  # by stars; there are no threes
DEV = 1000
LICENCE = "CC BY-NC-SA 4.0"
ADDRESS = "https://raw.githubusercontent.com/ancatache/LaRoSeDa/main/"


def _file(folder: str, name: str, size: int, sha256: str) -> File:
    place = {"folder": "laroseda", "name": name, "url": f"{ADDRESS}{folder}/{name}"}
    return File(corpus="laroseda", sha256=sha256, size=size, licence=LICENCE, **place)


POSITIVE, NEGATIVE, TEST = FILES = (
    _file(
        "data", "positive_reviews.json", 2_438_675, "214ff571d28f3f1660a69e96e53255274091e5cd6b4bc7d06d2ba4ca7a6a2cd7"
    ),
    _file(
        "data", "negative_reviews.json", 2_818_508, "81a6f10719fda27aed71ddf0131c3037358d1ae3908486a480699eba732885c7"
    ),
    _file(
        "data_splitted",
        "laroseda_test.json",
        1_025_519,
        "6084cabe923da9f71413357eaa84f3ea4523ef5ff0e81e2c3ac3861405e2151a",
    ),
)


def laroseda(title: bool = True) -> Corpus:
    """Train 11,000, dev 1,000, test 3,000, of "title. content" or the content alone: titles nearly give the label."""
    name = "laroseda" if title else "laroseda-content"
    note = "test is the official one; dev is 1,000 of the other 12,000, stratified by star, by a fixed seed"
    labels = ("negative", "positive")
    return Corpus(
        name=name,
        language="ro",
        labels=labels,
        licence=LICENCE,
        note=note,
        files=FILES,
        read=partial(read, title=title),
    )


def read(paths: Mapping[str, Path], title: bool = True) -> Splits:
    """Train and dev are all reviews but those of the test file, matched by their index, which is unique."""
    reviews = {row.id: row for file in (POSITIVE, NEGATIVE) for row in rows(paths[file.name], title)}
    test = rows(paths[TEST.name], title)
    for row in test:
        if reviews.pop(row.id, None) != row:
            raise UserError(f"{paths[TEST.name]}: review {row.id} is not the one of the other two files")
    dev, train = draw(list(reviews.values()), DEV, lambda row: row.extra["stars"])
    return {"train": train, "dev": dev, "test": test}


def rows(path: Path, title: bool = True) -> list[Row]:
    found = []
    for number, item in objects(path, {"index": str, "title": str, "content": str, "starRating": str}, "reviews"):
        label = one_of(POLARITY, item["starRating"], path, number)
        head, text = item["title"].strip(), item["content"].strip()
        if title and head:
            text = head + (" " if head[-1] in ".!?" else ". ") + text
        found.append(Row(item["index"], (text,), (label,), {"stars": int(item["starRating"])}))
    return found
