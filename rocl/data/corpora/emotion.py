"""Emotion: 20,000 English tweets, each with one of six emotions (Saravia et al., EMNLP 2018), splits of dair-ai."""

from collections.abc import Mapping
from pathlib import Path

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import columns, one_of
from rocl.download import File

LABELS = ("sadness", "joy", "love", "anger", "fear", "surprise")  # the order of the ids on Hugging Face
LICENCE = "educational and research purposes only"
WHERE = "dair-ai/emotion on huggingface.co, in lines of text;label (parquet is not read)"
FILES = tuple(
    File(corpus="emotion", folder="emotion", name=name, sha256=sum, size=size, licence=LICENCE, elsewhere=WHERE)
    for name, size, sum in (
        ("train.txt", 1_658_616, "3ab03d945a6cb783d818ccd06dafd52d2ed8b4f62f0f85a09d7d11870865b190"),
        ("val.txt", 204_240, "34faaa31962fe63cdf5dbf6c132ef8ab166c640254ab991af78f3aea375e79ef"),
        ("test.txt", 206_760, "60f531690d20127339e7f054edc299a82c627b5ec0dd5d552d53d544e0cfcc17"),
    )
)


def emotion() -> Corpus:
    """Train 16,000, dev 2,000, test 2,000."""
    return Corpus(name="emotion", language="en", labels=LABELS, licence=LICENCE, files=FILES, read=read)


def read(paths: Mapping[str, Path]) -> Splits:
    names = {"train": "train.txt", "dev": "val.txt", "test": "test.txt"}
    return {split: rows(paths[name], split) for split, name in names.items()}


def rows(path: Path, split: str) -> list[Row]:
    names = {label: label for label in LABELS}
    return [
        Row(f"{split}-{number}", (text.strip(),), (one_of(names, label, path, number),))
        for number, (text, label) in columns(path, 2, ";")
    ]
