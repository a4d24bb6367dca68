"""RoSent: 28,947 Romanian reviews of films and products, positive or negative, many of them machine-translated."""

import re
from collections.abc import Mapping
from pathlib import Path

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import members, text
from rocl.data.splits import draw_groups
from rocl.data.task import folded
from rocl.download import File
from rocl.errors import UserError

FOLDERS = {"neg": "negative", "pos": "positive"}
NAME = re.compile("ro/((train|test)/(neg|pos)/[^/]+)")
LICENCE = "none stated"
ARCHIVE = File(
    corpus="rosent",
    folder="ro_sent_katakonst",
    name="ro.tar.xz",
    sha256="f5e0be6eed6d09d07feacf2b6e6d01bc1bf67199b0ed61d4990d417d55de1c59",
    size=4_362_228,
    licence=LICENCE,
    elsewhere="the folder datasets/ro of katakonst/sentiment-analysis-tensorflow on github.com: this is its 28,947 "
    "reviews packed anew",
)


def rosent() -> Corpus:
    """Train 15,877, dev 1,775 (a tenth of the texts and their copies), test 11,005 (upstream's)."""
    note = (
        "290 empty train files are dropped; dev is a tenth of the texts of upstream's train with all their copies, "
        "stratified, by a fixed seed; upstream's texts are bare of diacritics"
    )
    labels = tuple(FOLDERS.values())
    return Corpus(name="rosent", language="ro", labels=labels, licence=LICENCE, note=note, files=(ARCHIVE,), read=read)


def read(paths: Mapping[str, Path]) -> Splits:
    found = rows(paths[ARCHIVE.name])
    given = [row for row in found["train"] if row.texts[0].strip()]
    dev, train = draw_groups(given, 0.1, lambda row: row.labels, folded)
    return {"train": train, "dev": dev, "test": found["test"]}


def rows(path: Path) -> dict[str, list[Row]]:
    """Upstream's two splits, one review a file, in the order of the files' names."""
    found: dict[str, list[Row]] = {"train": [], "test": []}
    for name, content in sorted(members(path)):
        if not (parts := NAME.fullmatch(name)):
            raise UserError(f"{path}: {name!r} is not ro/<train or test>/<neg or pos>/<name>")
        id, split, folder = parts.groups()
        found[split].append(Row(id, (text(path / name, content),), (FOLDERS[folder],)))
    return found
