"""Files that come from elsewhere: found in the data folder or downloaded into it, always with their sha256 verified."""

import os
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError  # what requests lets through while a body is read

from rocl import disk
from rocl.errors import UserError

ATTEMPTS = 5  # connections a file may take before we give up; each goes on where the last one ended
PAUSE = 1.0  # seconds before the second connection, doubled before each further one
TIMEOUT = (10, 30)  # seconds to connect, and between two pieces: a slow peer goes on, a silent one is left
BROKEN = (requests.ConnectionError, requests.Timeout, HTTPError)


@dataclass(frozen=True, kw_only=True)
class File:
    """One upstream file; it lives at `data_folder() / folder / name`."""

    corpus: str
    folder: str
    name: str
    sha256: str
    size: int  # bytes
    licence: str
    url: str | None = None  # None: no address is known to serve it any more
    member: str = ""  # where `url` serves a zip: which file of it this is
    elsewhere: str = ""  # where a person may look for it

    @property
    def path(self) -> Path:
        return data_folder() / self.folder / self.name

    @property
    def address(self) -> str:
        address = self.url or "no address is known to serve it any more"
        address += f" (a zip; in it {self.member})" if self.member else ""
        return address + (f"; look for {self.elsewhere}" if self.elsewhere else "")


def data_folder() -> Path:
    """$ROCL_DATA, or rocl/data in the user's cache folder."""
    folder = os.environ.get("ROCL_DATA")
    return Path(folder).expanduser() if folder else cache_folder() / "data"


def cache_folder() -> Path:
    """rocl in the user's cache folder, for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "rocl"


def offline() -> bool:
    """Whether ROCL_OFFLINE or HF_HUB_OFFLINE forbids opening a socket."""
    values = {os.environ.get(name, "").lower() for name in ("ROCL_OFFLINE", "HF_HUB_OFFLINE")}
    return bool(values & {"1", "true", "yes", "on"})


def missing(files: Iterable[File]) -> list[File]:
    """Those of the files that are not in the data folder, each once."""
    return [file for file in dict.fromkeys(files) if not file.path.exists()]


def describe(files: Iterable[File]) -> str:
    """All that a person needs to put these files into place by hand."""
    return "\n".join(
        f"{file.corpus}: {file.folder}/{file.name}\n"
        f"    address  {file.address}\n"
        f"    size     {file.size:,} bytes\n"
        f"    sha256   {file.sha256}\n"
        f"    put at   {file.path}\n"
        f"    licence  {file.licence}"
        for file in files
    )


def fetch(file: File) -> Path:
    """The local path of a file whose bytes are verified, downloaded if it is absent.

    Raises UserError if it is absent and cannot be had, or if its bytes are not the pinned ones.
    """
    path = file.path
    if not path.exists():
        if offline() or file.url is None:
            why = "rocl is offline (ROCL_OFFLINE or HF_HUB_OFFLINE)" if offline() else file.address
            raise UserError(f"{file.corpus}: {path} is missing and {why}; {_by_hand(file)}")
        _download(file, path)
    try:
        wrong = _wrong(file, path)
    except OSError as error:
        raise UserError(f"{file.corpus}: {path} cannot be read: {error.strerror or error}") from error
    if wrong:
        raise UserError(f"{file.corpus}: {path} has {wrong}; remove it and run again, or put the right file there")
    return path


def _download(file: File, path: Path) -> None:
    """Bring a file into place: never a part of it under its own name, and by one process at a time."""
    partial, validator = (path.with_name(path.name + end) for end in (".incomplete", ".etag"))
    try:
        with disk.missing(path) as missing:
            if not missing:  # another process was faster
                return
            _stream(file, partial, validator)
            validator.unlink(missing_ok=True)
            if wrong := _unpack(file, partial) or _wrong(file, partial):
                partial.unlink()
                raise UserError(f"{file.corpus}: {file.url} served {wrong}; nothing was kept; {_by_hand(file)}")
            with open(partial, "rb") as written:
                os.fsync(written.fileno())
            partial.replace(path)
    except requests.RequestException as error:
        raise UserError(f"{file.corpus}: {file.url} cannot be read: {error}; {_by_hand(file)}") from error
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"{file.corpus}: cannot write {path}: {why}; make room or set ROCL_DATA") from error


def _stream(file: File, partial: Path, validator: Path) -> None:
    """Append to `partial` until the peer is done, over as many connections as ATTEMPTS allows."""
    for attempt in range(ATTEMPTS):
        try:
            broken = _connect(file, partial, validator)
        except BROKEN as error:
            broken = str(error) or type(error).__name__
        if not broken:
            return
        time.sleep(PAUSE * 2**attempt if attempt + 1 < ATTEMPTS else 0)
    fix = f"run again to go on where it ended, or {_by_hand(file)}"
    raise UserError(f"{file.corpus}: {file.url} was left after {ATTEMPTS} attempts ({broken}); {fix}")


def _connect(file: File, partial: Path, validator: Path) -> str:
    """One connection's worth of the file. Returns why another one is worth a try, or "" if the peer is done.

    `validator` keeps what If-Range needs, a strong etag or a date; without either a broken download starts anew.
    """
    known = validator.read_text() if validator.exists() else ""
    have = partial.stat().st_size if known and partial.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": known}
    with requests.get(file.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        status, answer = response.status_code, response.headers
        goes_on = status == 206 and answer.get("Content-Range", "").startswith(f"bytes {have}-")
        if have and status in (206, 416) and not goes_on:
            partial.unlink()  # the next connection starts anew
            return f"{status} to a request for the rest"
        if status >= 500 or status == 429:
            return f"{status} {response.reason}"
        if status != 200 and not goes_on:
            raise UserError(f"{file.corpus}: {file.url} answers {status} {response.reason}; {_by_hand(file)}")
        if status == 200 or not have:
            have = 0
            partial.unlink(missing_ok=True)
            etag = answer.get("ETag", "W/")
            validator.write_text(answer.get("Last-Modified", "") if etag.startswith("W/") else etag)
        total = have + int(answer["Content-Length"]) if "Content-Length" in answer else None
        bar = tqdm(total=total, initial=have, desc=file.name, unit="B", unit_scale=True, disable=None)
        with open(partial, "ab") as out, bar:
            while piece := response.raw.read1(1 << 16):  # what has come so far, be it a byte
                bar.update(out.write(piece))
                if out.tell() > file.size and not file.member:
                    break  # not our file; its sum will say so
    return ""


def _unpack(file: File, partial: Path) -> str:
    """Put a zip's member in the place of the zip, read by name so that no path in it is followed; "" or why not."""
    if not file.member:
        return ""
    try:
        with zipfile.ZipFile(partial) as archive:
            content = archive.read(file.member)
    except (zipfile.BadZipFile, KeyError):
        return f"what is not a zip with {file.member}"
    partial.write_bytes(content)
    return ""


def _wrong(file: File, path: Path) -> str:
    """How the bytes at a path differ from the pinned ones, or ""."""
    if (found := disk.digest(path)) == file.sha256:
        return ""
    return f"sha256 {found} ({path.stat().st_size:,} bytes), expected {file.sha256} ({file.size:,} bytes)"


def _by_hand(file: File) -> str:
    return f"put the file ({file.size:,} bytes, sha256 {file.sha256}) at {file.path}"
