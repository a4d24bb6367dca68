"""Proves that each corpus of sentence pairs is read pair for pair, and that what does not go together is refused."""

import io
import re
import tarfile
from pathlib import Path

import pytest

from rocl import download
from rocl.data.corpora import mlqe_pe, ntrex, ro_sts, tatoeba
from rocl.data.corpus import Row
from rocl.data.reading import columns, tar_member
from rocl.errors import UserError

SHARED = Path(__file__).parents[2] / "shared" / "data"
upstream = pytest.mark.skipif(not SHARED.exists(), reason="the upstream files are not beside the repository")
ALL = {corpus.name: corpus for corpus in (ro_sts.ro_sts(), mlqe_pe.mlqe_pe(), ntrex.ntrex(), tatoeba.tatoeba())}

# corpus: digest, {split: rows}, the id of a row and its texts
FIGURES = {
    "ro_sts": (
        "7c6463414120b83b",
        {"train": 11498, "dev": 3000, "test": 2758},
        ("test-1", ("A girl is styling her hair.", "O fată își aranjează părul.")),
    ),
    "mlqe_pe": (
        "102d2e71d1154fd7",
        {"train": 7000, "dev": 1000, "test": 1000},
        (
            "dev-1",
            (
                'On 17 June, Pétain declared it "With a heavy heart, I say today that we must stop our fight".',
                "Pe 17 iunie, Pétain a declart „Cu inima grea, va spun astăzi ca trebuie să încetam lupta”.",
            ),
        ),
    ),
    "ntrex": (
        "e3920c63692be4ac",
        {"train": 1997},
        (
            "train-1",
            (
                "Welsh AMs worried about 'looking like muppets'",
                "Membrii Adunării Naționale a Țării Galilor sunt îngrijorați din cauza faptului că ar putea da "
                "impresia că sunt „marionete”",
            ),
        ),
    ),
    "tatoeba": (
        "d61abf3cc85cbb53",
        {"test": 1000},
        ("test-1", ("He is nice to me.", "El este prietenos cu mine.")),
    ),
}


@pytest.fixture(autouse=True)
def place(monkeypatch):
    monkeypatch.setenv("ROCL_DATA", str(SHARED))


@upstream
@pytest.mark.parametrize("name", FIGURES)
def test_rows_and_digest_are_the_published_ones(name):
    digest, sizes, (id, texts) = FIGURES[name]
    corpus = ALL[name]
    assert {split: len(rows) for split, rows in corpus.splits.items()} == sizes
    assert corpus.digest == digest
    assert next(row for rows in corpus.splits.values() for row in rows if row.id == id) == Row(id, texts, ())
    assert (corpus.kind, corpus.labels, corpus.language) == ("text", (), "ro")


@upstream
@pytest.mark.parametrize("name", FIGURES)
def test_the_first_text_is_english_and_the_second_romanian_clean_at_the_edges(name):
    rows = [row for rows in ALL[name].splits.values() for row in rows]
    assert all(len(row.texts) == 2 and all(text and text == text.strip() for text in row.texts) for row in rows)
    for place, words in enumerate(("the|is|of|and", "și|este|de|un|o")):
        found = [bool(re.search(rf"\b({words})\b", row.texts[place], re.IGNORECASE)) for row in rows]
        other = [bool(re.search(rf"\b({words})\b", row.texts[1 - place], re.IGNORECASE)) for row in rows]
        assert sum(found) > 5 * sum(other)


def test_every_file_is_pinned_and_has_a_secure_address():
    for name, corpus in ALL.items():
        assert len({file.name for file in corpus.files}) == len(corpus.files)  # read() is given paths by name
        for file in corpus.files:
            assert file.corpus == name and file.url.startswith("https://raw.githubusercontent.com/")
            assert re.fullmatch("[0-9a-f]{64}", file.sha256) and file.size > 0 and file.licence == corpus.licence


@upstream
def test_pinned_sizes_are_those_of_the_files():
    for file in (file for corpus in ALL.values() for file in corpus.files):
        assert download.fetch(file).stat().st_size == file.size


# Pairs of plain files


