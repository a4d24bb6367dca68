"""Proves that a corpus is translated once, whole and without showing a key, against a real HTTP server on loopback that
speaks as Google Cloud Translation and LibreTranslate document, with their limits, errors and refusals."""

import html
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rocl.data import translate
from rocl.data.corpus import Corpus, Row
from rocl.data.task import Task
from rocl.data.text import joined
from rocl.data.translate import GOOGLE, Engine, cache, libre_translate, translated
from rocl.errors import UserError
from rocl.experiment import named

KEY = "AIzaSy-not-a-real-key-0123456789abcdefgh"
USAGE = {"userRateLimitExceeded": "User Rate Limit Exceeded", "rateLimitExceeded": "Rate Limit Exceeded"}


class Handler(BaseHTTPRequestHandler):
    """Answers with `server.say(text, target)`; the first of `server.faults` is what goes wrong instead, if anything."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        with self.server.lock:
            self.server.asked.append({"path": self.path, "headers": dict(self.headers), "body": body, "size": len(raw)})
            fault = self.server.faults.pop(0) if self.server.faults else None
        if fault is not None:
            return fault(self)
        said = [self.server.say(text, body["target"]) for text in body["q"]]
        if self.path == "/language/translate/v2":
            return self.google(body, said, len(raw))
        return self.libre_translate(body, said) if self.path == "/translate" else self.answer(404, "<html>none</html>")

    def google(self, body: dict, said: list[str], size: int) -> None:
        if self.headers.get("X-goog-api-key") != self.server.key:
            return self.refuse(403, "The request is missing a valid API key.", "forbidden")
        if set(body) - {"q", "source", "target", "format", "model"}:
            return self.refuse(400, "Invalid JSON payload received. Unknown name.", "invalid")
        if len(body["q"]) > 128:
            return self.refuse(400, "Too many text segments", "invalid")
        if size > 100_000:
            return self.refuse(400, "Request payload size exceeds the limit", "invalid")
        said = said if body.get("format") == "text" else [html.escape(one) for one in said]
        self.answer(200, {"data": {"translations": [{"translatedText": one} for one in said]}})

    def libre_translate(self, body: dict, said: list[str]) -> None:
        for name in ("q", "source", "target"):
            if not body.get(name):
                return self.answer(400, {"error": f"Invalid request: missing {name} parameter"})
        if body.get("api_key", "") != self.server.key:
            return self.answer(403, {"error": "Invalid API key"})
        limit = f"Invalid request: request ({len(body['q'])}) exceeds text limit (32)"
        self.answer(400, {"error": limit}) if len(body["q"]) > 32 else self.answer(200, {"translatedText": said})

    def refuse(self, status: int, message: str, reason: str, **headers: str) -> None:
        detail = {"message": message, "domain": "usageLimits", "reason": reason}
        self.answer(status, {"error": {"code": status, "message": message, "errors": [detail]}}, **headers)

    def answer(self, status: int, content: object, **headers: str) -> None:
        content = (content if isinstance(content, str) else json.dumps(content, indent=1)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def drop(self) -> None:  # in the middle of its answer
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"translatedText": ["half')
        self.close_connection = True


def say(text: str, target: str) -> str:
    return f"{target}: {text}"


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def texts(self) -> list[str]:
        return [text for one in self.asked for text in one["body"]["q"]]


@pytest.fixture
def server():
    server = Server(("127.0.0.1", 0), Handler)
    server.asked, server.faults, server.key, server.say = [], [], "", say
    server.lock, server.end = threading.Lock(), threading.Event()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.end.set()
    server.shutdown()
    server.server_close()


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self):
        self.now, self.slept = 1_700_000_000.0, []

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    @property
    def waits(self) -> list[float]:
        """What was waited after a failure, not for the rate."""
        return [seconds for seconds in self.slept if seconds > 0.1]


@pytest.fixture(autouse=True)
def clock(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setenv("ROCL_DATA", str(tmp_path / "data"))
    for name in ("ROCL_OFFLINE", "HF_HUB_OFFLINE", "GOOGLE_TRANSLATE_KEY", "LIBRETRANSLATE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(translate, "sleep", clock.sleep)
    monkeypatch.setattr(translate, "time", clock.time)
    return clock


def libre(server: Server, **limits) -> Engine:
    return replace(libre_translate(f"http://127.0.0.1:{server.server_port}/"), **limits)


def google(server: Server, **limits) -> Engine:
    return replace(GOOGLE, address=f"http://127.0.0.1:{server.server_port}/language/translate/v2", **limits)


def corpus(*texts: str | tuple[str, ...], name: str = "tiny", language: str = "xx", **splits) -> Corpus:
    """Rows of these texts; labels in turn."""
    splits = {"train": texts, "dev": ("d 1",), "test": ("t 1",), **splits}
    rows = {
        split: [
            Row(f"{split}-{n}", (text,) if isinstance(text, str) else text, ("ab"[n % 2],), {"stars": n})
            for n, text in enumerate(of)
        ]
        for split, of in splits.items()
    }
    return Corpus(name=name, language=language, labels=("a", "b"), licence="CC0", note="n.", read=lambda paths: rows)


def train(made: Corpus) -> list[str]:
    return [text for row in made.splits["train"] for text in row.texts]


def only(source: Corpus, engine: Engine, to: str = "yy", **words) -> Corpus:
    return translated(source, to, engine, splits=("train",), **words)


def error(made: Corpus) -> str:
    with pytest.raises(UserError) as caught:
        _ = made.splits
    assert "\n" not in str(caught.value)
    return str(caught.value)


def lines(engine: Engine) -> list[dict]:
    path = cache(engine, "xx", "yy")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# What comes out, and what goes over the wire


@pytest.mark.parametrize("engine", [google, libre])
def test_rows_keep_all_but_their_texts_and_nothing_is_sent_before_they_are_asked_for(server, monkeypatch, engine):
    server.key = KEY
    monkeypatch.setenv(engine(server).key, f"{KEY}\n")  # as `$(cat file)` or an editor leaves it
    source = corpus("one & 'two'", ("three", "four"), "")
    made = translated(source, "yy", engine(server))
    assert (made.language, made.kind, made.labels) == ("yy", source.kind, source.labels)
    assert "translated" in made.name and "tiny" in made.name and "yy" in made.name
    assert made.licence.startswith("CC0; machine translation from xx by ") and engine(server).name in made.licence
    assert made.note.startswith("n.; machine translation") and "of train and dev alone" in made.note
    assert server.asked == []
    texts = {"train": [("yy: one & 'two'",), ("yy: three", "yy: four"), ("",)], "dev": [("yy: d 1",)]}
    assert {split: [row.texts for row in rows] for split, rows in made.splits.items()} == texts
    for split in texts:
        kept = [replace(row, texts=()) for row in source.splits[split]]
        assert [replace(row, texts=()) for row in made.splits[split]] == kept
    assert len(server.asked) == 1 and server.texts() == ["one & 'two'", "three", "four", "d 1"]


def test_requests_are_of_the_documented_form(server, monkeypatch):
    server.key = KEY
    monkeypatch.setenv("GOOGLE_TRANSLATE_KEY", KEY)
    monkeypatch.setenv("LIBRETRANSLATE_KEY", KEY)
    for engine in (google(server), libre(server)):
        assert train(only(corpus("one"), engine)) == ["yy: one"]
    first, second = server.asked
    body = {"q": ["one"], "source": "xx", "target": "yy", "format": "text"}
    assert first["path"] == "/language/translate/v2" and first["body"] == body
    assert first["headers"]["X-goog-api-key"] == KEY
    assert second["path"] == "/translate" and second["body"] == body | {"api_key": KEY}
    assert all(one["headers"]["Content-Type"] == "application/json" for one in server.asked)
    assert GOOGLE.address == "https://translation.googleapis.com/language/translate/v2"
    assert libre_translate().address == "http://127.0.0.1:5000/translate"


def test_a_key_is_not_sent_where_there_is_none(server):
    assert train(only(corpus("one"), libre(server))) == ["yy: one"]
    assert "api_key" not in server.asked[0]["body"]


def test_translate_train_and_translate_test_are_two_lines(server):
    engine = libre(server)
    foreign, own = corpus("f1", "f2", name="foreign"), corpus("o1", "o2", name="own", language="yy")
    it = translated(foreign, own.language, engine)
    task = Task(name="tt", corpus=joined("tt", train=[(it, "train")], dev=[(it, "dev")], test=[(own, "test")]))
    assert task.language == "yy" and [row.texts[0] for row in task.rows("train")] == ["yy: f1", "yy: f2"]
    assert [row.texts[0] for row in (*task.rows("dev"), *task.rows("test"))] == ["yy: d 1", "t 1"]
    it = translated(own, foreign.language, engine, splits=("test",))
    task = Task(name="te", corpus=joined("te", train=[(foreign, "train")], dev=[(foreign, "dev")], test=[(it, "test")]))
    assert task.language == "xx" and [row.texts[0] for row in task.rows("train")] == ["f1", "f2"]
    assert [row.texts[0] for row in (*task.rows("dev"), *task.rows("test"))] == ["d 1", "xx: t 1"]
    assert sorted(server.texts()) == ["d 1", "f1", "f2", "t 1"]


def test_a_split_that_is_not_there_and_the_language_it_has_are_refused(server):
    assert "has no split 'tset': give splits=... of train, dev, test" in error(
        translated(corpus("one"), "yy", libre(server), splits=("tset",))
    )
    with pytest.raises(UserError, match="is in xx already"):
        translated(corpus("one"), "xx", libre(server))
    assert server.asked == []


def test_an_engine_is_told_apart_by_its_values_and_holds_no_key(server, monkeypatch):
    monkeypatch.setenv("GOOGLE_TRANSLATE_KEY", KEY)
    fields = named(GOOGLE, "engine")["fields"]
    assert fields["address"] == GOOGLE.address and fields["characters"] == 5000
    assert named(replace(GOOGLE, texts=1), "engine") != named(GOOGLE, "engine")
    assert KEY not in repr(GOOGLE) + json.dumps(named(GOOGLE, "engine"))


# Each text once


def test_identical_texts_are_asked_for_once_and_known_ones_never_again(server):
    engine = libre(server)
    first = corpus("a b", "c d", "a b", ("c d", "e f"))
    assert train(only(first, engine)) == ["yy: a b", "yy: c d", "yy: a b", "yy: c d", "yy: e f"]
    assert server.texts() == ["a b", "c d", "e f"]
    assert only(first, engine).digest == only(first, engine).digest and len(server.asked) == 1
    other = corpus("new", "c d", name="other")
    assert train(only(other, replace(engine, characters=100))) == ["yy: new", "yy: c d"]  # a limit is no other engine
    assert server.texts()[3:] == ["new"]


def test_engines_addresses_and_languages_share_no_translation(server, monkeypatch):
    monkeypatch.setenv("GOOGLE_TRANSLATE_KEY", KEY)
    server.key = KEY
    monkeypatch.setenv("LIBRETRANSLATE_KEY", KEY)
    engines = [libre(server), google(server), libre_translate(f"http://localhost:{server.server_port}")]
    for engine in engines:
        assert train(only(corpus("one"), engine)) == ["yy: one"]
    assert train(only(corpus("one"), engines[0], to="zz")) == ["zz: one"]
    assert train(only(corpus("one", language="ww"), engines[0])) == ["yy: one"]
    assert len(server.asked) == 5
    paths = [cache(e, s, t) for e in engines for s in ("xx", "../x") for t in ("yy", "a/b")]
    assert len(set(paths)) == 12 and len({path.parent for path in paths}) == 1


def test_texts_that_only_look_alike_are_kept_apart(server):
    texts = ["ș", "s\u0326", "ş", "a\u2028b", "a\nb", "a\r\nb", ' "a"\\', "a", " a", "A", "😀 \x00", "\u200ba"]
    made = only(corpus(*texts), libre(server))
    assert train(made) == [f"yy: {text}" for text in texts] and server.texts() == texts
    assert train(only(corpus(*texts), libre(server))) == train(made) and len(server.asked) == 1


def test_batches_are_as_few_as_both_limits_allow_and_in_order(server):
    texts = [f"{n:03}" + "x" * (n % 7) for n in range(60)]
    engine = libre(server, texts=8, characters=40)
    assert train(only(corpus(*texts), engine)) == [f"yy: {text}" for text in texts]
    assert server.texts() == texts
    batches = [one["body"]["q"] for one in server.asked]
    for batch, after in zip(batches, [*batches[1:], ["x" * 99]], strict=True):
        assert len(batch) <= 8 and sum(map(len, batch)) <= 40
        assert len(batch) == 8 or sum(map(len, [*batch, after[0]])) > 40  # one more would have been too much


def test_googles_limits_hold_for_the_longest_characters(server, monkeypatch):
    monkeypatch.setenv("GOOGLE_TRANSLATE_KEY", KEY)
    server.key, texts = KEY, [f"{n}" for n in range(200)] + [f"{n}" + "😀" * 4990 for n in range(3)]
    assert len(train(only(corpus(*texts), google(server)))) == 203
    assert [len(one["body"]["q"]) for one in server.asked] == [128, 72, 1, 1, 1]
    assert 50_000 < max(one["size"] for one in server.asked) < 100_000


def test_a_text_longer_than_a_request_is_told_with_its_row_before_anything_is_sent(server):
    source = corpus("short", ("fine", "y" * 41), "z" * 99)
    message = error(only(source, libre(server, characters=40)))
    assert "2 texts are longer than a request (40 characters), first train row train-1" in message
    assert server.asked == []
    assert train(only(source, libre(server, characters=99)))[3] == "yy: " + "z" * 99


def test_what_is_sent_where_is_told_before(server, capsys):
    engine = libre(server)
    _ = only(corpus("one"), engine).splits
    assert f"tiny: 1 texts (3 characters) go to {engine.address}; 0 are in " in capsys.readouterr().err
    _ = only(corpus("one", "three", "one"), engine).splits
    assert f"1 texts (5 characters) go to {engine.address}; 1 are in {cache(engine, 'xx', 'yy')}" in (
        capsys.readouterr().err
    )
    _ = only(corpus("one", "three", "one"), engine).splits
    assert capsys.readouterr().err == ""


def test_no_more_requests_a_second_than_the_engine_says(server, clock):
    begin = clock.now
    _ = only(corpus(*(f"{n}" for n in range(11))), libre(server, texts=1, requests_a_second=2)).splits
    assert len(server.asked) == 11 and clock.now - begin >= 10 / 2


# What goes wrong


def test_what_may_pass_is_asked_for_again_and_later_each_time(server, clock, capsys):
    def busy(reason):
        return lambda handler: handler.refuse(403, USAGE[reason], reason)

    server.faults = [
        lambda handler: handler.answer(429, {"error": "Slowdown: 80 per 1 minute"}),
        lambda handler: handler.answer(500, {"error": "Cannot translate text"}),
        Handler.drop,
        busy("userRateLimitExceeded"),
        busy("rateLimitExceeded"),
    ]
    assert train(only(corpus("one"), libre(server))) == ["yy: one"]
    assert len(server.asked) == 6 and lines(libre(server)) == [{"text": "one", "translation": "yy: one"}]
    for attempt, waited in enumerate(clock.waits):
        assert 2**attempt <= waited <= 2 ** (attempt + 1)
    told = capsys.readouterr().err
    assert all(
        said in told for said in ("429", "Slowdown: 80 per 1 minute", "500", "no whole answer", "403", "again in")
    )


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(server, clock, form):
    after = "70" if form == "seconds" else formatdate(clock.now + 70, usegmt=True)
    server.faults = [lambda handler: handler.answer(429, {"error": "Slowdown"}, Retry_After=after)]
    assert train(only(corpus("one"), libre(server))) == ["yy: one"]
    assert clock.waits == [pytest.approx(70, abs=1)]


@pytest.mark.parametrize("after", ["", "soon", "-5", "Wed, 21 Oct 2015 07:28:00 GMT", "99999999999999999999999"])
def test_a_retry_after_that_says_nothing_is_no_mistake_and_a_long_one_is_not_waited_for(server, clock, after):
    server.faults = [lambda handler: handler.answer(503, "busy", Retry_After=after)] * 2
    made = only(corpus("one"), libre(server))
    if after.startswith("9"):
        assert "503 busy: attempt 1 and the last" in error(made) and clock.waits == []
    else:
        assert train(made) == ["yy: one"] and len(clock.waits) == 2


def test_patience_ends_and_what_came_is_kept(server, clock):
    engine = libre(server, texts=1)
    server.faults = [None] + [lambda handler: handler.answer(500, {"error": "broken"})] * 99
    message = error(only(corpus("one", "two", "three"), engine))
    assert "500" in message and "broken" in message and "run again in" in message
    assert 5 < len(server.asked) < 12 and sum(clock.waits) <= translate.PATIENCE
    assert [one["text"] for one in lines(engine)] == ["one"]
    server.faults.clear()
    assert train(only(corpus("one", "two", "three"), engine)) == ["yy: one", "yy: two", "yy: three"]
    assert server.texts()[-2:] == ["two", "three"]


def test_no_server_at_all_is_told(clock):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        message = error(only(corpus("one"), libre_translate(f"http://127.0.0.1:{nobody.getsockname()[1]}")))
    assert "no whole answer" in message and "ConnectionError" in message and 5 < len(clock.waits) < 12


@pytest.mark.parametrize("key", ['q"uo"te', "back\\slash", 'bo\\"th'])
def test_a_key_that_json_writes_otherwise_is_not_shown_in_an_echo_of_the_request(server, monkeypatch, key):
    monkeypatch.setenv("LIBRETRANSLATE_KEY", key)

    def echo(handler):
        body = handler.server.asked[-1]["body"]
        handler.answer(400, {"plain": key, "json": json.dumps(body), "api_key": body["api_key"]})

    server.faults = [echo]
    message = error(only(corpus("one"), libre(server)))
    forms = [key, json.dumps(key)[1:-1], json.dumps(json.dumps(key)[1:-1])[1:-1]]
    assert "***" in message and not any(form in message for form in forms)


def test_a_refusal_is_told_at_once_with_the_servers_words(server, clock, monkeypatch):
    monkeypatch.setenv("GOOGLE_TRANSLATE_KEY", KEY)
    server.key = KEY
    assert "403" in error(only(corpus("one"), libre(server))) and "Invalid API key" in error(
        only(corpus("one"), libre(server))
    )
    server.faults = [lambda handler: handler.refuse(403, "Daily Limit Exceeded", "dailyLimitExceeded")]
    assert "Daily Limit Exceeded" in error(only(corpus("one"), google(server)))
    server.faults = [lambda handler: handler.refuse(400, "Invalid Value\nfor target", "invalid")]
    message = error(only(corpus("one"), google(server)))
    assert "400" in message and "Invalid Value" in message and "check GOOGLE_TRANSLATE_KEY" in message
    monkeypatch.delenv("GOOGLE_TRANSLATE_KEY")
    assert "missing a valid API key" in error(only(corpus("one"), google(server)))
    elsewhere = replace(libre(server), address=f"http://127.0.0.1:{server.server_port}/wrong")
    assert "404 <html>none</html>" in error(only(corpus("one"), elsewhere))
    assert clock.slept == [] and lines(libre(server)) == lines(google(server)) == []


def test_a_redirect_is_not_followed(server):
    server.faults = [lambda handler: handler.answer(307, "", Location="/translate")]
    assert "307" in error(only(corpus("one"), libre(server))) and len(server.asked) == 1


WRONG = {
    "not JSON": '{"translatedText": ["a", "b"',
    "no object": "[1, 2]",
    "too few": {"translatedText": ["a"]},
    "too many": {"translatedText": ["a", "b", "c"]},
    "one for both": {"translatedText": "ab"},
    "an empty one": {"translatedText": ["a", " \n"]},
    "a number": {"translatedText": ["a", 2]},
    "half a surrogate pair": '{"translatedText": ["a", "\\ud83d b"]}',
    "google, too few": {"data": {"translations": [{"translatedText": "a"}]}},
    "google, another field": {"data": {"translations": [{"translatedText": "a"}, {"text": "b"}]}},
    "google, nothing": {"data": {"translations": []}},
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("engine", [google, libre])
def test_a_reply_that_is_not_whole_is_refused_and_nothing_of_it_kept(server, monkeypatch, wrong, engine):
    engine, source = engine(server, texts=2), corpus("one", "two", "three", "four")
    monkeypatch.setenv(engine.key, KEY)
    server.key, server.faults = KEY, [None, lambda handler: handler.answer(200, WRONG[wrong])]
    message = error(only(source, engine))
    assert "answers 2 texts with" in message and "run again" in message and "None" not in message
    assert ("too many" in wrong) != ("with no text" in message)
    assert "too many" in wrong or "'three'" in message or "'four'" in message
    assert [one["text"] for one in lines(engine)] == ["one", "two"]
    assert train(only(source, engine))[2:] == ["yy: three", "yy: four"]
    assert server.texts() == ["one", "two", "three", "four", "three", "four"]


# The file


def test_a_file_cut_at_any_byte_is_mended_and_only_what_is_lost_is_asked_for(server, capsys):
    engine, texts = libre(server), ["unu ș", "doi", "trei 😀"]
    _ = only(corpus(*texts), engine).splits
    path = cache(engine, "xx", "yy")
    whole = path.read_bytes()
    assert whole.count(b"\n") == 3
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        server.asked.clear()
        capsys.readouterr()
        assert train(only(corpus(*texts), engine)) == [f"yy: {text}" for text in texts]
        assert server.texts() == texts[whole[:cut].count(b"\n") :] and path.read_bytes() == whole
        torn = not whole[:cut].endswith(b"\n") and cut > 0
        assert ("cut short by a kill and is dropped" in capsys.readouterr().err) == torn


@pytest.mark.parametrize(
    "line", [b"{}", b"", b"[1]", b'{"text": "a"}', b'{"text": "a", "translation": null}', b"\xff", b"{"]
)
def test_a_damaged_line_is_told_with_file_and_row(server, line):
    engine = libre(server)
    _ = only(corpus("one", "two"), engine).splits
    path = cache(engine, "xx", "yy")
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + line + b"\n" + second)
    assert f"{path}, row 2: not " in error(only(corpus("one", "two"), engine)) and len(server.asked) == 1


def test_a_line_may_be_written_by_hand(server):
    engine = libre(server)
    path = cache(engine, "xx", "yy")
    path.parent.mkdir(parents=True)
    path.write_text('{"text": "🌷🌷", "translation": "🌷🌷"}\r\n', newline="")
    assert train(only(corpus("🌷🌷", "one"), engine)) == ["🌷🌷", "yy: one"] and server.texts() == ["one"]


SCRIPT = """
import sys
from dataclasses import replace
from rocl.data.corpus import Corpus, Row
from rocl.data.translate import libre_translate, translated
rows = {"train": [Row(text, (text,), ()) for text in sys.argv[2:]]}
corpus = Corpus(name="tiny", language="xx", labels=(), licence="CC0", read=lambda paths: rows)
engine = replace(libre_translate(sys.argv[1]), texts=1, requests_a_second=1e6)
print(*(row.texts[0] for row in translated(corpus, "yy", engine, splits=("train",)).splits["train"]), sep="|")
"""


def run(server: Server, *texts: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, f"http://127.0.0.1:{server.server_port}", *texts],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env=dict(os.environ),
    )


def test_a_killed_process_loses_only_what_was_under_way(server):
    reached = threading.Event()

    def stall(handler: Handler) -> None:
        reached.set()
        server.end.wait(60)

    server.faults = [None, None, stall]
    process = run(server, "one", "two", "three", "four")
    assert reached.wait(60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [one["text"] for one in lines(libre(server))] == ["one", "two"]
    assert train(only(corpus("one", "two", "three", "four"), libre(server)))[2:] == ["yy: three", "yy: four"]
    assert server.texts() == ["one", "two", "three", "three", "four"]


def test_two_processes_at_once_ask_for_each_text_once(server):
    texts = [f"text {n}" for n in range(40)]
    both = [run(server, *texts[:30]), run(server, *texts[10:])]
    for process, part in zip(both, (texts[:30], texts[10:]), strict=True):
        out, err = process.communicate(timeout=60)
        assert out.strip() == "|".join(f"yy: {text}" for text in part), err
    assert sorted(server.texts()) == sorted(texts)
    assert sorted(one["text"] for one in lines(libre(server))) == sorted(texts)


def test_offline_is_enough_where_all_is_known_and_else_counts_what_is_missing(server, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    engine = libre(server)
    _ = only(corpus("one", "two"), engine).splits
    monkeypatch.setenv("ROCL_OFFLINE", "1")
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    cache(engine, "xx", "yy").parent.chmod(0o500)  # a shared folder that is only read
    assert train(only(corpus("two", "one"), engine)) == ["yy: two", "yy: one"]
    message = error(only(corpus("one", "three", "four"), engine))
    assert (
        "2 of 3 texts are not in" in message
        and "unset ROCL_OFFLINE" in message
        and str(cache(engine, "xx", "yy")) in message
    )
    cache(engine, "xx", "yy").parent.chmod(0o700)
    monkeypatch.delenv("ROCL_OFFLINE")
    with pytest.raises(AssertionError, match="a socket was opened"):  # the guard itself works
        _ = only(corpus("three"), engine).splits


# Special tokens


def test_translations_with_other_special_tokens_are_kept_counted_and_told(server, capsys):
    server.say = lambda text, target: text.replace("$NE$", "$ NE $", 1).replace("PERSON", "OSOBA").replace("we", "noi")
    texts = ["we $NE$", "we <|PERSON|>", "we <|URL|> [NAME] $5", "we $NE$ $NE$", "we"]
    assert train(only(corpus(*texts), libre(server)))[1] == "noi <|OSOBA|>"
    told = capsys.readouterr().err
    assert "3 of 5 translations have other special tokens than their texts, such as train row train-0" in told
    server.say = lambda text, target: f"{text} {text}" if "$NE$" in text else text  # once more is another number
    _ = only(corpus(*texts), libre(server), to="zz").splits
    assert "2 of 5" in capsys.readouterr().err
    server.say = say
    _ = only(corpus(*texts), libre(server), to="ww").splits
    assert "special" not in capsys.readouterr().err
    _ = only(corpus(*texts), libre(server), protected="we").splits
    assert "5 of 5" in capsys.readouterr().err


# The key


def test_the_key_is_nowhere_but_in_the_request(server, monkeypatch, capsys, caplog, tmp_path):
    """Neither in messages, chains of exceptions, logs, output nor files; whatever happens, even if the server tells."""
    monkeypatch.setattr(translate, "PATIENCE", 3)
    echo = f"key {KEY} is bad, api_key={KEY}"
    faults = [
        lambda handler: handler.refuse(400, echo, "badRequest"),
        lambda handler: handler.answer(403, {"error": echo}),
        lambda handler: handler.answer(429, {"error": echo}),
        lambda handler: handler.answer(500, f"<pre>{echo}</pre>"),
        lambda handler: handler.answer(400, " " * 150 + "x" * 180 + echo),
        lambda handler: handler.answer(302, "", Location=f"http://127.0.0.1:9/?key={KEY}"),
        lambda handler: handler.answer(200, "no JSON"),
        Handler.drop,
    ]
    monkeypatch.setenv("GOOGLE_TRANSLATE_KEY", KEY)
    monkeypatch.setenv("LIBRETRANSLATE_KEY", KEY)
    caplog.set_level("DEBUG")
    server.key, shown = KEY, []
    for engine in (google(server), libre(server)):
        for fault in faults:
            server.faults = [fault] * 20
            with pytest.raises(UserError) as caught:
                _ = only(corpus("one"), engine).splits
            shown += ["".join(traceback.format_exception(caught.value)), repr(caught.value)]
            assert caught.value.__cause__ is caught.value.__context__ is None  # nothing hangs on it that says more
        server.faults = []
        made = only(corpus("one"), engine)
        assert train(made) == ["yy: one"]
        shown += [repr(engine), repr(made), str(named(engine, "engine")), made.note, made.licence, made.name]
    captured = capsys.readouterr()
    shown += [captured.out, captured.err, caplog.text]
    shown += [path.read_text() + str(path) for path in tmp_path.rglob("*") if path.is_file()]
    assert caplog.text and len(shown) > 40 and any("***" in text for text in shown)
    assert not [text for text in shown if KEY[:12] in text]
    assert all(KEY not in one["path"] for one in server.asked)


@pytest.mark.parametrize("engine", [google, libre])
def test_a_traceback_that_prints_variables_shows_no_key(server, monkeypatch, engine):
    engine = engine(server)
    monkeypatch.setenv(engine.key, KEY)
    server.faults = [lambda handler: handler.answer(400, "no")]
    with pytest.raises(UserError) as caught:
        engine.translate(["one"], "xx", "yy")
    frames = [entry.frame.f_locals for entry in caught.traceback if entry.path == Path(translate.__file__)]
    assert len(frames) == 2 and any(KEY in str(value) for frame in frames for value in frame.values())  # it is there
    assert "***" in str(frames) and KEY not in str(frames)


def test_a_key_does_not_travel_in_clear_nor_through_a_proxy(server, monkeypatch):
    monkeypatch.setenv("LIBRETRANSLATE_KEY", KEY)
    server.key = KEY
    for host in ("10.0.0.5:5000", "127.0.0.1.example.org", "localhost.example.org", "example.org/127.0.0.1"):
        message = error(only(corpus("one"), libre_translate(f"http://{host}")))
        assert "in clear" in message and "LIBRETRANSLATE_KEY" in message and KEY not in message
    for address in ("https://example.org", "http://localhost:5000", "http://[::1]:5000", "http://127.0.0.2"):
        assert libre_translate(address).secret() == KEY
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert train(only(corpus("one"), libre(server))) == ["yy: one"]


@pytest.mark.parametrize("key", [f"{KEY}\nX-Other: 1", f"{KEY} {KEY}", f"{KEY}…"])
def test_what_is_no_key_is_refused_unseen(server, monkeypatch, key):
    monkeypatch.setenv("LIBRETRANSLATE_KEY", key)
    message = error(only(corpus("one"), libre(server)))
    assert "LIBRETRANSLATE_KEY" in message and KEY not in message and server.asked == []


@pytest.mark.parametrize(
    "address", [f"http://me:{KEY}@host", f"https://host/x?key={KEY}", "host:5000", f"http://{KEY}@"]
)
def test_an_address_that_holds_a_key_or_is_none_is_refused_unseen(address):
    with pytest.raises(UserError, match="write its address as") as caught:
        libre_translate(address)
    assert KEY not in str(caught.value)
