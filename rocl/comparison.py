"""Every system of a table of lines beside the others: its figures over seeds, and the tests against a named one."""

from collections.abc import Collection, Iterable, Sequence
from itertools import product

import numpy as np

from rocl import results, significance
from rocl.errors import UserError, hint
from rocl.results import TFIDF, Line, Table

LESS_IS_BETTER = ("loss", "mse", "perplexity", "per_word", "divergence", "ece")  # how names of such metrics end
FIELDS = "scale task corpus digest system run encoder seeds metric mean deviation best median against pairs".split()
FIELDS += "difference low high p_bootstrap p_holm p_randomised p_mcnemar smallest verdict quoted".split()
Row = dict  # of one system, task and metric: such of FIELDS as there are; scores are shares


def compare(told: Sequence[Line], against: str = TFIDF, systems: Collection[str] | None = None) -> list[Row]:
    """A row for every system, task and metric; of accuracy and macro-F1 with the tests of `significance.compare`
    against the system of that name, p_holm and a verdict for its table. A baseline is not tested against a baseline;
    quoted figures are in no test, nor are runs that are not among `systems`, where these are given: a stage on the way
    to a system would only make Holm's family larger."""
    tables = results.tables(told)
    names = sorted({name for table in tables for s in table.values() for name in (s[0]["system"], s[0]["run"])})
    if against not in (*names, TFIDF):
        raise UserError(f"--against {against}: no such system, only {', '.join(names) or 'none'}{hint(against, names)}")
    return [row for table in tables for row in rows_of(table, reference(table, against), told, systems)]


def reference(table: Table, against: str) -> str | None:
    """The system meant by a name, or by a name with its hash; of two such baselines the one that read most rows."""
    rows = {n: s[0]["corpus"]["train"] for n, s in table.items() if against in (s[0]["system"], s[0]["run"])}
    most = [name for name in rows if rows[name] == max(rows.values())]
    if len(most) > 1:
        raise UserError(f"--against {against}: choose one of {', '.join(most)}")
    return most[0] if most else None


def rows_of(table: Table, against: str | None, told: Sequence[Line], systems: Collection[str] | None) -> list[Row]:
    """The rows of one table: baselines, systems, and what is quoted of its task."""
    first, rows = results.face(table), []
    where = {"scale": first["scale"], "task": first["task"], "against": against}
    where |= {"corpus": first["corpus"]["name"], "digest": first["corpus"]["digest"]}
    quoted = results.quoted(told, table)
    draws = max(significance.DRAWS, 100 * len(table))  # enough for a p that Holm makes as many times larger
    for name, system in sorted(table.items(), key=lambda item: item[1][0]["seed"] is not None):
        stage = systems is not None and system[0]["seed"] is not None and system[0]["run"] not in systems
        tests = tested(system, table[against], draws) if against and not stage else {}
        metrics = [m for m in system[0]["test"] if "/" not in m or any(m in line for line in quoted)]
        rows += [where | summary(name, system, metric) | tests.get(metric, {}) for metric in metrics]
    for metric in significance.MEASURES:
        judge([row for row in rows if row["metric"] == metric and "p_bootstrap" in row])
    for line in quoted:
        shown = where | {"system": line.get("system", "?"), "quoted": line["quoted"]}
        rows += [shown | {"metric": m, "mean": line[m]} for m in line if m not in results.QUOTED]
    return rows


def summary(name: str, system: Sequence[Line], metric: str) -> Row:
    values = [line["test"][metric] for line in system if metric in line["test"]]
    row = {"system": name, "run": system[0]["run"], "encoder": system[0]["encoder"], "metric": metric}
    row |= {"seeds": " ".join(str(line["seed"]) for line in system if line["seed"] is not None)}
    row |= {"mean": float(np.mean(values)), "median": float(np.median(values)), "best": best(metric, values)}
    return row | ({"deviation": float(np.std(values, ddof=1))} if len(values) > 1 else {})


def best(metric: str, values: Sequence[float]) -> float:
    return (min if metric.endswith(LESS_IS_BETTER) else max)(values)


def tested(system: Sequence[Line], other: Sequence[Line], draws: int) -> dict[str, Row]:
    """What the tests say, by metric, of all pairs of one seed (a baseline, which has none, stands beside every one);
    or why there is no test."""
    if system is other or system[0]["seed"] is None is other[0]["seed"]:
        return {}
    once = None in (system[0]["seed"], other[0]["seed"])
    pairs = [(one, two) for one, two in product(system, other) if once or one["seed"] == two["seed"]]
    lines = [line for pair in pairs for line in pair]
    if not pairs or not all("predicted" in line for line in lines):
        return dict.fromkeys(significance.MEASURES, {"verdict": "no predictions" if pairs else "no seed in common"})
    if len({(line["rows"], line["gold"]) for line in lines}) > 1:
        names = f"{system[0]['run']} and {other[0]['run']}"
        raise UserError(f"{names} were not tested on the same rows of {system[0]['task']}: report them separately")
    sides = [np.stack([results.unpacked(line, "predicted") for line in side]) for side in zip(*pairs, strict=True)]
    found = significance.compare(results.unpacked(lines[0], "gold"), *sides, draws)
    return {
        metric: {"pairs": len(pairs)} | {name: float(v[place]) for name, v in found.items() if not np.isnan(v[place])}
        for place, metric in enumerate(significance.MEASURES)
    }


def judge(rows: Sequence[Row]) -> None:
    """Enters what holds for all comparisons of a table together."""
    for row, p in zip(rows, significance.holm([row["p_bootstrap"] for row in rows]), strict=True):
        shown = p < 0.05 and abs(row["difference"]) >= row["smallest"]
        side = "above" if row["difference"] > 0 else "below"
        row |= {"p_holm": float(p), "verdict": side if shown else "not shown"}


def grouped(rows: Iterable[Row], *names: str) -> dict[tuple, list[Row]]:
    """The rows by what stands under these names, in the order of their first."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return groups
