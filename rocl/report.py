"""Tables over runs and seeds: every system beside majority and TF-IDF on the same rows.

python -m rocl.report experiments/mtkd.py --scale small --seeds 1-5      what stands on disk, nothing is trained
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from rocl import baselines, command, disk, metrics, runs
from rocl.data.task import Task
from rocl.experiment import Node, graphs, parsed, parser
from rocl.predict import Done, results

COLUMNS = {
    "accuracy": "accuracy",
    "macro_precision": "precision",
    "macro_recall": "recall",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "hamming_loss": "Hamming",
    "tokens_per_word": "tokens a word",
}
AUTHORS = {
    "redv2_authors/accuracy": "accuracy",
    "redv2_authors/micro_f1": "micro-F1",
    "redv2_authors/hamming_loss": "Hamming",
    "redv2_authors/mse": "MSE of logits",
}
TFIDF = "TF-IDF + LR"
HOW = (
    "Test scores in per cent: of one seed with the 95 % interval of a bootstrap over the test texts, over several "
    "seeds mean ± standard deviation (of what the seed changes: an encoder that is made once does not vary); "
    "precision, recall and F1 are macro averages over all labels unless called micro. The weights are those that did "
    "best on dev, by the mean of the tasks' metrics; where a row has many labels, thresholds were tuned on dev; test "
    "was scored once. The baselines learned from the same rows."
)


@dataclass
class Line:
    """A system on a task."""

    name: str
    facts: list[str]  # scale, corpus, encoder
    scores: list[Mapping[str, float]] = field(default_factory=list)  # on test, one a seed
    seeds: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    right: list[np.ndarray] = field(default_factory=list)  # which test rows are right as a whole, (N,) bool, one a seed

    def macro_f1(self) -> float:
        return float(np.mean([scores["macro_f1"] for scores in self.scores]))


Lines = dict[str, Line]  # by the title of a node, which two systems never share


def report(done: Sequence[Done], folder: Path, missing: Sequence[Node] = ()) -> str:
    """The tables of these runs as Markdown, one a task, also written to `folder`/report.md; names `missing` runs."""
    tables: dict[tuple, Lines] = {}
    for run in done:
        for task in run.tasks():
            key = (task.name, task.corpus.digest)
            if "test" in run.scores[task.name]:
                add(tables.setdefault(key, {}), run, task)
    keys = sorted(tables, key=lambda key: -len(tables[key]))  # what most systems learn, then in the graph's order
    losers = [f"{line.name} on {key[0]}" for key in keys for line in tables[key].values() if loses(line, tables[key])]
    first = f"Below {TFIDF} in macro-F1: {', '.join(losers)}." if losers else f"No system is below {TFIDF} in macro-F1."
    told = [first] if any(TFIDF in lines for lines in tables.values()) else []
    parts = told if tables else ["No finished run has test rows." if done else "No run is finished."]
    if missing:
        parts.append("Not run: " + ", ".join(f"{node.experiment.name} (seed {node.seed})" for node in missing) + ".")
    parts += [HOW] * bool(told)
    for key in keys:
        parts += [f"## {key[0]}", table(tables[key], COLUMNS)]
        parts += filter(None, [smallest(tables[key])])
        if any("hamming_loss" in scores for line in tables[key].values() for scores in line.scores):
            parts.append(
                f"{key[0]} as the REDv2 authors' code counts, at threshold 0.5, to compare with their figures:"
            )
            parts.append(table(tables[key], AUTHORS))
    if done:
        parts += [
            "## Runs",
            runs.markdown(["run", "seed", "best step", "dev", "wall time", "machine"], map(history, done)),
        ]
    text = "\n\n".join(parts) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    disk.write(folder / "report.md", text)
    return text


def add(lines: Lines, run: Done, task: Task) -> None:
    """Enters a run's scores on a task, as one more seed of a line or a line of its own, and the task's baselines."""
    node, sizes = run.node, "/".join(str(len(task.rows(split))) for split in ("train", "dev", "test"))
    facts = [node.scale.value, f"{task.corpus.name} {sizes} {task.corpus.digest}"]
    if TFIDF not in lines and task.kind != "text":
        lines |= {name: Line(name, [*facts, ""], [scores]) for name, scores in baseline(task, node).items()}
    line = lines.setdefault(node.title, Line(node.experiment.name, [*facts, node.encoder]))
    line.scores.append(run.scores[task.name]["test"])
    line.seeds.append(node.seed)
    if (predictions := run.folder / "predictions" / f"{task.name}-test.jsonl").exists():
        said = [json.loads(row) for row in predictions.read_text("utf-8").splitlines()]
        line.right.append(np.array([set(row["gold"]) == set(row["predicted"]) for row in said]))
    if disk.read_json(run.folder / "run.json")["code"] != runs.code(node.source.parent):
        line.notes = ["trained with other code"]


def loses(line: Line, lines: Lines) -> bool:
    return bool(line.seeds) and TFIDF in lines and line.macro_f1() < lines[TFIDF].macro_f1()


def table(lines: Lines, columns: Mapping[str, str]) -> str:
    """One task: a line a system, the baselines first, a column a metric that the task has."""
    lines = dict(sorted(lines.items(), key=lambda item: bool(item[1].seeds)))  # baselines have no seed
    told = {metric: metric for line in lines.values() for metric in line.scores[0]}
    columns = {metric: name for metric, name in columns.items() if metric in told}
    columns = told | columns if set(columns) <= {"tokens_per_word"} else columns  # no labels: all that a judge says
    names = [line.name for line in lines.values()]
    rows = []
    for title, line in lines.items():
        name = line.name if names.count(line.name) == 1 else title
        cells = [cell(metric, [s for s in line.scores if metric in s]) for metric in columns]
        if not line.seeds and "MSE of logits" in columns.values():
            cells[-1] = ""  # the baselines' logits are no such numbers
        notes = line.notes + ["below TF-IDF"] * (loses(line, lines) and columns.get("macro_f1") is not None)
        rows.append([*line.facts, ", ".join(map(str, line.seeds)), name, *cells, ", ".join(notes)])
    head = ["scale", "corpus train/dev/test digest", "encoder", "seeds", "system", *columns.values(), "note"]
    return runs.markdown(head, rows)


def cell(metric: str, scores: Sequence[Mapping[str, float]]) -> str:
    """Per cent (but for squared errors and the like), with the standard deviation where there are several seeds, with
    the interval where there is one seed and the metric has an interval."""
    if not scores:
        return ""
    values = [each[metric] for each in scores]
    factor, digits = (1 if metric.endswith(("mse", "perplexity", "per_word")) else 100), 1 + metric.endswith("per_word")
    spread = f" ± {factor * np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    if len(scores) == 1 and f"{metric}/low" in scores[0]:
        spread = (
            f" [{factor * scores[0][f'{metric}/low']:.{digits}f}, {factor * scores[0][f'{metric}/high']:.{digits}f}]"
        )
    return f"{factor * np.mean(values):.{digits}f}{spread}"


def smallest(lines: Lines) -> str:
    """What difference in accuracy the test rows can show between two runs, by how often just one of two is right.

    For McNemar's test on N rows of which d are such, two-sided at 5 %: an observed difference of 1.96 * sqrt(d) / N is
    just significant, a true one of (1.96 + 0.84) * sqrt(d) / N is found in 80 % of cases (Connor 1987, for differences
    that are small). '' without two runs of one seed, or where they differ on fewer than ten rows.
    """
    right = [line.right[0] for line in lines.values() if len(line.right) == 1]
    apart = [int((one != two).sum()) for one, two in combinations(right, 2)]
    if not apart or (rows := float(np.median(apart))) < 10:
        return ""
    seen, power = (100 * z * rows**0.5 / len(right[0]) for z in (1.96, 2.8))
    return (
        f"What {len(right[0]):,} test texts can show: of two of these runs just one is right on {rows:.0f} texts "
        f"(median of pairs). By McNemar's test an observed difference in accuracy is significant (5 %) from {seen:.1f} "
        f"points; a true one is found four times in five from {power:.1f} points. Macro-F1 is rather less certain."
    )


def history(run: Done) -> list[str]:
    """How a run went: its best look at dev, the time over all its interruptions, and where."""
    best, about = run.record["best"], disk.read_json(run.folder / "run.json")
    clock = run.folder / "clock.json"
    seconds = f"{disk.read_json(clock)['seconds']:.0f} s" if clock.exists() else "not recorded"
    where = about["environment"]
    machine = f"{where['device']}, {where['threads']} threads, {about['precision']}, torch {where['torch']}"
    return [run.node.title, str(run.node.seed), str(best["step"]), f"{100 * best['score']:.1f}", seconds, machine]


def baseline(task: Task, node: Node) -> dict[str, Mapping[str, float]]:
    """Test scores of the two baselines, computed once for each set of rows."""
    path = node.out / "baselines" / f"{task.rows_digest}-{metrics.DRAWS}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.write_json(path, {"majority": baselines.majority(task)["test"], TFIDF: baselines.tfidf(task)["test"]})
    return disk.read_json(path)


def main(arguments: Sequence[str]) -> None:
    options = parsed(parser("python -m rocl.report", __doc__), arguments)
    nodes = graphs(options)
    trained = [run for run in results(nodes) if run.node.experiment.objective]
    finished = [run for run in trained if (run.folder / "done").exists()]
    print(report(finished, nodes[-1].folder, [run.node for run in trained if run not in finished]))


if __name__ == "__main__":
    sys.exit(command.run(main))
