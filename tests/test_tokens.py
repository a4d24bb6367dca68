"""Proves that texts get the ids that transformers gives them, and that the cache of packed ids can be trusted."""

import json
import multiprocessing
import random
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from rocl.data import tokens
from rocl.data.corpus import Row
from rocl.data.tokens import pack, tokenizer, write
from rocl.errors import UserError

SHARED = Path(__file__).parents[2] / "shared"
LETTERS = [*"abcdefghijklmnopqrstuvwxyzăâîABCDEFGHIJKLMNOPQRSTUVWXYZĂÂÎ0123456789.,!?-'\"()"]
COMMA, CEDILLA = [*"șțȘȚ"], [*"şţŞŢ"]
ODD = [
    "",
    "   ",
    "Aşa şi ţara, ȘTIINȚA și Ţara",
    "Caf\u00e9 nai\u0308ve \u2014 \u201ecitat\u201d 'x'",
    "\u65e5\u672c\u8a9e and \u4e2d\u6587",
    "\U0001f600\U0001f62d emoji \U0001f44d\U0001f3fd",
    "nul\x00 bell\x07 nbsp\xa0 zwsp\u200b bom\ufeff soft\xad \ufffd",
    "[CLS] literal [SEP] [MASK] [UNK] <s>",
    "\u0130stanbul \u0131STANBUL \u00df \u1e9e \u01c5 \ufb01nancial \u00bd",
    "x" * 120,
    "s\u0326i t\u0327ar\u0103 a\u0306",
]


