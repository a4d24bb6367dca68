"""Text to token ids: a checkpoint folder's tokenizer, and rows packed into one array of ids without padding."""

import hashlib
import json
import os
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, islice
from pathlib import Path

import numpy as np
import tokenizers
from filelock import FileLock
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from rocl import disk
from rocl.data.corpus import Row
from rocl.errors import UserError

# T tokens, B texts, R rows

# The special tokens and their usual names, for where no setting names them.
ROLES = {"cls": "[CLS] <s>", "sep": "[SEP] </s>", "pad": "[PAD] <pad>", "unk": "[UNK] <unk>", "mask": "[MASK] <mask>"}
CEDILLA, COMMA = "şţŞŢ", "șțȘȚ"  # Romanian is written with the second and, on old keyboards, with the first
CHUNK = 256  # texts encoded at once: bounds what the encodings take in memory
SHARD = 65_536  # texts of which ids are kept in memory
LARGE = 2**26  # bytes of a file that is known by its size and time, for to read it takes longer than a blink


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokenizer:
    """`backend` turns a text into cls, its tokens, sep; the ids are places in a vocabulary of `size`."""

    backend: tokenizers.Tokenizer
    size: int
    cls: int
    sep: int
    pad: int
    unk: int
    mask: int | None
    letters: str  # the Romanian letters it replaces, such as "ş→ș ţ→ț"; empty where it replaces none
    fingerprint: str  # hex digest: equal fingerprints give equal ids


def tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in a checkpoint's folder: tokenizer.json, else vocab.txt, without stored truncation and padding.

    Cedilla forms of the Romanian ș and ț become comma forms where the vocabulary has only these, and the other way
    round. Letters spelled with a combining mark (NFD) are left alone; if the vocabulary cannot spell them, `pack`
    counts them as unknown. Files that cannot be read and missing special tokens are a UserError.
    """
    settings = {}
    try:
        for file in (folder / "special_tokens_map.json", folder / "tokenizer_config.json"):
            text = file.read_text("utf-8") if file.exists() else "{}"
            settings |= json.loads(text, object_hook=lambda value: value.get("content", value))  # a token's name
        file = folder / "tokenizer.json"
        backend = tokenizers.Tokenizer.from_file(str(file)) if file.exists() else _wordpiece(folder, settings)
    except Exception as error:  # the Rust library raises the bare class
        raise UserError(f"{folder}: no tokenizer.json or vocab.txt that can be read ({error}); add one") from error

    ids = {}
    for role, usual in ROLES.items():
        names = (settings.get(f"{role}_token") or usual).split()
        ids[role] = next((id for name in names if (id := backend.token_to_id(name)) is not None), None)
        if ids[role] is None and role != "mask":
            raise UserError(f"{folder}: the tokenizer has no {role} token ({' or '.join(names)}) in its vocabulary")
    new = [id for id in ids.values() if id is not None and id not in backend.get_added_tokens_decoder()]
    backend.add_special_tokens([backend.id_to_token(id) for id in new])
    backend.no_truncation()
    backend.no_padding()
    if backend.post_processor is None:
        sep, cls = ((backend.id_to_token(ids[role]), ids[role]) for role in ("sep", "cls"))
        backend.post_processor = processors.BertProcessing(sep, cls)
    wrapped = backend.encode("")
    if backend.num_special_tokens_to_add(False) != 2:
        raise UserError(f"{folder}: the tokenizer wraps a text as {wrapped.tokens}; rocl needs one cls and one sep")
    ids |= {"cls": wrapped.ids[0], "sep": wrapped.ids[-1]}

    letters = _letters(backend, ids["unk"])
    if letters:  # inside the backend, so that a written tokenizer.json does the same
        steps = [normalizers.Replace(old, new) for old, new in letters] + [backend.normalizer]
        backend.normalizer = normalizers.Sequence([step for step in steps if step is not None])
    return Tokenizer(
        backend=backend,
        size=max(backend.get_vocab(with_added_tokens=True).values()) + 1,
        letters=" ".join(f"{old}→{new}" for old, new in letters),
        fingerprint=hashlib.sha256(f"{ids} {backend.to_str()}".encode()).hexdigest()[:16],
        **ids,
    )


def _wordpiece(folder: Path, settings: Mapping) -> tokenizers.Tokenizer:
    """BERT's tokenizer around vocab.txt. If do_lower_case is not set, the vocabulary decides about case and accents:
    both go if no piece would change. (transformers lower-cases then, which ruins a cased vocabulary.)"""
    vocabulary = models.WordPiece.read_file(str(folder / "vocab.txt"))
    lower, strip = settings.get("do_lower_case"), settings.get("strip_accents")
    if lower is None:
        text = "".join(piece for piece in vocabulary if not piece.startswith("["))
        accents = any(unicodedata.category(c) == "Mn" for c in unicodedata.normalize("NFD", text))
        lower, strip = text == text.lower(), not accents if strip is None else strip
    chinese = settings.get("tokenize_chinese_chars", True)
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=settings.get("unk_token") or "[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower, strip_accents=strip, handle_chinese_chars=chinese)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return backend


def _letters(backend: tokenizers.Tokenizer, unk: int) -> list[tuple[str, str]]:
    """Pairs (letter the vocabulary does not know, its other form, which it knows). To know a letter is to have it as
    one token; a form counts if both its ș and ț are known, since ş alone is Turkish."""

    def known(letter: str) -> bool:
        encoding = backend.encode(letter, add_special_tokens=False)
        ids = [id for id, token in zip(encoding.ids, encoding.tokens, strict=True) if token != "▁"]
        return len(ids) == 1 and ids[0] != unk

    pairs = [*zip(CEDILLA, COMMA, strict=True)] if all(map(known, COMMA[:2])) else []
    pairs += [*zip(COMMA, CEDILLA, strict=True)] if all(map(known, CEDILLA[:2])) else []
    return [(old, new) for old, new in pairs if known(new) and not known(old)]


@dataclass(frozen=True, eq=False)
class Packed:
    """Rows as token ids. Text b is ids[texts[b] : texts[b + 1]]; row r holds the texts rows[r] to rows[r + 1] - 1."""

    ids: np.ndarray  # (T,) uint16, or int32 where the vocabulary is too large for it
    texts: np.ndarray  # (B + 1,) int64
    rows: np.ndarray  # (R + 1,) int64
    cut: np.ndarray  # (B,) bool: the text was longer than max_length
    unknown: np.ndarray  # (B,) int64: how many of the kept tokens the vocabulary does not know


def store(packed: Packed, folder: Path) -> None:
    """Writes each array to a file that can be mapped into memory."""
    for name, array in vars(packed).items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def pack(rows: Sequence[Row], tokenizer: Tokenizer, max_length: int, cache: Path | None) -> Packed:
    """The rows' texts as ids, each cut to `max_length` tokens with its sep kept; with `cache`, stored there and
    memory-mapped. An entry of the cache is verified when it is opened, LARGE files by size and time, and made anew if
    it differs; where making it was interrupted, it goes on after the last SHARD of texts, of which memory holds one."""
    if max_length < 3:
        raise UserError(f"max_length {max_length} leaves no token beside the two special ones; give at least 3")
    texts = (text for row in rows for text in row.texts)
    if cache is None:
        return _packed(rows, [_tokenise(list(texts), tokenizer, max_length)])
    key = hashlib.sha256(json.dumps([tokenizers.__version__, tokenizer.fingerprint, max_length]).encode())
    for row in rows:
        key.update(json.dumps(row.texts).encode())
    folder = cache / key.hexdigest()[:32]
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if (packed := _open(folder)) is None:
            partial = folder.with_suffix(".partial")
            shutil.rmtree(folder, ignore_errors=True)  # damaged
            partial.mkdir(exist_ok=True)
            files = []
            for number, some in enumerate(iter(lambda: list(islice(texts, SHARD)), [])):
                files.append(partial / f"{number:06}-{SHARD}.safetensors")
                if not _left(files[-1]):
                    with disk.whole(files[-1]) as part:
                        save_file(_tokenise(some, tokenizer, max_length), part)
                    disk.write_json(files[-1].with_suffix(".json"), _sum(files[-1]))
            _join(rows, files, _tokenise([], tokenizer, max_length), partial)
            os.rename(partial, folder)
            for file in {*folder.iterdir()} - {*folder.glob("*.npy"), folder / "sums.json"}:
                file.unlink()
            if (packed := _open(folder)) is None:
                raise UserError(f"{folder}: what was just written there cannot be read: is the disk full, or failing?")
    return packed


def _left(file: Path) -> bool:
    """Whether a process that was killed has left this shard, whole."""
    try:
        return _same(file, json.loads(file.with_suffix(".json").read_text()))
    except (OSError, ValueError):
        return False


def _tokenise(texts: Sequence[str], tokenizer: Tokenizer, max_length: int) -> dict[str, np.ndarray]:
    """The ids (T,) of these texts; of each its length, whether it was cut, how many are unknown, (B,)."""
    dtype = np.uint16 if tokenizer.size <= 2**16 else np.int32
    parts, cut = [np.empty(0, dtype)], []
    for start in range(0, len(texts), CHUNK):
        for encoding in tokenizer.backend.encode_batch_fast([whole(text) for text in texts[start : start + CHUNK]]):
            cut.append(len(encoding) > max_length)
            length = min(len(encoding), max_length)
            parts.append(np.array([*encoding.ids[: length - 1], tokenizer.sep], dtype))
    return {
        "ids": np.concatenate(parts),
        "lengths": np.array([len(part) for part in parts[1:]], np.int64),
        "cut": np.array(cut, bool),
        "unknown": np.array([np.count_nonzero(part == tokenizer.unk) for part in parts[1:]], np.int64),
    }


def _packed(rows: Sequence[Row], shards: Sequence[Mapping[str, np.ndarray]]) -> Packed:
    all_of = {name: np.concatenate([shard[name] for shard in shards]) for name in shards[-1]}
    return Packed(
        ids=all_of.get("ids", shards[0]["ids"]),
        texts=np.concatenate([[0], all_of["lengths"].cumsum()]).astype(np.int64),
        rows=np.fromiter(accumulate((len(row.texts) for row in rows), initial=0), np.int64, len(rows) + 1),
        cut=all_of["cut"],
        unknown=all_of["unknown"],
    )


def _join(rows: Sequence[Row], files: Sequence[Path], empty: Mapping[str, np.ndarray], folder: Path) -> None:
    """Makes an entry of the cache out of shards. Ids go from file to file, one shard at a time."""
    shards = [empty]
    for file in files:
        with safe_open(file, "np") as shard:
            shards.append({name: shard.get_tensor(name) for name in empty if name != "ids"})
    packed = _packed(rows, shards)
    store(packed, folder)
    header = {"descr": packed.ids.dtype.str, "fortran_order": False, "shape": (int(packed.texts[-1]),)}
    with (folder / "ids.npy").open("wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        for file in files:
            out.write(load_file(file)["ids"].tobytes())
    for file in folder.glob("*.npy"):
        with file.open("rb+") as written:
            os.fsync(written.fileno())
    (folder / "sums.json").write_text(json.dumps({file.name: _sum(file) for file in folder.glob("*.npy")}))


def whole(text: str) -> str:
    """The text as the tokenizers library takes it: half a surrogate pair is U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _open(folder: Path) -> Packed | None:
    """The entry, memory-mapped; None if it is not there or not whole."""
    try:
        sums = json.loads((folder / "sums.json").read_text())
        if sums.keys() != {file.name for file in folder.glob("*.npy")}:
            return None
        if not all(_same(folder / name, told) for name, told in sums.items()):
            return None
        return Packed(*(np.load(folder / f"{field.name}.npy", mmap_mode="r") for field in fields(Packed)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _sum(file: Path) -> dict[str, object]:
    return {"sha256": disk.digest(file), "time": _time(file)}


def _same(file: Path, told: Mapping) -> bool:
    """Whether it is what `_sum` told of it; a LARGE file, whether nobody has written to it, or it is all the same."""
    return file.stat().st_size > LARGE and _time(file) == told["time"] or disk.digest(file) == told["sha256"]


def _time(file: Path) -> list[int]:
    """What differs once somebody has written to it."""
    return [file.stat().st_size, file.stat().st_mtime_ns]


def write(tokenizer: Tokenizer, folder: Path, max_length: int) -> None:
    """tokenizer.json and tokenizer_config.json, from which AutoTokenizer gives the same ids, cut to `max_length`.

    The class is the one that takes tokenizer.json as it stands: BertTokenizer would put its own normalizer in place
    of ours. No token types: rocl encodes the texts of a row one by one.
    """
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    ids = {f"{role}_token": getattr(tokenizer, role) for role in ROLES}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_length}
    config |= {role: tokenizer.backend.id_to_token(id) for role, id in ids.items() if id is not None}
    config["model_input_names"] = ["input_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", "utf-8")
