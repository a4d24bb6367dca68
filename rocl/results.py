"""The lines of finished runs: of each run and task, and of each baseline, one JSON object from which every table and
test can be made again without run folders and corpora.

system, run, scale, seed, task      who it is: the name, the name with its hash; a baseline has no seed
corpus                              name, digest, language, rows of each split, leaks, copies, what reading it dropped
encoder, parameters, precision, steps, best, seconds, values, environment, code           how it was made; of runs alone
dev, test                           scores by name, shares in [0, 1]
labels, rows, gold, predicted       of the test rows: names, a digest of their ids, and in their order the numbers of
                                    their labels: rows are divided by spaces, labels of a row by commas
{"quoted": source, "task": ..., "system": ..., "micro_f1": 0.668} is a published figure, "corpus": its name if you like.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from rocl import baselines, disk, metrics
from rocl.data import reading
from rocl.data.corpus import SPLITS
from rocl.data.statistics import statistics
from rocl.data.task import Task
from rocl.decisions import decide, probabilities
from rocl.errors import UserError

Line = dict
Table = Mapping[str, Sequence[Line]]  # one task: a line a seed of every system
TFIDF = "TF-IDF + LR"
BASELINES = {"majority": baselines.most_frequent, TFIDF: baselines.regressed}
WHO = ("system", "run", "scale", "seed", "task")
MADE = ("parameters", "precision", "steps", "best", "seconds", "values", "environment", "code")
QUOTED = ("quoted", "corpus", "system", "task")  # of a quoted line; all else is figures
INSIDE = {  # what the objects of a line must have, as far as a report reads them
    "corpus": "name digest judged_on language note duplicates leaks drop_leaks train dev test".split(),
    "environment": ("device", "threads", "torch"),
    "best": ("step", "score"),
    "values": (),
    "dev": (),
    "test": (),
}
LEFT_OUT = ("command", "git_changes")  # of the environment: they name paths, and `code` says more


def lines(run: Path) -> list[Line]:
    """Of a finished run a line for each of its tasks, from its folder alone."""
    done, about, data = (disk.read_json(run / name) for name in ("done", "run.json", "data.json"))
    values, clock = about["values"], run / "clock.json"
    *_, last = (run / "metrics.jsonl").open(encoding="utf-8")
    made = {name: about[name] for name in ("parameters", "precision", "code")} | {
        "encoder": encoder(run),
        "steps": json.loads(last)["step"],
        "best": {name: done["best"][name] for name in ("step", "score")},
        "seconds": disk.read_json(clock)["seconds"] if clock.exists() else None,
        "values": {name: value for name, value in values.items() if isinstance(value, int | float | str)},
        "environment": {name: value for name, value in about["environment"].items() if name not in LEFT_OUT},
    }
    found = []
    for task, scores in done["scores"].items():
        who = (values["name"], run.parent.name, values["scale"], about["seed"], task)
        told = {"corpus": corpus(data[task]), "dev": scores.get("dev", {}), "test": scores.get("test", {})}
        found.append(dict(zip(WHO, who, strict=True)) | told | outcome(run, task, data[task]) | made)
    return found


def corpus(told: Mapping) -> dict:
    """What a line says of its data, from the statistics of a task."""
    sizes = {split: told["splits"].get(split, {"rows": 0})["rows"] for split in SPLITS}
    facts = {"name": told["corpus"], **{name: told[name] for name in ("digest", "judged_on", "language", "note")}}
    return facts | sizes | {name: told[name] for name in ("duplicates", "leaks", "drop_leaks")}


def outcome(run: Path, task: str, told: Mapping) -> dict:
    """What a run said of each test row of a task; nothing where it gave numbers alone."""
    path = run / "predictions" / f"{task}-test.jsonl"
    if not path.exists():
        return {}
    labels = list(told["splits"]["test"]["labels"])
    rows = [json.loads(row) for row in path.open(encoding="utf-8")]
    sides = {side: np.array([[name in row[side] for name in labels] for row in rows]) for side in ("gold", "predicted")}
    return said(labels, [row["id"] for row in rows], sides["gold"], sides["predicted"])


def said(labels: Sequence[str], ids: Sequence[str], gold: np.ndarray, predicted: np.ndarray) -> dict:
    """The outcome on test as a line keeps it; gold and predicted are (N, C) 0/1."""
    digest = hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:16]
    return {"labels": list(labels), "rows": digest, "gold": packed(gold), "predicted": packed(predicted)}


def packed(labels: np.ndarray) -> str:
    """0/1 labels (N, C) as text: "2 0,3  1" for four rows, of which the third has none."""
    return " ".join(",".join(map(str, np.flatnonzero(row))) for row in labels)


def unpacked(line: Line, side: str) -> np.ndarray:
    """`gold` or `predicted` of a line as 0/1, (N, C) uint8."""
    rows = [[int(number) for number in row.split(",") if number] for row in line[side].split(" ")]
    labels = np.zeros((len(rows), len(line["labels"])), np.uint8)
    labels[np.repeat(np.arange(len(rows)), [len(row) for row in rows]), [n for row in rows for n in row]] = 1
    return labels


def encoder(run: Path) -> str:
    """What `Node.encoder` says, from what the run recorded, or the first that it needed."""
    about = disk.read_json(run / "run.json")
    needs = about["values"]["needs"]
    found = checkpoints([value for name, value in about["values"].items() if name != "needs"])
    if found or not needs:
        return ", ".join(sorted(found))
    title, seed = next(iter(needs.values()))
    need = run.parents[1] / title / f"seed-{about['seed'] if seed is None else seed}"
    if not (need / "run.json").exists():
        return "not recorded"
    values = disk.read_json(need / "run.json")["values"]
    made = "judge" in values and values.get("steps") != 0
    return f"{values['name']} of {encoder(need)}" if made else encoder(need)


def checkpoints(value) -> set[str]:
    """Name and checksum of every pretrained encoder that recorded values name."""
    if isinstance(value, dict) and value.keys() == {"checkpoint", "checksum"}:
        return {f"{value['checkpoint']} {value['checksum'][:8]}"}
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(checkpoints, parts))


def of_baselines(task: Task, out: Path, scale: str) -> list[Line]:
    """The lines of majority and TF-IDF on a task's rows, made once and kept in OUT/baselines."""
    path = out / "baselines" / f"{task.name}-{task.rows_digest}-{metrics.DRAWS}.jsonl"
    if not path.exists():
        ids, gold, made = [row.id for row in task.rows("test")], task.gold("test"), []
        for name, says in BASELINES.items():
            logits, thresholds = says(task)
            predicted = decide(probabilities(logits["test"], task.kind), task.kind, thresholds)
            who = (name, f"{name}-{task.rows_digest[:8]}", scale, None, task.name)
            told = {"corpus": corpus(statistics(task)), "encoder": "", **baselines.scored(task, logits, thresholds)}
            made.append(dict(zip(WHO, who, strict=True)) | told | said(task.labels, ids, gold, predicted))
        write(path, made)
    return [line | {"scale": scale} for line, _ in of_file(path)]