def folder_of(path: Path, pieces: list[str], **config) -> Path:
    """A folder with a vocab.txt of these letters, as first and as further pieces, and a tokenizer_config.json."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    path.mkdir(parents=True, exist_ok=True)
    vocabulary = special + pieces + ["##" + piece for piece in pieces if len(piece) == 1]
    (path / "vocab.txt").write_text("\n".join(vocabulary) + "\n", "utf-8")
    if config:
        (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


def rows_of(*texts) -> list[Row]:
    return [Row(str(i), (text,) if isinstance(text, str) else text, ()) for i, text in enumerate(texts)]


def shared_folder(name: str) -> Path:
    folder = SHARED / "weights" / name
    if not folder.exists():
        pytest.skip(f"the tokenizer of {name} is not in ../shared/weights")
    return folder


@pytest.fixture
def cased(tmp_path):
    return tokenizer(folder_of(tmp_path / "cased", LETTERS + COMMA, do_lower_case=False))


@pytest.mark.parametrize(
    "name", ["all-MiniLM-L6-v2", "bert-base-cased", "bert-base-multilingual-cased", "roberta-base"]
)
def test_ids_of_single_texts_and_pairs_equal_the_golden_ones(name):
    made = tokenizer(shared_folder(name))
    golden = json.loads((SHARED / "golden" / "tokenizers.json").read_text())[name]
    assert golden["single"] and golden["pair"] and made.letters == ""
    for case in golden["single"]:
        assert made.backend.encode(case["text"]).ids == case["ids"], case["text"]
    for case in golden["pair"]:
        encoding = made.backend.encode(case["a"], case["b"])
        assert encoding.ids == case["ids"] and encoding.type_ids == case["type_ids"]
    packed = pack(rows_of(*(case["text"] for case in golden["single"])), made, 4096, None)
    assert packed.ids.tolist() == [id for case in golden["single"] for id in case["ids"]]


@pytest.mark.parametrize(
    "name", ["all-MiniLM-L6-v2", "bert-base-cased", "bert-base-multilingual-cased", "electra-small-discriminator"]
)
@pytest.mark.parametrize("config", [True, False])
def test_a_tokenizer_built_from_vocab_txt_equals_tokenizer_json(name, config, tmp_path):
    folder = shared_folder(name)
    for file in ["vocab.txt"] + ["tokenizer_config.json"] * config:
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    stored, built = tokenizer(folder), tokenizer(tmp_path)
    golden = json.loads((SHARED / "golden" / "tokenizers.json").read_text())["bert-base-cased"]
    for text in ODD + [case["text"] for case in golden["single"]]:
        assert built.backend.encode(text).ids == stored.backend.encode(text).ids
    pair = built.backend.encode("a b", "c"), stored.backend.encode("a b", "c")
    assert pair[0].ids == pair[1].ids and pair[0].type_ids == pair[1].type_ids
    for field in ("size", "cls", "sep", "pad", "unk", "mask", "letters"):
        assert getattr(built, field) == getattr(stored, field)


@pytest.mark.parametrize(
    "config",
    [
        {"do_lower_case": True},
        {"do_lower_case": True, "strip_accents": False},
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False},
    ],
)
def test_settings_mean_what_they_mean_to_transformers(config, tmp_path):
    transformers = pytest.importorskip("transformers")
    folder = folder_of(tmp_path, LETTERS + COMMA + CEDILLA + ["şi", "știi", "the", "\u65e5"], **config)
    made = tokenizer(folder)
    theirs = transformers.BertTokenizer(vocab=str(folder / "vocab.txt"), **config)
    for text in ODD + random_texts(200):
        assert made.backend.encode(text).ids == theirs(text)["input_ids"], text


def random_texts(count: int) -> list[str]:
    draw = random.Random(0)
    letters = LETTERS + COMMA + CEDILLA + [*"   \t\n\u0301\u0326é日ß😀\u200d"]
    return ["".join(draw.choices(letters, k=draw.randrange(40))) for _ in range(count)]


def test_a_vocabulary_without_settings_decides_about_case_and_accents(tmp_path):
    cased = tokenizer(folder_of(tmp_path / "a", LETTERS + COMMA))
    lower = tokenizer(folder_of(tmp_path / "b", [*"abcșăî"]))
    plain = tokenizer(folder_of(tmp_path / "c", [*"abcsi"]))
    assert cased.backend.encode("ĂBȘa").tokens == ["[CLS]", "Ă", "##B", "##Ș", "##a", "[SEP]"]
    assert lower.backend.encode("ĂBȘa").tokens == ["[CLS]", "ă", "##b", "##ș", "##a", "[SEP]"]
    assert plain.backend.encode("ĂBȘa").tokens == ["[CLS]", "a", "##b", "##s", "##a", "[SEP]"]


@pytest.mark.parametrize(
    "known, letters, text, same",
    [
        (COMMA, "ş→ș ţ→ț Ş→Ș Ţ→Ț", "Şi aşa ţine Ţara", "Și așa ține Țara"),
        (CEDILLA, "ș→ş ț→ţ Ș→Ş Ț→Ţ", "Și așa ține Țara", "Şi aşa ţine Ţara"),
        ([*COMMA, "ş"], "ţ→ț Ş→Ș Ţ→Ț", "şţŢ", "şțȚ"),
        (COMMA + CEDILLA, "", "şș", "şș"),
        (["ş"], "", "șş", "șş"),  # a Turkish letter is not the cedilla form of Romanian
    ],
)
def test_romanian_letters_take_the_form_that_the_vocabulary_knows(known, letters, text, same, tmp_path):
    made = tokenizer(folder_of(tmp_path, LETTERS + known, do_lower_case=False))
    assert made.letters == letters
    assert made.backend.encode(text).ids == made.backend.encode(same).ids
    if letters:
        assert pack(rows_of(text, same), made, 64, None).unknown.tolist() == [0, 0]


def test_letters_are_left_alone_where_accents_are_stripped(tmp_path):
    made = tokenizer(folder_of(tmp_path, LETTERS + COMMA, do_lower_case=True))
    assert made.letters == "" and made.backend.encode("ŞȚ").tokens == ["[CLS]", "s", "##t", "[SEP]"]


def test_letters_are_replaced_behind_a_bare_word_boundary_and_in_front_of_another_normalizer(tmp_path):
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), ("ș", -2.0), ("ț", -2.0)]
    backend = tokenizers.Tokenizer(models.Unigram([*pieces, ("a", -2.0)], unk_id=3))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.save(str(tmp_path / "tokenizer.json"))
    made = tokenizer(tmp_path)
    assert made.letters == "ş→ș ţ→ț" and made.mask is None
    assert made.backend.encode("aş ţa").tokens == ["<s>", "▁", "a", "ș", "▁", "ț", "a", "</s>"]
    assert made.backend.encode("s\u0326").tokens == ["<s>", "▁", "ș", "</s>"]  # composed by its own NFKC


def test_letters_with_combining_marks_are_left_alone_and_counted_as_unknown(cased):
    assert pack(rows_of("s\u0326i da", "și da"), cased, 64, None).unknown.tolist() == [1, 0]


@pytest.mark.parametrize("family", ["bert", "electra", "roberta", "xlm-roberta", "camembert", "distilbert"])
def test_the_written_folder_gives_autotokenizer_the_same_ids(family, cased, tmp_path):
    transformers = pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    write(cased, tmp_path, 24)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    texts = ODD + random_texts(200)
    packed = pack(rows_of(*texts), cased, 24, None)
    for b, ids in enumerate(theirs(texts, truncation=True)["input_ids"]):
        assert ids == packed.ids[packed.texts[b] : packed.texts[b + 1]].tolist(), texts[b]
    assert packed.cut.any() and theirs.model_max_length == 24
    batch = theirs(["a", "aşa da"], padding=True)
    assert set(batch) == {"input_ids", "attention_mask"}
    assert batch["input_ids"][0][-1] == cased.pad and batch["attention_mask"][0][-1] == 0
    assert theirs.mask_token_id == cased.mask and theirs.unk_token_id == cased.unk
    assert tokenizer(tmp_path).fingerprint == cased.fingerprint


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "bert-base-multilingual-cased", "roberta-base"])
def test_a_real_tokenizer_written_and_read_by_transformers_keeps_the_golden_ids(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    write(tokenizer(shared_folder(name)), tmp_path, 512)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    for case in json.loads((SHARED / "golden" / "tokenizers.json").read_text())[name]["single"]:
        assert theirs(case["text"])["input_ids"] == case["ids"]


@pytest.mark.parametrize("family", ["Bert", "DistilBert"])
def test_the_written_folder_serves_a_text_classification_pipeline(family, cased, tmp_path):
    transformers = pytest.importorskip("transformers")
    small = {"n_layers": 1, "n_heads": 2, "dim": 8, "hidden_dim": 8} if family == "DistilBert" else {}
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = getattr(transformers, family + "Config")(
        vocab_size=cased.size, max_position_embeddings=16, **(small or sizes)
    )
    model = getattr(transformers, family + "ForSequenceClassification")(config).eval()
    model.save_pretrained(tmp_path)
    write(cased, tmp_path, 16)
    classify = transformers.pipeline("text-classification", model=str(tmp_path), device="cpu")
    texts = ["aşa", "un text mai lung decât ajung cele șaisprezece locuri " * 3, ""]
    together = classify(texts, batch_size=3, padding=True, truncation=True)
    apart = [classify(text, truncation=True)[0] for text in texts]
    assert [one["score"] for one in together] == pytest.approx([one["score"] for one in apart], abs=1e-5)


def test_special_ids_come_from_the_files(tmp_path):
    vocabulary = {name: id for id, name in enumerate(["a", "<sep>", "<nil>", "<begin>", "<what>"])}
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="<what>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [("<begin>", 3), ("<sep>", 1)]
    backend.post_processor = processors.TemplateProcessing("<begin> $A <sep>", special_tokens=special)
    backend.enable_truncation(3)
    backend.enable_padding(length=9)
    backend.save(str(tmp_path / "tokenizer.json"))
    names = {"cls": "<begin>", "sep": "<sep>", "pad": {"content": "<nil>"}, "unk": "<what>"}
    config = {f"{role}_token": name for role, name in names.items()}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(config))
    made = tokenizer(tmp_path)
    assert (made.cls, made.sep, made.pad, made.unk, made.mask, made.size) == (3, 1, 2, 4, None, 5)
    assert made.backend.encode("a b a a").ids == [3, 0, 4, 0, 0, 1]


@pytest.mark.parametrize(
    "files, words",
    [
        ({}, "no tokenizer.json or vocab.txt"),
        ({"vocab.txt": "[PAD]\n[UNK]\n[CLS]\na\n"}, "no sep token ([SEP] or </s>)"),
        ({"vocab.txt": "[pad]\n[unk]\n[cls]\n[sep]\n"}, "no cls token"),
        ({"tokenizer.json": "{"}, "no tokenizer.json or vocab.txt"),
        ({"vocab.txt": "a\n", "tokenizer_config.json": "{"}, "no tokenizer.json or vocab.txt"),
        ({"vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\n", "tokenizer_config.json": '{"pad_token": "<none>"}'}, "<none>"),
    ],
)
def test_a_folder_that_holds_no_whole_tokenizer_is_one_clear_line(files, words, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as error:
        tokenizer(tmp_path)
    assert words in str(error.value) and str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_a_tokenizer_that_does_not_wrap_a_text_in_two_tokens_is_refused(cased, tmp_path):
    backend = tokenizers.Tokenizer.from_str(cased.backend.to_str())
    backend.post_processor = processors.TemplateProcessing("[CLS] $A", special_tokens=[("[CLS]", cased.cls)])
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="wraps a text as"):
        tokenizer(tmp_path)


def test_rows_of_several_texts_are_packed_cut_and_counted(cased):
    packed = pack(rows_of("da nu", ("x " * 20, "日 a 日"), (), ""), cased, 8, None)
    texts = [packed.ids[a:b].tolist() for a, b in zip(packed.texts[:-1], packed.texts[1:], strict=True)]
    assert packed.rows.tolist() == [0, 1, 3, 3, 4]
    assert packed.cut.tolist() == [False, True, False, False] and packed.unknown.tolist() == [0, 0, 2, 0]
    x, a = cased.backend.token_to_id("x"), cased.backend.token_to_id("a")
    assert texts[0] == cased.backend.encode("da nu").ids
    assert texts[1] == [cased.cls] + [x] * 6 + [cased.sep]
    assert texts[2:] == [[cased.cls, cased.unk, a, cased.unk, cased.sep], [cased.cls, cased.sep]]


def test_chunks_leave_no_trace(cased, monkeypatch):
    rows = rows_of(*random_texts(50))
    whole = pack(rows, cased, 12, None)
    monkeypatch.setattr(tokens, "CHUNK", 7)
    assert same(whole, pack(rows, cased, 12, None))


def test_a_text_may_hold_anything(cased):
    long = "așa da " * 150_000
    packed = pack(rows_of("a\ud800b", "\ud83d\ude00", "a\x00b", "", long, "x" * 1_000_000), cased, 64, None)
    emoji = pack(rows_of("ab", "\U0001f600", "ab", "", long[:700], "x" * 200), cased, 64, None)
    assert same(packed, emoji)  # halves of a pair are joined; a lone half and NUL go the way of control characters


def same(one, other) -> bool:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def test_the_cache_gives_back_what_was_packed_as_a_memory_map(cased, tmp_path, monkeypatch):
    rows = rows_of(*ODD, ("a", "b\ud800"))
    first = pack(rows, cased, 16, tmp_path)
    assert same(first, pack(rows, cased, 16, None)) and first.ids.dtype == np.uint16
    monkeypatch.setattr(tokens, "_tokenise", None)  # a second look needs no tokenizer
    second = pack(rows, cased, 16, tmp_path)
    assert same(first, second) and isinstance(second.ids, np.memmap)


def test_the_key_tells_texts_rows_length_and_tokenizer_apart(cased, tmp_path):
    other = tokenizer(folder_of(tmp_path / "other", LETTERS + COMMA, do_lower_case=True))
    assert cased.fingerprint != other.fingerprint
    variants = [(rows_of("a", "b"), cased, 8), (rows_of(("a", "b")), cased, 8), (rows_of("a b"), cased, 8)]
    variants += [(rows_of("a", "b"), cased, 9), (rows_of("a", "b"), other, 8), ([], cased, 8)]
    for rows, by, length in variants:
        assert same(pack(rows, by, length, tmp_path / "cache"), pack(rows, by, length, None))
    assert len([file for file in (tmp_path / "cache").iterdir() if file.is_dir()]) == len(variants)


@pytest.mark.parametrize("name", ["ids.npy", "texts.npy", "rows.npy", "cut.npy", "unknown.npy", "sums.json"])
@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "gone"])
def test_a_damaged_entry_is_made_anew(name, harm, cased, tmp_path):
    rows = rows_of(*ODD)
    whole = pack(rows, cased, 16, None)
    pack(rows, cased, 16, tmp_path)
    (file,) = tmp_path.glob(f"*/{name}")
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.unlink()
    if harm != "gone":
        file.write_bytes({"cut": content[: len(content) // 2], "flip": content, "empty": b""}[harm])
    assert same(pack(rows, cased, 16, tmp_path), whole)
    assert file.stat().st_size == len(content)  # whole on disk again


def test_what_a_killed_process_left_is_no_entry(cased, tmp_path):
    rows, cache = rows_of(*ODD), tmp_path / "cache"
    pack(rows, cased, 16, cache)
    (folder,) = (file for file in cache.iterdir() if file.is_dir())
    folder.rename(folder.with_suffix(".partial"))
    assert same(pack(rows, cased, 16, cache), pack(rows, cased, 16, None))
    assert [file for file in cache.iterdir() if file.is_dir()] == [folder]


class Killed(BaseException):
    """As a kill, after which nothing is tidied up."""


def test_a_tokenisation_that_was_killed_goes_on_after_its_last_shard(cased, tmp_path, monkeypatch):
    rows, cache, real, asked = rows_of(*random_texts(25)), tmp_path / "cache", tokens._tokenise, []
    monkeypatch.setattr(tokens, "SHARD", 10)

    def killed_in_the_third(texts, *arguments):
        asked.append(len(texts))
        if len(asked) == 3:
            raise Killed
        return real(texts, *arguments)

    monkeypatch.setattr(tokens, "_tokenise", killed_in_the_third)
    with pytest.raises(Killed):
        pack(rows, cased, 12, cache)
    (half,) = cache.glob("*.partial/000001-*.safetensors")
    half.write_bytes(half.read_bytes()[:-1] + b"?")  # a damaged one is made anew
    found = pack(rows, cased, 12, cache)
    assert asked == [10, 10, 5, 10, 5, 0] and isinstance(found.ids, np.memmap)
    monkeypatch.setattr(tokens, "_tokenise", real)
    assert same(found, pack(rows, cased, 12, None))
    (folder,) = (file for file in cache.iterdir() if file.is_dir())
    assert {file.suffix for file in folder.iterdir()} == {".npy", ".json"}, "no shard is left"


def test_a_large_entry_is_opened_without_reading_it_but_not_after_somebody_wrote_to_it(cased, tmp_path, monkeypatch):
    rows = rows_of(*random_texts(25))
    whole = pack(rows, cased, 12, tmp_path)
    whole = tokens.Packed(*map(np.array, vars(whole).values()))
    monkeypatch.setattr(tokens, "LARGE", 0)
    digest, read = tokens.disk.digest, []
    monkeypatch.setattr(tokens.disk, "digest", lambda file: read.append(file.name) or digest(file))
    assert same(pack(rows, cased, 12, tmp_path), whole) and not read
    (file,) = tmp_path.glob("*/ids.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert same(pack(rows, cased, 12, tmp_path), whole) and "ids.npy" in read


def packed_by_another(folder: Path, cache: Path, ready, sums) -> None:
    ready.wait()
    sums.put(int(pack(rows_of(*ODD * 100), tokenizer(folder), 16, cache).ids.astype(np.int64).sum()))


def test_two_processes_may_fill_the_cache_at_once(tmp_path):
    folder = folder_of(tmp_path / "cased", LETTERS + COMMA, do_lower_case=False)
    spawn = multiprocessing.get_context("spawn")
    ready, sums = spawn.Barrier(2), spawn.Queue()
    pair = [spawn.Process(target=packed_by_another, args=(folder, tmp_path / "cache", ready, sums)) for _ in range(2)]
    for process in pair:
        process.start()
    got = [sums.get(timeout=60) for _ in pair]
    for process in pair:
        process.join()
    right = pack(rows_of(*ODD * 100), tokenizer(folder), 16, None).ids.astype(np.int64).sum()
    assert got == [right, right] and all(process.exitcode == 0 for process in pair)


def test_ids_need_four_bytes_only_in_a_large_vocabulary(tmp_path):
    pieces = [chr(0x4E00 + i // 256) + chr(0x4E00 + i % 256) for i in range(2**16)]
    large = tokenizer(folder_of(tmp_path, pieces, do_lower_case=False, tokenize_chinese_chars=False))
    packed = pack(rows_of(pieces[-1]), large, 8, tmp_path / "cache")
    assert packed.ids.dtype == np.int32 and packed.ids[1] == 2**16 + 4 == large.size - 1
