"""Proves that a corpus whose rows lie in a file is, to the last digest and batch, the one that memory would hold."""

import gzip
import json
import lzma
import random

import numpy as np
import pytest
import tiny

from rocl.data import batches, streams, tokens
from rocl.data.corpus import Corpus, Row
from rocl.data.files import files, twin
from rocl.data.statistics import statistics
from rocl.data.stored import Stored, kept, picked
from rocl.data.streams import in_order, listed, repeated
from rocl.data.task import Task, column, fold, folded, rows, sample
from rocl.data.text import plain
from rocl.errors import UserError

WORDS = 'ană ţară\u2028 \x85 é\n𝄞 \t" \\ x yy zzz'.split(" ")


@pytest.fixture
def small(monkeypatch):
    """What memory holds is less than the corpora of these tests have."""
    monkeypatch.setattr(streams, "LARGE", 2000)


def drawn(size: int, seed: int = 0) -> list[Row]:
    draw = random.Random(seed)
    texts = [tuple(" ".join(draw.choices(WORDS, k=5)) for _ in range(draw.randint(1, 3))) for _ in range(size)]
    return [
        Row(f"{n}", own, tuple(draw.sample(["a", "b", "c"], draw.randint(0, 2))), {"stars": n, "half": n / 3, "é": "ş"})
        for n, own in enumerate(texts)
    ]


def written(folder, size: int = 120, split: str = "train") -> None:
    """JSON lines; some rows of dev stand in train too."""
    draw = random.Random(size)
    lines = [
        {"text": f"{draw.choice(WORDS)} {n if n % 7 else 'twin'} word", "label": "ab"[n % 2], "key": f"{split} {n}"}
        | {"weight": n / 3, "other": f"text {n}", "dialect": draw.choice("xyz")}
        for n in range(size)
    ]
    (folder / f"{split}.jsonl").write_text("\n\n".join(map(json.dumps, lines)))


def corpus(folder):
    named = {"id": "key", "weight": "weight", "twin": "other"}
    return files(folder / "{split}.jsonl", language="xx", **named)


def test_few_rows_are_a_list_and_many_lie_in_a_file(small):
    have = drawn(100)
    assert type(kept(iter(have[:2]))) is list and kept(iter(have[:2])) == have[:2]
    there = kept(iter(have))
    assert type(there) is Stored and len(there) == 100 and list(there) == have
    assert there[-1] == have[-1] and list(there[3:50:7]) == have[3:50:7]
    assert list(picked(there, [5, 2, 5])) == picked(have, [5, 2, 5]) == [have[5], have[2], have[5]]
    assert list(reversed(there)) == have[::-1] and have[7] in there
    for wrong in (100, -101):
        with pytest.raises(IndexError):
            there[wrong]


def test_a_file_of_many_rows_is_the_corpus_and_the_task_that_memory_would_hold(tmp_path, monkeypatch):
    for split, size in (("train", 120), ("dev", 40), ("test", 35)):
        written(tmp_path, size, split)
    pairs, made = [], tokens.tokenizer(tiny.checkpoint(tmp_path / "c").folder(weights=False))
    for large in (streams.LARGE, 2000):
        monkeypatch.setattr(streams, "LARGE", large)
        one = corpus(tmp_path)
        whole = Task(name="t", corpus=one, max_length=12)
        weighted = column(whole, row=np.arange(120.0))
        cuts = [sample(weighted, 30), fold(weighted, 1, 3), rows(weighted, ["train 9", "train 4"])]
        tasks = [whole, *cuts, Task(name="t", corpus=one, drop_leaks=True), Task(name="t", corpus=twin(one, "yy"))]
        told = [
            (t.digest, t.judged_on, t.rows("train")[3:].__len__(), *map(list, map(t.rows, t.corpus.splits)))
            for t in tasks
        ]
        pairs.append((one, told, [batches.table(t, "train", made, tmp_path / "tokens") for t in tasks]))
    (here, told, tables), (there, same, others) = pairs
    assert type(here.splits["train"]) is list and {type(of) for of in there.splits.values()} == {Stored}
    assert here.digest == there.digest and told == same
    assert len(tables[4]) < 120, "some rows of train stand in dev"
    for table, other in zip(tables, others, strict=True):
        some = np.array([1, 0])
        one, two = table.batch(some), other.batch(some)
        assert one.row_ids == two.row_ids and list(table.ids) == list(other.ids)
        assert (one.ids == two.ids).all() and one.columns.keys() == two.columns.keys()
        assert all((one.columns[name] == two.columns[name]).all() for name in one.columns)


def test_bare_text_of_many_lines_lies_in_a_file(tmp_path, small):
    lines = [f"line {n} of ţară\x85" for n in range(300)]
    (tmp_path / "bare.txt.gz").write_bytes(gzip.compress("\n\n".join(lines).encode("utf-8-sig")))
    there = plain("bare", "ro", tmp_path / "bare.txt.gz").splits["train"]
    assert type(there) is Stored and [row.texts[0] for row in there] == [line.strip() for line in lines]
    assert there[1].id == f"{tmp_path / 'bare.txt.gz'}-3"


