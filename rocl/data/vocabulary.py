"""A WordPiece vocabulary of your own texts: trained alike every time, kept, measured, and spelled in an older one."""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import tokenizers
from filelock import FileLock
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from rocl import disk
from rocl.data import tokens
from rocl.data.corpus import Row
from rocl.download import cache_folder
from rocl.errors import UserError

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = pre_tokenizers.BertPreTokenizer()  # runs of letters and digits, and marks one by one
START = "\0"  # stands for a word's beginning; no normalised text holds it


def wordpiece(
    texts: Iterable[str], size: int, *, lowercase: bool = True, strip_accents: bool = False, least: int = 5
) -> tokenizers.Tokenizer:
    """BERT's tokenizer with at most `size` pieces learnt from the texts: special tokens, letters, merges by frequency.

    Letters and merges seen fewer than `least` times are left out; a word of the other letters is never unknown (up to
    100 of them). Letters are composed (NFC) first. Where the texts write Romanian, with both ș and ț in either form,
    cedillas become commas, in training and by the tokenizer. Neither the texts' order nor the number of threads
    changes the vocabulary. UserError if no letter is seen often enough, or if `size` has no room for the letters.
    """
    bert = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)
    normalizer = normalizers.Sequence([normalizers.NFC(), bert])
    clean = [normalizer.normalize_str(tokens.whole(text)) for text in texts]
    counts = Counter("".join(clean))
    pairs = [*zip(tokens.CEDILLA, tokens.COMMA, strict=True)]
    if any(counts[old] + counts[new] < least for old, new in pairs[:2]):
        pairs = []  # ş without ţ is Turkish
    clean = [text.translate(str.maketrans(dict(pairs))) for text in clean]
    counts = Counter("".join(clean))
    letters = sorted(letter for letter, count in counts.items() if count >= max(least, 1) and letter != " ")
    inner = [letter for letter in letters if len(WORDS.pre_tokenize_str(bert.normalize_str(f"a{letter}a"))) == 1]
    # Ties between merges go by the letters' ids, which are drawn by chance unless they are given beforehand.
    first = [*SPECIAL, *letters, *("##" + letter for letter in inner)]
    if not letters or len(first) > size:
        need = f"{len(letters)} letters seen {least} times make the first {len(first)} pieces"
        raise UserError(f"a vocabulary of {size}: {need}; change the size or `least`, or give more text")
    blank = str.maketrans(dict.fromkeys(counts.keys() - {*letters}, " "))
    learner = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.pre_tokenizer = WORDS
    trainer = trainers.WordPieceTrainer(vocab_size=size, min_frequency=least, special_tokens=first, show_progress=False)
    learner.train_from_iterator((text.translate(blank) for text in clean), trainer)

    backend = tokenizers.Tokenizer(models.WordPiece(learner.get_vocab(), unk_token="[UNK]"))
    backend.normalizer = normalizers.Sequence([normalizer, *(normalizers.Replace(*pair) for pair in pairs)])
    backend.pre_tokenizer, backend.decoder = WORDS, decoders.WordPiece()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    backend.add_special_tokens(SPECIAL)
    return backend


def trained(
    texts: Sequence[str], size: int, cache: Path | None = None, *, max_length: int = 512, **options: bool | int
) -> Path:
    """The folder of the `wordpiece` tokenizer of these texts, made once: tokenizer.json and tokenizer_config.json, in
    which rocl and AutoTokenizer read the same ids. What a kill left half is made anew; two processes may ask at once.
    """
    about = [tokenizers.__version__, size, max_length, sorted(options.items()), list(texts)]
    cache = cache or cache_folder() / "vocabularies"
    folder = cache / f"wordpiece-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "tokenizer.json").exists():
            with tempfile.TemporaryDirectory() as made:
                wordpiece(texts, size, **options).save(f"{made}/tokenizer.json")
                tokens.write(tokens.tokenizer(Path(made)), Path(made), max_length)
                for name in ("tokenizer_config.json", "tokenizer.json"):  # the folder counts from the last one on
                    disk.write(folder / name, Path(made, name).read_text("utf-8"))
    return folder


def report(tokenizer: tokens.Tokenizer, texts: Sequence[str]) -> dict[str, float]:
    """How a tokenizer cuts the texts: tokens per word, and the share of tokens that are unknown, special ones aside.
    Words and marks are counted as BERT cuts them, whatever the tokenizer: so a WordPiece has at least one token a word.
    """
    cleaned = normalizers.BertNormalizer(strip_accents=False, lowercase=False)
    words = sum(len(WORDS.pre_tokenize_str(cleaned.normalize_str(tokens.whole(text)))) for text in texts)
    packed = tokens.pack([Row("", tuple(texts), ())], tokenizer, 1 << 62, None)
    count = len(packed.ids) - 2 * len(texts)
    return {"tokens_per_word": count / max(words, 1), "unknown_share": int(packed.unknown.sum()) / max(count, 1)}


def speller(old: tokenizers.Tokenizer) -> Callable[[str], list[int]]:
    """A function from a WordPiece of any vocabulary to ids of the old one whose pieces, in a row, spell it: within a
    word where it begins with ##, as a word where not, or where the old pieces cannot spell it within one. Unknown and
    special tokens are left out, so that the list may be empty. UserError if the old tokenizer is no WordPiece."""
    model, vocabulary = old.model, old.get_vocab()
    if not isinstance(model, models.WordPiece):
        raise UserError(f"a {type(model).__name__} tokenizer: only in a WordPiece vocabulary can pieces be spelled")
    left_out = {vocabulary[model.unk_token], *old.get_added_tokens_decoder()}
    # Here nothing but START begins a word, so that what follows START is cut as the inside of one.
    begin = {model.unk_token: vocabulary[model.unk_token], START: max(vocabulary.values()) + 1}
    further = {piece: id for piece, id in vocabulary.items() if piece.startswith("##")}
    inside = models.WordPiece(begin | further, unk_token=model.unk_token)

    def spell(piece: str) -> list[int]:
        text, ids = piece.removeprefix("##"), []
        if text != piece:
            plain = old.normalizer.normalize_str(text) if old.normalizer else text
            ids = [token.id for token in inside.tokenize(START + plain.strip())][1:]  # [] where it is unknown
        ids = ids or old.encode(text, add_special_tokens=False).ids
        return [id for id in ids if id not in left_out]

    return spell
