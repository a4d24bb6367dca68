"""A corpus of your own is read whole and split fairly from any table or JSON lines, and a bad file is one line."""

import gzip
import json
import lzma
import random
from collections import Counter
from pathlib import Path

import pytest

from rocl.data.corpus import Corpus, Row
from rocl.data.files import files, twin
from rocl.data.task import Task, extra
from rocl.errors import UserError

CSV = "text,label\n" + "".join(f"рядок {n},{'да' if n % 3 else 'не'}\n" for n in range(100))


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_one_file_is_split_by_seed_with_the_labels_in_the_same_shares(tmp_path):
    path = put(tmp_path / "stance.csv", CSV)
    corpus = files(path, language="sr")
    sizes = {split: len(rows) for split, rows in corpus.splits.items()}
    assert sizes == {"train": 70, "dev": 10, "test": 20} and corpus.name == "stance" and corpus.labels == ("да", "не")
    assert [corpus.counts(split)["не"] for split in sizes] == [24, 3, 7]
    assert corpus.digest == files(path, language="sr").digest != files(path, language="sr", seed=1).digest
    assert "test and dev drawn out of stance.csv by seed 0" in corpus.note


def test_an_order_of_rows_does_not_decide_the_split(tmp_path):
    rows = [{"text": f"t{n}", "label": "ab"[n % 2], "key": n} for n in range(60)]
    other = random.Random(0).sample(rows, 60)
    some, same = (
        files(put(tmp_path / f"{n}.jsonl", "\n".join(map(json.dumps, order))), language="xx", id="key")
        for n, order in enumerate((rows, other))
    )
    assert some.digest == same.digest


