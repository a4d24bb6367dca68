"""REDv2: 5,449 Romanian tweets, each with one or more of seven emotions (Ciobotaru et al., LREC 2022)."""

from collections.abc import Mapping
from pathlib import Path

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import bad, objects
from rocl.download import File

LABELS = ("sadness", "surprise", "fear", "anger", "neutral", "trust", "joy")  # the order of the 0/1 lists in the files
LICENCE = "MIT; a paper that uses it must cite the RED and REDv2 papers"
ADDRESS = "https://raw.githubusercontent.com/Alegzandra/RED-Romanian-Emotions-Dataset/main/REDv2/data/"
FILES = tuple(
    File(corpus="redv2", folder="redv2", name=name, url=ADDRESS + name, sha256=sha256, size=size, licence=LICENCE)
    for name, size, sha256 in (
        ("train.json", 4_317_599, "be8fb387fd38c0ed9b0b8238bbc9c07580d4b7af468290a81a4a72bafb272e56"),
        ("valid.json", 574_121, "39ef8f488ba1c6ed70a9b806c05bd913d49833ef89069a4f32ed13fd5a1fb628"),
        ("test.json", 866_263, "69c25488792dc405a45f406d9bd989f9450d6388fb83db7ef8cd87c2e3a2f581"),
    )
)


def redv2() -> Corpus:
    """Train 4,088, dev 543, test 818 (the official splits), labels of any number."""
    note = "a label stands where at least two of the three annotators chose it; user names are masked upstream"
    return Corpus(
        name="redv2", language="ro", labels=LABELS, kind="many", licence=LICENCE, note=note, files=FILES, read=read
    )


def read(paths: Mapping[str, Path]) -> Splits:
    names = {"train": "train.json", "dev": "valid.json", "test": "test.json"}
    return {split: rows(paths[name], split) for split, name in names.items()}


def rows(path: Path, split: str) -> list[Row]:
    found = []
    for number, item in objects(path, {"text_id": int, "text": str, "agreed_labels": list}):
        agreed = item["agreed_labels"]
        if len(agreed) != len(LABELS) or any(value not in (0, 1) for value in agreed):
            raise bad(path, number, f"agreed_labels {agreed} is not a 0 or 1 for each of {', '.join(LABELS)}")
        labels = tuple(label for label, yes in zip(LABELS, agreed, strict=True) if yes)
        found.append(Row(f"{split}-{item['text_id']}", (item["text"],), labels))
    return found
