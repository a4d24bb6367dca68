"""What a run says of itself when it starts, and leaves when it ends: scores, predictions, pictures, model folders."""

import json
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from rocl import disk, metrics, pictures, runs
from rocl.data import tokens
from rocl.data.batches import Table
from rocl.data.corpus import SPLITS
from rocl.data.statistics import statistics
from rocl.data.task import Task
from rocl.decisions import decide, named, probabilities
from rocl.experiment import Node
from rocl.models import checkpoints
from rocl.models.encoder import Encoder
from rocl.models.heads import Model, mean
from rocl.predict import model_folder, outputs, tables

SHOWN = 500  # points of a task in the embedding projector


def describe(folder: Path, node: Node, tasks: Sequence[Task], model: Model) -> None:
    """The record of what is about to be run: values, seed, versions, sources, data statistics."""
    source = node.source.parent
    runs.keep_source(folder, source)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    record = {"seed": node.seed, "values": node.values, "code": codes(folder, source), "file": node.source.name}
    record |= {"parameters": trained, "precision": str(model.precision)}
    disk.write_json(folder / "run.json", record | {"environment": runs.environment()})
    disk.write_json(folder / "data.json", {task.name: statistics(task) for task in tasks})
    describe_on_board(folder, node, tasks, disk.read_json(folder / "run.json"))


def codes(folder: Path, source: Path) -> str:
    """The digest of the code that trains the run; several, joined by "+", where another one trained it so far."""
    now = runs.code(source)
    if not any((folder / "checkpoints").glob("*.json")) or not (folder / "run.json").exists():
        return now
    before = disk.read_json(folder / "run.json")["code"]
    return before if before.split("+")[-1] == now else f"{before}+{now}"


def describe_on_board(folder: Path, node: Node, tasks: Sequence[Task], record: dict) -> None:
    """The run's page of text and its hyper-parameters, for TensorBoard; what an earlier session said is replaced."""
    from torch.utils.tensorboard import SummaryWriter  # half a second that only training needs

    for old in (folder / "tensorboard").glob("events.*.about"):
        old.unlink()
    board = SummaryWriter(str(folder / "tensorboard"), filename_suffix=".about")
    about = {"scale": node.scale.value, "seed": node.seed, "encoder": node.encoder}
    about |= {"tasks": ", ".join(task.name for task in tasks), "parameters": record["parameters"]}
    rows = [[t.name, t.corpus.name, t.language, *(len(t.rows(s)) for s in SPLITS), t.corpus.digest] for t in tasks]
    parts = [
        f"# {node.title}, seed {node.seed}",
        "\n".join(f"- {name}: {value}" for name, value in (about | record["environment"]).items()),
        "## Data",
        runs.markdown(["task", "corpus", "language", *SPLITS, "digest"], rows),
        "## Values",
        textwrap.indent(json.dumps(record["values"], indent=2, ensure_ascii=False), "    "),
    ]
    board.add_text("run", "\n\n".join(parts), 0)
    plain = {name: value for name, value in node.values.items() if isinstance(value, bool | int | float | str)}
    scores = ["dev/score", *(f"test/{task.name}/{name}" for task in tasks for name in ("accuracy", "macro_f1"))]
    pictures.hparams(board, plain | about, scores)
    board.close()


