"""Proves that RoSent, GoEmotions and 20 Newsgroups are read as counted upstream, and that a bad file is one line."""

import io
import re
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from rocl.data.corpora import goemotions, newsgroups, rosent
from rocl.data.reading import members
from rocl.data.statistics import statistics
from rocl.data.task import Task, folded
from rocl.download import File
from rocl.errors import UserError

SHARED = Path(__file__).parents[2] / "shared" / "data"
upstream = pytest.mark.skipif(not SHARED.exists(), reason="the upstream files are not beside the repository")
ALL = {corpus.name: corpus for corpus in (rosent.rosent(), goemotions.goemotions(), newsgroups.newsgroups())}

# corpus: digest, {split: counts in the order of the labels}
FIGURES = {
    "rosent": ("1d072dd6d765ae4c", {"train": (6150, 9727), "dev": (677, 1098), "test": (4828, 6177)}),
    "goemotions": (
        "6335f27420bce22e",
        {
            "train": (
                *(4130, 2328, 1567, 2470, 2939, 1087, 1368, 2191, 641, 1269, 2022, 793, 303, 853),
                *(596, 2662, 77, 1452, 2086, 164, 1581, 111, 1110, 153, 545, 1326, 1060, 14219),
            ),
            "dev": (
                *(488, 303, 195, 303, 397, 153, 152, 248, 77, 163, 292, 97, 35, 96),
                *(90, 358, 13, 172, 252, 21, 209, 15, 127, 18, 68, 143, 129, 1766),
            ),
            "test": (
                *(504, 264, 198, 320, 351, 135, 153, 284, 83, 151, 267, 123, 37, 103),
                *(78, 352, 6, 161, 238, 23, 186, 16, 145, 11, 56, 156, 141, 1787),
            ),
        },
    ),
    "newsgroups": (
        "fbb59d56deca3655",
        {
            "train": (
                *(432, 526, 532, 531, 520, 533, 527, 535, 537, 537),
                *(540, 535, 532, 535, 534, 539, 491, 508, 419, 339),
            ),
            "dev": (48, 58, 59, 59, 58, 60, 58, 59, 61, 60, 60, 60, 59, 59, 59, 60, 55, 56, 46, 38),
            "test": (
                *(319, 389, 394, 392, 385, 395, 390, 396, 398, 397),
                *(399, 396, 393, 396, 394, 398, 364, 376, 310, 251),
            ),
        },
    ),
}


@pytest.fixture(autouse=True)
def place(monkeypatch):
    monkeypatch.setenv("ROCL_DATA", str(SHARED))


@upstream
@pytest.mark.parametrize("name", FIGURES)
def test_labels_and_digest_are_the_published_ones(name):
    corpus = ALL[name]
    digest, expected = FIGURES[name]
    assert {split: tuple(corpus.counts(split).values()) for split in corpus.splits} == expected
    assert corpus.digest == digest
    assert all(len(row.texts) == 1 and row.texts[0].strip() for rows in corpus.splits.values() for row in rows)


@upstream
def test_goemotions_has_its_official_splits_labels_and_sizes_of_label_sets():
    corpus = ALL["goemotions"]
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {"train": 43410, "dev": 5426, "test": 5427}
    sizes = Counter(len(row.labels) for row in corpus.splits["train"])
    assert sizes == {1: 36308, 2: 6541, 3: 532, 4: 28, 5: 1}
    assert corpus.labels == tuple((SHARED / "goemotions" / "emotions.txt").read_text().split())


