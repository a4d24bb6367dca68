"""Proves that a download resumes, verifies and is put in place whole, against a real HTTP server on loopback."""

import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rocl import download
from rocl.download import File, fetch
from rocl.errors import UserError

BODY = bytes(number * 7919 % 251 for number in range(200_000))
ETAG = '"one"'


class Handler(BaseHTTPRequestHandler):
    """Serves BODY; what it does wrong is named by the path, what it was asked is kept in `server.asked`."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = {name: self.headers.get(name) for name in ("Range", "If-Range")}
        self.server.asked.append(asked)
        getattr(self, "get_" + self.path.strip("/"))(len(self.server.asked), asked["Range"])

    def answer(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def rest(self, start: int, end: int = len(BODY)) -> None:
        self.answer(206, len(BODY) - start, Content_Range=f"bytes {start}-{len(BODY) - 1}/{len(BODY)}", ETag=ETAG)
        self.wfile.write(BODY[start:end])

    def get_good(self, _number: int, _range: str | None) -> None:
        self.answer(200, len(BODY), ETag=ETAG)
        self.wfile.write(BODY)

    def get_broken(self, number: int, asked: str | None, etag: str = ETAG) -> None:
        if number == 1:
            self.answer(200, len(BODY), ETag=etag)
            self.wfile.write(BODY[:100_000])
        elif asked:
            self.rest(int(asked.removeprefix("bytes=").rstrip("-")))
        else:
            self.get_good(number, asked)

    def get_weak(self, number: int, asked: str | None) -> None:
        self.get_broken(number, asked, etag='W/"one"')

    def get_changed(self, number: int, asked: str | None) -> None:  # If-Range no longer holds: the whole file comes
        self.get_broken(number, None)

    def get_always_broken(self, number: int, asked: str | None) -> None:
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start:
            self.rest(start, start + 1000)
        else:
            self.answer(200, len(BODY), ETag=ETAG)
            self.wfile.write(BODY[:1000])

    def get_elsewhere_in_file(self, number: int, asked: str | None) -> None:
        self.rest(7) if asked else self.get_broken(1 if number == 1 else 3, None)

    def get_wrong(self, _number: int, _range: str | None) -> None:
        self.answer(200, 5)
        self.wfile.write(b"wrong")

    def get_endless(self, _number: int, _range: str | None) -> None:
        self.answer(200, 10**12)
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
                self.server.sent += 1 << 16
        except OSError:
            pass

    def get_gone(self, _number: int, _range: str | None) -> None:
        self.answer(404, 0)

    def get_moved(self, _number: int, _range: str | None) -> None:
        self.answer(302, 0, Location="/good")

    def get_circle(self, _number: int, _range: str | None) -> None:
        self.answer(302, 0, Location="/circle")

    def get_unready(self, number: int, asked: str | None) -> None:
        self.answer(503, 0) if number < 3 else self.get_good(number, asked)

    def get_refuses_range(self, number: int, asked: str | None) -> None:
        self.answer(416, 0) if asked else self.get_good(number, asked)

    def get_refuses(self, _number: int, _range: str | None) -> None:
        self.answer(416, 0)

    def get_trickle(self, _number: int, _range: str | None) -> None:
        self.answer(200, len(BODY), ETag=ETAG)
        for start in range(0, len(BODY), 20_000):
            self.wfile.write(BODY[start : start + 20_000])
            time.sleep(0.1)

    def get_stalls(self, number: int, asked: str | None) -> None:
        self.get_broken(number, asked)
        if number == 1:
            self.server.end.wait(20)

    def get_zip(self, _number: int, _range: str | None) -> None:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("../../escaped.txt", b"never written")
            archive.writestr("folder/../data.bin", BODY)
        self.answer(200, len(content.getvalue()), ETag=ETAG)
        self.wfile.write(content.getvalue())


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.sent, server.end = [], 0, threading.Event()
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.end.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("ROCL_DATA", str(tmp_path / "data"))
    for name in ("ROCL_OFFLINE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "PAUSE", 0.01)
    return tmp_path / "data"


def file(server: ThreadingHTTPServer | None, path: str = "good", **changes) -> File:
    url = f"http://127.0.0.1:{server.server_port}/{path}" if server else None
    values = {"sha256": hashlib.sha256(BODY).hexdigest(), "size": len(BODY), "licence": "none", "url": url, **changes}
    return File(corpus="toy", folder="toy", name="data.bin", **values)


def left(place: Path) -> set[str]:
    return {path.name for path in place.rglob("*") if path.is_file()} - {"data.bin.lock"}


def error(wanted: File) -> str:
    with pytest.raises(UserError) as caught:
        fetch(wanted)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_downloaded_once_and_then_found(server, place):
    assert fetch(file(server)).read_bytes() == BODY
    assert fetch(file(server)) == place / "toy" / "data.bin"
    assert len(server.asked) == 1 and left(place) == {"data.bin"}


def test_a_broken_connection_is_resumed_and_no_byte_is_sent_twice(server, place):
    assert fetch(file(server, "broken")).read_bytes() == BODY
    assert server.asked == [{"Range": None, "If-Range": None}, {"Range": "bytes=100000-", "If-Range": ETAG}]
    assert left(place) == {"data.bin"}


def test_a_later_process_goes_on_where_the_first_was_left(server, place, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    assert "run again to go on where it ended" in error(file(server, "broken"))
    assert left(place) == {"data.bin.incomplete", "data.bin.etag"}
    assert fetch(file(server, "broken")).read_bytes() == BODY
    assert server.asked[1]["Range"] == "bytes=100000-" and left(place) == {"data.bin"}


def test_without_a_strong_etag_or_a_date_the_download_starts_anew(server):
    assert fetch(file(server, "weak")).read_bytes() == BODY
    assert server.asked[1] == {"Range": None, "If-Range": None}


def test_a_file_that_changed_upstream_meanwhile_starts_anew(server):
    assert fetch(file(server, "changed")).read_bytes() == BODY
    assert server.asked[1]["If-Range"] == ETAG and len(server.asked) == 2


def test_another_range_than_the_one_asked_for_is_not_appended(server):
    assert fetch(file(server, "elsewhere_in_file")).read_bytes() == BODY
    assert [asked["Range"] for asked in server.asked] == [None, "bytes=100000-", None]


def test_attempts_are_bounded_and_what_came_is_kept(server, place):
    assert f"{download.ATTEMPTS} attempts" in error(file(server, "always_broken"))
    assert len(server.asked) == download.ATTEMPTS
    assert (place / "toy" / "data.bin.incomplete").stat().st_size == 1000 * download.ATTEMPTS


def test_wrong_bytes_are_refused_with_both_sums_and_removed(server, place):
    message = error(file(server, "wrong"))
    assert hashlib.sha256(b"wrong").hexdigest() in message and hashlib.sha256(BODY).hexdigest() in message
    assert left(place) == set()


def test_a_peer_that_sends_more_than_the_file_is_cut_off(server, place):
    assert "expected" in error(file(server, "endless"))
    assert server.sent < 10**8 and left(place) == set()


@pytest.mark.parametrize(("path", "said"), [("gone", "404"), ("circle", "redirects"), ("refuses", "416")])
def test_an_answer_without_the_file_is_told_with_the_address(server, place, path, said):
    message = error(file(server, path))
    assert said in message and f"/{path}" in message and str(place / "toy" / "data.bin") in message
    assert left(place) == set()


def test_no_peer_at_all_is_told(place):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/good"
        assert "attempts" in error(file(None, url=url))
    assert left(place) == set()


def test_a_redirect_is_followed(server):
    assert fetch(file(server, "moved")).read_bytes() == BODY


def test_a_server_that_is_not_ready_is_asked_again(server):
    assert fetch(file(server, "unready")).read_bytes() == BODY
    assert len(server.asked) == 3


def test_416_drops_the_partial_file_and_starts_anew(server, place):
    (place / "toy").mkdir(parents=True)
    (place / "toy" / "data.bin.incomplete").write_bytes(BODY + b"stale")
    (place / "toy" / "data.bin.etag").write_text('"old"')
    assert fetch(file(server, "refuses_range")).read_bytes() == BODY
    assert [asked["Range"] for asked in server.asked] == [f"bytes={len(BODY) + 5}-", None]


def test_a_slow_peer_is_waited_for(server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", (1, 0.5))  # ten pieces, 0.1 s apart: longer in all than the limit
    assert fetch(file(server, "trickle")).read_bytes() == BODY
    assert len(server.asked) == 1


def test_a_silent_peer_is_left_and_the_rest_fetched_over_another_connection(server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", (1, 0.3))
    assert fetch(file(server, "stalls")).read_bytes() == BODY
    assert len(server.asked) == 2 and server.asked[1]["Range"].startswith("bytes=")


def run(code: str, **environment: str) -> subprocess.Popen:
    code = "from rocl import download\nfrom rocl.download import File, UserError\nimport resource\n" + code
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, **environment},
    )


def source(wanted: File) -> str:
    return f"file = File(**{wanted.__dict__!r})\n"


def test_a_full_disk_is_one_line_and_leaves_nothing_under_the_final_name(server, place):
    code = source(file(server)) + (
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n    download.fetch(file)\nexcept UserError as error:\n    print(error)\n"
    )
    process = run(code)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "cannot write" in out and "make room" in out and out.count("\n") == 1
    assert "data.bin" not in left(place)
    assert fetch(file(server)).read_bytes() == BODY  # once there is room


def test_two_processes_at_once_download_once(server, place):
    code = source(file(server, "trickle")) + "print(len(download.fetch(file).read_bytes()))\n"
    both = [run(code), run(code)]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert out.strip() == str(len(BODY)), err
    assert len(server.asked) == 1 and left(place) == {"data.bin"}


def test_a_member_is_taken_out_of_its_zip_and_nothing_else_is_written(server, place):
    assert fetch(file(server, "zip", member="folder/../data.bin")).read_bytes() == BODY
    assert left(place.parent) == {"data.bin"}
    (place / "toy" / "data.bin").unlink()
    assert "not a zip with other" in error(file(server, "zip", member="other"))
    assert "not a zip with" in error(file(server, "good", member="data.bin"))
    assert left(place) == set()


def test_a_corrupted_copy_is_noticed_with_both_sums(place):
    (place / "toy").mkdir(parents=True)
    path = place / "toy" / "data.bin"
    path.write_bytes(BODY)
    assert fetch(file(None)) == path
    path.write_bytes(BODY[:-1] + b"\0")
    message = error(file(None))
    assert hashlib.sha256(BODY).hexdigest() in message and hashlib.sha256(path.read_bytes()).hexdigest() in message


@pytest.mark.parametrize("name", ["ROCL_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_opens_no_socket(server, place, monkeypatch, name):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert "offline" in error(file(server))
    (place / "toy").mkdir(parents=True)
    (place / "toy" / "data.bin").write_bytes(BODY)
    assert fetch(file(server)).read_bytes() == BODY
    monkeypatch.delenv(name)
    (place / "toy" / "data.bin").unlink()
    with pytest.raises(AssertionError, match="a socket was opened"):  # the guard itself works
        fetch(file(server))


def test_everything_missing_is_listed_at_once(server, place):
    there = file(server)
    fetch(there)
    gone = File(corpus="old", folder="old", name="a.txt", sha256="f" * 64, size=12345, licence="CC0", elsewhere="b/c")
    assert download.missing([there, gone, gone]) == [gone]
    text = download.describe([gone])
    for said in ("old", "no address is known to serve it any more", "b/c", "12,345", "f" * 64, "CC0"):
        assert said in text
    assert str(place / "old" / "a.txt") in text
    assert "no address is known" in error(gone)
    assert there.url in download.describe([there])


def test_the_data_folder_is_the_environments_or_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("ROCL_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert download.data_folder() == tmp_path / "rocl" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert download.data_folder() == Path.home() / ".cache" / "rocl" / "data"
    monkeypatch.setenv("ROCL_DATA", "~/corpora")
    assert download.data_folder() == Path.home() / "corpora"


def test_files_can_be_listed_as_json():
    assert json.loads(json.dumps(file(None).__dict__))["name"] == "data.bin"
