"""Tables over runs and seeds: every system beside majority and TF-IDF on the same rows.

python -m rocl.report experiments/mtkd.py --scale small --seeds 1-5      what stands on disk, nothing is trained
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rocl import baselines, runs
from rocl.data.task import Task
from rocl.experiment import Node
from rocl.predict import Done

COLUMNS = {
    "accuracy": "accuracy",
    "macro_precision": "precision",
    "macro_recall": "recall",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "hamming_loss": "Hamming",
}
TFIDF = "TF-IDF + LR"

Rows = dict[str, list[Mapping[str, float]]]  # test scores by system, one entry a seed


def report(done: Sequence[Done], folder: Path) -> str:
    """The tables of these runs as Markdown, also written to `folder`/report.md: one a task, test scores in per cent."""
    tasks: dict[str, Task] = {}
    tables: dict[str, Rows] = {}
    other_code: set[str] = set()
    for run in done:
        record = runs.read_json(run.folder / "run.json")
        if record["code"] != runs.code(run.node.source.parent):
            other_code.add(run.node.experiment.name)
        for task in run.tasks():
            tasks.setdefault(task.name, task)
            if task.name not in tables:
                tables[task.name] = {name: [scores] for name, scores in baseline(task, run.node).items()}
            if "test" in run.scores[task.name]:
                tables[task.name].setdefault(run.node.experiment.name, []).append(run.scores[task.name]["test"])
    losers = [
        f"{system} on {name}"
        for name, rows in tables.items()
        for system, scores in rows.items()
        if mean(scores, "macro_f1") < mean(rows[TFIDF], "macro_f1") and system not in ("majority", TFIDF)
    ]
    first = (
        f"Below {TFIDF} in macro-F1: {', '.join(losers)}." if losers else f"Every system is above {TFIDF} in macro-F1."
    )
    parts = [first] + [table(tasks[name], rows, done, other_code) for name, rows in tables.items()]
    text = "\n\n".join(parts) + "\n"
    runs.write(folder / "report.md", text)
    return text


def mean(scores: Sequence[Mapping[str, float]], metric: str) -> float:
    return float(np.mean([s[metric] for s in scores]))


def table(task: Task, rows: Rows, done: Sequence[Done], other_code: set[str]) -> str:
    """One task: a line a system, a column a metric, mean and standard deviation where there are several seeds."""
    columns = {metric: title for metric, title in COLUMNS.items() if metric in rows["majority"][0]}
    sizes = "/".join(str(len(task.rows(split))) for split in ("train", "dev", "test"))
    scale = done[0].node.scale.value
    head = ["scale", f"{task.name}: {task.corpus.name} {sizes} {task.corpus.digest}", *columns.values(), "seeds", ""]
    lines = [head, ["---"] * len(head)]
    for system, scores in rows.items():
        cells = [cell([s[metric] for s in scores]) for metric in columns]
        baseline = system in ("majority", TFIDF)
        marks = ["trained with other code"] * (system in other_code)
        marks += ["below TF-IDF"] * (not baseline and mean(scores, "macro_f1") < mean(rows[TFIDF], "macro_f1"))
        lines.append([scale, system, *cells, "" if baseline else str(len(scores)), ", ".join(marks)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(values: Sequence[float]) -> str:
    """Per cent, with the standard deviation over seeds where there are several."""
    spread = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{spread}"


def baseline(task: Task, node: Node) -> dict[str, Mapping[str, float]]:
    """Test scores of the two baselines, computed once for each set of rows."""
    path = node.out / "baselines" / f"{task.rows_digest}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        runs.write_json(path, {"majority": baselines.majority(task)["test"], TFIDF: baselines.tfidf(task)["test"]})
    return runs.read_json(path)
