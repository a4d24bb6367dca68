"""The test set of the VarDial 2019 shared task on MOROCO: 5,923 labelled news texts, a corpus of its own."""

from collections.abc import Mapping
from pathlib import Path

from rocl.data.corpus import Corpus, Row, Splits
from rocl.data.reading import lines, member, one_of
from rocl.data.splits import draw
from rocl.data.task import folded
from rocl.download import File
from rocl.errors import UserError

TOPICS = {"CUL": "culture", "FIN": "finance", "POL": "politics", "SCI": "science", "SPO": "sports", "TEC": "tech"}
DIALECTS = {"MD": "Moldavian", "RO": "Romanian"}
ARCHIVE = "TESTSET-MRC-subtasks-1+2+3-VARDIAL2019.zip"
MEMBER = "TESTSET-MRC-subtasks-1+2+3-VARDIAL2019/test.txt"
LICENCE = "CC BY-NC-SA 4.0"
ADDRESS = "https://raw.githubusercontent.com/butnaruandrei/MOROCO/master/MOROCO/Var-Dial-MRC-2019-eval/"
GOLD = {f"subtask-{number}-gold.txt": f"subtask{number}/Gold/" for number in (1, 2, 3)}


def _file(name: str, size: int, sha256: str) -> File:
    place = {"folder": "moroco_vardial2019", "name": name, "url": ADDRESS + GOLD.get(name, "") + name}
    return File(corpus="vardial", sha256=sha256, size=size, licence=LICENCE, **place)


FILES = (
    _file(ARCHIVE, 3_731_179, "d6b8f5047057ecbe891e7dff4f7cde7d2749d73a69567e7af500e68683232c0a"),
    _file("subtask-1-gold.txt", 17_769, "b063a24b696bb91bafbbccfc014d7f9172fb9687239a8959c1f38ede5e47b3fd"),
    _file("subtask-2-gold.txt", 12_820, "8965d858571eeca5631ff8412ee4f5fbcac1273ba77d7c2426cbd26b14f1fe5d"),
    _file("subtask-3-gold.txt", 10_872, "a9be90072e7f091697e4141d262e7ebfabc62dfcc27a6af734c6edd5f6be0387"),
)


def vardial() -> Corpus:
    """About 70 % train, 10 % dev, 20 % test; named entities are "$NE$" upstream; `extra` holds the dialect."""
    note = "splits drawn by a fixed seed, stratified by topic and dialect; all copies of a text stand in one split"
    labels = tuple(TOPICS.values())
    return Corpus(name="vardial", language="ro", labels=labels, licence=LICENCE, note=note, files=FILES, read=read)


def read(paths: Mapping[str, Path]) -> Splits:
    """Different texts are drawn, and every row follows its text: so no test text stands in train."""
    found = rows(*(paths[file.name] for file in FILES))
    texts = [folded(row) for row in found]
    first = dict(zip(reversed(texts), reversed(found), strict=True))  # the first copy of each text
    different = list(reversed(first.values()))
    test, rest = draw(different, round(0.2 * len(different)), _stratum)
    dev, _ = draw(rest, round(0.1 * len(different)), _stratum)
    place = {row.id: split for split, drawn in (("dev", dev), ("test", test)) for row in drawn}
    splits: dict[str, list[Row]] = {"train": [], "dev": [], "test": []}
    for text, row in zip(texts, found, strict=True):
        splits[place.get(first[text].id, "train")].append(row)
    return splits


def rows(archive: Path, dialects: Path, romanian: Path, moldavian: Path) -> list[Row]:
    """Joins one text a line to its dialect, and to the next topic of that dialect's own list."""
    texts, given = lines(archive / MEMBER, member(archive, MEMBER)), lines(dialects)
    topics = {"RO": (romanian, lines(romanian)), "MD": (moldavian, lines(moldavian))}
    lengths = [(dialects, given, len(texts)), *((*topics[key], given.count(key)) for key in topics)]
    for path, labels, expected in lengths:
        if len(labels) != expected:
            raise UserError(f"{path} has {len(labels)} rows, but {expected} are to be labelled")
    waiting = {key: iter(enumerate(names, 1)) for key, (_, names) in topics.items()}
    found = []
    for number, (text, key) in enumerate(zip(texts, given, strict=True), 1):
        dialect = one_of(DIALECTS, key, dialects, number)
        place, topic = next(waiting[key])
        label = one_of(TOPICS, topic, topics[key][0], place)
        found.append(Row(str(number), (text.strip(),), (label,), {"dialect": dialect}))
    return found


def _stratum(row: Row) -> tuple[str, ...]:
    return (*row.labels, row.extra["dialect"])
