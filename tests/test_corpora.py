"""Proves that each corpus is read row for row as its authors count it, and that a bad file is one clear line."""

import csv
import io
import json
import re
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from rocl import download
from rocl.data import splits
from rocl.data.corpora import ag_news, ag_news_samples, emotion, laroseda, moroco, redv2, sst2, vardial
from rocl.data.corpus import Corpus, Row
from rocl.data.files import files
from rocl.data.statistics import statistics
from rocl.data.task import Task, folded
from rocl.errors import UserError

SHARED = Path(__file__).parents[2] / "shared" / "data"
upstream = pytest.mark.skipif(not SHARED.exists(), reason="the upstream files are not beside the repository")
TOPICS = ("culture", "finance", "politics", "science", "sports", "tech")
ALL = (
    redv2.redv2(),
    laroseda.laroseda(),
    laroseda.laroseda(title=False),
    moroco.moroco(),
    vardial.vardial(),
    emotion.emotion(),
    sst2.sst2(),
    ag_news.ag_news(),
    ag_news_samples.ag_news_samples(),
)
ELSEWHERE = {"moroco", "ag_news"}  # their texts are not beside the repository
HERE = {corpus.name: corpus for corpus in ALL if corpus.name not in ELSEWHERE}

# corpus: digest, {split: (rows, counts in the order of the labels)}
FIGURES = {
    "redv2": (
        "76e374c44567009f",
        {
            "train": (4088, (820, 435, 493, 727, 1045, 472, 637)),
            "dev": (543, (109, 58, 65, 96, 139, 62, 84)),
            "test": (818, (164, 87, 99, 145, 210, 94, 128)),
        },
    ),
    "laroseda": (
        "d325d3e4861f20db",
        {"train": (11000, (5500, 5500)), "dev": (1000, (500, 500)), "test": (3000, (1500, 1500))},
    ),
    "laroseda-content": (
        "15b309241efc242c",
        {"train": (11000, (5500, 5500)), "dev": (1000, (500, 500)), "test": (3000, (1500, 1500))},
    ),
    "vardial": (
        "dad9dfa96d8cf340",
        {
            "train": (4137, (283, 1050, 1126, 362, 741, 575)),
            "dev": (595, (41, 153, 163, 51, 105, 82)),
            "test": (1191, (81, 303, 323, 103, 217, 164)),
        },
    ),
    "emotion": (
        "956285c5be6782eb",
        {
            "train": (16000, (4666, 5362, 1304, 2159, 1937, 572)),
            "dev": (2000, (550, 704, 178, 275, 212, 81)),
            "test": (2000, (581, 695, 159, 275, 224, 66)),
        },
    ),
    "sst2": (
        "f84ed185c63fd92a",
        {"train": (67349, (29780, 37569)), "dev": (872, (428, 444)), "test": (1821, (912, 909))},
    ),
    "ag_news_samples": (
        "e1c2ceb5e1998c73",
        {
            "train": (14173, (4342, 2638, 2635, 4558)),
            "dev": (1000, (306, 186, 186, 322)),
            "test": (7600, (1900, 1900, 1900, 1900)),
        },
    ),
}


@pytest.fixture(autouse=True)
def place(monkeypatch):
    monkeypatch.setenv("ROCL_DATA", str(SHARED))


@upstream
@pytest.mark.parametrize("name", FIGURES)
def test_rows_labels_and_digest_are_the_published_ones(name):
    corpus = HERE[name]
    digest, expected = FIGURES[name]
    found = {split: (len(rows), tuple(corpus.counts(split).values())) for split, rows in corpus.splits.items()}
    assert found == expected
    assert corpus.digest == digest


@upstream
@pytest.mark.parametrize("name", FIGURES)
def test_texts_are_there_and_clean_at_the_edges(name):
    for rows in HERE[name].splits.values():
        assert all(len(row.texts) == 1 and row.texts[0] for row in rows)
        assert name == "redv2" or all(row.texts[0] == row.texts[0].strip() for row in rows)  # exactly as upstream


@upstream
def test_redv2_has_rows_of_up_to_four_labels():
    sizes = {split: Counter(len(row.labels) for row in rows) for split, rows in HERE["redv2"].splits.items()}
    assert sizes == {
        "train": {1: 3563, 2: 510, 3: 14, 4: 1},
        "dev": {1: 477, 2: 62, 3: 4},
        "test": {1: 714, 2: 99, 3: 5},
    }
    row = next(row for row in HERE["redv2"].splits["train"] if row.id == "train-19")
    assert row.labels == ("fear", "neutral") and row.texts[0].startswith("UPDATE. Atac cu cuțitul")