@upstream
@pytest.mark.parametrize(("name", "total", "empty", "leaks"), [("rosent", 17942, 290, 67), ("newsgroups", 11314, 0, 5)])
def test_dev_comes_out_of_train_stratified_and_shares_no_text_with_it(name, total, empty, leaks):
    corpus = ALL[name]
    train, dev = corpus.splits["train"], corpus.splits["dev"]
    assert len(train) + len(dev) == total - empty
    texts = {split: {folded(row) for row in rows} for split, rows in corpus.splits.items()}
    assert not texts["train"] & texts["dev"]
    different = len(texts["train"]) + len(texts["dev"])
    assert len(texts["dev"]) == round(different / 10)
    assert statistics(Task(name=name, corpus=corpus))["leaks"] == {"dev": 0, "test": leaks}  # upstream's, and kept
    share = len(dev) / (len(train) + len(dev))
    for label, number in corpus.counts("dev").items():
        assert abs(number - share * (number + corpus.counts("train")[label])) < 10  # copies move a few


@upstream
def test_newsgroups_lose_their_headers_and_nothing_else():
    rows = {f"20news-bydate-{row.id}": row for rows in ALL["newsgroups"].splits.values() for row in rows}
    whole = []
    for name, content in members(SHARED / "newsgroups20_bydate" / "20news-bydate.tar.xz"):
        post, text = content.decode("latin-1"), rows[name].texts[0]
        subject, _, body = text.partition("\n\n")
        if text == post:
            whole.append(name)
            continue
        headers = post.removesuffix(f"\n\n{body}")
        assert post == f"{headers}\n\n{body}" and "\n\n" not in headers
        rest = f"\n{headers}".split("\nSubject:")[1].lstrip(" \t").removeprefix(subject)
        assert rest == "" or re.match(r"\n\S", rest)
    assert whole == ["20news-bydate-train/alt.atheism/54473"]


# Made-up copies, small enough to see


def packed(path: Path, contents: dict[str, bytes], mode: str = "w:xz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


POST = b"From: a@b\nSubject: Re: Stars\nLines: 2\n\nOld \xbdlight.\n\n-- \nme\n"


@pytest.mark.parametrize(
    ("post", "text"),
    [
        ("From: a\nSubject: Re: Stars\nLines: 1\n\nOne.\n\nTwo.\n", "Re: Stars\n\nOne.\n\nTwo.\n"),
        ("Subject: A title\n that goes on\nFrom: a\n\nx", "A title\n that goes on\n\nx"),
        ("From: a\nSubject:\nLines: 1\n\nx", "\n\nx"),
        ("From: a\nLines: 1\n\nSubject: x", "From: a\nLines: 1\n\nSubject: x"),
        ("From: a Subject: b c d", "From: a Subject: b c d"),
    ],
)
def test_of_the_headers_of_a_post_the_subject_stays(post, text):
    assert newsgroups.without_headers(post) == text


def test_newsgroups_are_latin_1_and_in_the_order_of_names(tmp_path):
    names = ("20news-bydate-train/sci.med/9", "20news-bydate-test/sci.space/2", "20news-bydate-train/sci.med/10")
    found = newsgroups.rows(packed(tmp_path / "a.tar.xz", dict.fromkeys(names, POST)))
    assert [row.id for row in found["train"]] == ["train/sci.med/10", "train/sci.med/9"]
    assert found["test"][0].labels == ("sci.space",)
    assert found["test"][0].texts == ("Re: Stars\n\nOld ½light.\n\n-- \nme\n",)


def test_rosent_copies_follow_their_text_and_empty_train_files_are_dropped(tmp_path):
    contents = {f"ro/train/pos/{n}.txt": f"Text {n % 50}".encode() for n in range(100)}
    contents |= {f"ro/train/neg/{n}.txt": f"alt  text {n}\n".encode() for n in range(50)}
    contents |= {"ro/train/neg/none.txt": b"", "ro/train/neg/space.txt": b" \n", "ro/test/neg/1.txt": "ș\n".encode()}
    path = packed(tmp_path / "ro.tar.xz", contents)
    splits = rosent.read({"ro.tar.xz": path})
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 135, "dev": 15, "test": 1}
    assert Counter(row.labels[0] for row in splits["dev"]) == {"positive": 10, "negative": 5}
    assert not {folded(row) for row in splits["dev"]} & {folded(row) for row in splits["train"]}
    assert splits["test"][0].texts == ("ș\n",)
    again = packed(tmp_path / "again.tar.xz", dict(reversed(contents.items())))
    assert rosent.read({"ro.tar.xz": again}) == splits  # the order in the archive decides nothing


