"""Proves that the corpora made by grammars are deterministic, hold out words and constructions, and can be learned, in
part."""

import re
from functools import cache

import grammar
import pytest

from rocl.baselines import majority, tfidf
from rocl.data.task import Task

ROMANIAN = ("emotion_ro", "sentiment_ro", "news_ro")
ENGLISH = ("emotion_en", "sentiment_en", "news_en")
SPLITS = ("train", "dev", "test")


@cache
def corpus(name):
    return grammar.sample(name)


def texts(name, split):
    return [row.texts[0] for row in corpus(name).splits[split]]


def pattern(sections, template):
    """A regular expression of everything that a template can say, whatever word of whatever label or use fills it."""

    def alternatives(match):
        slot = match[2]
        if "|" in slot:
            return f"(?:{slot})"
        fitting = [uses for heading, uses in sections.items() if heading.split()[0] == slot]
        entries = [entry for uses in fitting for words in uses.values() for entry in words]
        return f"(?:{'|'.join(expression(entry) for entry in entries)})"

    def expression(text):
        places = list(grammar.SLOT.finditer(text))
        ends = [0, *(place.end() for place in places)]
        starts = [*(place.start() for place in places), len(text)]
        literals = [re.escape(text[end:start]) for end, start in zip(ends, starts, strict=True)]
        return literals[0] + "".join(alternatives(p) + after for p, after in zip(places, literals[1:], strict=True))

    return re.compile(expression(template), re.IGNORECASE)


def templates_of(name, split):
    """The template of each row of a split, found anew among all the grammar's templates from the row's text alone."""
    sections = grammar.grammar(name)
    templates = [t for uses in sections["templates"].values() for t in uses]
    patterns = {template: pattern(sections, template) for template in templates}
    return [{t for t, p in patterns.items() if p.fullmatch(text)} for text in texts(name, split)]


@pytest.mark.parametrize("name", ROMANIAN + ENGLISH)
def test_it_is_the_same_every_time_with_sizes_ids_and_labels_as_declared(name):
    assert grammar.sample(name).digest == corpus(name).digest
    assert corpus(name).name == f"sample_{name}" and corpus(name).language == name[-2:] and not corpus(name).files
    for split, size in grammar.SIZES[name[-2:]].items():
        rows = corpus(name).splits[split]
        assert [row.id for row in rows] == [f"{split}-{n}" for n in range(size)]
        assert all(corpus(name).counts(split).values())
        assert all(4 <= len(row.texts[0].split()) <= 30 for row in rows)


def test_one_to_two_in_ten_of_the_emotional_rows_have_two_labels():
    for split in SPLITS:
        rows = corpus("emotion_ro").splits[split]
        assert 0.08 <= sum(len(row.labels) == 2 for row in rows) / len(rows) <= 0.2
        assert {len(row.labels) for row in rows} == {1, 2}


@pytest.mark.parametrize("name", ROMANIAN + ENGLISH)
def test_no_text_stands_twice(name):
    folded = [text.casefold() for split in SPLITS for text in texts(name, split)]
    assert len(folded) == len(set(folded))


@pytest.mark.parametrize("name", ROMANIAN + ENGLISH)
def test_no_template_of_one_split_can_say_a_sentence_of_another(name):
    templates = grammar.grammar(name)["templates"]
    for split in SPLITS:
        others = {template for other in SPLITS if other != split for template in templates[other]}
        for row, found in zip(corpus(name).splits[split], templates_of(name, split), strict=True):
            assert row.extra["template"] in found and found.isdisjoint(others), row


@pytest.mark.parametrize("name", ROMANIAN + ENGLISH)
def test_a_good_share_of_the_words_of_test_is_new_and_a_good_share_is_known(name):
    known = set(re.findall(r"\w{4,}", " ".join(texts(name, "train")).casefold()))
    for split in ("dev", "test"):
        said = set(re.findall(r"\w{4,}", " ".join(texts(name, split)).casefold()))
        assert 0.25 < len(said - known) / len(said) < 0.75


@pytest.mark.parametrize("name", ROMANIAN + ENGLISH)
def test_many_rows_of_test_say_something_labelled_that_train_never_says_and_most_say_something_it_does(name):
    sections = grammar.grammar(name)
    labelled = [uses for heading, uses in sections.items() if heading.endswith(corpus(name).labels)]
    for use, least in (("held", 0.4), ("both", 0.6)):
        entries = [entry for uses in labelled for entry in uses.get(use, [])]
        said = [re.compile(rf"\b{pattern(sections, entry).pattern}\b", re.IGNORECASE) for entry in entries]
        rows = texts(name, "test")
        assert sum(any(entry.search(text) for entry in said) for text in rows) > least * len(rows)
        if use == "held":
            assert not any(entry.search(text) for entry in said for text in texts(name, "train"))


@pytest.mark.parametrize("name", ROMANIAN + ENGLISH)
def test_every_template_bears_a_label_and_lists_are_well_formed(name):
    sections, labels = grammar.grammar(name), corpus(name).labels
    for heading, uses in sections.items():
        allowed = {"templates": set(SPLITS), "labels": {"rows"}}.get(heading, {"both", "train", "held"})
        assert set(uses) <= allowed, heading
        for entry in (entry for entries in uses.values() for entry in entries):
            assert entry == entry.strip() and entry.count("{") == entry.count("}"), (heading, entry)
    for template in (t for templates in sections["templates"].values() for t in templates):
        slots = {slot for mark, slot in grammar.SLOT.findall(template) if mark != "~" and "|" not in slot}
        assert any(f"{slot} {label}" in sections for slot in slots for label in labels), template


@pytest.mark.parametrize("name", ROMANIAN)
def test_romanian_is_written_with_its_own_letters_and_without_cacophony(name):
    for text in (text for split in SPLITS for text in texts(name, split)):
        assert not set(text) & set("şţŞŢãĂ{}|;"), text
        assert not re.search(r"\bcă c[aăâou]|  | [.,!?]|[.!?] [^\WA-ZĂÂÎȘȚ\d]", text), text


@pytest.mark.parametrize("name", ROMANIAN)
def test_tfidf_scores_between_60_and_90_percent_and_beats_the_majority(name):
    task = Task(name=name, corpus=corpus(name))
    score = "macro_f1" if task.kind == "many" else "accuracy"
    reached = tfidf(task)["test"][score]
    assert 0.6 <= reached <= 0.9
    assert reached > majority(task)["test"][score] + 0.1
