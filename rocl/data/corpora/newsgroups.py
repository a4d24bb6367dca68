"""20 Newsgroups: 18,846 English posts to 20 newsgroups (Lang, ICML 1995), in the version split by date."""

import re
from collections.abc import Mapping
from pathlib import Path

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import members
from rocl.data.splits import draw_groups
from rocl.data.task import folded
from rocl.download import File
from rocl.errors import UserError

LABELS = tuple(
    (
        "alt.atheism comp.graphics comp.os.ms-windows.misc comp.sys.ibm.pc.hardware comp.sys.mac.hardware "
        "comp.windows.x misc.forsale rec.autos rec.motorcycles rec.sport.baseball rec.sport.hockey sci.crypt "
        "sci.electronics sci.med sci.space soc.religion.christian talk.politics.guns talk.politics.mideast "
        "talk.politics.misc talk.religion.misc"
    ).split()
)
NAME = re.compile(r"20news-bydate-((train|test)/([a-z.-]+)/\d+)")
SUBJECT = re.compile(r"^Subject:[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE)  # a line with a blank in front goes on
LICENCE = "none stated"
ARCHIVE = File(
    corpus="newsgroups",
    folder="newsgroups20_bydate",
    name="20news-bydate.tar.xz",
    sha256="063ac8e723997592acd8a0c0e1a6f7db08bc114dc55d838d292f7c8a1f85ff17",
    size=8_679_016,
    licence=LICENCE,
    elsewhere="20news-bydate.tar.gz at qwone.com/~jason/20Newsgroups: this is its 18,846 files packed anew, not "
    "compared with it byte by byte",
)


def newsgroups() -> Corpus:
    """Train 10,182, dev 1,132 (a tenth of the texts and their copies), test 7,532 (upstream's)."""
    note = (
        "text is the subject and all below the headers, quotes and signatures included; the other headers are dropped; "
        "one train file has no blank line after its headers and is kept whole; dev is a tenth of upstream's train, "
        "stratified, by a fixed seed, with all copies of a text"
    )
    return Corpus(
        name="newsgroups", language="en", labels=LABELS, licence=LICENCE, note=note, files=(ARCHIVE,), read=read
    )


def read(paths: Mapping[str, Path]) -> Splits:
    found = rows(paths[ARCHIVE.name])
    dev, train = draw_groups(found["train"], 0.1, lambda row: row.labels, folded)
    return {"train": train, "dev": dev, "test": found["test"]}


def rows(path: Path) -> dict[str, list[Row]]:
    """Upstream's two splits, one post a file, in the order of the files' names."""
    found: dict[str, list[Row]] = {"train": [], "test": []}
    for name, content in sorted(members(path)):
        if not (parts := NAME.fullmatch(name)) or parts[3] not in LABELS:
            raise UserError(f"{path}: {name!r} is not 20news-bydate-<train or test>/<one of the 20 groups>/<number>")
        id, split, group = parts.groups()
        found[split].append(Row(id, (without_headers(content.decode("latin-1")),), (group,)))
    return found


def without_headers(post: str) -> str:
    """The subject, a blank line and the body as it stands; the whole post where it has no subject or no blank line."""
    headers, blank, body = post.partition("\n\n")
    subject = SUBJECT.search(headers)
    return f"{subject[1]}\n\n{body}" if blank and subject else post
