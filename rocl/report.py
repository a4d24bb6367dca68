"""Tables over runs and seeds: every system beside majority and TF-IDF on the same rows, and whether it differs.

python -m rocl.report experiments/mtkd.py --scale small --seeds 1-5      what stands on disk, nothing is trained
python -m rocl.report runs results/small.jsonl --against single          folders of runs and files of lines, any number

`rocl.results` says what a line is, `rocl.significance` how systems are compared.
"""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from rocl import command, comparison, disk, paper, predict, results, runs
from rocl.data.task import Task
from rocl.errors import UserError
from rocl.experiment import Node, graphs, parsed, parser
from rocl.paper import AUTHORS, COLUMNS
from rocl.predict import Done
from rocl.results import TFIDF, Line, Table

HOW = (
    "Test scores in per cent: of one seed with the 95 % interval of a bootstrap over the test texts, over several "
    "seeds mean ± standard deviation (of what the seed changes: an encoder that is made once does not vary); "
    "precision, recall and F1 are macro averages over all labels unless called micro. The weights are those that did "
    "best on dev, by the mean of the tasks' metrics; where a row has many labels, thresholds were tuned on dev; test "
    "was scored once. The baselines learned from the rows that most systems of their table learned from."
)


def report(done: Sequence[Done], folder: Path) -> str:
    """The tables of these runs as Markdown, one a task, also written to `folder`/report.md."""
    text = told(gathered(done), code=runs.code(done[0].node.source.parent) if done else None)
    disk.write(folder / "report.md", text)
    return text


def gathered(done: Sequence[Done]) -> list[Line]:
    """The lines of these runs, and of the baselines of their tasks on the rows that most of them learned from."""
    tasks: dict[tuple, list[tuple[Task, Node]]] = {}
    for run in done:
        for task in [task for task in run.tasks() if task.kind != "text" and task.rows("test")]:
            tasks.setdefault((task.name, task.judged_on), []).append((task, run.node))
    lines = [line for run in done for line in results.lines(run.folder)]
    for same in tasks.values():
        counts = Counter(task.rows_digest for task, _ in same)
        task, node = max(same, key=lambda one: (counts[one[0].rows_digest], len(one[0].rows("train"))))
        lines += results.of_baselines(task, node.out, node.scale.value)
    return lines


def told(lines: Sequence[Line], missing: Sequence[str] = (), code: str | None = None) -> str:
    """The tables of these lines; those of other code than `code`, where it is given, are marked."""
    tables = results.tables(lines)
    losers = [f"{name} on {task(table)}" for table in tables for name in table if loses(name, table)]
    first = f"Below {TFIDF} in macro-F1: {', '.join(losers)}." if losers else f"No system is below {TFIDF} in macro-F1."
    learned = any(TFIDF in table for table in tables)
    parts = [first] * learned if tables else ["No finished run has test rows." if lines else "No run is finished."]
    parts += [f"Not run: {', '.join(missing)}."] * bool(missing) + [HOW] * learned
    for one in tables:
        quoted = results.quoted(lines, one)
        parts += [f"## {task(one)}", table(one, COLUMNS, quoted, code), *filter(None, [smallest(one)])]
        if any("hamming_loss" in line["test"] for system in one.values() for line in system):
            title = f"{task(one)} as the REDv2 authors' code counts, at threshold 0.5, to compare with their figures:"
            parts += [title, table(one, AUTHORS, quoted, code)]
    if trained := {(line["run"], line["seed"]): line for line in lines if line.get("seed") is not None}:
        head = ["run", "seed", "best step", "dev", "wall time", "machine"]
        parts += ["## Runs", runs.markdown(head, map(history, trained.values()))]
    return "\n\n".join(parts) + "\n"


def task(table: Table) -> str:
    return next(iter(table.values()))[0]["task"]


def macro_f1(system: Sequence[Line]) -> float:
    return float(np.mean([line["test"]["macro_f1"] for line in system]))


def loses(name: str, table: Table) -> bool:
    scored = table[name][0]["seed"] is not None and "macro_f1" in table[name][0]["test"]
    return scored and TFIDF in table and macro_f1(table[name]) < macro_f1(table[TFIDF])


