"""A masked language model's words stand in the place of others, drawn by row and copy, and all else stays as it was."""

import tiny
import torch

from rocl.data.corpus import Row
from rocl.models.heads import Model
from rocl.rewrite import replaced, rewritten

TEXTS = [" ".join(tiny.WORDS[n : n + 6]) + ", 12 $NE$ fi!" for n in range(0, 24, 3)]
ROWS = [Row(f"r{n}", (text,), ()) for n, text in enumerate(TEXTS)]


def model(tmp_path):
    torch.manual_seed(0)
    return Model(tiny.checkpoint(tmp_path / "encoder").fresh(), {})


def always(word):
    """A guess that thinks one word nearly certain."""

    def guess(model, vectors):
        logits = torch.zeros(len(vectors), model.encoder.config.vocabulary)
        logits[:, 5 + tiny.WORDS.index(word)] = 50.0
        return logits

    return guess


def test_every_known_word_is_replaced_where_all_are_asked_for_and_nothing_else_is(tmp_path):
    made = list(rewritten(model(tmp_path), ROWS, always("lura"), copies=1, share=1.0, likely=1))
    assert [line["id"] for line in made] == [row.id for row in ROWS]
    for text, line in zip(TEXTS, made, strict=True):
        (new,) = line["texts"]
        words, tail = text.split(",")[0].split(), text[text.index(",") :]
        assert new.endswith(tail) and len(new.split(",")[0].split()) == len(words)
        for old, word in zip(words, new.split(",")[0].split(), strict=True):
            assert word == "lura" if old != "lura" else word != "lura"


def test_no_word_comes_back_as_itself_and_a_share_is_asked_for(tmp_path):
    made = list(rewritten(model(tmp_path), ROWS, always("bara"), copies=8, share=0.3, likely=5))
    assert len(made) == 8 * len(ROWS)
    texts = {row.id: row.texts[0].split(",")[0].split() for row in ROWS}
    changed = total = 0
    for line in made:
        words = line["texts"][0].split(",")[0].split()
        changed += sum(a != b for a, b in zip(texts[line["id"]], words, strict=True))
        total += len(words)
    assert 0.2 < changed / total < 0.4


def test_a_row_has_the_same_variants_whatever_stands_beside_it(tmp_path):
    def guess(model, vectors):
        return vectors @ torch.ones(vectors.shape[1], model.encoder.config.vocabulary).cumsum(1)

    options = {"copies": 2, "share": 0.5, "likely": 4}
    alike = model(tmp_path)
    whole = {line["id"]: line["texts"] for line in rewritten(alike, ROWS, guess, **options)}
    few = {line["id"]: line["texts"] for line in rewritten(alike, ROWS[::-3], guess, **options)}
    assert few and all(whole[id] == texts for id, texts in few.items())


def test_half_a_surrogate_pair_stays_where_it_is(tmp_path):
    row = Row("r", (f"{tiny.WORDS[3]} \ud83d {tiny.WORDS[4]}",), ())
    (line,) = rewritten(model(tmp_path), [row], always("lura"), copies=1, share=1.0, likely=1)
    assert line["texts"] == ["lura \ud83d lura"]


def test_words_beyond_the_length_and_the_case_of_a_word_stay(tmp_path):
    (line,) = rewritten(model(tmp_path), ROWS[:1], always("lura"), copies=1, share=1.0, likely=1, max_length=4)
    old, new = TEXTS[0].split(), line["texts"][0].split()
    assert new[:3] == ["lura"] * 3 and new[3:] == old[3:]
    assert replaced("Fi bun, da", [(0, 2), (3, 6)], ["go", "rea"]) == "Go rea, da"
    assert replaced("e 12!", [(2, 4)], ["go"]) == "e 12!"
