"""A finished run, opened to be looked into: its model, and the texts of its tasks and of all it needed.

Letters: N rows, L layers with the embeddings, D width, C labels.
"""

import json
import shlex
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rocl import disk, probes, runs
from rocl.data import batches, reading, tokens
from rocl.data.corpus import Row
from rocl.data.task import Task, folded
from rocl.errors import UserError, hint
from rocl.experiment import Experiment, Node, Scale, graph, load, within
from rocl.models import checkpoints
from rocl.models.heads import Encoded, Model, first, mean, outputs
from rocl.predict import Classifier, finished, ready, results

ROWS = 1000  # encoded of a task's held-out texts, of a language's training texts and of a set of translations
GRAPH = "the tasks of the run and of all it needed"


@dataclass(frozen=True, eq=False)
class Subject:
    """A finished run, opened, with the texts of its graph."""

    run: Path
    other: Path | None  # another run, to compare with
    model: Model
    tokenizer: tokens.Tokenizer
    decisions: Mapping[str, dict]  # of each task that it learned
    tasks: Mapping[str, Task]  # of the whole graph, each corpus once
    pairs: Mapping[str, Sequence[Sequence[str]]]  # translations, by where they stand
    same: Sequence[tuple[str, str]]  # labels that are one class

    @property
    def own(self) -> list[Task]:
        return [self.tasks[name] for name in self.decisions]

    @cached_property
    def spoken(self) -> dict[str, list[Task]]:
        """What each language is heard in: its labelled tasks or, where it has none, its bare text."""
        usable = [task for task in self.tasks.values() if all(map(len, halves(task))) and not paired(task)]
        labelled = {task.language for task in usable if task.kind != "text"}
        tasks = [task for task in usable if task.kind != "text" or task.language not in labelled]
        return {name: [t for t in tasks if t.language == name] for name in sorted({t.language for t in tasks})}

    @cached_property
    def seen(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By task what `see` gives of its held-out rows."""
        return {t.name: self.see(t, some(halves(t)[1], ROWS)) for tasks in self.spoken.values() for t in tasks}

    def table(self, task: Task, rows: Sequence[Row]) -> batches.Table:
        """Rows of a task as numbers."""
        corpus = replace(task.corpus, files=(), read=lambda files: {"test": list(rows)})
        length = min(task.max_length, self.model.encoder.config.longest)
        alone = replace(task, corpus=corpus, max_length=length, drop_leaks=False, cuts=(), columns={})
        return batches.table(alone, "test", self.tokenizer, None)

    def see(self, task: Task, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
        """Gold (N, C) and of each layer the mean over the tokens and the first token, (N, L, 2, D)."""
        table = self.table(task, rows)
        return table.columns["labels"].astype(bool), outputs(self.model, table, states, layers=True)


def states(encoded: Encoded) -> Tensor:
    layers = [encoded._replace(tokens=layer) for layer in encoded.layers]
    return torch.stack([torch.stack([mean(layer), first(layer)], 1) for layer in layers], 1)  # (R, L, 2, D)


def held(task: Task) -> str:
    """The split to measure on, of a task that holds one out."""
    return "test" if task.rows("test") else "dev"


def halves(task: Task) -> tuple[Sequence[Row], Sequence[Row]]:
    """Rows to learn from, none with a held-out text and none joined from another corpus (column "domain"), and rows to
    measure on: of a task without such, every other one of the former."""
    joined = task.columns.get("domain", np.zeros(len(task.rows("train"))))
    pairs = zip(task.rows("train"), joined, strict=True)
    train = [row for row, other in pairs if not other and folded(row) not in task.leaks]
    return (train, task.rows(held(task))) if task.rows(held(task)) else (train[::2], train[1::2])


def some(rows: Sequence[Row], most: int) -> list[Row]:
    """At most so many of the rows, evenly spaced."""
    return [rows[place] for place in probes.spaced(len(rows), most)]


def paired(task: Task) -> bool:
    """Whether its rows are bare pairs of texts."""
    return task.kind == "text" and all(len(row.texts) == 2 for rows in task.corpus.splits.values() for row in rows)


def title(run: Path) -> str:
    return f"{run.parent.name} {run.name}"


def experiments(experiment: Experiment) -> Iterator[Experiment]:
    """The experiment, and all that it needs."""
    yield experiment
    for need in experiment.needs.values():
        yield from experiments(need)


def traced(run: Path, record: Mapping) -> tuple[list[Node], list[str]]:
    """The graph that ends in a run, made again from its experiment file, and what is no longer as it was.

    The file is the one that the run's command named where its folder is unchanged, else the copy that the run kept.
    """
    kept, values, asked = run / "source" / "experiments", record["values"], record["environment"]["command"]
    folders = [word.parent for word in map(Path, shlex.split(asked)) if word.name == record["file"]]
    known = {file.name: disk.digest(file) for file in runs.beside(kept)}
    same = [each for each in folders if {file.name: disk.digest(file) for file in runs.beside(each)} == known]
    file, scale = (same or [kept])[0] / record["file"], Scale(values["scale"])
    try:
        found = [each for each in experiments(load(file, scale)) if each.name == values["name"]]
        if not found:
            raise UserError(f"{file} makes no experiment called {values['name']}")
        nodes = graph(found[0], scale, record["seed"], run.parents[2], file)
    except UserError as error:
        raise UserError(f"{error}: so the texts of {run} are not found; it was made by `{asked}`") from error
    now = json.loads(json.dumps(nodes[-1].values))
    differ = sorted(name for name in now.keys() | values.keys() if now.get(name) != values.get(name))
    told = [f"{file} makes another run today: other {', '.join(differ)}."] if differ else []
    return nodes, told + ["The run was trained with other code."] * (record["code"] != runs.code(file.parent))


def opened(run: Path, nodes: Sequence[Node], options: Namespace) -> Subject:
    """The run's model from its own folder, and the tasks of its graph; UserError if a corpus of its own is another."""
    learned, record = disk.read_json(run / "done")["tasks"], disk.read_json(run / "data.json")
    if learned:
        classifier = Classifier(run)
        model, tokenizer, decisions = classifier.model, classifier.tokenizer, classifier.decisions
    else:
        model, decisions = ready(Model(checkpoints.read(run / "model"), {})), []
        tokenizer = tokens.tokenizer(model.encoder.source)
    tasks, kept, heard = within(nodes[-1].experiment, Task), {}, set()
    wanted = {name: record[name]["digest"] for name in learned}
    if not wanted.items() <= {(task.name, task.corpus.digest) for task in tasks}:  # it made some itself
        tasks = results(nodes)[-1].tasks() + tasks
    for task in sorted(tasks, key=lambda task: wanted.get(task.name) != task.corpus.digest):
        told = (task.language, task.kind, tuple(row.texts for row in task.rows(held(task)) or task.rows("train")))
        if told not in heard:
            heard.add(told)
            name = f"{task.name} of {task.corpus.name}" if task.name in kept else task.name
            kept[name] = replace(task, name=name)
    if changed := [name for name in learned if name not in kept or kept[name].corpus.digest != wanted[name]]:
        why = f"it read one of digest {wanted[changed[0]]}: put that back"
        raise UserError(f"{run}: the corpus of {changed[0]} is no longer what the run read; {why}")
    known = {label for task in kept.values() for label in task.labels}
    same = [tuple(pair.split("=")) for pair in options.same]
    if odd := [pair for pair, names in zip(options.same, same, strict=True) if len(names) != 2]:
        raise UserError(f"--same: {odd[0]!r} is not of the form A=B: write two labels with one = between them")
    if wrong := [name for pair in same for name in pair if name not in known]:
        near = hint(wrong[0], sorted(known))
        raise UserError(f"--same: {wrong[0]!r} is no label of {GRAPH}{near}: write A=B, two such labels")
    pairs = parallel(list(kept.values())) | ({options.pairs.stem: read_pairs(options.pairs)} if options.pairs else {})
    other = finished(options.other).resolve() if options.other else None
    named = {decision["task"]: decision for decision in decisions}
    return Subject(run, other, model, tokenizer, named, kept, pairs, same)


def parallel(tasks: Sequence[Task]) -> dict[str, list[Sequence[str]]]:
    """Translations by where they stand: bare pairs, held out where some are; rows with a text under "twin"; rows that
    name under "pair" the row of another language that they translate; none where several corpora have such rows."""
    rows = {task.name: {row.id: row for split in task.corpus.splits.values() for row in split} for task in tasks}
    found: dict[str, list[Sequence[str]]] = {}
    for task in tasks:
        if paired(task):
            found[task.name] = [row.texts for row in task.rows(held(task)) or task.rows("train")]
            continue
        twins = [(row.texts[0], str(row.extra["twin"])) for row in rows[task.name].values() if row.extra.get("twin")]
        found |= {f"twins of {task.name}": twins} if twins else {}
        named = [(row.texts[0], str(row.extra["pair"])) for row in rows[task.name].values() if row.extra.get("pair")]
        ids = {id for _, id in named}
        theirs = [other for other in tasks if other.language != task.language and ids <= rows[other.name].keys()]
        if named and len(theirs) > 1:  # row numbers, say
            found[f"pairs of {task.name}, whose ids stand in {', '.join(other.name for other in theirs)}"] = []
        elif named and theirs:
            pairs = [(text, rows[theirs[0].name][id].texts[0]) for text, id in named]
            found.setdefault(f"{task.language}-{theirs[0].language} pairs", []).extend(pairs)
    return found


def read_pairs(path: Path) -> list[Sequence[str]]:
    """The pairs of texts of a file, a line each."""
    found: list[Sequence[str]] = []
    for number, line in enumerate(reading.lines(path), 1):
        try:
            found.append(list(json.loads(line).values()) if path.suffix == ".jsonl" else line.split("\t"))
        except (ValueError, AttributeError):
            found.append([])
        if len(found[-1]) != 2 or not all(isinstance(text, str) and text.strip() for text in found[-1]):
            fix = "write one, a tab, and the other; in .jsonl an object of two texts"
            raise reading.bad(path, number, f"not two texts: {fix}")
    return found
