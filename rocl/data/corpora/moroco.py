"""MOROCO: 33,564 Moldavian and Romanian news texts of six topics (Butnaru & Ionescu, ACL 2019), the official splits."""

from collections.abc import Mapping
from pathlib import Path

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import bad, columns, one_of
from rocl.download import File
from rocl.errors import UserError

TOPICS = {"1": "culture", "2": "finance", "3": "politics", "4": "science", "5": "sports", "6": "tech"}
DIALECTS = {"1": "Moldavian", "2": "Romanian"}
LICENCE = "CC BY-NC-SA 4.0"
ADDRESS = "https://raw.githubusercontent.com/butnaruandrei/MOROCO/master/MOROCO/preprocessed/"
SPLITS = {"train": "train", "dev": "validation", "test": "test"}


def _file(folder: str, name: str, url: str, size: int, sha256: str) -> File:
    look = "universityofbucharest/moroco on huggingface.co (parquet is not read)"
    where = {"folder": folder, "name": name, "url": ADDRESS + url, "elsewhere": look}
    return File(corpus="moroco", sha256=sha256, size=size, licence=LICENCE, **where)


FILES = (
    *(
        _file("moroco", f"{split}_samples.txt", f"all/{split}_samples.txt", size, sha256)
        for split, size, sha256 in (
            ("train", 39_010_202, "633fa23f51771d06baecde648f045bbfeb43ff561bb3143a5c86c87d6b9b9232"),
            ("validation", 10_638_402, "e3bacccf536882cb8defe0b59c6a8b7a63ce373f6be5b3dd61449cd5cbb0ee14"),
            ("test", 10_794_869, "a4a1e4e4303772bcbc8d72cc7475cf73ab1bdb1487f1c8e50f5771aecdef9eb1"),
        )
    ),
    *(
        _file("moroco_labels", f"{split}/{kind}_labels.txt", f"{split}/{kind}_labels.txt", size, sha256)
        for split, kind, size, sha256 in (
            ("train", "category", 173_752, "67df722183c134e2f75fac9b9bba8c1b6e58b2ff7afc81e1024c4eb840926b60"),
            ("train", "dialect", 173_752, "2371810d45f4c2e535c6ba3705c6e367c9b1eb30835a5689525affb1bfeae905"),
            ("validation", "category", 47_368, "83887b7cc674ac1d776975191aff950db22f7cc5bb98bbc72a0058c7b46ed6df"),
            ("validation", "dialect", 47_368, "9ae17a179e4051bc128a71afc11e25557c4515f785e930bc8bebb5fcb745253d"),
            ("test", "category", 47_392, "5e33e48b1811e3fb08e9fb232e3da8f829a353c37796c6bd41871e3e699635b8"),
            ("test", "dialect", 47_392, "36fe324a1b07a38294ba3f5ff167d81c5a668c7df480bfc102d7f8089c1fed0b"),
        )
    ),
)


def moroco() -> Corpus:
    """Train 21,719, dev 5,921, test 5,924; named entities are "$NE$" upstream; `extra` holds the dialect."""
    labels = tuple(TOPICS.values())
    return Corpus(name="moroco", language="ro", labels=labels, licence=LICENCE, files=FILES, read=read)


def read(paths: Mapping[str, Path]) -> Splits:
    return {
        split: rows(
            paths[f"{name}_samples.txt"], *(paths[f"{name}/{kind}_labels.txt"] for kind in ("category", "dialect"))
        )
        for split, name in SPLITS.items()
    }


def rows(samples: Path, categories: Path, dialects: Path) -> list[Row]:
    """The rows of one split: "id, tab, text", joined to its labels by the id."""
    topics, places = labels(categories, TOPICS), labels(dialects, DIALECTS)
    found = []
    for number, (id, text) in columns(samples, 2):
        if id not in topics or id not in places:
            raise bad(samples, number, f"{categories if id not in topics else dialects} has no label for the id {id}")
        found.append(Row(id, (text.strip(),), (topics[id],), {"dialect": places[id]}))
    if not len(found) == len(topics) == len(places):
        raise UserError(f"{samples} has {len(found)} rows, {categories} {len(topics)}, {dialects} {len(places)}")
    return found


def labels(path: Path, names: Mapping[str, str]) -> dict[str, str]:
    return {id: one_of(names, key, path, number) for number, (id, key) in columns(path, 2)}