def read(paths: Iterable[Path]) -> tuple[list[tuple[Line, str]], list[str]]:
    """The lines of .jsonl files and of the runs in folders, with the baselines on their rows, each with where it is
    from; and the runs there that are not finished. What is no line is a UserError with file and line."""
    told, unfinished = [], []
    for path in paths:
        if path.suffix == ".jsonl" and path.is_file():
            told += of_file(path)
        elif path.is_dir():
            begun = sorted(file.parent for file in path.resolve().rglob("run.json"))
            done = [run for run in begun if (run / "done").exists()]
            unfinished += [f"{run.parent.name} ({run.name.replace('-', ' ')})" for run in begun if run not in done]
            if not done:
                raise UserError(f"{path}: there is no finished run in it")
            told += [pair for run in done for pair in of_run(run)]
        else:
            raise UserError(f"{path}: no folder of runs and no file of lines (.jsonl); an experiment (.py) comes first")
    return told, unfinished


def of_run(run: Path) -> Iterator[tuple[Line, str]]:
    """The lines of a run, then those of baselines made beside it on the same rows; each with where it is from."""
    own = lines(run)
    yield from ((line, str(run)) for line in own)
    for file in sorted((run.parents[2] / "baselines").glob("*.jsonl")):
        for line, where in of_file(file):
            if (line["task"], line["corpus"]) in [(other["task"], other["corpus"]) for other in own]:
                yield line | {"scale": own[0]["scale"]}, where


def of_file(path: Path) -> Iterator[tuple[Line, str]]:
    """The lines of a file, each with where it is from."""
    for number, text in enumerate(reading.lines(path), 1):
        where = f"{path}, line {number}"
        if not text.strip():
            raise UserError(f"{where}: empty: remove it, or write the file again")
        try:
            line = json.loads(text)
        except ValueError as error:
            raise UserError(f"{where}: not JSON ({error}): remove it or write the file again") from None
        check(line, where)
        yield line, where


