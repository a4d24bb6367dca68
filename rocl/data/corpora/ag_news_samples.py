"""Four public samples of AG News's training half, 16,000 rows in four forms, as one corpus, with the official test."""

import re
from collections.abc import Mapping
from pathlib import Path

from rocl.data.corpora.ag_news import CLEANED, LABELS, LICENCE, TEST, clean
from rocl.data.corpora.ag_news import rows as official
from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import bad, one_of, quoted
from rocl.data.splits import draw
from rocl.download import File

DEV = 1000
A, B, C, D = (f"train_sample_{end}.csv" for end in ("a_5000", "b_5000", "c_4000_2class", "d_2000_official_format"))
PML = (
    "https://raw.githubusercontent.com/amrayach/PML/b3a19f773e16b72c4e603788821f7a1388b9e418/datasets/ag_news/train.csv"
)
SAMPLES = tuple(
    File(
        corpus="ag_news_samples",
        folder="ag_news_partial",
        name=name,
        sha256=sum,
        size=size,
        licence=f"none stated for the sample; the corpus: {LICENCE}",
        url=url,
        elsewhere=f"{look} on github.com, where it was part of a repository",
    )
    for name, url, look, size, sum in (
        (A, None, "lst11111", 1_207_718, "23ff4a798bef4c6f1bab4018f491757b87e124901515e4e208461e022a163401"),
        (B, None, "fxcawley", 1_219_216, "2b534bbedd1b58e9329bd169ed5e4c03ba716d34a888191444d6d02a58829093"),
        (C, None, "vicrudakov", 1_006_566, "21977496fa5f58b177078d70784906c8940b44bce3eff52145a368acd55b7082"),
        (D, PML, "amrayach", 517_506, "fe1b508b8e4b92d6dedf36c21756e0568a7693a0b7fc244bea416e918308318f"),
    )
)


def ag_news_samples() -> Corpus:
    """Train 14,173, dev 1,000, test 7,600; sample c holds only two topics, d is the head of the official file."""
    note = (
        "16,000 rows, of which 822 copies and 5 texts of the official test were left out (compared by letters and "
        f"digits alone); dev is 1,000 rows, stratified, by a fixed seed; {CLEANED}"
    )
    files = (*SAMPLES, TEST)
    return Corpus(
        name="ag_news_samples", language="en", labels=LABELS, licence=LICENCE, note=note, files=files, read=read
    )


def read(paths: Mapping[str, Path]) -> Splits:
    by_id = {str(number): label for number, label in enumerate(LABELS)}
    found = [
        *rows(paths[A], "a", by_id),
        *rows(paths[B], "b", {f"{key}.0": label for key, label in by_id.items()}, header=["text", "label"]),
        *rows(paths[C], "c", {"world": "world", "sci_tech": "sci-tech"}),
        *official(paths[D], "d"),
    ]
    test = official(paths["test.csv"], "test")
    held_out = {_letters(row) for row in test}
    different = {_letters(row): row for row in reversed(found)}  # the first copy of each
    kept = [row for letters, row in reversed(different.items()) if letters not in held_out]
    dev, train = draw(kept, DEV, lambda row: row.labels)
    return {"train": train, "dev": dev, "test": test}


def rows(path: Path, sample: str, names: Mapping[str, str], header: list[str] | None = None) -> list[Row]:
    """Rows of text, label."""
    records = list(quoted(path, 2))
    if header and records.pop(0)[1] != header:
        raise bad(path, 1, f"the header is not {header}")
    return [Row(f"{sample}-{n}", (clean(text),), (one_of(names, key, path, n),)) for n, (text, key) in records]


def _letters(row: Row) -> str:
    """What two copies of a text share, whose punctuation and spacing differ from sample to sample."""
    return re.sub(r"\W+", "", row.texts[0].casefold())