READERS = {"rosent": rosent.rows, "newsgroups": newsgroups.rows}


@pytest.mark.parametrize(
    ("corpus", "name", "content", "said"),
    [
        ("rosent", "ro/train/neutral/1.txt", b"a", "'ro/train/neutral/1.txt' is not ro/<train or test>/<neg or pos>"),
        ("rosent", "ro/dev/pos/1.txt", b"a", "'ro/dev/pos/1.txt' is not"),
        ("rosent", "../../etc/passwd", b"a", "'../../etc/passwd' is not"),
        ("rosent", "ro/train/pos/../1.txt", b"a", "'ro/train/pos/../1.txt' is not"),
        ("rosent", "ro/train/pos/1.txt", b"a\nb\xff", "ro.tar.xz/ro/train/pos/1.txt, row 2: not UTF-8 (byte 3)"),
        ("newsgroups", "20news-bydate-train/sci.art/1", POST, "'20news-bydate-train/sci.art/1' is not"),
        ("newsgroups", "20news-bydate-dev/sci.med/1", POST, "'20news-bydate-dev/sci.med/1' is not"),
        ("newsgroups", "20news-bydate-train/sci.med/.1.swp", POST, "one of the 20 groups>/<number>"),
    ],
)
def test_a_strange_member_is_one_line_with_its_name(tmp_path, corpus, name, content, said):
    path = packed(tmp_path / "ro.tar.xz", {name: content})
    with pytest.raises(UserError) as caught:
        READERS[corpus](path)
    assert str(path) in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a\t1\n", "row 1: 2 of 3 columns"),
        ("a\t1\tx\nb\t28\ty\n", "row 2: unknown label '28', expected one of 0, 1"),
        ("a\t1,\tx\n", "row 1: unknown label ''"),
        ("a\tb\t1\tx\n", "row 1: unknown label 'b'"),
        ("a\t1\tx\n\nb\t1\ty\n", "row 2: 1 of 3 columns"),
        (b"a\t1\tx\n\xff\t1\ty\n", "row 2: not UTF-8 (byte 6)"),
    ],
)
def test_a_malformed_goemotions_file_is_one_line_with_file_and_row(tmp_path, content, said):
    path = tmp_path / "train.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        goemotions.rows(path, "train")
    assert str(path) in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_tar_gives_its_files_or_one_clear_line(tmp_path, mode):
    contents = {f"folder/{n}": bytes([n, n * 7 % 251]) * 600 for n in range(5)}
    path = packed(tmp_path / "a.tar", contents, mode)
    assert dict(members(path)) == contents
    whole = path.read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:size])
        try:
            found = dict(members(path))
            assert found == contents or mode == "w" and found.items() < contents.items()  # a bare tar may end anywhere
        except UserError as error:
            assert str(error) == f"{path} is cut short or no tar: put the right one there"
    with pytest.raises(UserError, match="absent.tar cannot be read: No such file or directory"):
        list(members(tmp_path / "absent.tar"))


def test_links_and_folders_in_a_tar_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("folder", tarfile.DIRTYPE), ("link", tarfile.SYMTYPE), ("pipe", tarfile.FIFOTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
            archive.addfile(entry)
    assert list(members(tmp_path / "a.tar")) == []


def test_every_file_is_pinned_and_has_an_address_or_says_where_to_look():
    files: list[File] = [file for corpus in ALL.values() for file in corpus.files]
    for file in files:
        assert re.fullmatch("[0-9a-f]{64}", file.sha256) and file.size > 0 and file.licence
        assert file.url.startswith("https://") if file.url else file.elsewhere
    assert [file.name for file in files if file.url] == ["train.tsv", "dev.tsv", "test.tsv"]
