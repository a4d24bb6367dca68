"""Splits of a corpus that has none, drawn so that neither the order of its file nor the run's seed decides them."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

from rocl.data.corpus import Row

Key = Callable[[Row], Hashable]  # what rows have in common, or what their luck hangs on
Drawn = tuple[list[Row], list[Row]]


def draw(rows: Sequence[Row], size: int, stratum: Key, seed: int = 0, *, luck: Key = lambda row: row.id) -> Drawn:
    """(`size` drawn rows, the rest), both in the order of `rows`, with the shares of the strata kept.

    Each stratum gives its share, rounded by largest remainder, but never its last row; in it, those rows are drawn
    whose hash of seed and `luck` is smallest. So what becomes of a row hangs on its id (or text) alone.
    """

    def chance(name: object) -> bytes:
        return hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogatepass")).digest()

    strata: dict[Hashable, list[Row]] = defaultdict(list)
    for row in rows:
        strata[stratum(row)].append(row)
    shares = {key: divmod(len(members) * size, len(rows)) for key, members in strata.items()}
    left = size - sum(whole for whole, _ in shares.values())
    able = [key for key, members in strata.items() if shares[key][0] + 1 < len(members)]
    rounded_up = sorted(able, key=lambda key: (-shares[key][1], str(key)))[:left]
    drawn: set[str] = set()
    for key, members in strata.items():
        lucky = sorted(members, key=lambda row: (chance(luck(row)), row.id))
        drawn.update(row.id for row in lucky[: shares[key][0] + (key in rounded_up)])
    return [row for row in rows if row.id in drawn], [row for row in rows if row.id not in drawn]


def draw_groups(
    rows: Sequence[Row], share: float, stratum: Key, group: Key, seed: int = 0, *, luck: Key = lambda row: row.id
) -> Drawn:
    """As `draw`, of this share of the groups: all rows of a group, such as copies of a text, go to one side.

    A group's stratum and luck are those of its first row.
    """
    groups = {row.id: group(row) for row in rows}
    firsts: dict[Hashable, Row] = {}
    for row in rows:
        firsts.setdefault(groups[row.id], row)
    chosen, _ = draw(list(firsts.values()), round(share * len(firsts)), stratum, seed, luck=luck)
    inside = {groups[row.id] for row in chosen}
    return [row for row in rows if groups[row.id] in inside], [row for row in rows if groups[row.id] not in inside]
