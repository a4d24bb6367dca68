"""A corpus in another language: each text translated once by a service (Google Cloud, LibreTranslate), kept on disk."""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import count, zip_longest
from pathlib import Path
from time import sleep, time
from typing import Any
from urllib.parse import quote

import requests
from filelock import FileLock
from tqdm import tqdm

from rocl.data.corpus import Corpus, Splits
from rocl.data.reading import bad
from rocl.download import data_folder, offline
from rocl.errors import UserError

PAUSE = 1.0  # seconds before a batch is asked for again, doubled each time, and up to as much more by chance
PATIENCE = 180.0  # seconds that a batch is waited for in all; Google counts by the minute
# Seconds to connect and to answer: a server of one's own takes its time over a batch. The key goes to one place only.
HOW = {"timeout": (10, 300), "allow_redirects": False, "proxies": {"http": ""}}
BUSY = re.compile(rb'"reason":\s*"(user)?RateLimitExceeded"', re.IGNORECASE)  # in a 403 of Google's: too fast
PROTECTED = r"\$\w+\$|<\|?\w+\|?>|\[[A-Z]+\]"  # $NE$, <|PERSON|>, <user>, [NAME]


class Secret(str):
    """A key that does not show itself where values are printed, such as in a traceback with its variables."""

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A translation service as values. The key is none of them: its variable is read when a request is made. For a
    server with other limits take `dataclasses.replace`; what was translated before stays known."""

    name: str
    address: str
    key: str  # the environment variable that holds the key
    header: str = ""  # what carries the key; else it is the `api_key` of the body
    texts: int = 32  # most of them in a request
    characters: int = 5000  # most code points in a request
    requests_a_second: float = 20.0  # most of them

    def __post_init__(self):
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", self.address):
            raise UserError(f"{self.name}: write its address as http(s)://host/path; a key goes into {self.key}")

    def secret(self) -> Secret:
        """The key, or an empty string. UserError where it is none, or would travel in clear."""
        key = Secret(os.environ.get(self.key, "").strip())
        if not re.fullmatch(r"[!-~]*", key):
            raise UserError(f"{self.key} holds a space or letter that no key has: set it anew")
        if key and not re.match(r"https:|http://(localhost|127(\.\d+){3}|\[::1\])(:\d+)?(/|$)", self.address):
            raise UserError(f"{self.key} would go to {self.address} in clear: give an https address, or unset the key")
        return key

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """The translation of each text, of as many as fit a request. UserError where one of them is not had."""
        key = self.secret()
        headers = {self.header: key} if self.header and key else {}
        body = {"q": texts, "source": source, "target": target, "format": "text"}
        match _answer(self, key, headers, body | ({"api_key": key} if key and not headers else {})):
            case {"data": {"translations": [*found]}} | {"translatedText": [*found]}:
                found = [one.get("translatedText") if isinstance(one, dict) else one for one in found]
            case _:
                found = []
        pairs = list(zip_longest(texts, found))
        if no := [text for text, one in pairs if not (text and isinstance(one, str) and written(one))]:
            have = f"{len(texts)} texts with {len(found)} translations"
            have += f", and {no[0][:60]!r} with no text" if no[0] else ""
            raise UserError(f"{self.address} answers {have}: run again, or write that line of the cache by hand")
        return found


def written(text: str) -> bool:
    """Whether there is something in it that a file can hold: half a surrogate pair it cannot."""
    try:
        return bool(text.encode().strip())
    except UnicodeEncodeError:
        return False


GOOGLE = Engine(  # v2 takes 128 texts and 100,000 bytes, better 5,000 code points; 6,000,000 of these a minute
    name="google-translate-v2",
    address="https://translation.googleapis.com/language/translate/v2",
    key="GOOGLE_TRANSLATE_KEY",
    header="X-goog-api-key",
    texts=128,
)


def libre_translate(address: str = "http://127.0.0.1:5000") -> Engine:
    """The LibreTranslate server at an address; its key, if it wants one, is LIBRETRANSLATE_KEY in the environment."""
    return Engine(name="libretranslate", address=f"{address.rstrip('/')}/translate", key="LIBRETRANSLATE_KEY")


def translated(
    corpus: Corpus, to: str, engine: Engine, *, splits: Sequence[str] = ("train", "dev"), protected: str = PROTECTED
) -> Corpus:
    """The rows of these splits with every text in the language `to`. Other splits are left out, so that the corpus is
    of one language; `rocl.data.text.joined` puts splits of several together:

        translate-train: it = translated(foreign, own.language, engine)
                         joined(name, train=[(it, "train")], dev=[(it, "dev")], test=[(own, "test")])
        translate-test:  it = translated(own, foreign.language, engine, splits=("test",))
                         joined(name, train=[(foreign, "train")], dev=[(foreign, "dev")], test=[(it, "test")])

    Each text is sent once, when rows are first asked for: a run, `--dry-run` too, does so before it begins, since rows
    are part of what it is. `cache` says where translations stay. In how many of them the special tokens, which the
    pattern `protected` finds, are not those of the text is printed. UserError where a text is longer than a request,
    or its translation is not had.
    """
    if to == corpus.language:
        raise UserError(f"{corpus.name} is in {to} already: give the language to translate it to")
    made = f"machine translation from {corpus.language} by {engine.name}"
    note = "; ".join(filter(None, [corpus.note, f"{made} at {engine.address}, of {' and '.join(splits)} alone"]))
    name, licence = f"{corpus.name}-translated-{to}", f"{corpus.licence}; {made}"
    read = partial(_read, corpus, to, engine, tuple(splits), protected)
    return replace(corpus, name=name, language=to, licence=licence, note=note, read=read)


def cache(engine: Engine, source: str, target: str) -> Path:
    """The file of all that the service at an address translated from one language to another, a JSON line a text. A
    line may be mended or added by hand; without the file everything is asked for anew."""
    return data_folder() / "translations" / quote(f"{engine.address}.{source}-{target}.jsonl", safe="")


def _read(corpus: Corpus, to: str, engine: Engine, splits: Sequence[str], protected: str, _: Any) -> Splits:
    if absent := [split for split in splits if split not in corpus.splits]:
        raise UserError(f"{corpus.name} has no split {absent[0]!r}: give splits=... of {', '.join(corpus.splits)}")
    rows = {split: corpus.splits[split] for split in splits}
    wanted = {  # each text once, with a row that has it; one of spaces alone stays as it is
        text: f"{split} row {row.id}" for split in splits for row in rows[split] for text in row.texts if text.strip()
    }
    known = _known(corpus, to, engine, wanted)
    tokens = re.compile(protected).findall
    if lost := [row for text, row in wanted.items() if sorted(tokens(text)) != sorted(tokens(known[text]))]:
        told = f"{len(lost):,} of {len(wanted):,} translations have other special tokens than their texts"
        print(f"{corpus.name}: {told}, such as {lost[0]}; {cache(engine, corpus.language, to)}", file=sys.stderr)
    return {s: [replace(row, texts=tuple(known.get(t, t) for t in row.texts)) for row in rows[s]] for s in splits}


def _known(corpus: Corpus, to: str, engine: Engine, wanted: Mapping[str, str]) -> dict[str, str]:
    """Translations by text, at least of all that are wanted: what is missing is asked for and kept, batch by batch."""
    path = cache(engine, corpus.language, to)
    if wanted.keys() <= (known := _kept(path)).keys():
        return known
    if offline():
        have = f"{len(wanted.keys() - known):,} of {len(wanted):,} texts are not in {path}, and rocl is offline"
        raise UserError(f"{corpus.name}: {have}: unset ROCL_OFFLINE and HF_HUB_OFFLINE, or put a file with them there")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"), path.open("a", encoding="utf-8") as file:
        known = _kept(path, mend=True)  # by now another process may have asked: nothing is paid for twice
        texts = [text for text in wanted if text not in known]
        if long := [wanted[text] for text in texts if len(text) > engine.characters]:
            have = f"{len(long):,} texts are longer than a request ({engine.characters:,} characters), first {long[0]}"
            raise UserError(f"{corpus.name}: {have}: shorten them, or replace(engine, characters=...)")
        size = f"{len(texts):,} texts ({sum(map(len, texts)):,} characters) go to {engine.address}"
        print(f"{corpus.name}: {size}; {len(wanted) - len(texts):,} are in {path}", file=sys.stderr)
        for batch in tqdm(list(_batches(texts, engine)), desc=f"{corpus.name} to {to}", unit="request", disable=None):
            found = dict(zip(batch, engine.translate(batch, corpus.language, to), strict=True))
            lines = [json.dumps({"text": t, "translation": one}, ensure_ascii=False) for t, one in found.items()]
            print(*lines, sep="\n", file=file, flush=True)
            known |= found
            sleep(1 / engine.requests_a_second)
    return known


def _batches(texts: Sequence[str], engine: Engine) -> Iterator[list[str]]:
    """The texts in their order, in as few requests as an engine's limits allow."""
    batch: list[str] = []
    for text in texts:
        if batch and (len(batch) == engine.texts or sum(map(len, batch)) + len(text) > engine.characters):
            yield batch
            batch = []
        batch.append(text)
    yield from [batch] if batch else []


