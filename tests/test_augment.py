"""Augmentation keeps its operations' laws, touches nothing but words in any script, and hangs on seed and id alone."""

import json
import random
import unicodedata
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny
from scipy.stats import binomtest, chisquare
from test_files import put

from rocl.data import batches, tokens
from rocl.data.augment import (
    answers,
    augmented,
    back_translated,
    by_turns,
    deleted,
    eda,
    inserted,
    pieces,
    replaced,
    rewritten,
    swapped,
    views,
)
from rocl.data.corpus import Corpus, Row
from rocl.data.statistics import statistics
from rocl.data.task import Task, column, cut, fold, folded, sample
from rocl.download import File
from rocl.errors import UserError
from rocl.experiment import named

LEXICON = {"bun": ["grozav", "excelent", "bun"], "și": ["iar"], "film": ["peliculă"], "добрый": ["славный"]}
SIGNS = set("@#$%&*+/<=>\\^_`{|}~[]")
JOINERS = set("'’‐‑·\xad\u200c\u200d-")
PROTECTED = ["$NE$", "<|PERSON|>", "[MASK]", "{name}", "@ion_23", "#fericit", "www.site.ro", "https://a.ro/x?y=ă"]
PROTECTED += ["10", "3,50", "½", "٣", "mp3", "50%", "a@b.ro", ":D", ":-P", ";'d", "12:30", "și/sau", "&amp;", "<br>"]
WORDS = """țară şi ţară și ÎNTR-O bun Bun BUN Добрый фильм її 한국어 영화 नमस्ते दुनिया שלום עליכם سلام می‌خواهم
    e\u0301te\u0301 s\u0326i Straße İstanbul l'homme صه‌ל col·legi cu\xadvânt ΣΟΦΟΣ ἀγαθός 感動 ไทย""".split()
BETWEEN = [" ", "  ", ", ", " — ", "... ", " 😀 ", " ❤️ ", "! ", "\n", " «", "» ", "🤷🏽‍♀️ ", "\u00a0", " (", ") ", "?! "]
OPERATIONS = [swapped, deleted, partial(replaced, lexicon=LEXICON), partial(inserted, lexicon=LEXICON)]


def fuzzed(luck: random.Random) -> str:
    """Words of many scripts and what must be left alone, which spaces set apart, with anything between."""
    parts = [luck.choice(["", " ", "«", "😀"])]
    for _ in range(luck.randint(0, 14)):
        word = luck.choice(PROTECTED) if luck.random() < 0.3 else luck.choice(WORDS)
        parts += [f" {word} ", luck.choice(BETWEEN)] if word in PROTECTED else [word, luck.choice(BETWEEN)]
    return "".join(parts)


def slow_words(text: str) -> list[str]:
    """The words of a text, character by character."""
    found = []
    for stretch in text.split():
        kinds = [unicodedata.category(c)[0] for c in stretch]
        letters = [c.isalnum() for c in stretch]
        inside = any(stretch[n] == "." and letters[n - 1] and letters[n + 1] for n in range(1, len(stretch) - 1))
        after = [stretch[n + 1 + (stretch[n + 1 : n + 2] in ("'", "’", "-")) :][:1] for n in range(len(stretch))]
        colon = any(c in ":;" and a.isalnum() for c, a in zip(stretch, after, strict=True))
        if set(stretch) & SIGNS or "N" in kinds or inside or colon:
            continue
        word = ""
        for n, c in enumerate(stretch + " "):
            joins = c in JOINERS and stretch[n + 1 : n + 2].isalpha()
            if c.isalpha() or (word and (joins or unicodedata.category(c)[0] == "M")):
                word += c
            elif word:
                found.append(word)
                word = ""
    return found


def corpus(name: str = "toy", kind: str = "one", **splits: list[Row]) -> Corpus:
    labels = ("a", "b", "c")
    return Corpus(name=name, language="xx", labels=labels, kind=kind, licence="none", read=lambda _: splits)