@upstream
def test_laroseda_keeps_its_stars_stratified_and_its_official_test():
    rows = HERE["laroseda"].splits
    stars = {split: Counter(row.extra["stars"] for row in rows[split]) for split in rows}
    assert stars["test"] == {5: 1256, 1: 1102, 2: 398, 4: 244}
    assert sum(stars.values(), Counter()) == {5: 6238, 4: 1262, 1: 5561, 2: 1939}
    for star, number in (stars["train"] + stars["dev"]).items():
        assert abs(stars["dev"][star] - number / 12) < 1
    assert all((row.extra["stars"] > 3) == (row.labels == ("positive",)) for split in rows for row in rows[split])


@upstream
def test_laroseda_of_contents_is_the_same_rows_without_their_titles():
    whole, contents = HERE["laroseda"].splits, HERE["laroseda-content"].splits
    for split in whole:
        assert [row.id for row in whole[split]] == [row.id for row in contents[split]]
        assert all(a.texts[0].endswith(b.texts[0]) for a, b in zip(whole[split], contents[split], strict=True))
    joined = {row.id: row.texts[0] for rows in whole.values() for row in rows}
    assert joined["2"] == "Excelent. super"
    assert joined["9675"].startswith("Nu recomand. probleme cu localizarea")


@upstream
def test_vardial_joins_topics_and_dialects_as_the_gold_files_count_them():
    rows = [row for split in HERE["vardial"].splits.values() for row in split]
    by_dialect = Counter((row.extra["dialect"], row.labels[0]) for row in rows)
    romanian, moldavian = (187, 901, 702, 361, 456, 598), (218, 605, 910, 155, 607, 223)
    for dialect, counts in (("Romanian", romanian), ("Moldavian", moldavian)):
        assert tuple(by_dialect[dialect, topic] for topic in TOPICS) == counts
    assert len({folded(row) for row in rows}) == 5923 - 48


@upstream
def test_vardial_is_stratified_and_no_test_text_stands_in_train():
    rows = HERE["vardial"].splits
    texts = {split: {folded(row) for row in rows[split]} for split in rows}
    assert not texts["train"] & texts["test"] and not texts["train"] & texts["dev"] and not texts["dev"] & texts["test"]
    strata = {split: Counter((row.labels, row.extra["dialect"]) for row in rows[split]) for split in rows}
    for stratum, number in sum(strata.values(), Counter()).items():
        assert abs(strata["test"][stratum] - 0.2 * number) < 5 and abs(strata["dev"][stratum] - 0.1 * number) < 5


def letters(text: str) -> str:
    return re.sub(r"\W+", "", text.casefold())


@upstream
def test_ag_news_samples_hold_each_text_once_and_none_of_the_test():
    corpus = HERE["ag_news_samples"]
    ours = [letters(row.texts[0]) for split in ("train", "dev") for row in corpus.splits[split]]
    assert len(ours) == len(set(ours)) == 15173
    assert not set(ours) & {letters(row.texts[0]) for row in corpus.splits["test"]}
    raw = []  # the same count over the uncleaned texts, read here and now: what cleaning found to be a copy is on top
    for name, skip in ((ag_news_samples.A, 0), (ag_news_samples.B, 1), (ag_news_samples.C, 0), (ag_news_samples.D, 0)):
        with open(SHARED / "ag_news_partial" / name, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))[skip:]
        raw += [" ".join(fields[1:] if len(fields) == 3 else fields[:1]) for fields in rows]
    assert len(raw) == 16000
    assert len({letters(text) for text in raw}) == 15182
    assert len({letters(ag_news.clean(text)) for text in raw}) == 15178
    assert "822 copies and 5 texts" in corpus.note and 16000 - 822 - 5 == 15173


@upstream
def test_duplicates_and_leaks_are_counted_and_nothing_is_dropped():
    found = {name: statistics(Task(name=name, corpus=HERE[name])) for name in ("redv2", "emotion", "sst2")}
    assert found["redv2"]["leaks"] == {"dev": 0, "test": 1}
    assert (found["emotion"]["duplicates"], found["emotion"]["leaks"]) == (31, {"dev": 5, "test": 11})
    assert (found["sst2"]["duplicates"], found["sst2"]["leaks"]) == (371, {"dev": 0, "test": 2})
    assert found["emotion"]["splits"]["train"]["rows"] == 16000
    assert found["sst2"]["splits"]["test"]["words"]["max"] == 56
    assert json.loads(json.dumps(found)) == found


