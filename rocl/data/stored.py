"""Rows of a corpus too large for memory: they lie in a file, and memory knows where each begins."""

import json
import os
from array import array
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import IO

import numpy as np

from rocl.data import streams
from rocl.data.corpus import Row
from rocl.data.streams import portions, scratch


class Stored(Sequence[Row]):
    """Rows of a file, each read when it is asked for."""

    def __init__(self, file: IO[bytes], begins: np.ndarray, ends: np.ndarray) -> None:
        self.file, self.begins, self.ends = file, begins, ends

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, place: int | slice) -> "Row | Stored":
        if isinstance(place, slice):
            return Stored(self.file, self.begins[place], self.ends[place])
        begin, end = self.begins[place], self.ends[place]
        id, texts, labels, extra = json.loads(os.pread(self.file.fileno(), end - begin, begin))
        return Row(id, tuple(texts), tuple(labels), extra)


class Ids(Sequence[str]):
    """The ids of rows."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> str:
        return self.rows[place].id


def kept(rows: Iterable[Row]) -> Sequence[Row]:
    """The rows: in memory if they have no more than LARGE characters, else in a file."""
    rows = iter(rows)
    first = next(portions(rows, _size, streams.LARGE))
    more = next(rows, None)
    return first if more is None else _stored(chain(first, [more], rows))


def _size(row: Row) -> int:
    """Its characters, and about as many as the bytes that it takes without them."""
    beside = [value for value in row.extra.values() if isinstance(value, str | list)]
    return 500 + sum(map(len, row.texts)) + sum(map(len, beside))


def _stored(rows: Iterable[Row]) -> Stored:
    bounds = array("q", [0])
    with scratch("w+b") as file:
        for row in rows:
            line = json.dumps([row.id, row.texts, row.labels, dict(row.extra)]).encode()
            bounds.append(bounds[-1] + file.write(line))
    places = np.frombuffer(bounds, np.int64)
    return Stored(file, places[:-1], places[1:])


def picked(rows: Sequence[Row], places: Sequence[int]) -> Sequence[Row]:
    """Those at these places, in this order."""
    if isinstance(rows, Stored):
        places = np.array(places, np.int64)
        return Stored(rows.file, rows.begins[places], rows.ends[places])
    return [rows[place] for place in places]