def test_an_id_that_comes_twice_is_told_with_both_rows(tmp_path, small):
    written(tmp_path)
    written(tmp_path, 90, "dev")
    file = tmp_path / "dev.jsonl"
    file.write_text(file.read_text().replace("dev 71", "train 30"))
    with pytest.raises(UserError, match=r"dev.jsonl, row 143: the id 'train 30' is that of .*train.jsonl, row 61"):
        corpus(tmp_path)


def test_a_cache_that_cannot_be_written_is_told_with_what_to_do(tmp_path, small, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"file/rocl: what is too large for memory cannot be written .*XDG_CACHE_HOME"):
        kept(drawn(100))


@pytest.mark.parametrize("size", [0, 1, 7, 500])
def test_lines_sorted_by_portions_are_sorted(size, monkeypatch):
    monkeypatch.setattr(streams, "LARGE", 60)
    lines = [json.dumps(row.texts, ensure_ascii=False) for row in drawn(size)]
    assert list(in_order(iter(lines))) == sorted(lines)


def test_names_that_come_twice_are_found():
    names = [str(n) for n in range(1000)]
    assert repeated(lambda: names) == set() == repeated(list)
    assert repeated(lambda: [*names, "7", "7", "999"]) == {"7", "999"}


@pytest.mark.parametrize("values", [[], [1], [["é", {"a": 1.5}], None, "x"]])
def test_pieces_of_a_list_are_what_json_writes(values):
    assert "".join(listed(iter(values))) == json.dumps(values)


def test_what_is_wrong_far_down_a_file_is_told_with_its_row(tmp_path):
    good = json.dumps({"text": "ţară", "label": "a"}, ensure_ascii=False).encode()
    many = [good] * 5000
    cases = {
        "utf.jsonl": (b"\n".join([*many, b'{"text": "\xff", "label": "a"}', good]), r"row 5001: not UTF-8"),
        "json.jsonl": (b"\n".join([*many, b"{", good]), r"row 5001: not JSON"),
        "cut.jsonl.gz": (gzip.compress(b"\n".join(many))[:-9], r"cut short or no .gz file"),
        "quote.csv": (b"text,label\n" + b"x,a\n" * 5000 + b'"open,a\n', r"not CSV"),
        "mac.csv": (b"text,label\r" + b"x,a\r" * 5000 + b"x,a,b\r", r"row 5002: 3 columns, expected 2"),
    }
    for name, (content, said) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=said):
            files(tmp_path / name, language="xx")


def test_a_damaged_file_is_told_before_what_came_out_of_it(tmp_path):
    good = b"\n".join(json.dumps({"text": f"text {n}", "label": "a"}).encode() for n in range(9000))
    packed = bytearray(gzip.compress(good, 0))
    packed[len(packed) // 2] = 7  # no JSON any more, which the sum at the end would tell too late
    second = bytearray(lzma.compress(good))
    second[len(second) // 2] ^= 255
    for name, content in (("a.jsonl.gz", packed), ("b.jsonl.xz", lzma.compress(good + b"\n") + second)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="pack it again"):
            files(tmp_path / name, language="xx")


def test_what_a_row_has_beside_its_text_counts(small):
    assert type(kept(Row(str(n), ("x",), (), {"twin": "y" * 3000}) for n in range(2))) is Stored


def test_counts_of_rows_on_disk_are_those_of_a_slow_loop(tmp_path, small):
    have = drawn(200) + [Row("copy", ("ană",), ("a",)), Row("other", ("ANĂ",), ("b",)), Row("none", ("",), ())]
    dev = [Row("dev", (" ană ",), ()), Row("dev 2", ("nowhere",), ("c",))]
    splits = {"train": kept(have), "dev": kept(dev), "test": []}
    one = Corpus(name="c", language="xx", labels=("a", "b", "c"), kind="many", licence="none", read=lambda _: splits)
    told = statistics(Task(name="t", corpus=one))
    texts = [folded(row) for row in have]
    labels = {text: {frozenset(r.labels) for r, own in zip(have, texts, strict=True) if own == text} for text in texts}
    assert type(splits["train"]) is Stored and told["duplicates"] == len(texts) - len(set(texts)) >= 1
    assert told["conflicts"] == sum(len(sets) > 1 for sets in labels.values()) >= 1
    assert told["leaks"] == {"dev": texts.count("ană"), "test": 0} and told["splits"]["train"]["empty"] == 1
    assert told["splits"]["train"]["labels"]["a"] == sum("a" in row.labels for row in have)
    assert told["splits"]["test"]["rows"] == 0 == told["splits"]["test"]["words"]["max"]
