"""RO-STS: 17,256 English sentences of STS-B in Romanian, machine-translated, then corrected by people."""

from collections.abc import Mapping
from pathlib import Path

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import aligned, lines
from rocl.download import File

LICENCE = "CC BY-SA 4.0"
ADDRESS = "https://raw.githubusercontent.com/dumitrescustefan/RO-STS/master/dataset/ro-en/"
FILES = tuple(
    File(
        corpus="ro_sts",
        folder="ro_sts_parallel",
        name=name,
        url=ADDRESS + name,
        sha256=sha256,
        size=size,
        licence=LICENCE,
    )
    for name, size, sha256 in (
        ("RO-STS.train.en", 674_041, "4f977090eb8beeb61a76876b1ba60462104633979f2c13f439fb1134a43648a8"),
        ("RO-STS.train.ro", 820_856, "ea7ca3d0ca6c2c0ffa70413a2fe006a0aca55c9f467c6f30a4b6dcc731307838"),
        ("RO-STS.dev.en", 195_041, "219fa6df88e71a829cb31bc40f7cde7258e86c532d43ed7e0b1e2aaec5281ebc"),
        ("RO-STS.dev.ro", 230_730, "04be055b3b073483b5d36be54d86b3809c14edd707b16e909e23a98098b760c0"),
        ("RO-STS.test.en", 150_667, "9088e52b259c5daf91ae830369ab51c3de0a1e377dd5ae17af6a3e75e1f81ff0"),
        ("RO-STS.test.ro", 180_359, "81df186cfe2763d21d05a8be6f5a9146ed3eaac9c6080b5a630309036e23c529"),
    )
)


def ro_sts() -> Corpus:
    """Train 11,498, dev 3,000, test 2,758 (the official splits) pairs of texts, English then Romanian, no labels."""
    note = (
        "a row is a sentence and its translation; rows 1 and 2, 3 and 4, ... are what STS-B compares; copies are kept"
    )
    return Corpus(
        name="ro_sts", language="ro", labels=(), kind="text", licence=LICENCE, note=note, files=FILES, read=read
    )


def read(paths: Mapping[str, Path]) -> Splits:
    return {
        split: pairs(paths[f"RO-STS.{split}.en"], paths[f"RO-STS.{split}.ro"], split)
        for split in ("train", "dev", "test")
    }


def pairs(english: Path, romanian: Path, split: str) -> list[Row]:
    """A row for each line of two files."""
    texts = aligned((english, lines(english)), (romanian, lines(romanian)))
    return [Row(f"{split}-{number}", pair, ()) for number, pair in texts]