def task(texts: dict[str, str], **options) -> Task:
    """Texts by id: those whose id begins with dev or test are there to be judged on."""
    splits = {"train": [], "dev": [], "test": []}
    for number, (id, text) in enumerate(texts.items()):
        split = next((split for split in ("dev", "test") if id.startswith(split)), "train")
        splits[split].append(Row(id, (text,), ("abc"[number % 3],), {"stars": number}))
    return Task(name="toy", corpus=corpus(**splits), **options)


def texts(of: Task, split: str = "train") -> dict[str, tuple[str, ...]]:
    return {row.id: row.texts for row in of.rows(split)}


def shouted(row: Row, copy: int) -> tuple[str, ...]:
    return tuple(text + "!" * copy for text in row.texts)


MANY = {f"r{n}": " ".join(random.Random(n).choices(WORDS, k=12)) for n in range(40)}


def test_words_are_those_of_a_slow_reading_and_the_pieces_are_the_whole_text():
    luck, seen = random.Random(0), set()
    for _ in range(1500):
        text = fuzzed(luck)
        parts = pieces(text)
        assert list(parts[1::2]) == slow_words(text) and "".join(parts) == text
        seen.update(parts[1::2])
    assert seen == set(WORDS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_no_word_stays_byte_for_byte_in_its_order(operation):
    luck, changed = random.Random(1), 0
    for number in range(800):
        text = fuzzed(luck)
        made = operation(text, random.Random(number), alpha=luck.choice([0.05, 0.3, 0.9]))
        kept = [[part for part in of.split() if part in PROTECTED] for of in (text, made)]
        assert kept[0] == kept[1]
        rest = ["".join("".join(pieces(of)[0::2]).split(" ")) for of in (text, made)]
        assert rest[0] == rest[1]
        if operation is swapped or operation is OPERATIONS[2]:
            assert pieces(text)[0::2] == pieces(made)[0::2]
        changed += made != text
    assert changed > 100


@pytest.mark.parametrize("operation", OPERATIONS[:2])
@pytest.mark.parametrize("text", ["", "  ", "țară", " «țară»! ", "$NE$ 10 :D", "😀 țară @ion www.a.ro", "한국어..."])
def test_a_text_of_one_word_or_none_is_left_alone(operation, text):
    assert {operation(text, random.Random(seed), alpha=1.0) for seed in range(20)} == {text}


@pytest.mark.parametrize(("size", "alpha", "number"), [(5, 0.1, 1), (19, 0.1, 1), (20, 0.1, 2), (40, 0.25, 10)])
def test_a_swap_moves_words_by_just_as_many_exchanges(size, alpha, number):
    words = [chr(0x430 + n // 8) + chr(0x430 + n % 8) for n in range(size)]
    distances = Counter()
    for seed in range(200):
        made = swapped(" ".join(words), random.Random(seed), alpha=alpha).split(" ")
        assert sorted(made) == sorted(words)
        order, cycles = {n: words.index(word) for n, word in enumerate(made)}, 0
        while order:
            cycles, place = cycles + 1, next(iter(order))
            while place in order:
                place = order.pop(place)
        distances[size - cycles] += 1
    assert max(distances) == number and distances[number] > 100 / number


def test_the_two_places_of_a_swap_are_any_and_a_second_one_is_drawn_three_times():
    pairs = Counter(swapped("a b c d e", random.Random(seed), alpha=0.1) for seed in range(4000))
    same = pairs.pop("a b c d e")
    assert len(pairs) == 10 and chisquare(list(pairs.values())).pvalue > 0.001
    assert binomtest(same, 4000, (1 / 5) ** 3).pvalue > 0.001
    still = sum(swapped("a b", random.Random(seed)) == "a b" for seed in range(4000))
    assert binomtest(still, 4000, (1 / 2) ** 3).pvalue > 0.001


def test_each_word_is_deleted_with_the_probability_that_is_said():
    words = [chr(0x561 + n) for n in range(30)]
    kept = Counter()
    for seed in range(1000):
        made = deleted(" ".join(words), random.Random(seed), alpha=0.2).split()
        assert made == sorted(made) and made
        kept.update(made)
    assert binomtest(kept.total(), 30_000, 0.8).pvalue > 0.001
    assert all(binomtest(kept[word], 1000, 0.8).pvalue > 0.0001 for word in words)


def test_where_all_words_would_go_any_one_of_them_stays():
    stays = Counter(deleted("țară, bun și 한국어", random.Random(seed), alpha=1.0) for seed in range(2000))
    assert set(stays) == {"țară, ", ", bun ", ", și ", ", 한국어"} and chisquare(list(stays.values())).pvalue > 0.001


class Prepared(random.Random):
    """Uniform numbers that are known: a word goes where there is a 0."""

    def __init__(self, *numbers: int):
        super().__init__(0)
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)


@pytest.mark.parametrize(
    ("text", "kept", "left"),
    [
        ("a b c d", (1, 0, 0, 1), "a d"),
        ("a b c", (0, 0, 1), "c"),
        ("a b c", (1, 1, 0), "a b "),
        ("a bun, c", (1, 0, 1), "a , c"),
        ("(a) b\nc d", (0, 1, 0, 1), "() b\nd"),
        ("a\n\nb c", (1, 0, 1), "a\n\nc"),
        ("😀a b", (0, 1), "😀 b"),
        (" a  b c", (0, 1, 1), "  b c"),
        ("$NE$ a @x b", (0, 1), "$NE$ @x b"),
    ],
)
def test_a_deleted_word_takes_one_of_two_spaces_along(text, kept, left):
    assert deleted(text, Prepared(*kept), alpha=0.5) == left


def test_a_word_goes_unless_its_number_is_above_the_probability():
    assert deleted("a b c", Prepared(0.5, 0.5001, 0.4999), alpha=0.5) == "b "


def test_all_occurrences_of_so_many_words_with_synonyms_are_replaced():
    text = "Bun, bun și BUN: un film $NE$ bun și bun-simț; nu 10 bun/rău"
    found = {replaced(text, random.Random(seed), lexicon=LEXICON, alpha=0.1) for seed in range(60)}
    parts = {"bun": ("grozav", "excelent"), "și": ("iar",), "film": ("peliculă",)}
    expected = {
        "Grozav, grozav și Grozav: un film $NE$ grozav și bun-simț; nu 10 bun/rău",
        "Excelent, excelent și Excelent: un film $NE$ excelent și bun-simț; nu 10 bun/rău",
        "Bun, bun iar BUN: un film $NE$ bun iar bun-simț; nu 10 bun/rău",
        "Bun, bun și BUN: un peliculă $NE$ bun și bun-simț; nu 10 bun/rău",
    }
    assert found == expected  # ten words: one is replaced
    for seed in range(20):  # two of ten
        made = replaced(text, random.Random(seed), lexicon=LEXICON, alpha=0.2)
        assert sum(any(new in made.lower() for new in news) for news in parts.values()) == 2
    assert len({replaced(text, random.Random(seed), lexicon=LEXICON, alpha=1.0) for seed in range(20)}) == 2


def test_a_lexicon_is_asked_without_case_and_accent_form_and_may_hold_a_bare_word():
    decomposed = unicodedata.normalize("NFD", "Și")
    assert replaced(f"{decomposed} nu", random.Random(0), lexicon=LEXICON) == "Iar nu"
    assert replaced("bun", random.Random(0), lexicon={"bun": "grozav"}) == "grozav"
    for change in (replaced, inserted):
        assert change("Nu țară", random.Random(0), lexicon={**LEXICON, "nu": ["nu"]}, alpha=1.0) == "Nu țară"


def test_so_many_synonyms_are_inserted_before_words_and_nothing_else_changes():
    text, places = "$NE$ «Un film» bun, și cinci alte lucruri noi 😀", Counter()
    for seed in range(1500):
        parts = list(pieces(inserted(text, random.Random(seed), lexicon=LEXICON, alpha=0.15)))
        new = [place for place in range(1, len(parts), 2) if parts[place] not in pieces(text)]
        if not new:  # ten words drawn, none with a synonym
            continue
        assert len(new) == 1 and parts[new[0]] in ("grozav", "excelent", "iar", "peliculă") and parts[new[0] + 1] == " "
        del parts[new[0] : new[0] + 2]
        assert tuple(parts) == pieces(text)
        places[new[0]] += 1
    assert set(places) == set(range(1, 17, 2)) and chisquare(list(places.values())).pvalue > 0.001
    longer = inserted(text, random.Random(0), lexicon=LEXICON, alpha=0.5)
    assert len(pieces(longer)) == len(pieces(text)) + 8


def test_a_rare_synonym_is_looked_for_ten_times():
    text = "bun " + " ".join("țară" for _ in range(9))
    none = sum(inserted(text, random.Random(seed), lexicon=LEXICON) == text for seed in range(3000))
    assert binomtest(none, 3000, 0.9**10).pvalue > 0.001


def test_operations_come_by_turns_beginning_with_any():
    marks = [lambda text, luck, mark=mark: mark for mark in "wxyz"]

    def turns(id: str, seed: int = 0) -> str:
        return "".join(by_turns(Row(id, ("t",), ()), n, operations=marks, seed=seed)[0] for n in range(1, 9))

    said = Counter(turns(str(id)) for id in range(400))
    assert (
        set(said) == {"wxyzwxyz", "xyzwxyzw", "yzwxyzwx", "zwxyzwxy"} and chisquare(list(said.values())).pvalue > 0.001
    )
    assert any(turns(str(id)) != turns(str(id), 1) for id in range(9))


def test_without_a_lexicon_words_are_only_moved_and_taken_out():
    for id, text in MANY.items():
        row, have = Row(id, (text,), ()), Counter(text.split())
        plain = [eda(row, n, alpha=0.3)[0].split() for n in range(1, 9)]
        assert all(Counter(words) <= have for words in plain) and sum(Counter(words) == have for words in plain) >= 4
    row = Row("r", ("un film bun și un film bun",), ())
    rich = [eda(row, n, lexicon=LEXICON, alpha=0.3)[0].split() for n in range(1, 9)]
    assert sum(not set(words) <= set(row.texts[0].split()) for words in rich) == 4


def test_variants_hang_on_seed_and_id_whatever_stands_beside_the_row():
    made = texts(augmented(task(MANY), eda, copies=6))
    order = random.Random(0).sample(list(MANY), 15)
    other = texts(augmented(task({id: MANY[id] for id in order} | {"new": "unu doi trei"}), eda, copies=6))
    for id in order:
        assert {k: v for k, v in made.items() if k.partition("~")[0] == id} == {
            k: v for k, v in other.items() if k.partition("~")[0] == id
        }
    fewer = texts(augmented(fold(task(MANY), 0, 3), eda, copies=3))
    assert fewer.items() <= made.items() and len(fewer) < len(made)
    seeded = texts(augmented(task(MANY), partial(eda, seed=1), copies=6))
    assert sum(made[id] == seeded.get(id) for id in made if "~" in id) < len(made) / 5
    assert any(made[f"{id}~1"] != made[f"{id}~5"] for id in MANY)  # copies of one operation differ too


def test_variants_stand_behind_the_rows_with_labels_facts_and_ids_of_their_originals():
    whole = task(MANY | {"dev1": "unu doi", "test1": "trei"})
    made = augmented(whole, shouted, copies=2)
    assert list(texts(made)) == [*MANY, *(f"{id}~{n}" for id in MANY for n in (1, 2))]
    by_id = {row.id: row for row in made.rows("train")}
    for row in whole.rows("train"):
        assert by_id[f"{row.id}~2"] == replace(row, id=f"{row.id}~2", texts=(row.texts[0] + "!!",))
    assert made.rows("dev") == whole.rows("dev") and made.rows("test") == whole.rows("test")
    assert made.name == whole.name and made.labels == whole.labels and made.metric == whole.metric
    assert made.corpus.note == "train: and up to 2 variants of each row by shouted"


@pytest.mark.parametrize("kind", ["one", "many"])
def test_columns_follow_their_originals_and_later_ones_are_those_of_all_rows(kind, tmp_path):
    whole = tiny.task("t", kind=kind, size=20)
    soft, weight = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20.0)
    made = augmented(column(whole, soft=soft, weight=weight), eda, copies=3)
    place = {row.id: n for n, row in enumerate(whole.rows("train"))}
    owners = [place[row.id.partition("~")[0]] for row in made.rows("train")]
    assert owners[:20] == list(range(20)) and 25 < len(owners) <= 80
    np.testing.assert_array_equal(made.columns["soft"], soft[owners])
    np.testing.assert_array_equal(made.columns["weight"], weight[owners])
    np.testing.assert_array_equal(made.gold("train"), whole.gold("train")[owners])
    later = column(augmented(whole, eda, copies=3), soft=soft[owners], weight=weight[owners])
    assert later.digest == made.digest and later.kind == kind
    again = sample(made, 10)
    assert list(again.columns["weight"]) == [place[row.id.partition("~")[0]] for row in again.rows("train")]
    table = batches.table(made, "train", tokens.tokenizer(tiny.checkpoint(tmp_path / "tiny").folder()), None)
    batch = table.batch(np.arange(len(table)))
    np.testing.assert_allclose(batch.columns["soft"].numpy(), soft[owners])


def test_an_id_may_hold_the_sign_of_variants_and_variants_may_have_variants():
    whole = column(task({"a~b": "unu doi", "a": "trei"}), weight=np.array([1.0, 2.0]))
    made = augmented(whole, shouted, copies=1)
    assert list(texts(made)) == ["a~b", "a", "a~b~1", "a~1"] and list(made.columns["weight"]) == [1, 2, 1, 2]
    again = augmented(cut(made, lambda ids: ids[2:]), shouted, copies=1)
    assert list(texts(again)) == ["a~b~1", "a~1", "a~b~1~1", "a~1~1"] and list(again.columns["weight"]) == [1, 2, 1, 2]


def test_only_rows_that_the_task_keeps_have_variants():
    some = cut(task(MANY | {"r0 again": MANY["r0"], "dev1": MANY["r3"].upper()}, drop_leaks=True), lambda ids: ids[5:9])
    made = augmented(some, shouted, copies=1)
    assert list(texts(some)) == ["r6", "r7", "r8", "r9"]
    assert list(texts(made)) == [*texts(some), *(f"{id}~1" for id in texts(some))]
    assert list(texts(cut(made, lambda ids: ids[-2:]))) == ["r8~1", "r9~1"]


def test_no_variant_is_a_dev_or_test_text_where_leaks_are_dropped(capsys):
    held_out = {"dev1": "ȚARĂ  bun", "test1": "bun țară!"}
    whole = task({"r1": "bun țară", "r2": "unu doi", **held_out})
    leaky = augmented(whole, partial(eda, alpha=0.1), copies=8)
    assert "r1" in "".join(texts(leaky)) and statistics(leaky)["leaks"]["dev"] >= 1
    capsys.readouterr()
    made = augmented(replace(whole, drop_leaks=True), partial(eda, alpha=0.1), copies=8)
    assert statistics(made)["leaks"] == {"dev": 0, "test": 0}
    judged = {folded(row) for split in ("dev", "test") for row in made.rows(split)}
    assert len(judged) == 2 and not judged & {folded(row) for row in made.rows("train")}
    assert "left out, equal to a dev or test text" in capsys.readouterr().err


def test_copies_and_what_is_not_made_are_left_out_counted_and_told(capsys):
    found = {
        ("a", 1): ["UNU  doi"],  # the original
        ("a", 2): ["doi"],
        ("a", 3): ["Doi"],  # the second
        ("b", 1): ["  "],
        ("b", 3): ["unu doi"],  # another row's, which is not looked at
    }
    made = augmented(task({"a": "unu doi", "b": "trei"}), lambda row, copy: found.get((row.id, copy)), copies=3)
    assert list(texts(made)) == ["a", "b", "a~2", "b~3"] and texts(made)["a~2"] == ("doi",)
    told = "2 variants of 2 train rows; 2 left out, equal to what the row has already; 2 left out, not made"
    assert capsys.readouterr().err == f"toy: {told}\n"


def test_mistakes_are_told_in_one_line():
    whole = task({"a": "unu doi", "b": "trei patru"})
    with pytest.raises(UserError, match=r"toy: 0 variants of 2 train rows; 8 left out, not made: look at .*"):
        augmented(whole, partial(rewritten, answers={"c": [["x"]]})).rows("train")
    with pytest.raises(UserError, match="variant 1 of row a has 2 texts, the row 1"):
        augmented(whole, lambda row, copy: ("x", "y")).rows("train")
    with pytest.raises(UserError, match="the id a~1 of another row"):
        augmented(task({"a": "unu doi", "a~1": "trei patru"}), shouted).rows("train")
    for alpha in (0, 1.5):
        with pytest.raises(UserError, match=f"alpha is {alpha}"):
            eda(Row("r", ("a b",), ()), 1, alpha=alpha)
    for pattern in (r"\w+", r"(?P<word>[a", r"(?P<word>\p{Lu})"):
        with pytest.raises(UserError, match="must be a regular expression with a group"):
            pieces("a b", pattern)


def test_a_task_can_be_named_before_its_files_are_there():
    place = {"corpus": "toy", "folder": "toy", "name": "t.json", "url": "", "licence": "none"}
    missing = File(**place, sha256="0" * 64, size=1)
    absent = Task(name="toy", corpus=replace(corpus(), files=(missing,), read=lambda paths: pytest.fail("read")))
    for made in (augmented(absent, eda), views(absent, eda), augmented(fold(absent, 0, 2), eda)):
        assert made.corpus.files == (missing,)
        with pytest.raises(UserError, match="toy"):
            made.rows("train")


def test_a_run_is_told_apart_by_operations_seed_and_copies():
    whole = task(MANY | {"dev1": "unu doi"})
    kinds = [eda, partial(eda, seed=1), partial(eda, alpha=0.3), partial(eda, lexicon=LEXICON), shouted]
    made = [whole, *(augmented(whole, kind) for kind in kinds), augmented(whole, eda, copies=5), views(whole, eda)]
    assert len({of.digest for of in made}) == len({of.rows_digest for of in made}) == len(made)
    assert augmented(whole, eda).digest == made[1].digest
    assert named(made[0], "tasks")["digest"] != named(made[1], "tasks")["digest"]


def test_two_views_of_each_text_are_bare_text_to_be_found_by_each_other(capsys):
    whole = task(MANY | {"one": "țară", "dev1": "unu doi trei", "dev2": "$NE$", "test1": "patru cinci"})
    pairs = views(column(whole, weight=np.arange(41.0)), partial(eda, alpha=0.2))
    assert pairs.kind == "text" and pairs.labels == () and pairs.metric == "retrieval" and pairs.name == "toy-views"
    assert set(texts(pairs)) <= set(MANY) and len(texts(pairs)) > 37 and list(texts(pairs, "dev")) == ["dev1"]
    for row in (*pairs.rows("train"), *pairs.rows("dev")):
        source = Row(row.id, ((MANY | {"dev1": "unu doi trei"})[row.id],), ())
        assert row.texts == tuple(eda(source, n, alpha=0.2)[0] for n in (1, 2)) and row.labels == ()
        assert folded(replace(row, texts=row.texts[:1])) != folded(replace(row, texts=row.texts[1:]))
    place = {id: n for n, id in enumerate(MANY)}
    np.testing.assert_array_equal(pairs.columns["weight"], [place[id] for id in texts(pairs)])
    told = capsys.readouterr().err
    assert f"{len(texts(pairs))} of 41 train rows have two views" in told and "1 of 2 dev rows have two views" in told


def test_views_may_be_any_two_functions_and_join_the_texts_of_a_row():
    rows = [Row(str(n), (f"unu {n}", "doi trei"), ("a",)) for n in range(6)]
    whole = Task(name="long", corpus=corpus(train=rows, dev=[Row("d", ("x y", "z"), ("b",))]))
    two = partial(by_turns, operations=(lambda text, luck: text.upper() + "!", lambda text, luck: text[::-1]))
    pairs = views(whole, two)
    for row in pairs.rows("train"):
        assert set(row.texts) == {f"UNU {row.id}!\nDOI TREI!", f"{row.id} unu\niert iod"}
    assert {row.texts[0][0] for row in pairs.rows("train")} > {"U"}  # either may be first
    assert set(pairs.rows("dev")[0].texts) == {"X Y!\nZ!", "y x\nz"}


def test_no_view_is_a_held_out_text_where_leaks_are_dropped():
    whole = task({"a": "x", "b": "y", "dev1": "Y!!", "dev2": "w"}, drop_leaks=True)
    assert texts(views(whole, shouted)) == {"a": ("x!", "x!!")}
    assert list(texts(views(replace(whole, drop_leaks=False), shouted))) == ["a", "b"]


def test_back_translations_are_found_by_id_whichever_way_they_went():
    whole = task({"a": "unu", "b": "doi", "dev1": "trei", "test1": "patru"})
    ways = [
        replace(whole.corpus, read=lambda _: {"train": [Row("b", ("DOI.",), ()), Row("a", ("unu.",), ())]}),
        replace(whole.corpus, read=lambda _: {"train": [Row("a", ("one",), ())], "dev": [Row("dev1", ("3",), ())]}),
    ]
    made = augmented(whole, partial(back_translated, corpora=ways))
    assert texts(made) == {"a": ("unu",), "b": ("doi",), "a~1": ("unu.",), "a~2": ("one",), "b~1": ("DOI.",)}
    both = {"train": [Row("a", ("unu?",), ())], "dev": [Row("dev1", ("trei?",), ())]}
    ways[0] = replace(whole.corpus, read=lambda _: both)
    pairs = views(whole, partial(back_translated, corpora=ways))
    assert texts(pairs) == {"a": ("unu?", "one")} and texts(pairs, "dev") == {"dev1": ("trei?", "3")}


def test_answers_are_read_from_json_lines_and_a_bad_line_is_told(tmp_path):
    said = [{"id": "a", "texts": ["ună"], "score": 1}, {"id": "b", "texts": ["două"]}, {"id": "a", "texts": ["x"]}]
    lines = [json.dumps(line, ensure_ascii=False) for line in said]
    path = put(tmp_path / "answers.jsonl", "\n".join(lines) + "\n")
    made = augmented(task({"a": "unu", "b": "doi"}), partial(rewritten, answers=answers(path)))
    assert texts(made) == {"a": ("unu",), "b": ("doi",), "a~1": ("ună",), "a~2": ("x",), "b~1": ("două",)}
    wrong = ["[]", "3", '{"id": 1, "texts": ["x"]}', '{"id": "a"}', '{"id": "a", "texts": [3]}', '{"id": "a", "te', ""]
    for bad in wrong:
        put(path, f"{lines[0]}\n{bad}\n{lines[1]}\n")
        with pytest.raises(UserError, match="answers.jsonl, row 2: not .*: mend or remove the line"):
            answers(path)


def test_a_script_without_spaces_takes_a_pattern_of_its_own(capsys):
    whole = task({"r": "这部电影很好 $NE$"})
    with pytest.raises(UserError, match="0 variants"):
        augmented(whole, eda).rows("train")
    made = texts(augmented(whole, partial(eda, words=r"\$\w+\$|(?P<word>[^\W\d_])", alpha=0.3), copies=6))
    assert len(made) > 4 and all(text.endswith(" $NE$") for (text,) in made.values())


def test_no_language_is_named():
    source = Path(augmented.__code__.co_filename).read_text("utf-8").lower()
    assert not [word for word in ("romanian", "english", "german", "russian", '"ro"', '"en"') if word in source]
