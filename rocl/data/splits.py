"""Splits of a corpus that has none, drawn so that neither the order of its file nor the run's seed decides them."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

from rocl.data.corpus import Row


def draw(
    rows: Sequence[Row], size: int, stratum: Callable[[Row], Hashable], seed: int = 0
) -> tuple[list[Row], list[Row]]:
    """(`size` drawn rows, the rest), both in the order of `rows`, with the shares of the strata kept.

    Each stratum gives its share, rounded by largest remainder; in it, those rows are drawn whose hash of seed and id
    is smallest. So a row's luck hangs on its id alone.
    """
    strata: dict[Hashable, list[Row]] = defaultdict(list)
    for row in rows:
        strata[stratum(row)].append(row)
    shares = {key: divmod(len(members) * size, len(rows)) for key, members in strata.items()}
    left = size - sum(whole for whole, _ in shares.values())
    rounded_up = sorted(shares, key=lambda key: (-shares[key][1], str(key)))[:left]
    drawn: set[str] = set()
    for key, members in strata.items():
        ids = sorted((row.id for row in members), key=lambda id: hashlib.sha256(f"{seed} {id}".encode()).digest())
        drawn.update(ids[: shares[key][0] + (key in rounded_up)])
    return [row for row in rows if row.id in drawn], [row for row in rows if row.id not in drawn]


def draw_groups(
    rows: Sequence[Row],
    share: float,
    stratum: Callable[[Row], Hashable],
    group: Callable[[Row], Hashable],
    seed: int = 0,
) -> tuple[list[Row], list[Row]]:
    """As `draw`, of this share of the groups: all rows of a group, such as copies of a text, go to one side.

    A group's stratum is that of its first row.
    """
    firsts: dict[Hashable, Row] = {}
    for row in rows:
        firsts.setdefault(group(row), row)
    drawn = {row.id for row in draw(list(firsts.values()), round(share * len(firsts)), stratum, seed)[0]}
    inside = {key for key, row in firsts.items() if row.id in drawn}
    return [row for row in rows if group(row) in inside], [row for row in rows if group(row) not in inside]