@pytest.mark.parametrize(
    ("english", "romanian", "said"),
    [
        ("a\nb\nc\n", "x\ny\n", "given.ro, row 3: missing, the last is 2"),
        ("a\n", "x\ny\n", "given.en, row 2: missing, the last is 1"),
        ("a\n\nc\n", "x\ny\nz\n", "given.en, row 2: no text"),
        ("a\nb\n", "x\n \t\n", "given.ro, row 2: no text"),
        ("", "", "given.en, row 1: no text"),
        ("a\nb\n", b"x\n\xff\n", "given.ro, row 2: not UTF-8"),
    ],
)
def test_files_that_do_not_pair_are_one_line_with_file_and_row(tmp_path, english, romanian, said):
    paths = {"en": tmp_path / "given.en", "ro": tmp_path / "given.ro"}
    for path, content in zip(paths.values(), (english, romanian), strict=True):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        ro_sts.pairs(paths["en"], paths["ro"], "train")
    assert str(caught.value).startswith(f"{tmp_path}/{said}") and "\n" not in str(caught.value)


def test_only_a_newline_ends_a_text(tmp_path):
    for ending, content in (("en", "a\u2028b\r\nc\r\n"), ("ro", "x\ny")):
        (tmp_path / f"given.{ending}").write_bytes(content.encode())
    rows = ro_sts.pairs(tmp_path / "given.en", tmp_path / "given.ro", "dev")
    assert rows == [Row("dev-1", ("a\u2028b", "x"), ()), Row("dev-2", ("c", "y"), ())]


# MLQE-PE's archives


def packed(path: Path, **contents: str | bytes) -> Path:
    """A .tar.gz of these contents; a double underscore in a name is a slash, a single one a dot."""
    with tarfile.open(path, "w:gz") as archive:
        for key, content in contents.items():
            item = tarfile.TarInfo(key.replace("__", "/").replace("_", "."))
            content = content if isinstance(content, bytes) else content.encode()
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    return path


SCORED = {
    "ro-en-dev__dev_roen_df_short_tsv": "\t".join(mlqe_pe.HEADER)
    + '\n0\tEa a zis: "da".\tShe say: "yes".\t[9]\t9\t[1]\t1\t-1\n1\tTu (da).\tYou (yes).\t[9]\t9\t[1]\t1\t-1\n'
}
EDITED = {
    "ro-en-dev__dev_src": 'Ea a zis : " da " .\nTu ( da ) .\n',
    "ro-en-dev__dev_mt": 'She say : " yes " .\nYou ( yes ) .\n',
    "ro-en-dev__dev_pe": 'She says : " yes " .\nyou ( yes ) .\n',
    "ro-en-dev__dev_hter": "0.142857\n0.000000\n",
}


def test_mlqe_joins_the_raw_source_to_the_untokenised_edit(tmp_path):
    rows = mlqe_pe.rows(packed(tmp_path / "da.tar.gz", **SCORED), packed(tmp_path / "pe.tar.gz", **EDITED), "dev")
    assert rows == [
        Row("dev-1", ('She says: "yes".', 'Ea a zis: "da".'), ()),
        Row("dev-2", ("you (yes).", "Tu (da)."), ()),
    ]


