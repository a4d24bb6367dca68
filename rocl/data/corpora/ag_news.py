"""AG News: 127,600 English news items of four topics (Zhang et al., NIPS 2015), title and description."""

import html
import re
from collections.abc import Mapping
from pathlib import Path

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import one_of, quoted
from rocl.data.splits import draw
from rocl.download import File

LABELS = ("world", "sports", "business", "sci-tech")
CLASSES = {"1": "world", "2": "sports", "3": "business", "4": "sci-tech"}
LICENCE = "research and other non-commercial use (readme of the corpus)"
ADDRESS = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/"
TRAIN, TEST = (
    File(
        corpus="ag_news",
        folder="ag_news_partial",
        name=name,
        url=ADDRESS + name,
        sha256=sum,
        size=size,
        licence=LICENCE,
    )
    for name, size, sum in (
        ("train.csv", 29_470_338, "76a0a2d2f92b286371fe4d4044640910a04a803fdd2538e0f3f29a5c6f6b672e"),
        ("test.csv", 1_857_427, "521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699"),
    )
)
CLEANED = "text is title and description, cleaned of HTML leftovers and backslashes"
ENTITY = re.compile(r"(?: |(?<![\w&]))(#\d+|quot|amp|lt|gt|nbsp|hellip|rsquo|eacute);")
TAG = re.compile(r"</?(?:a|b|i|p|u|br|em|img|font|cite|nobr|strong)\b[^<>]*>", re.IGNORECASE)


def ag_news() -> Corpus:
    """Train 114,000, dev 6,000 (5 % of the official train), test 7,600 (official)."""
    note = f"dev is 5 % of the official 120,000, stratified, by a fixed seed; {CLEANED}"
    return Corpus(
        name="ag_news", language="en", labels=LABELS, licence=LICENCE, note=note, files=(TRAIN, TEST), read=read
    )


def read(paths: Mapping[str, Path]) -> Splits:
    found = rows(paths["train.csv"], "train")
    dev, train = draw(found, len(found) // 20, lambda row: row.labels)
    return {"train": train, "dev": dev, "test": rows(paths["test.csv"], "test")}


def rows(path: Path, split: str) -> list[Row]:
    """Rows of the official form: class, title, description."""
    return [
        Row(f"{split}-{number}", (clean(f"{title} {description}"),), (one_of(CLASSES, key, path, number),))
        for number, (key, title, description) in quoted(path, 3)
    ]


def clean(text: str) -> str:
    """The text as it was before the corpus was made, as far as that can be seen.

    The "&" of most HTML entities had become a space (" #39;" is "'"), and a newline or the like a backslash.
    """
    if ";" in text:
        text = TAG.sub(" ", html.unescape(ENTITY.sub(r"&\1;", text)))
    return " ".join(text.replace("\\$", "$").replace("\\", " ").split())
