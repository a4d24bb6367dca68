"""NTREX-128: 1,997 English sentences of WMT's newstest2019, translated by professionals (Federmann et al., 2022)."""

from collections.abc import Mapping
from pathlib import Path

from rocl.data.corpora.ro_sts import pairs
from rocl.data.corpus import Corpus, Splits
from rocl.download import File

LICENCE = "CC BY-SA 4.0"
ADDRESS = "https://raw.githubusercontent.com/MicrosoftTranslator/NTREX/main/NTREX-128/"
ENGLISH, ROMANIAN = FILES = tuple(
    File(corpus="ntrex", folder="ntrex128", name=name, url=ADDRESS + name, sha256=sha256, size=size, licence=LICENCE)
    for name, size, sha256 in (
        ("newstest2019-src.eng.txt", 251_739, "389e8f5796c66db4f646dfad33e1ec622d74767af5ef112b42a1f2cd814df3cc"),
        ("newstest2019-ref.ron.txt", 314_018, "ad8f396735ffe78f7cbfce1df7782fe587c395ed30b1eee92a16109d62d4648c"),
    )
)


def ntrex() -> Corpus:
    """Train 1,997 pairs of texts, English then Romanian, no labels."""
    note = "upstream is a test set of translation; here every row is train"
    return Corpus(
        name="ntrex", language="ro", labels=(), kind="text", licence=LICENCE, note=note, files=FILES, read=read
    )


def read(paths: Mapping[str, Path]) -> Splits:
    return {"train": pairs(paths[ENGLISH.name], paths[ROMANIAN.name], "train")}