def check(line: Line, where: str) -> None:
    """A line is whole, and its predictions give its accuracy; a quoted figure is a share of a task."""
    if not isinstance(line, dict):
        raise UserError(f"{where}: not a JSON object: remove it")
    if "quoted" in line:
        figures = {name: value for name, value in line.items() if name not in QUOTED}
        wrong = [n for n, v in figures.items() if not (isinstance(v, int | float) and v is not True and 0 <= v <= 1)]
        wrong += [name for name in QUOTED if not isinstance(line.get(name, ""), str)]
        if wrong or not figures or "task" not in line:
            example = '{"quoted": "who, where", "task": "emotion", "micro_f1": 0.668}'
            raise UserError(f"{where}: {', '.join(wrong) or 'a task and a metric'}: write it as {example}")
        return
    needed = (*WHO, "corpus", "encoder", "dev", "test", *(MADE if line.get("seed") is not None else ()))
    if missing := [name for name in needed if name not in line]:
        raise UserError(f"{where}: it has no {missing[0]!r}: lines are what python -m rocl.report --lines writes")
    if odd := next(strange(line), None):
        raise UserError(f"{where}: {odd} is not there, or not what it was written as: take the original")
    if "predicted" not in line and "gold" not in line:
        return
    if missing := [name for name in ("labels", "rows", "gold", "predicted") if name not in line]:
        raise UserError(f"{where}: it has predictions and no {missing[0]!r}: take the original")
    try:
        gold, predicted = (unpacked(line, side) for side in ("gold", "predicted"))
        right = (gold == predicted).all(1).mean() if len(gold) == len(predicted) else -1.0
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{where}: its gold, predictions and labels do not fit ({error}): take the original") from None
    if abs(right - line["test"].get("accuracy", -1)) > 1e-9:
        raise UserError(f"{where}: what it predicted does not give its accuracy: it was changed, take the original")


def strange(line: Line) -> Iterator[str]:
    """The parts of a line that no report wrote so."""
    if not isinstance(line["seed"], int | None):
        yield "seed"
    for name, inside in INSIDE.items():
        if not isinstance(line.get(name, {}), dict):
            yield name
        else:
            yield from (f"{name}: {inner}" for inner in inside if name in line and inner not in line[name])
    for side in ("dev", "test"):
        yield from (f"{side}: {name}" for name, score in line[side].items() if not isinstance(score, int | float))


def distinct(told: Iterable[tuple[Line, str]]) -> list[Line]:
    """Each line once, in the order of its first place; two that differ, of one run, seed and task, are a UserError.

    Of baselines, made anew beside every folder of runs, only predictions count: digits differ between machines.
    """
    found: dict[tuple, tuple[Line, str]] = {}
    for line, where in told:
        key = tuple(line.get(name) for name in WHO) if "quoted" not in line else json.dumps(line, sort_keys=True)
        kept, _ = found.setdefault(key, (line, where))
        if kept != line and (line["seed"] is not None or kept.get("predicted") != line.get("predicted")):
            who = f"{line['run']} seed {line['seed']} on {line['task']}"
            raise UserError(f"{where}: another line of {who} stands in {found[key][1]}: keep one of them")
    return [line for line, _ in found.values()]


def write(path: Path, made: Iterable[Line]) -> None:
    """Adds lines to a file; those that stand there already stay."""
    before = list(of_file(path)) if path.exists() else []
    kept = distinct([*before, *((line, "this report") for line in made)])
    disk.write(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))


def tables(told: Iterable[Line]) -> list[Table]:
    """The lines of each task with test scores: by system, a seed each; the task that most systems learn first.

    A system is called by its name, or with its hash where two runs have one name.
    """
    scored = [line for line in told if line.get("test")]
    runs: dict[tuple, set[str]] = {}
    for line in scored:
        runs.setdefault(named(line), set()).add(line["run"])
    found: dict[tuple, dict[str, list[Line]]] = {}
    for line in scored:
        name = line["system"] if len(runs[named(line)]) == 1 else line["run"]
        table = found.setdefault((line["scale"], line["task"], line["corpus"]["judged_on"]), {})
        table.setdefault(name, []).append(line)
    for table in found.values():
        for system in table.values():
            system.sort(key=lambda line: line["seed"] or 0)
    return sorted(found.values(), key=lambda table: -len(table))


def face(table: Table) -> Line:
    """The line of a table that names it: a baseline's, for others may have learned from more than its corpus."""
    return min((system[0] for system in table.values()), key=lambda line: line["seed"] is not None)


def quoted(told: Iterable[Line], table: Table) -> list[Line]:
    """The figures quoted for a table's task."""
    return [line for line in told if any(belongs(line, other) for system in table.values() for other in system)]


def belongs(line: Line, other: Line) -> bool:
    """Whether a figure is quoted for the task, and the corpus if it names one, of a run's line."""
    return "quoted" in line and line["task"] == other["task"] and line.get("corpus") in (None, other["corpus"]["name"])


def named(line: Line) -> tuple:
    """What two systems that share it must be told apart by their hash; baselines differ from task to task."""
    return line["scale"], line["system"], (line["task"], line["corpus"]["judged_on"]) if line["seed"] is None else None