def _kept(path: Path, mend: bool = False) -> dict[str, str]:
    """What a cache file holds. What a kill left of a last line is passed over; with `mend` it is removed, and told."""
    *lines, torn = path.read_bytes().split(b"\n") if path.exists() else [b""]
    if torn and mend:
        print(f"{path}: its last line was cut short by a kill and is dropped", file=sys.stderr)
        os.truncate(path, path.stat().st_size - len(torn))
    known = {}
    for number, line in enumerate(lines, 1):
        match _json(line):
            case {"text": str(text), "translation": str(translation)}:
                known[text] = translation
            case _:
                raise bad(path, number, 'not {"text": ..., "translation": ...}: mend or remove the line')
    return known


def _json(content: bytes) -> Any:
    """What JSON says, or None where it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _answer(engine: Engine, key: str, headers: dict[str, str], body: dict[str, Any]) -> Any:
    """The JSON of the good reply to a request, which is made again, later and later, where that may help."""
    waited = 0.0
    for attempt in count():
        status, content, after = _once(engine.address, headers, body)
        if status == 200:
            return _json(content)
        said = hidden(content.decode(errors="replace"), key)
        why = f"{engine.address}: {status or 'no whole answer,'} {' '.join(said.split())[:200]}"
        if not (status in (0, 408, 429) or status >= 500 or status == 403 and BUSY.search(content)):
            raise UserError(f"{why}: check {engine.key}, the languages and the engine's limits")
        wait = max(after, PAUSE * 2**attempt * (1 + os.urandom(1)[0] / 255))  # seeded generators are left alone
        if (waited := waited + wait) > PATIENCE:
            raise UserError(f"{why}: attempt {attempt + 1} and the last: run again in {wait:.0f} s, what came is kept")
        print(f"{why}: again in {wait:.0f} s", file=sys.stderr)
        sleep(wait)


def hidden(said: str, key: str) -> str:
    """What a server says without the key, as it is or as JSON writes it, within JSON too."""
    for _ in range(3):
        said = said.replace(key or "\0", "***")
        key = json.dumps(key)[1:-1]
    return said


def _once(address: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, bytes, float]:
    """(status, content, seconds to wait) of the reply to a request; (0, what kind of error, 0) where there is none."""
    try:
        reply = requests.post(address, headers=headers, json=body, **HOW)
        return reply.status_code, reply.content, _seconds(reply.headers.get("Retry-After", ""))
    except requests.RequestException as error:
        return 0, type(error).__name__.encode(), 0.0  # no more of it: its text may hold the request


def _seconds(after: str) -> float:
    """From now until what a Retry-After header says, which is a number of seconds or a date; 0 where it is neither."""
    try:
        return float(after) if after.isdecimal() else max(0.0, parsedate_to_datetime(after).timestamp() - time())
    except (ValueError, TypeError):
        return 0.0
