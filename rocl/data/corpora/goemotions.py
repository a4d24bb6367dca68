"""GoEmotions: 54,263 English Reddit comments, each with one or more of 28 emotions (Demszky et al., ACL 2020)."""

from collections.abc import Mapping
from pathlib import Path

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import columns, one_of
from rocl.download import File

LABELS = tuple(  # the order of the ids in the files
    (
        "admiration amusement anger annoyance approval caring confusion curiosity desire disappointment disapproval "
        "disgust embarrassment excitement fear gratitude grief joy love nervousness optimism pride realization "
        "relief remorse sadness surprise neutral"
    ).split()
)
LICENCE = "Apache-2.0"
ADDRESS = "https://github.com/google-research/google-research/raw/master/goemotions/data/"
FILES = tuple(
    File(
        corpus="goemotions", folder="goemotions", name=name, url=ADDRESS + name, sha256=sum, size=size, licence=LICENCE
    )
    for name, size, sum in (
        ("train.tsv", 3_519_053, "1c254a142be5c00e80d819b9ae1bbd36d94b2eeb8f4b1271846508d57e57d9c5"),
        ("dev.tsv", 439_059, "575489c079c9de1097062a01738f998590d6b7ead66dd1c9fd1d2ba01fd8bc62"),
        ("test.tsv", 436_706, "0587b2dd8b27b97352adbfc3fb083d46005c8946657fdc2b1ca8b1cc7f1f8be4"),
    )
)


def goemotions() -> Corpus:
    """Train 43,410, dev 5,426, test 5,427 (the official splits), labels of any number."""
    note = "a label stands where at least two raters chose it; names and religions are masked upstream"
    return Corpus(
        name="goemotions", language="en", labels=LABELS, kind="many", licence=LICENCE, note=note, files=FILES, read=read
    )


def read(paths: Mapping[str, Path]) -> Splits:
    return {split: rows(paths[f"{split}.tsv"], split) for split in ("train", "dev", "test")}


def rows(path: Path, split: str) -> list[Row]:
    """Rows of text, ids of labels between commas, id of the comment."""
    names = {str(id): label for id, label in enumerate(LABELS)}
    return [
        Row(f"{split}-{comment}", (text,), tuple(one_of(names, id, path, number) for id in ids.split(",")))
        for number, (text, ids, comment) in columns(path, 3)
    ]
