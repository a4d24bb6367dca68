"""Proves that a vocabulary depends on the texts alone, that its tokenizer is the same in rocl and in transformers, and
that its pieces are spelled rightly in an older vocabulary."""

import hashlib
import json
import multiprocessing
import os
import random
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from rocl.data import tokens, vocabulary
from rocl.data.vocabulary import SPECIAL, report, speller, trained, wordpiece
from rocl.errors import UserError

SYLLABLES = "ba de și ță lu măr în go t1 ă".split()


def texts_of(seed: int = 0, count: int = 300) -> list[str]:
    """Texts of made-up words, drawn unevenly so that some are frequent, with marks and capitals."""
    draw = random.Random(seed)
    words = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(150)]
    words = [".", ",", "\u201e", "🙂", *(word.capitalize() for word in words[-20:]), *words]
    return [" ".join(draw.choices(words, range(len(words), 0, -1), k=draw.randint(1, 9))) for _ in range(count)]


def pieces_of(made: tokenizers.Tokenizer) -> list[str]:
    ids = made.get_vocab()
    assert sorted(ids.values()) == list(range(len(ids)))
    return sorted(ids, key=ids.get)


def old_wordpiece(pieces: list[str], **normalizer) -> tokenizers.Tokenizer:
    old = tokenizers.Tokenizer(models.WordPiece({piece: id for id, piece in enumerate(pieces)}, unk_token="[UNK]"))
    old.normalizer = normalizers.BertNormalizer(**normalizer)
    old.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return old


# Training


def merged_slowly(words: Counter, first: list[str], size: int, least: int) -> list[str]:
    """WordPiece training as it is defined: merge the most frequent pair, the one of lower ids at a tie, count anew."""
    pieces = list(first)
    cut = {word: [word[0], *("##" + letter for letter in word[1:])] for word in words}
    while len(pieces) < size:
        pairs = Counter()
        for word, parts in cut.items():
            for pair in zip(parts[:-1], parts[1:], strict=True):
                pairs[pair] += words[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], *map(pieces.index, pair)), default=None)
        if best is None or pairs[best] < least:
            break
        new = best[0] + best[1].removeprefix("##")
        if new not in pieces:
            pieces.append(new)
        for parts in cut.values():
            place = 0
            while place < len(parts) - 1:
                if (parts[place], parts[place + 1]) == best:
                    parts[place : place + 2] = [new]
                place += 1
    return pieces


@pytest.mark.parametrize("size, least", [(60, 1), (110, 3), (9999, 7), (9999, 1)])
def test_the_vocabulary_is_that_of_a_slow_trainer_with_ties_by_the_letters_order(size, least):
    texts = texts_of(1, 60)
    made = wordpiece(texts, size, least=least)
    counts = Counter("".join(texts).lower())
    letters = sorted(letter for letter in counts if counts[letter] >= least and letter != " ")
    kept = ["".join(letter if letter in letters else " " for letter in text.lower()) for text in texts]
    words = Counter(word for text in kept for word in text.split())
    first = [*SPECIAL, *letters, *("##" + letter for letter in letters if letter not in ".,\u201e")]
    assert pieces_of(made) == merged_slowly(words, first, size, least)


TRAIN = """
import hashlib, json, random, sys
from rocl.data.vocabulary import wordpiece
texts = json.load(sys.stdin)
for turn in range(8):
    random.Random(turn).shuffle(texts)
    ids = wordpiece(texts, 400, least=2).get_vocab()
    print(hashlib.sha256(" ".join(sorted(ids, key=ids.get)).encode()).hexdigest())
"""


