"""Tatoeba: 1,000 short Romanian sentences and their English translations, as LASER tests with them (Artetxe, 2019)."""

from collections.abc import Mapping
from pathlib import Path

from rocl.data.corpora.ro_sts import pairs
from rocl.data.corpus import Corpus, Splits
from rocl.download import File

LICENCE = "CC BY 2.0 FR (Tatoeba's own terms; the files state none)"
ADDRESS = "https://raw.githubusercontent.com/facebookresearch/LASER/main/data/tatoeba/v1/"
ENGLISH, ROMANIAN = FILES = tuple(
    File(
        corpus="tatoeba",
        folder="tatoeba_laser",
        name=name,
        url=ADDRESS + name,
        sha256=sha256,
        size=size,
        licence=LICENCE,
    )
    for name, size, sha256 in (
        ("tatoeba.ron-eng.eng", 34_494, "1064c638220dc9de0868baee327e091ae815214674295b62b13448ef442c448d"),
        ("tatoeba.ron-eng.ron", 37_990, "ad5c4a9f4920718203534d1f8271e27021b9af54b2c908dec66851d4dc681fd4"),
    )
)


def tatoeba() -> Corpus:
    """Test 1,000 pairs of texts, English then Romanian, no labels."""
    note = "upstream is a test set of sentence retrieval; every row is test, every sentence stands once a language"
    return Corpus(
        name="tatoeba", language="ro", labels=(), kind="text", licence=LICENCE, note=note, files=FILES, read=read
    )


def read(paths: Mapping[str, Path]) -> Splits:
    return {"test": pairs(paths[ENGLISH.name], paths[ROMANIAN.name], "test")}