@upstream
def test_moroco_labels_are_the_official_ones():
    topics = {
        "train": (1484, 5522, 5910, 1890, 3899, 3014),
        "validation": (404, 1506, 1612, 515, 1063, 821),
        "test": (404, 1506, 1612, 515, 1064, 823),
    }
    dialects = {"train": (9968, 11751), "validation": (2716, 3205), "test": (2719, 3205)}
    for split in topics:
        place = SHARED / "moroco_labels" / split
        found = Counter(moroco.labels(place / "category_labels.txt", moroco.TOPICS).values())
        assert tuple(found[topic] for topic in TOPICS) == topics[split]
        found = Counter(moroco.labels(place / "dialect_labels.txt", moroco.DIALECTS).values())
        assert (found["Moldavian"], found["Romanian"]) == dialects[split]
    for file in moroco.FILES[3:]:
        assert download.fetch(file) == SHARED / "moroco_labels" / file.name


def test_every_file_is_pinned_and_every_address_is_secure():
    everything = [file for corpus in ALL for file in corpus.files]
    for file in everything:
        assert re.fullmatch("[0-9a-f]{64}", file.sha256) and file.size > 0 and file.licence
        assert file.url is None or file.url.startswith("https://")
        assert file.url or file.elsewhere
    assert len({corpus.name for corpus in ALL}) == len(ALL)
    for corpus in ALL:
        assert len({file.name for file in corpus.files}) == len(corpus.files)  # read() is given paths by name


def test_all_missing_files_of_all_corpora_are_listed_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("ROCL_DATA", str(tmp_path))
    absent = download.missing(file for corpus in ALL for file in corpus.files)
    assert len(absent) == len({file for corpus in ALL for file in corpus.files}) == 31
    text = download.describe(absent)
    for file in absent:
        assert file.sha256 in text and f"{file.size:,}" in text and str(tmp_path / file.folder / file.name) in text
    assert text.count("no address is known") == 6  # Emotion's three, three of the AG News samples


# Made-up copies, small enough to see


def write(folder: Path, **contents: str | bytes) -> dict[str, Path]:
    """Files of these contents; a double underscore in a name is a slash, one before the ending a dot."""
    paths = {}
    for key, content in contents.items():
        name = re.sub(r"_(json|txt|csv|tsv|zip|jsonl)$", r".\1", key).replace("__", "/")
        paths[name] = folder / name
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        paths[name].write_bytes(content if isinstance(content, bytes) else content.encode())
    return paths


def tiny_moroco(folder: Path, **changes: str | bytes) -> dict[str, Path]:
    contents = {}
    for split in ("train", "validation", "test"):
        contents[f"{split}_samples_txt"] = "11\tÎn $NE$ , azi\n7\tdoi\tcu tab\n"
        contents[f"{split}__category_labels_txt"] = "11\t6\n7\t1\n"
        contents[f"{split}__dialect_labels_txt"] = "11\t2\n7\t1\n"
    return write(folder, **{**contents, **changes})


def test_moroco_joins_texts_topics_and_dialects_by_id(tmp_path):
    rows = moroco.read(tiny_moroco(tmp_path, train__dialect_labels_txt="7\t1\n11\t2\n"))  # another order is no other id
    for split in ("train", "dev", "test"):
        assert rows[split] == [
            Row("11", ("În $NE$ , azi",), ("tech",), {"dialect": "Romanian"}),
            Row("7", ("doi\tcu tab",), ("culture",), {"dialect": "Moldavian"}),
        ]