@pytest.mark.parametrize("parallel", ["true", "false"])
def test_order_threads_and_processes_change_nothing(parallel):
    texts = texts_of(2, 400)
    again = subprocess.run(
        [sys.executable, "-c", TRAIN],
        input=json.dumps(texts),
        env=os.environ | {"TOKENIZERS_PARALLELISM": parallel, "RAYON_NUM_THREADS": "4"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    here = hashlib.sha256(" ".join(pieces_of(wordpiece(texts, 400, least=2))).encode()).hexdigest()
    assert again == [here] * 8


def test_special_tokens_come_first_and_the_size_is_kept():
    for size in (80, 120):
        assert len(pieces_of(wordpiece(texts_of(), size, least=1))) == size
    pieces = pieces_of(wordpiece(texts_of(), 10_000, least=3))
    assert pieces[:5] == SPECIAL and len(pieces) < 10_000  # the texts have no more to give
    assert {"ș", "##ș", "ă", "##ă", ".", "🙂"} <= {*pieces} and "##." not in pieces and "B" not in pieces


def test_a_word_of_kept_letters_is_never_unknown_and_one_with_a_rare_letter_is():
    made = wordpiece([*texts_of(), "qa \u65e5", "q"], 90, least=3)
    draw, unknown = random.Random(3), made.token_to_id("[UNK]")
    for _ in range(200):
        word = "".join(draw.choices("badeșițăluămîngo1r🙂", k=draw.randint(1, 30)))
        assert unknown not in made.encode(word).ids, word
    assert "q" not in made.get_vocab() and "a" in made.get_vocab()
    assert made.encode("ba q de").ids.count(unknown) == 1


def test_case_and_accents_are_as_asked():
    cased = wordpiece(texts_of(), 300, lowercase=False, least=1)
    assert "B" in cased.get_vocab() and cased.encode("Bă").tokens != cased.encode("bă").tokens
    lower = wordpiece(texts_of(), 300, least=1)
    assert lower.encode("BĂ ȘI").ids == lower.encode("bă și").ids != lower.encode("ba si").ids
    plain = wordpiece(texts_of(), 300, strip_accents=True, least=1)
    assert plain.encode("bă și").ids == plain.encode("ba si").ids and "ș" not in plain.get_vocab()


@pytest.mark.parametrize("options", [{}, {"lowercase": False}])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_cedillas_are_commas_in_training_and_after_it(share, options):
    draw, texts = random.Random(4), texts_of()
    forms = str.maketrans(tokens.COMMA, tokens.CEDILLA)
    mixed = [text.translate(forms) if draw.random() < share else text for text in texts]
    made = wordpiece(mixed, 300, least=2, **options)
    assert pieces_of(made) == pieces_of(wordpiece(texts, 300, least=2, **options))
    assert made.encode("Şi ţară şi Ţară").ids == made.encode("Și țară și Țară").ids
    assert not {*"şţŞŢ"} & {*"".join(made.get_vocab())}


def test_a_turkish_letter_stays():
    made = wordpiece(["şu iş şiş baş başka şey"] * 9, 60)
    assert "ş" in made.get_vocab() and "ș" not in made.get_vocab()
    assert made.encode("şey").tokens == ["[CLS]", "şey", "[SEP]"]


def test_letters_with_combining_marks_and_halves_of_surrogate_pairs_are_read():
    texts = texts_of()
    apart = [unicodedata.normalize("NFD", text) for text in texts]
    made = wordpiece([*apart, "\ud800"], 300, least=2)
    assert pieces_of(made) == pieces_of(wordpiece(texts, 300, least=2))
    assert made.encode("s\u0326i t\u0327a\u0306").ids == made.encode("și ță").ids


@pytest.mark.parametrize("texts, size", [([], 100), (["a b"], 100), (texts_of(), 30)])
def test_a_vocabulary_without_letters_or_without_room_for_them_is_refused(texts, size):
    with pytest.raises(UserError, match=f"a vocabulary of {size}: .* letters seen 5 times") as error:
        wordpiece(texts, size)
    assert "\n" not in str(error.value)


# The kept folder


def test_rocl_and_transformers_read_the_same_ids_from_the_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    texts = texts_of()
    odd = ["", "  ", "Şi ţara, S\u0326i!", "qq [MASK] și [SEP]", "x" * 200, "🙂🙂 \u65e5\u672c nul\x00", "BA-DE ba's"]
    made = wordpiece(texts, 200, least=2)
    folder = trained(texts, 200, tmp_path, least=2, max_length=12)
    ours, theirs = tokens.tokenizer(folder), transformers.AutoTokenizer.from_pretrained(str(folder))
    assert (ours.pad, ours.unk, ours.cls, ours.sep, ours.mask, ours.size) == (0, 1, 2, 3, 4, 200)
    assert theirs.model_max_length == 12 and theirs.pad_token_id == 0 and theirs.mask_token_id == 4
    for text in odd + texts:
        assert ours.backend.encode(text).ids == theirs(text)["input_ids"] == made.encode(text).ids, text
    assert theirs(odd, truncation=True)["input_ids"][0] == [2, 3]
    assert theirs.decode(theirs("și lu.")["input_ids"], skip_special_tokens=True).replace(" .", ".") == "și lu."
    (tmp_path / "written").mkdir()
    tokens.write(ours, tmp_path / "written", 12)
    assert tokens.tokenizer(tmp_path / "written").fingerprint == ours.fingerprint


def test_a_folder_is_made_once_and_told_apart_by_texts_and_options(tmp_path, monkeypatch):
    texts = texts_of()
    folder = trained(texts, 100, tmp_path)
    variants = [(texts[1:], 100, {}), (texts, 101, {}), (texts, 100, {"least": 4}), (texts, 100, {"max_length": 9})]
    others = [trained(some, size, tmp_path, **options) for some, size, options in variants]
    assert len({folder, *others}) == 5
    monkeypatch.setattr(vocabulary, "wordpiece", None)  # a second look needs no training
    assert trained(texts, 100, tmp_path) == folder


def test_what_a_kill_left_half_is_made_anew(tmp_path):
    folder = trained(texts_of(), 100, tmp_path)
    whole = (folder / "tokenizer.json").read_bytes()
    assert sorted(file.name for file in folder.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    (folder / "tokenizer.json").rename(folder / "tokenizer.json.1.part")
    (folder / "tokenizer_config.json").write_text("{")
    assert trained(texts_of(), 100, tmp_path) == folder
    assert (folder / "tokenizer.json").read_bytes() == whole
    assert json.loads((folder / "tokenizer_config.json").read_text())["pad_token"] == "[PAD]"


def trained_by_another(cache: Path, ready, digests) -> None:
    ready.wait()
    folder = trained(texts_of(5, 2000), 400, cache)
    digests.put(hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest())


def test_two_processes_may_ask_at_once(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    ready, digests = spawn.Barrier(2), spawn.Queue()
    pair = [spawn.Process(target=trained_by_another, args=(tmp_path, ready, digests)) for _ in range(2)]
    for process in pair:
        process.start()
    got = [digests.get(timeout=60) for _ in pair]
    for process in pair:
        process.join()
    (folder,) = (file for file in tmp_path.iterdir() if file.is_dir())
    assert got == [hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()] * 2
    assert all(process.exitcode == 0 for process in pair)


# The report


def test_the_report_counts_tokens_to_a_word_and_the_unknown(tmp_path):
    pieces = [*SPECIAL, "ba", "##de", "lu", "."]
    old_wordpiece(pieces).save(str(tmp_path / "tokenizer.json"))
    made = tokens.tokenizer(tmp_path)
    # ba ##de . | lu [UNK] | nothing | [UNK] [UNK]: 7 tokens, of which 3 unknown, for the 6 words bade . lu xyz 日 本
    texts = ["bade.", "lu xyz", "\ud800 \u200b", "\u65e5\u672c"]
    assert report(made, texts) == {"tokens_per_word": 7 / 6, "unknown_share": 3 / 7}
    assert report(made, []) == {"tokens_per_word": 0.0, "unknown_share": 0.0}


# Spelling in an older vocabulary


def test_words_and_their_insides_are_spelled_as_the_old_tokenizer_cuts_them():
    old = old_wordpiece([*SPECIAL, "s", "##s", "##ti", "ti", "##t", "##i", "stiu", "a", "##a", "!", "\u65e5"])
    spell = speller(old)

    def spelled(piece: str) -> list[str]:
        return [old.id_to_token(id) for id in spell(piece)]

    assert spelled("ști") == ["s", "##ti"]  # its normaliser takes the accents away
    assert spelled("##ști") == ["##s", "##ti"]  # not the "s" that begins a word
    assert spelled("##ti") == ["##ti"] and spelled("Stiu") == ["stiu"]
    assert spelled("##stiu") == ["stiu"]  # no piece has an inner u, so the inside is spelled as a word
    assert spelled("##!") == ["!"] and spelled("##\u65e5") == ["\u65e5"]
    assert spelled("xyz") == spelled("##xyz") == spelled("##\u0306") == spelled("") == spelled("##") == []


def test_no_special_token_is_a_spelling(tmp_path):
    old_wordpiece([*SPECIAL, "[", "]", "a"]).save(str(tmp_path / "tokenizer.json"))
    spell = speller(tokens.tokenizer(tmp_path).backend)  # in which they are special
    assert spell("[MASK]") == spell("##[SEP]") == spell("[UNK]") == []


def test_an_inside_is_spelled_as_within_a_word():
    made = wordpiece(texts_of(), 120, least=1)
    spell, draw = speller(made), random.Random(6)
    for _ in range(200):
        word = "".join(draw.choices(SYLLABLES, k=draw.randint(2, 6)))
        ids = made.encode(word, add_special_tokens=False).ids
        head = made.id_to_token(ids[0])
        assert spell(word) == ids and spell("##" + word[len(head) :]) == (ids[1:] or spell(""))


def test_a_tokenizer_that_is_no_wordpiece_is_refused():
    with pytest.raises(UserError, match="a Unigram tokenizer"):
        speller(tokenizers.Tokenizer(models.Unigram([("a", 0.0)], unk_id=0)))