def table(systems: Table, columns: Mapping[str, str], quoted: Sequence[Line] = (), code: str | None = None) -> str:
    """One task: a line a system, baselines first and what is quoted last; a column a metric that the task has."""
    systems = dict(sorted(systems.items(), key=lambda item: item[1][0]["seed"] is not None))
    had = {metric: metric for system in systems.values() for metric in system[0]["test"]}
    columns = {metric: name for metric, name in columns.items() if metric in had}
    columns = had | columns if set(columns) <= {"tokens_per_word"} else columns  # no labels: all that a judge says
    rows = []
    for name, system in systems.items():
        learned = system[0]["seed"] is not None
        cells = [cell(metric, [line["test"] for line in system if metric in line["test"]]) for metric in columns]
        if not learned and "MSE of logits" in columns.values():
            cells[-1] = ""  # the baselines' logits are no such numbers
        notes = ["trained with other code"] * (learned and any(line["code"] != code for line in system if code))
        notes += ["below TF-IDF"] * (loses(name, systems) and "macro_f1" in columns)
        seeds = ", ".join(str(line["seed"]) for line in system) if learned else ""
        rows.append([*facts(system[0]), seeds, name, *cells, ", ".join(notes)])
    for line in quoted:
        cells = [cell(metric, [line] if metric in line else []) for metric in columns]
        rows += [["", "", "", "", line.get("system", "?"), *cells, f"quoted: {line['quoted']}"]] * any(cells)
    head = ["scale", "corpus train/dev/test digest", "encoder", "seeds", "system", *columns.values(), "note"]
    return runs.markdown(head, rows)


def facts(line: Line) -> list[str]:
    """What the first columns of a table say: scale, corpus with sizes and digest, encoder."""
    corpus = line["corpus"]
    sizes = "/".join(str(corpus[split]) for split in ("train", "dev", "test"))
    return [line["scale"], f"{corpus['name']} {sizes} {corpus['digest']}", line["encoder"]]


def cell(metric: str, scores: Sequence[Mapping[str, float]]) -> str:
    """Per cent (but for squared errors and the like), with the standard deviation where there are several seeds, with
    the interval where there is one seed and the metric has an interval."""
    if not scores:
        return ""
    values = [each[metric] for each in scores]
    nats = metric.endswith("divergence") or metric in ("loss", "weighted_loss")
    factor = 1 if nats or metric.endswith(("mse", "perplexity", "per_word")) else 100
    digits = 4 if nats else 1 + metric.endswith("per_word")
    spread = f" ± {factor * np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    if len(scores) == 1 and f"{metric}/low" in scores[0]:
        low, high = (factor * scores[0][f"{metric}/{end}"] for end in ("low", "high"))
        spread = f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{factor * np.mean(values):.{digits}f}{spread}"


def smallest(table: Table) -> str:
    """What difference in accuracy the test rows can show between two runs, by how often just one of two is right.

    For McNemar's test on N rows of which d are such, two-sided at 5 %: an observed difference of 1.96 * sqrt(d) / N is
    just significant, a true one of (1.96 + 0.84) * sqrt(d) / N is found in 80 % of cases (Connor 1987, for differences
    that are small). '' without two runs of one seed, or where they differ on fewer than ten rows.
    """
    once = [system[0] for system in table.values() if len(system) == 1 and system[0]["seed"] is not None]
    right = [results.unpacked(line, "gold") == results.unpacked(line, "predicted") for line in once if "gold" in line]
    apart = [int((one.all(1) != two.all(1)).sum()) for one, two in combinations(right, 2)]
    if not apart or (rows := float(np.median(apart))) < 10:
        return ""
    seen, power = (100 * z * rows**0.5 / len(right[0]) for z in (1.96, 2.8))
    return (
        f"What {len(right[0]):,} test texts can show: of two of these runs just one is right on {rows:.0f} texts "
        f"(median of pairs). By McNemar's test an observed difference in accuracy is significant (5 %) from {seen:.1f} "
        f"points; a true one is found four times in five from {power:.1f} points. Macro-F1 is rather less certain."
    )


def history(line: Line) -> list[str]:
    """How a run went: its best look at dev, the time over all its interruptions, and where."""
    where, best = line["environment"], line["best"]
    seconds = "not recorded" if line["seconds"] is None else f"{line['seconds']:.0f} s"
    machine = f"{where['device']}, {where['threads']} threads, {line['precision']}, torch {where['torch']}"
    return [line["run"], str(line["seed"]), str(best["step"]), f"{100 * best['score']:.1f}", seconds, machine]


def compared(rows: Sequence[comparison.Row], against: str) -> str:
    """The comparisons as Markdown, and what could not be compared."""
    absent = dict.fromkeys(row["task"] for row in rows if row["against"] is None and row["metric"] == "accuracy")
    why = f"Not compared, for there is no {against} on the same rows: {', '.join(absent)}." if absent else ""
    parts = [part for part in (paper.markdown(rows), why) if part]
    return "\n\n".join(["## Comparisons", *parts]) if parts else ""