def test_ag_news_draws_its_dev_from_train_and_cleans_what_the_makers_left(tmp_path):
    train = "".join(f'"{n % 4 + 1}","Title {n}","a\\team of  #36;10 &lt;b&gt;{n}&lt;/b&gt;"\n' for n in range(200))
    rows = ag_news.read(write(tmp_path, train_csv=train, test_csv='"4","Say ""hi""","The world #39;s\n first"\n'))
    assert {split: len(rows[split]) for split in rows} == {"train": 190, "dev": 10, "test": 1}
    assert rows["test"] == [Row("test-1", ('Say "hi" The world\'s first',), ("sci-tech",))]
    assert set(Counter(row.labels[0] for row in rows["dev"]).values()) == {2, 3}
    first = next(row for row in rows["train"] + rows["dev"] if row.id == "train-2")
    assert first.texts == ("Title 1 a team of $10 1",) and first.labels == ("sports",)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Haiti #39;s  quot;best quot; day", 'Haiti\'s "best" day'),
        ("paid \\$7.9bn\\to AT amp;T", "paid $7.9bn to AT&T"),
        ("M amp;S, M  amp; S", "M&S, M & S"),
        ("quot;No quot;, he said", '"No", he said'),
        ("Prices Up; Shares Lower; x &lt;TXN.N&gt; a < b", "Prices Up; Shares Lower; x <TXN.N> a < b"),
        ('Black &lt;A HREF="http://x/y?z=HLR.N"&gt;HLR.N&lt;/A&gt; fined', "Black HLR.N fined"),
    ],
)
def test_ag_news_text_is_cleaned_in_one_way(before, after):
    assert ag_news.clean(before) == after


def review(**changes: object) -> dict:
    return {"index": "1", "title": "Bun!", "content": "merge", "starRating": "5", **changes}


def zipped(content: bytes, name: str = vardial.MEMBER) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(name, content)
    return archive.getvalue()


RED = {"text_id": 1, "text": "a", "agreed_labels": [0, 0, 0, 0, 0, 0, 1]}
READERS = {
    "redv2": lambda path: redv2.rows(path, "train"),
    "laroseda": laroseda.rows,
    "emotion": lambda path: emotion.rows(path, "train"),
    "sst2": lambda path: sst2.rows(path, "train"),
    "sst2 test": sst2.test_rows,
    "ag_news": lambda path: ag_news.rows(path, "train"),
    "sample": lambda path: ag_news_samples.rows(path, "b", {"0.0": "world"}, header=["text", "label"]),
    "moroco": lambda path: moroco.labels(path, moroco.TOPICS),
}


