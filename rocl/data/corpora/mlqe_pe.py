"""MLQE-PE: 9,000 Romanian sentences of Wikipedia, a machine's English corrected by people (Fomicheva et al., 2022)."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import aligned, bad, columns, lines, tar_member
from rocl.download import File

LICENCE = "CC0"
ADDRESS = "https://raw.githubusercontent.com/sheffieldnlp/mlqe-pe/master/data/"
HEADER = ["index", "original", "translation", "scores", "mean", "z_scores", "z_mean", "model_scores"]
MEMBERS = {  # a table of raw texts in da-*.tar.gz; tokenised texts in pe-*.tar.gz, up to their endings
    "train": ("ro-en-train/train.roen.df.short.tsv", "ro-en-train/train"),
    "dev": ("ro-en-dev/dev.roen.df.short.tsv", "ro-en-dev/dev"),
    "test": ("ro-en/test20.roen.df.short.tsv", "ro-en-test20/test20"),
}
NUMBER = re.compile(r"[01]\.\d{6}")
QUOTED = re.compile('" (.*?) "')
LEFT = re.compile(r" ([.,;:!?%)\]”»…]|\.\.\.|['’]\w)")  # what stands at the word on its left
RIGHT = re.compile(r"([(\[„“«$€£]) ")


def _file(kind: str, split: str, size: int, sha256: str) -> File:
    folder = {"da": "direct-assessments", "pe": "post-editing"}[kind]
    name, url = f"{kind}-ro-en-{split}.tar.gz", f"{ADDRESS}{folder}/{split}/ro-en-{split}.tar.gz"
    place = {"folder": "mlqe_pe_roen", "name": name, "url": url}
    return File(corpus="mlqe_pe", sha256=sha256, size=size, licence=LICENCE, **place)


FILES = (
    _file("da", "train", 1_693_860, "a3460e518bfb4d275bbab1a53736bbe31a1df1ff8de7d6cb898149612d57dc03"),
    _file("pe", "train", 1_032_831, "6ee883ef9544eb19522a480301c16ad16ffe3dd6d2fcb5c618ce8830ac0121dc"),
    _file("da", "dev", 266_774, "9dfc90d6ada1da2d6d85ba856b34566af7067bf25f2b70efde079821c10b8b6c"),
    _file("pe", "dev", 153_213, "98efed3b997d7e0392a2993cd2b521216eed922a987ae18caa6dc646c035f681"),
    _file("da", "test", 262_494, "da29ec0efb65e5c99b26b0c67c12544842d286b6fd5467d9c3dec25a3c07e6d9"),
    _file("pe", "test", 150_503, "01ec2fe1c832c49f8bb7fb6e2710afc6353913f35d129b43d73eabf517078126"),
)


def mlqe_pe() -> Corpus:
    """Train 7,000, dev 1,000, test 1,000 (the official splits) pairs of texts, English then Romanian, no labels."""
    note = (
        "Romanian is the raw source; English is a machine translation as people corrected it, which upstream is "
        "tokenised: spaces at punctuation are taken out again by rule, single quotes keep theirs"
    )
    return Corpus(
        name="mlqe_pe", language="ro", labels=(), kind="text", licence=LICENCE, note=note, files=FILES, read=read
    )


def read(paths: Mapping[str, Path]) -> Splits:
    return {
        split: rows(paths[f"da-ro-en-{split}.tar.gz"], paths[f"pe-ro-en-{split}.tar.gz"], split) for split in MEMBERS
    }


def rows(scored: Path, edited: Path, split: str) -> list[Row]:
    """Joins archives whose sources and translations agree row by row, and whose edits are as far as upstream says.

    What agrees is all but spaces. How far is HTER, edits a word: the words that only one of the texts has bound it
    from below, and it is 0 where they differ in nothing but case.
    """
    table, stem = MEMBERS[split]
    (_, header), *scores = columns(scored / table, len(HEADER), content=tar_member(scored, table))
    if header != HEADER:
        raise bad(scored / table, 1, f"the header is not {HEADER}")
    raw = [(scored, [fields[place] for _, fields in scores]) for place in (1, 2)]
    parts = [f"{stem}.{end}" for end in ("src", "mt", "pe", "hter")]
    tokens = [(edited / part, lines(edited / part, tar_member(edited, part))) for part in parts]
    found = []
    for number, (romanian, translation, source, machine, english, hter) in aligned(*raw, *tokens):
        if solid(source) != solid(romanian) or solid(machine) != solid(translation):
            raise bad(edited / f"{stem}.src", number, f"this source or its .mt is not the one of {scored}")
        if not NUMBER.fullmatch(hter) or not plausible(machine, english, float(hter)):
            raise bad(edited / f"{stem}.pe", number, f"cannot be .mt corrected with an HTER of {hter}")
        found.append(Row(f"{split}-{number}", (untokenised(english), romanian), ()))
    return found


def solid(text: str) -> str:
    return "".join(text.split())


def plausible(machine: str, english: str, hter: float) -> bool:
    """Whether an HTER, which ignores case and is cut at 1, can be that of these tokenised texts."""
    before, after = Counter(machine.casefold().split()), Counter(english.casefold().split())
    least = max((before - after).total(), (after - before).total()) / after.total()
    same = machine.casefold() == english.casefold()
    return same == (hter == 0) and min(least, 1) <= hter + 1e-6  # six digits are written


def untokenised(text: str) -> str:
    """A text with its punctuation put back to the words; gives 98.9 % of the raw translations from the tokenised."""
    return RIGHT.sub(r"\1", LEFT.sub(r"\1", QUOTED.sub(r'"\1"', text)))