def made(lines: Sequence[Line]) -> str:
    """How the numbers were made, as checklists for reproducibility ask: runs, seeds, sizes, time, data, versions."""
    ran = {(line["scale"], line["run"], line["seed"]): line for line in lines if line.get("seed") is not None}.values()
    systems = comparison.grouped(ran, "scale", "run").values()
    minutes = sum(line["seconds"] or 0 for line in ran) / 60
    data = {(line["scale"], line["task"], json.dumps(line["corpus"])): line for line in lines if "quoted" not in line}
    said = [line["environment"] | {"precision": line["precision"], "code": line["code"]} for line in ran]
    names = dict.fromkeys(name for one in said for name in one)
    versions = {name: ", ".join(sorted({str(one.get(name)) for one in said})) for name in names}
    head = ["scale", "run", "seeds", "parameters", "steps", "batch", "learning rate", "dev", "seconds a run"]
    facts_ = ["scale", "task", "language", "corpus", "copies in train", "of train in dev, test", "note"]
    quoted = [line for line in lines if "quoted" in line]
    unused = [line["quoted"] for line in quoted if not any(results.belongs(line, other) for other in data.values())]
    spent = f"{len(ran)} runs of {len(systems)} systems, {minutes:,.0f} minutes in all."
    chosen = "The weights of each run were chosen on dev, test was scored once."
    parts = ["## How these numbers were made", f"{spent} {chosen}", runs.markdown(head, map(training, systems))]
    parts += [runs.markdown(facts_, map(reading, data.values()))]
    parts += ["\n".join(f"- {name}: {version}" for name, version in versions.items())]
    parts += [f"Quoted of tasks that are not here, and left out: {'; '.join(unused)}."] * bool(unused)
    return "\n\n".join(parts)


def training(system: Sequence[Line]) -> list[object]:
    """A system's seeds, size, and means over its runs."""
    first, seconds = system[0], [line["seconds"] for line in system if line["seconds"] is not None]
    values = [f"{first['parameters']:,}", first["steps"], *map(first["values"].get, ("batch", "learning_rate"))]
    dev = 100 * float(np.mean([line["best"]["score"] for line in system]))
    time = f"{np.mean(seconds):.0f}" if seconds else "not recorded"
    return [first["scale"], first["run"], ", ".join(str(line["seed"]) for line in system), *values, f"{dev:.1f}", time]


def reading(line: Line) -> list[object]:
    """A task's data: rows, copies and leaks, and what was done about them."""
    data = line["corpus"]
    leaks = ", ".join(str(data["leaks"].get(split, 0)) for split in ("dev", "test"))
    leaks += " (taken out)" if data["drop_leaks"] else ""
    _, corpus, _ = facts(line)
    return [line["scale"], line["task"], data["language"], corpus, data["duplicates"], leaks, data["note"]]


def main(arguments: Sequence[str]) -> None:
    flags = parser("python -m rocl.report", __doc__)
    flags.add_argument("more", nargs="*", type=Path, metavar="RUNS-OR-LINES", help="folders of runs and .jsonl files")
    flags.add_argument("--against", default=TFIDF, metavar="SYSTEM", help=f"whom to compare with (default: {TFIDF})")
    form = flags.add_mutually_exclusive_group()
    form.add_argument("--latex", action="store_true", help="print the comparisons as a table for booktabs instead")
    form.add_argument("--csv", action="store_true", help="print all figures as plain numbers instead")
    flags.add_argument("--lines", type=Path, metavar="FILE.jsonl", help="add what is reported to a file of lines")
    flags.add_argument("--picture", type=Path, metavar="FILE.png", help="draw the differences with their intervals")
    options = parsed(flags, arguments)
    if options.lines and options.lines.suffix != ".jsonl":
        raise UserError(f"--lines {options.lines}: call it .jsonl, so that it can be read again")
    if options.picture and options.picture.suffix != ".png":
        raise UserError(f"--picture {options.picture}: call it .png, which it is")
    paths, nodes, finished, missing, code, systems = [options.file, *options.more], [], [], [], None, None
    if options.file.suffix == ".py":
        paths, nodes = options.more, graphs(options)
        trained = [run for run in predict.results(nodes) if run.node.experiment.objective]
        finished = [run for run in trained if (run.folder / "done").exists()]
        missing = [f"{run.node.experiment.name} (seed {run.node.seed})" for run in trained if run not in finished]
        code = runs.code(options.file.resolve().parent)
        systems = None if options.more else {node.title for node in nodes[-1].systems}
    found, unfinished = results.read(paths)
    lines = results.distinct([*((line, str(options.file)) for line in gathered(finished)), *found])
    rows = comparison.compare(lines, options.against, systems)
    text = told(lines, missing + unfinished, code)
    text += "".join(f"\n{part}\n" for part in (compared(rows, options.against), made(lines)) if part and lines)
    if nodes:
        disk.write(nodes[-1].folder / "report.md", text)
    if options.lines:
        results.write(options.lines, lines)
    if options.picture:
        paper.picture(rows, options.picture)
    print(paper.latex(rows) if options.latex else paper.comma_separated(rows) if options.csv else text)


if __name__ == "__main__":
    sys.exit(command.run(main))