@pytest.mark.parametrize(
    ("reader", "content", "said"),
    [
        ("redv2", "[{", "line 1: not JSON"),
        ("redv2", '[\n{"text": "a"},\n]', "line 3: not JSON"),
        ("redv2", "{}", "expected a JSON list"),
        ("redv2", json.dumps([RED, {**RED, "text": None}]), "row 2: no 'text' of type str"),
        ("redv2", json.dumps([RED, RED, {"text": "a"}]), "row 3: no 'text_id'"),
        ("redv2", json.dumps([RED, [1]]), "row 2: no 'text_id'"),
        ("redv2", json.dumps([{**RED, "agreed_labels": [1, 0]}]), "row 1: agreed_labels"),
        ("redv2", json.dumps([{**RED, "agreed_labels": [0, 0, 0, 0, 0, 0, 2]}]), "row 1: agreed_labels"),
        ("laroseda", json.dumps([review()]), "expected a JSON list under 'reviews'"),
        ("laroseda", json.dumps({"reviews": [review(), review(starRating="3")]}), "row 2: unknown label '3'"),
        ("laroseda", json.dumps({"reviews": [review(content=7)]}), "row 1: no 'content' of type str"),
        ("emotion", "fine;joy\nno label\n", "row 2: 1 of 2 columns"),
        ("emotion", "fine;joy\nso so;boredom\n", "row 2: unknown label 'boredom', expected one of sadness, joy"),
        ("emotion", "one;two;joy\n", "row 1: unknown label 'two;joy'"),
        ("emotion", "fine;joy\n\nfine;joy\n", "row 2: 1 of 2 columns"),
        ("emotion", b"fine;joy\ncaf\xe9;joy\n", "row 2: not UTF-8 (byte 12)"),
        ("emotion", "", "row 1: 1 of 2 columns"),
        ("sst2", "text\tlabel\na\t1\n", "row 1: the header is not"),
        ("sst2", "sentence\tlabel\na\t1\nb\t2\n", "row 3: unknown label '2', expected one of 0, 1"),
        ("sst2 test", "0\ta\n1 b\n", "row 2: 1 of 2 columns"),
        ("ag_news", '"1","a","b"\n"2","a"\n', "row 2: 2 columns, expected 3"),
        ("ag_news", '"1","a","b"\n"5","a","b"\n', "row 2: unknown label '5'"),
        ("ag_news", '"1","a","b"\n"2","a","b\n', "row 2: not CSV"),
        ("ag_news", b'"1","a","\xff"\n', "row 1: not UTF-8"),
        ("sample", "a,0.0\n", "row 1: the header is not ['text', 'label']"),
        ("sample", "text,label\na,0.0\nb,1\n", "row 3: unknown label '1'"),
        ("moroco", "1\t6\n2\t7\n", "row 2: unknown label '7'"),
    ],
)
def test_a_malformed_file_is_one_line_with_file_and_row(tmp_path, reader, content, said):
    path = tmp_path / "given.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        READERS[reader](path)
    assert str(path) in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train_samples_txt": "11\ta\n7 b\n"}, "train_samples.txt, row 2: 1 of 2 columns"),
        ({"train_samples_txt": "11\ta\n8\tb\n"}, "train_samples.txt, row 2: "),
        ({"test_samples_txt": "11\ta\n"}, "test_samples.txt has 1 rows, "),
        ({"validation__dialect_labels_txt": "11\t2\n"}, "dialect_labels.txt has no label for the id 7"),
        ({"test__category_labels_txt": "11\t1\n7\t1\n9\t1\n"}, "category_labels.txt 3"),
    ],
)
def test_moroco_files_that_do_not_belong_together_are_refused(tmp_path, change, said):
    with pytest.raises(UserError) as caught:
        moroco.read(tiny_moroco(tmp_path, **change))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dialects_txt": "MD\nRO\nRO\nRO\n"}, "dialects.txt has 4 rows, but 3 are to be labelled"),
        ({"romanian_txt": "TEC\n"}, "romanian.txt has 1 rows, but 2 are to be labelled"),
        ({"moldavian_txt": "XXX\n"}, "moldavian.txt, row 1: unknown label 'XXX'"),
        ({"dialects_txt": "MD\nRO\nHU\n", "romanian_txt": "SPO\n"}, "dialects.txt, row 3: unknown label 'HU'"),
        ({"a_zip": zipped(b"x", "other.txt")}, "a.zip is not a zip with"),
        ({"a_zip": b"no zip"}, "a.zip is not a zip with"),
        ({"a_zip": zipped(b"unu\n\xff\ntrei\n")}, "row 2: not UTF-8"),
    ],
)
def test_vardial_files_that_do_not_belong_together_are_refused(tmp_path, change, said):
    good = {"a_zip": zipped("unu\ndoi\u2028x\ntrei\n".encode()), "dialects_txt": "RO\nMD\nRO\n"}
    good |= {"romanian_txt": "TEC\nSPO\n", "moldavian_txt": "POL\n"}
    rows = vardial.rows(*write(tmp_path, **good).values())  # a line separator of Unicode ends no text
    assert [row.texts[0] for row in rows] == ["unu", "doi\u2028x", "trei"]
    assert [row.labels[0] for row in rows] == ["tech", "politics", "sports"]
    with pytest.raises(UserError) as caught:
        vardial.rows(*write(tmp_path, **{**good, **change}).values())
    assert said in str(caught.value)


def test_a_laroseda_test_review_that_is_not_among_all_reviews_is_refused(tmp_path):
    def reviews(*items: dict) -> str:
        return json.dumps({"reviews": items})

    contents = {
        "positive_reviews_json": reviews(review(), review(index="2")),
        "negative_reviews_json": reviews(review(index="3", starRating="1")),
    }
    for other in (review(index="9"), review(content="altceva")):
        paths = write(tmp_path, **contents, laroseda_test_json=reviews(other))
        with pytest.raises(UserError, match=f"review {other['index']} is not the one"):
            laroseda.read(paths)
    assert [row.texts[0] for row in laroseda.rows(paths["positive_reviews.json"])] == ["Bun! merge", "Bun! merge"]


# A corpus in another container


def in_container(corpus: Corpus, folder: Path, ending: str) -> Corpus:
    """The corpus written, last row first, as .csv, .tsv or .jsonl, and read back by the reader for your own files."""
    paths = {}
    for split, rows in corpus.splits.items():
        paths[split] = folder / f"{split}{ending}"
        records = [{"text": row.texts[0], "labels": "|".join(row.labels)} for row in reversed(rows)]
        with open(paths[split], "w", encoding="utf-8", newline="") as file:
            if ending == ".jsonl":
                file.writelines(json.dumps({**r, "labels": r["labels"].split("|")}) + "\n" for r in records)
            elif ending == ".tsv":
                file.writelines("\t".join(fields) + "\n" for fields in (("text", "labels"), *map(dict.values, records)))
            else:
                writer = csv.DictWriter(file, ("text", "labels"))
                writer.writeheader()
                writer.writerows(records)
    return files(folder / f"{{split}}{ending}", language=corpus.language, label="labels", many=corpus.kind == "many")