def swapped(end: str) -> dict[str, str]:
    """The rows of one of the tokenised files the other way round."""
    key = f"ro-en-dev__dev_{end}"
    return {key: "\n".join(reversed(EDITED[key].splitlines())) + "\n"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (swapped("src"), "pe.tar.gz/ro-en-dev/dev.src, row 1: this source or its .mt is not the one of"),
        (swapped("mt"), "pe.tar.gz/ro-en-dev/dev.src, row 1: this source or its .mt is not the one of"),
        (swapped("pe"), "pe.tar.gz/ro-en-dev/dev.pe, row 1: cannot be .mt corrected with an HTER of 0.142857"),
        (swapped("hter"), "pe.tar.gz/ro-en-dev/dev.pe, row 1: cannot be .mt corrected with an HTER of 0.000000"),
        ({"ro-en-dev__dev_hter": "0.142857\nnan\n"}, "dev.pe, row 2: cannot be .mt corrected with an HTER of nan"),
        ({"ro-en-dev__dev_pe": 'She says : " yes " .\n'}, "dev.pe, row 2: missing, the last is 1"),
        ({"ro-en-dev__dev_pe": 'She says : " yes " .\n\n'}, "dev.pe, row 2: no text"),
        ({key: text + "more\n" for key, text in EDITED.items()}, "da.tar.gz, row 3: missing, the last is 2"),
        ({"ro-en-dev__dev_mt": b"a\n\xff\n"}, "dev.mt, row 2: not UTF-8"),
    ],
)
def test_mlqe_rows_that_do_not_go_together_are_refused(tmp_path, change, said):
    paths = packed(tmp_path / "da.tar.gz", **SCORED), packed(tmp_path / "pe.tar.gz", **{**EDITED, **change})
    with pytest.raises(UserError) as caught:
        mlqe_pe.rows(*paths, "dev")
    assert said in str(caught.value) and str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("index\toriginal\n", "dev.roen.df.short.tsv, row 1: 2 of 8 columns"),
        ("a\tb\tc\td\te\tf\tg\th\n", "dev.roen.df.short.tsv, row 1: the header is not"),
        ("\t".join(mlqe_pe.HEADER) + "\n0\tEa\tShe\n", "dev.roen.df.short.tsv, row 2: 3 of 8 columns"),
    ],
)
def test_a_malformed_mlqe_table_is_one_line_with_file_and_row(tmp_path, table, said):
    scored = packed(tmp_path / "da.tar.gz", **dict.fromkeys(SCORED, table))
    with pytest.raises(UserError) as caught:
        mlqe_pe.rows(scored, packed(tmp_path / "pe.tar.gz", **EDITED), "dev")
    assert said in str(caught.value) and str(scored) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_tar_or_lacks_the_file_is_one_line(tmp_path):
    good = packed(tmp_path / "good.tar.gz", a__b="text" * 1000)
    assert tar_member(good, "a/b") == b"text" * 1000
    cut, other = tmp_path / "cut.tar.gz", tmp_path / "other.tar.gz"
    cut.write_bytes(good.read_bytes()[:40])
    other.write_bytes(b"no tar")
    for path, name in ((good, "b"), (good, "a"), (cut, "a/b"), (other, "a/b"), (tmp_path / "none", "a/b")):
        with pytest.raises(UserError) as caught:
            tar_member(path, name)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@upstream
def test_an_edit_of_the_next_mlqe_row_is_refused_nearly_always():
    whole = SHARED / "mlqe_pe_roen" / "pe-ro-en-dev.tar.gz"
    machine, english, hter = (
        tar_member(whole, f"ro-en-dev/dev.{end}").decode().splitlines() for end in ("mt", "pe", "hter")
    )
    edits = english[1:] + english[:1]
    refused = [not mlqe_pe.plausible(a, b, float(c)) for a, b, c in zip(machine, edits, hter, strict=True)]
    assert sum(refused) > 950


@upstream
def test_untokenised_translations_are_the_raw_ones_but_for_a_few():
    same = total = 0
    for split, (table, stem) in mlqe_pe.MEMBERS.items():
        scored, edited = (SHARED / "mlqe_pe_roen" / f"{kind}-ro-en-{split}.tar.gz" for kind in ("da", "pe"))
        raw = [fields[2] for _, fields in columns(scored / table, 8, content=tar_member(scored, table))][1:]
        tokens = tar_member(edited, f"{stem}.mt").decode().removesuffix("\n").split("\n")
        same += sum(mlqe_pe.untokenised(a) == b for a, b in zip(tokens, raw, strict=True))
        total += len(raw)
    assert (same, total) == (8898, 9000)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("Estonia 's resources ; 36 % of it , he said .", "Estonia's resources; 36% of it, he said."),
        ('a " b c " , " d " ( e ) ?', 'a "b c", "d" (e)?'),
        ("[ [ chess ] ] and „ x ” ...", "[[chess]] and „x”..."),
        ("about $ 17 and £ 3.3 at 3 ° C", "about $17 and £3.3 at 3 ° C"),
        ('an open " quote', 'an open " quote'),
    ],
)
def test_punctuation_goes_back_to_its_word(tokens, text):
    assert mlqe_pe.untokenised(tokens) == text
