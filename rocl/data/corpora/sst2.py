"""SST-2: English film reviews, sentences and phrases, positive or negative (Socher et al., EMNLP 2013); GLUE's form."""

from collections.abc import Mapping
from pathlib import Path

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import bad, columns, one_of
from rocl.download import File

LABELS = {"0": "negative", "1": "positive"}
LICENCE = "none stated upstream"
GLUE = "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip"
FASTCLASS = "https://raw.githubusercontent.com/xiatingyu/FastClass/811a611f99eaf0ae8c05ab89b4ae6c1c371c2151/data/sst/"
TRAIN = ("train.tsv", GLUE, "SST-2/train.tsv", 3_806_081)
DEV = ("dev.tsv", GLUE, "SST-2/dev.tsv", 94_931)
TEST = ("test-labeled.txt", FASTCLASS + "test.txt", "", 194_788)
FILES = tuple(
    File(corpus="sst2", folder="sst2_glue", name=name, url=url, member=member, sha256=sum, size=size, licence=LICENCE)
    for (name, url, member, size), sum in (
        (TRAIN, "48eac26399f8456935f81dd9e3a745c1430adb6c62e233ccfe22db4a0d15d1d1"),
        (DEV, "54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0"),
        (TEST, "8ac84175b7b432f0a56c9a64d2184eb7672f678e49c80029c4cfbb1124eec513"),
    )
)


def sst2() -> Corpus:
    """Train 67,349 (mostly phrases), dev 872, test 1,821 (sentences)."""
    note = "GLUE hides its test labels; test is the same sentences with the labels of SST"
    labels = tuple(LABELS.values())
    return Corpus(name="sst2", language="en", labels=labels, licence=LICENCE, note=note, files=FILES, read=read)


def read(paths: Mapping[str, Path]) -> Splits:
    return {
        "train": rows(paths["train.tsv"], "train"),
        "dev": rows(paths["dev.tsv"], "dev"),
        "test": test_rows(paths["test-labeled.txt"]),
    }


def rows(path: Path, split: str) -> list[Row]:
    """Rows of "sentence, tab, label" below a header; the sentences end in a space, which is taken off."""
    found = []
    for number, (text, label) in columns(path, 2):
        if number > 1:
            found.append(Row(f"{split}-{number - 1}", (text.strip(),), (one_of(LABELS, label, path, number),)))
        elif (text, label) != ("sentence", "label"):
            raise bad(path, number, "the header is not 'sentence', 'label'")
    return found


def test_rows(path: Path) -> list[Row]:
    return [
        Row(f"test-{number}", (text.strip(),), (one_of(LABELS, label, path, number),))
        for number, (label, text) in columns(path, 2)
    ]