@upstream
@pytest.mark.parametrize(
    ("name", "ending"),
    [("emotion", ".csv"), ("emotion", ".tsv"), ("laroseda", ".csv"), ("redv2", ".csv"), ("redv2", ".jsonl")],
)
def test_a_copy_in_another_container_has_the_same_digest(tmp_path, name, ending):
    copy = in_container(HERE[name], tmp_path, ending)
    assert copy.digest == FIGURES[name][0]
    assert copy.splits["train"][0].texts == HERE[name].splits["train"][-1].texts


def test_one_changed_text_label_or_split_changes_the_digest(tmp_path):
    def digest(**contents: str) -> str:
        write(tmp_path, **contents)
        return files(tmp_path / "{split}.csv", language="ro").digest

    given = digest(train_csv="text,label\na,da\nb,nu\n", test_csv="text,label\nc,da\n")
    assert given == digest(train_csv="label,text\nnu,b\nda,a\n", test_csv="text,label\nc,da\n")
    assert given != digest(train_csv="text,label\na,da\nb,da\n", test_csv="text,label\nc,da\n")
    assert given != digest(train_csv="text,label\na,da\nB,nu\n", test_csv="text,label\nc,da\n")
    assert given != digest(train_csv="text,label\na,da\nc,nu\n", test_csv="text,label\nb,da\n")


def test_a_row_without_a_text_and_a_label_declared_twice_are_refused():
    rows = {"train": [Row("1", (), ("da",))]}
    with pytest.raises(UserError, match=r"c: train row 1 \(id 1\) has no text"):
        _ = Corpus(name="c", language="ro", labels=("da", "nu"), licence="none", read=lambda paths: rows).splits
    with pytest.raises(UserError, match="c: a label is declared twice: da, da"):
        _ = Corpus(name="c", language="ro", labels=("da", "da"), licence="none", read=lambda paths: rows).splits


# Splits and statistics


def made_up(sizes: dict[str, int]) -> list[Row]:
    return [Row(f"{label}-{n}", (f"{label} {n}",), (label,)) for label, size in sizes.items() for n in range(size)]


def test_a_draw_keeps_the_strata_and_hangs_on_ids_alone():
    rows = made_up({"a": 70, "b": 25, "c": 5})
    drawn, rest = splits.draw(rows, 20, lambda row: row.labels)
    assert Counter(row.labels[0] for row in drawn) == {"a": 14, "b": 5, "c": 1}
    assert [row for row in rows if row in drawn] == drawn and [row for row in rows if row not in drawn] == rest
    again, _ = splits.draw(rows[::-1], 20, lambda row: row.labels)
    assert again == drawn[::-1]
    other, _ = splits.draw(rows, 20, lambda row: row.labels, seed=1)
    assert other != drawn and len(other) == 20
    uneven, _ = splits.draw(made_up({"a": 3, "b": 3, "c": 3}), 4, lambda row: row.labels)
    assert sorted(Counter(row.labels[0] for row in uneven).values()) == [1, 1, 2]


def test_statistics_count_empties_copies_conflicts_and_leaks():
    rows = {
        "train": [
            Row("1", ("Un text",), ("da",)),
            Row("2", (" un  TEXT ",), ("nu",)),
            Row("3", ("",), ("da",)),
            Row("4", ("Iaşi trei cuvinte aici",), ("da",)),
        ],
        "dev": [Row("5", ("UN TEXT",), ("da",))],
        "test": [],
    }
    corpus = Corpus(name="mine", language="ro", labels=("da", "nu"), licence="CC0", note="made up", read=lambda _: rows)
    found = statistics(Task(name="t", corpus=corpus))
    assert (found["duplicates"], found["conflicts"], found["leaks"]) == (1, 1, {"dev": 2, "test": 0})
    assert found["splits"]["train"]["rows"] == 4 and found["splits"]["train"]["empty"] == 1
    assert found["splits"]["train"]["labels"] == {"da": 3, "nu": 1}
    assert found["splits"]["train"]["words"]["max"] == 4 and found["splits"]["train"]["words"]["median"] == 2
    assert found["splits"]["test"]["rows"] == 0 and found["note"] == "made up"
    kept = statistics(Task(name="t", corpus=corpus, drop_leaks=True))
    assert kept["splits"]["train"]["rows"] == 2 and kept["leaks"] == {"dev": 0, "test": 0} and kept["drop_leaks"]
    assert json.loads(json.dumps(found)) == found