def finish(folder: Path, node: Node, tasks: Sequence[Task], model: Model, best: dict, log: runs.Log, step: int) -> None:
    """Scores the best weights, once on test, and writes all that a run leaves; the file `done` comes last."""
    weights = folder / "weights.safetensors"
    shutil.copyfile(folder / "checkpoints" / best["file"], weights)
    model.load_state_dict(load_file(weights))
    tokenizer = tokens.tokenizer(model.encoder.source)
    names, scores = [task.name for task in tasks if task.kind != "text"], {}
    held_out = [tables(model, tasks, split, node.out) for split in ("dev", "test")]
    for task, dev, test in zip(tasks, *held_out, strict=True):
        splits = {split: table for split, table in (("dev", dev), ("test", test)) if len(table)}
        if task.kind == "text":
            judge = node.experiment.judge
            judged = scores[task.name] = {split: judge(model, table) for split, table in splits.items() if judge}
            log.write(step, {f"test/{task.name}/{n}": v for n, v in judged.get("test", {}).items()})
            continue
        head = model.heads[task.name]
        thresholds, scores[task.name] = None, {}
        for split, table in splits.items():
            logits, gold = outputs(model, table, head), table.columns["labels"]
            probable = probabilities(logits, task.kind)
            if split == "dev":
                thresholds = metrics.dev_thresholds(gold, logits, task.kind)
            draws = metrics.DRAWS if split == "test" else 0
            scores[task.name][split] = metrics.scores(gold, logits, task.labels, task.kind, thresholds, draws)
            predicted = decide(probable, task.kind, thresholds)
            write_predictions(folder / "predictions" / f"{task.name}-{split}.jsonl", table, probable, predicted)
            draw(log, step, f"{split}/{task.name}", task, gold, probable, predicted)
        log.write(step, {f"test/{task.name}/{n}": v for n, v in scores[task.name].get("test", {}).items()})
        place = model_folder(folder, task.name, names)
        checkpoints.write(place, model.encoder, head, labels=task.labels, kind=task.kind)
        tokens.write(tokenizer, place, task.max_length)
        decision = {"task": task.name, "kind": task.kind, "labels": task.labels, "max_length": task.max_length}
        decision["thresholds"] = None if thresholds is None else thresholds.tolist()
        disk.write_json(place / "decision.json", decision)
    if not names:  # an encoder, for sentence-transformers too
        write_encoder(folder / "model", model.encoder, tokenizer, max(task.max_length for task in tasks))
    project(log, step, model, [table for table in held_out[0] if len(table)])
    log.close()
    disk.write_json(folder / "done", {"tasks": names, "scores": scores, "best": best, "sha256": disk.digest(weights)})
    shutil.rmtree(folder / "checkpoints")


def write_encoder(
    folder: Path, encoder: Encoder, tokenizer: tokens.Tokenizer, max_length: int, dtype: torch.dtype = torch.float32
) -> None:
    """A bare encoder with its tokenizer, as a Hugging Face folder that sentence-transformers reads too."""
    checkpoints.write(folder, encoder, dtype=dtype)
    tokens.write(tokenizer, folder, max_length)
    checkpoints.sentence_transformers(folder, max_length=max_length)


def write_predictions(path: Path, table: Table, probable: np.ndarray, predicted: np.ndarray) -> None:
    """One line a row: id, gold and predicted label names, probabilities by label."""
    labels, lines = table.task.labels, []
    said = named(labels, predicted, probable)
    for row_id, gold, (names, shares) in zip(table.ids, table.columns["labels"], said, strict=True):
        line = {"id": row_id, "gold": [n for n, g in zip(labels, gold, strict=True) if g], "predicted": names}
        lines.append(json.dumps(line | {"probabilities": shares}, ensure_ascii=False))
    disk.write(path, "\n".join(lines) + "\n")


def draw(
    log: runs.Log, step: int, name: str, task: Task, gold: np.ndarray, probable: np.ndarray, predicted: np.ndarray
):
    """Confusion matrix (one label a row) and precision-recall curves of a split, for TensorBoard."""
    if task.kind == "one":
        picture = pictures.confusion_picture(metrics.confusion(gold, predicted), task.labels)
        log.board.add_image(f"confusion/{name}", picture, step, dataformats="HWC")
    places = probable.argsort(0).argsort(0) / max(1, len(probable) - 1)  # (N, C), as even as the board's thresholds
    for number, label in enumerate(task.labels):
        log.board.add_pr_curve(f"precision_recall/{name}/{label}", gold[:, number], places[:, number], step)


def project(log: runs.Log, step: int, model: Model, dev: Sequence[Table]) -> None:
    """Mean vectors of dev texts of every task, for TensorBoard's projector, with label, language and text."""
    vectors, metadata = [], []
    for table in dev:
        some = np.linspace(0, len(table) - 1, min(len(table), SHOWN)).astype(int)  # corpora may be sorted by label
        vectors.append(outputs(model, table, mean)[some])
        for row in (table.task.rows("dev")[number] for number in some):
            text = " ".join(" ".join(row.texts).split())[:200]
            metadata.append([", ".join(row.labels), table.task.name, table.task.language, text])
    pictures.projector(log.board, np.concatenate(vectors), metadata, ["label", "task", "language", "text"], step)