@pytest.mark.parametrize("packed", [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl"])
def test_every_container_gives_the_same_corpus(tmp_path, ending, packed):
    rows = [line.split(",") for line in CSV.splitlines()]
    content = {
        ".csv": CSV,
        ".tsv": CSV.replace(",", "\t"),
        ".jsonl": "\n".join(json.dumps({"text": text, "label": label}) for text, label in rows[1:]),
    }[ending]
    written = put(tmp_path / f"mine{ending}{packed[0]}", packed[1](content.encode()))
    ids = [row.texts for row in files(written, language="sr").splits["train"]]
    assert len(ids) == 70
    assert Counter(files(written, language="sr").counts("test")) == {"да": 13, "не": 7}


@pytest.mark.parametrize("dev", ["dev", "valid", "validation", "val"])
def test_one_file_per_split_is_taken_as_it_is(tmp_path, dev):
    for split, text in (("train", "a,x\nb,y"), (dev, "c,x"), ("test", "d,y")):
        put(tmp_path / f"s-{split}.csv", f"\ufefftext,label\n{text}\n")
    corpus = files(tmp_path / "s-{split}.csv", language="en")
    assert {s: [r.texts[0] for r in rows] for s, rows in corpus.splits.items()} == {
        "train": ["a", "b"],
        "dev": ["c"],
        "test": ["d"],
    }
    assert corpus.note == "" and corpus.name == "s" and corpus.splits["dev"][0].id == "dev-2"


def test_a_group_is_never_divided_nor_are_copies_of_a_text(tmp_path):
    grouped = "text,label,who\n" + "".join(f"t{n},{n % 2},{n // 5}\n" for n in range(200))
    copies = "text,label\n" + "".join(f"Same  {n // 4},{n % 2}\n" for n in range(200))
    one = files(put(tmp_path / "a.csv", grouped), language="en", group="who")
    two = files(put(tmp_path / "b.csv", copies), language="en")
    for corpus, key in ((one, lambda row: row.extra["group"]), (two, lambda row: row.texts)):
        parts = [{key(row) for row in rows} for rows in corpus.splits.values()]
        assert all(parts) and sum(map(len, parts)) == len(set.union(*parts))
        assert sum(map(len, corpus.splits.values())) == 200 and 30 <= len(corpus.splits["test"]) <= 50


@pytest.mark.parametrize("field", ['["b", "a"]', "b;a", " b ; a ;", "b;a;b"])
def test_many_labels_are_a_json_list_or_joined_by_a_separator(tmp_path, field):
    quoted = field.replace('"', '""')
    path = put(tmp_path / "many.csv", f'text,label\nuna,"{quoted}"\ndue,\ntre,a\n')
    put(tmp_path / "many_dev.csv", "")
    corpus = files(path, language="it", many=True, separator=";")
    rows = [row for rows in corpus.splits.values() for row in rows]
    assert sorted(row.labels for row in rows) == [(), ("a",), ("b", "a")] and corpus.kind == "many"


def test_the_twin_of_a_corpus_has_its_splits_so_no_translation_of_a_test_row_is_learned(tmp_path):
    rows = [f"said {n},{'ab'[n % 2]},meant {n // 2 * 2 if n < 20 else n}" for n in range(100)]  # ten twins stand twice
    (tmp_path / "x.csv").write_text("text,label,en\n" + "\n".join(rows), "utf-8")
    one = files(tmp_path / "x.csv", language="ko", twin="en")
    two = twin(one, "en")
    assert two.language == "en" and two.labels == one.labels and two.name == "x-twin"
    for split in ("train", "dev", "test"):
        assert [row.texts[0] for row in two.splits[split]] == [row.extra["twin"] for row in one.splits[split]]
        assert [(row.id, row.labels) for row in two.splits[split]] == [(r.id, r.labels) for r in one.splits[split]]
    said = [{row.texts[0] for row in two.splits[split]} for split in ("train", "dev", "test")]
    assert all(said) and not (said[0] & said[1] | said[0] & said[2] | said[1] & said[2])


def test_a_row_without_a_twin_is_named(tmp_path):
    (tmp_path / "x.csv").write_text("text,label,en\nun,a,one\ndeux,b,\ntrois,a,three\n", "utf-8")
    with pytest.raises(UserError, match=r"row train-\d has no twin: name its column"):
        twin(files(tmp_path / "x.csv", language="fr", twin="en"), "en")
    with pytest.raises(UserError, match="has no twin"):
        twin(files(tmp_path / "x.csv", language="fr"), "en")


def test_id_weight_twin_and_pair_columns_are_kept_under_our_names(tmp_path):
    record = {"n": 7, "said": ["o", "p"], "cls": "x", "w": "0.5", "en": "one", "of": 3, "town": "Iași"}
    for split, n in (("train", 7), ("dev", 8), ("test", 9)):
        put(tmp_path / f"{split}.jsonl", json.dumps(record | {"n": n}) + "\n")
    names = {"text": "said", "label": "cls", "id": "n", "weight": "w", "twin": "en", "pair": "of"}
    corpus = files(tmp_path / "{split}.jsonl", language="ro", name="mine", **names)
    kept = {"weight": 0.5, "twin": "one", "pair": 3, "town": "Iași"}
    assert corpus.splits["train"] == [Row("7", ("o", "p"), ("x",), kept)] and corpus.name == "mine"
    assert extra(Task(name="t", corpus=corpus), "weight").tolist() == [0.5]
    with pytest.raises(UserError, match="not every training row has a number called 'town'"):
        extra(Task(name="t", corpus=corpus), "town")


MISTAKES = [
    ("a.csv", "text,label\na\n", "a.csv, row 2: 1 columns, expected 2"),
    ("a.csv", "post,label\na,b\n", "a.csv, row 1: no column 'text': say which of post, label it is"),
    ("a.csv", "texts,label\na,b\n", "row 1: no column 'text' (did you mean texts?)"),
    ("a.csv", "text;label\na;b\n", "row 1: no column 'text': its columns are divided by ';': save it with commas"),
    ("a.csv", "text,label,label\na,b,c\n", "row 1: two columns are called 'label'"),
    ("a.csv", "text,label\n  ,b\n", "row 2: the text is empty or no text: fill it, or remove the row"),
    ("a.csv", "text,label\na,\n", "row 2: the label is no name: fill it"),
    ("a.csv", b"text,label\nb,c\n\xe3,b\n", "row 3: not UTF-8 (byte 15): save the file as UTF-8"),
    ("a.csv", 'text,label\n"a,b\n', "row 2: not CSV"),
    ("a.csv", "", "row 1: the file is empty: its first line must name the columns"),
    ("a.tsv", "text\tlabel\na\n", "row 2: 1 columns, expected 2: put fields"),
    ("a.tsv", 'text\tlabel\n"opens\ta\nb\tb\ncloses"\ta\n', 'row 2: a field holds several lines and tabs: close its "'),
    ("a.csv", "text,label\n", "a.csv: no rows: fill it, or remove it"),
    ("a.csv", "t\0e,label\na,b\n", "row 1: no column 'text': say which of 't\\x00e', label it is"),
    ("a.csv", 'text,label\na,"[""b"", ""c""]"\n', "row 2: the label is a JSON list: say many=True"),
    ("a.jsonl", '{"text": "a", "label": "b", "label": "c"}\n', "row 1: two keys are called 'label': rename one"),
    ("a.jsonl", '{"text": "a", "label": "b"}\n[]x\n', "row 2: not JSON"),
    ("a.jsonl", "7\n", "row 1: not a JSON object"),
    ("a.jsonl", "[" * 100_000, "row 1: not JSON"),
    (
        "a.jsonl",
        '{"text": "a", "label": ["b"]}\n',
        "row 1: the label is no name: fill it, or remove the row; or",
    ),
    ("a.jsonl", '{"text": "a", "labels": "b"}\n', "row 1: no key 'label' (did you mean labels?)"),
    ("a.jsonl", '{"text": [], "label": "b"}\n', "row 1: the text is empty"),
    ("a.jsonl", '{"text": "\\ud83d", "label": "b"}\n', "row 1: half a surrogate pair"),
    ("a.txt", "a", "a.txt: rocl reads .csv, .tsv and .jsonl"),
    ("a.csv.gz", "text,label", "a.csv.gz is cut short or no .gz file"),
    ("a.csv.gz", gzip.compress(CSV.encode())[:90], "a.csv.gz is cut short or no .gz file"),
    ("a.csv.xz", lzma.compress(CSV.encode())[:90], "a.csv.xz is cut short or no .xz file"),
]


@pytest.mark.parametrize(("name", "content", "said"), MISTAKES)
def test_a_mistake_is_one_line_with_file_row_and_fix(tmp_path, name, content, said):
    path = put(tmp_path / name, content)
    with pytest.raises(UserError) as caught:
        files(path, language="en")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_column_with_one_of_our_names_is_ours_only_when_it_is_named(tmp_path):
    rows = "".join(f"raw {n},clean {n % 7},{'ab'[n % 2]},heavy,same,one\n" for n in range(20))
    path = put(tmp_path / "a.csv", "tweet,text,stance,weight,id,group\n" + rows)
    corpus = files(path, language="en", text="tweet", label="stance")
    kept = [row for rows in corpus.splits.values() for row in rows]
    assert len(kept) == 20 and all(row.texts[0].startswith("raw") and row.labels[0] in "ab" for row in kept)
    assert kept[0].extra["weight (not named)"] == "heavy" and len(corpus.splits["test"]) == 4
    with pytest.raises(UserError, match="text='text', label='stance', twin='text': give each a column of its own"):
        files(path, language="en", label="stance", twin="text")


def test_groups_and_copies_of_a_text_both_hold_rows_together(tmp_path):
    rows = [{"text": f"t{n % 40}", "label": "ab"[n % 40 % 2], "by": str(n) if n % 3 else ""} for n in range(120)]
    rows += [{"text": f"u{n}", "label": "ab"[n % 2], "by": f"author {n // 4}"} for n in range(120)]
    path = put(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    splits = files(path, language="en", group="by").splits
    for key in (lambda row: row.texts, lambda row: row.extra["group"]):
        parts = [{key(row) for row in of} - {""} for of in splits.values()]
        assert all(parts) and sum(map(len, parts)) == len(set.union(*parts))
    assert all(len(of) >= 15 for of in splits.values())  # an empty group is no group


def parts_of(corpus: Corpus, key) -> list[set]:
    return [{key(row) for row in rows} for rows in corpus.splits.values()]


def test_a_group_may_be_called_nought_and_pairs_stand_together(tmp_path):
    rows = [{"text": f"t{n}", "label": "ab"[n % 2], "by": n // 10} for n in range(100)]
    path = put(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    parts = parts_of(files(path, language="en", group="by"), lambda row: row.extra["group"])
    assert sum(map(len, parts)) == 10
    rows = [{"i": f"{kind}{n}", "text": f"{kind} {n}", "label": "ab"[n % 2]} for n in range(50) for kind in "xy"]
    for row in rows:
        row["of"] = f"x{row['i'][1:]}" if row["i"][0] == "y" else ""
    path = put(tmp_path / "b.jsonl", "\n".join(map(json.dumps, rows)))
    parts = parts_of(files(path, language="en", id="i", pair="of"), lambda row: row.id[1:])
    assert all(parts) and sum(map(len, parts)) == 50


def test_a_label_of_a_group_that_is_rare_stays_in_train(tmp_path):
    """Not on the group's first row, and wherever the group is drawn by another seed."""
    rows = [{"text": f"t{n}", "label": "ab"[n % 2], "by": f"g{n // 4}"} for n in range(80)]
    rows[30]["label"] = "z"
    path = put(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    for seed in range(30):
        assert files(path, language="en", group="by", seed=seed).counts("train")["z"] == 1


def test_groups_that_given_files_divide_are_counted(tmp_path):
    for split, who in (("train", "abc"), ("test", "bcd")):
        rows = "".join(f"{split} {w} {n},{n % 2},{w}\n" for w in who for n in range(9))
        put(tmp_path / f"{split}.csv", f"text,label,g\n{rows}")
    note = files(tmp_path / "{split}.csv", language="en", group="g").note
    assert note == "dev drawn out of train.csv by seed 0; 2 groups stand in more than one split"


def test_dev_and_test_need_no_weights_and_no_groups(tmp_path):
    put(tmp_path / "train.csv", "text,label,w,g\na,x,1,p\nb,y,2,q\n")
    for split in ("dev", "test"):
        put(tmp_path / f"{split}.csv", f"text,label\n{split},x\n")
    corpus = files(tmp_path / "{split}.csv", language="en", weight="w", group="g")
    kept = [{"weight": 1.0, "group": "p"}, {"weight": 2.0, "group": "q"}]
    assert [row.extra for row in corpus.splits["train"]] == kept
    assert corpus.splits["test"][0].extra == {}


def test_labels_that_look_alike_are_one(tmp_path):
    path = put(tmp_path / "a.csv", "text,label\na,cafe\u0301\nb,caf\u00e9\nc,very  good\nd,very\u00a0good\n")
    assert files(path, language="fr").labels == ("caf\u00e9", "very good")


@pytest.mark.parametrize("twin", [7, {"t": "one"}, ["one", 2]])
def test_a_twin_is_a_text_or_several(tmp_path, twin):
    path = put(tmp_path / "a.jsonl", json.dumps({"text": ["un", "deux"], "label": "b", "en": twin}))
    with pytest.raises(UserError, match="row 1: the twin is no text"):
        files(path, language="fr", twin="en")


def test_the_twin_of_several_texts_has_several(tmp_path):
    rows = [{"text": ["un", f"deux {n}"], "label": "ab"[n % 2], "en": ["one", f"two {n}"]} for n in range(20)]
    path = put(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    found = twin(files(path, language="fr", twin="en"), "en")
    assert {row.texts[0] for rows in found.splits.values() for row in rows} == {"one"}
    assert sorted(int(row.texts[1][4:]) for rows in found.splits.values() for row in rows) == [*range(20)]


def test_many_labels_keep_their_shares_and_a_single_row_of_a_label_stays_in_train(tmp_path):
    draw, names = random.Random(0), "abcdefgh"
    rows = [{"text": f"t{n}", "label": draw.sample(names, draw.choice((1, 2, 3)))} for n in range(400)]
    rows.append({"text": "alone", "label": ["once"]})
    corpus = files(put(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))), language="en", many=True)
    for label in names:
        whole = sum(corpus.counts(split)[label] for split in corpus.splits)
        assert abs(corpus.counts("test")[label] - 0.2 * whole) < 0.08 * whole
    assert corpus.counts("train")["once"] == 1
    single = [{"text": f"t{n}", "label": "abc"[n % 3] if n < 99 else f"rare{n}"} for n in range(110)]
    corpus = files(put(tmp_path / "b.jsonl", "\n".join(map(json.dumps, single))), language="en")
    assert all(corpus.counts("train").values()) and len(corpus.splits["test"]) >= 19


def test_another_order_or_weight_of_the_rows_is_another_task(tmp_path):
    lines = [f"t{n},{'ab'[n % 2]},{n}" for n in range(20)]
    variants = [lines, lines[::-1], [f"{line}0" for line in lines]]  # as they are, reversed, with other weights
    digests = set()
    for number, variant in enumerate(variants):
        path = put(tmp_path / f"{number}" / "a_train.csv", "text,label,w\n" + "\n".join(variant))
        corpus = files(str(path).replace("train", "{split}"), language="en", weight="w", name="a")
        digests.add(Task(name="t", corpus=corpus).digest)
    assert len(digests) == 3


@pytest.mark.parametrize("field", ["['joy', 'fear']", "[1.5]", '["a", null]', '[["a"]]'])
def test_a_list_of_labels_that_is_none_of_names_is_refused(tmp_path, field):
    path = put(tmp_path / "a.jsonl", json.dumps({"text": "t", "label": field}))
    with pytest.raises(UserError, match="row 1: the label is no name: write names or a JSON list"):
        files(path, language="en", many=True)


def test_numbers_may_be_labels_and_empty_lines_are_none(tmp_path):
    path = put(tmp_path / "a.jsonl", '{"text": "t", "label": [1, 2]}\n\n{"text": "u", "label": "[2]"}\n')
    corpus = files(path, language="en", many=True)
    assert corpus.labels == ("1", "2")
    assert sorted(row.labels for rows in corpus.splits.values() for row in rows) == [("1", "2"), ("2",)]


def test_split_files_of_other_names_are_told_and_two_of_one_split_refused(tmp_path):
    for name in ("train", "development", "testing"):
        put(tmp_path / f"x_{name}.csv", CSV)
    note = files(tmp_path / "x_{split}.csv", language="en").note
    assert "not read: x_development.csv, x_testing.csv (call them test, dev)" in note
    put(tmp_path / "y_train.CSV", CSV)
    put(tmp_path / "y_test.csv.gz", gzip.compress(CSV.encode()))
    put(tmp_path / "y_test.md", "no table")
    note = files(tmp_path / "y_{split}.CSV", language="en").note
    assert note.endswith("not read: y_test.csv.gz (call them test, dev)")
    for name in ("dev", "valid"):
        put(tmp_path / f"x_{name}.csv", CSV)
    with pytest.raises(UserError, match=r"x_dev.csv and .*x_valid.csv: both are dev: remove or rename one"):
        files(tmp_path / "x_{split}.csv", language="en")


def test_an_empty_separator_is_refused(tmp_path):
    with pytest.raises(UserError, match="separator is empty"):
        files(put(tmp_path / "a.csv", CSV), language="en", many=True, separator="")


@pytest.mark.parametrize("weight", ["-1", "nan", "inf", "1e39", "a lot", ""])
def test_a_weight_is_a_number_of_nought_or_more(tmp_path, weight):
    path = put(tmp_path / "a.csv", f"text,label,w\na,b,{weight}\n")
    with pytest.raises(UserError, match="row 2: the weight is .*: write a number"):
        files(path, language="en", weight="w")


def test_an_unknown_label_a_second_id_and_a_missing_file_are_told_with_their_row(tmp_path):
    put(tmp_path / "train.csv", "text,label,n\na,joy,1\nb,fear,1\n")
    put(tmp_path / "test.csv", "text,label,n\nc,joi,2\n")
    with pytest.raises(UserError, match=r"test.csv, row 2: no training row has the label 'joi' \(did you mean joy\?\)"):
        files(tmp_path / "{split}.csv", language="en")
    put(tmp_path / "test.csv", "text,label,n\nc,joy,2\n")
    with pytest.raises(UserError, match=r"train.csv, row 3: the id '1' is that of .*train.csv, row 2"):
        files(tmp_path / "{split}.csv", language="en", id="n")
    with pytest.raises(UserError, match=r"nowhere.csv cannot be read: No such file"):
        files(tmp_path / "nowhere.csv", language="en")
    with pytest.raises(UserError, match=r"nowhere.csv cannot be read: .*looked for in"):
        files("nowhere.csv", language="en")
    with pytest.raises(UserError, match="text=None, label='label': name both columns"):
        files("nowhere.csv", language="en", text=None)
    put(tmp_path / "b.jsonl", '{"text": "a", "label": "b", "n": null}')
    with pytest.raises(UserError, match="row 1: the id is empty"):
        files(tmp_path / "b.jsonl", language="en", id="n")


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The bytes with a few of them gone, doubled, swapped for others or for something nasty."""
    nasty = [b'"', b",", b"\n", b"\r", b"\t", b"\x00", b"\xff", b"{", b"[", b"]", b"\\ud800", b"\xef\xbb\xbf", b"null"]
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(content) + 1)
        end = min(len(content), start + rng.choice([0, 1, 1, 5, 40]))
        new = rng.choice([b"", content[start:end] * 2, bytes([rng.randrange(256)]), rng.choice(nasty)])
        content = content[:start] + new + content[end:]
    return content


@pytest.mark.parametrize(("ending", "seed"), [(".csv", 1), (".tsv", 2), (".jsonl", 3)])
def test_a_mutated_file_is_a_corpus_or_one_clear_line(tmp_path, ending, seed):
    lines = [line.split(",") for line in CSV.splitlines()[:21]]
    content = {
        ".csv": "\n".join(f'"{text}",{label}' for text, label in lines).replace('"text"', "text"),
        ".tsv": "\n".join("\t".join(line) for line in lines),
        ".jsonl": "\n".join(json.dumps({"text": text, "label": label}) for text, label in lines[1:]),
    }[ending].encode()
    rng, outcomes = random.Random(seed), Counter()
    for number in range(800):
        path = put(tmp_path / f"m{ending}", mutated(content, rng))
        try:
            corpus = files(path, language="sr", many=number % 2 == 0)
            rows = [row for rows in corpus.splits.values() for row in rows]
            assert isinstance(corpus, Corpus) and len(corpus.digest) == 16
            assert all(text.strip() for row in rows for text in row.texts) and len({row.id for row in rows}) == len(
                rows
            )
            outcomes["read"] += 1
        except UserError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error), error
            outcomes["refused"] += 1
    assert min(outcomes["read"], outcomes["refused"]) > 50, outcomes
