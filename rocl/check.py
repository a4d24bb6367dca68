"""Everything that can be checked before step one: labels, lengths, tokens, leaks, and an estimate of time and memory.

python -m rocl.check experiments/mtkd.py --scale small
"""

import sys
import textwrap
import time
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import torch

from rocl import command, metrics
from rocl.data import tokens
from rocl.data.corpus import SPLITS
from rocl.data.statistics import statistics
from rocl.data.task import Task
from rocl.errors import UserError, hint
from rocl.experiment import Experiment, Node, checkpoints_of, graphs, parsed, parser, within
from rocl.models.checkpoints import read_config
from rocl.models.encoder import Config, Encoder
from rocl.predict import device, precision

WIDTH = 100  # columns of what is printed
PROBE = 1024  # tokens that the measurement of speed takes through a layer
KINDS = {"one": "one label a row", "many": "any number of labels a row", "text": "bare text"}
ABSENT = {"rows": 0, "labels": {}, "empty": 0, "labels per row": {}}  # the statistics of a split that is not there

Packs = Mapping[str, tokens.Packed]  # by split; empty where no Checkpoint says which tokenizer it will be
Finding = tuple[bool, str]  # whether it cannot go well, and what it is


def check(nodes: Sequence[Node]) -> None:
    """Prints the graph, its tasks and what is doubtful about them; raises one UserError of all that cannot go well.

    Tasks that a function makes of finished needs are found in its bound arguments. Tokens stay in the cache that
    training opens."""
    seen: dict[tuple[str, Path | None], Packs] = {}
    blocks, findings, costs = [], [], {}
    for node in nodes:
        folder, tasks = encoder_folder(node), within(node.experiment.tasks, Task)
        found = judge_run(node.experiment, tasks, folder)
        findings += [(bad, f"{node.experiment.name}: {text}") for bad, text in found]
        for task in tasks:
            if (task.digest, folder) in seen:
                continue
            facts, packs = statistics(task), {}
            found = [*judge_rows(task, facts)]
            if folder:
                tokenizer = tokens.tokenizer(folder)
                packs = {s: tokens.pack(task.rows(s), tokenizer, task.max_length, node.out / "tokens") for s in SPLITS}
                found += judge_tokens(task, packs, read_config(folder), tokenizer)
            seen[task.digest, folder] = packs
            findings += [(bad, f"{task.name}: {text}") for bad, text in found]
            blocks.append(block(task, facts, packs))
        if folder and tasks:
            packs = [seen[task.digest, folder] for task in tasks]
            costs[node.folder] = cost(node.experiment, packs, read_config(folder))
    print("\n\n".join([runs_table(nodes, costs), *blocks]))
    findings = list(dict.fromkeys(findings))
    for text in [text for bad, text in findings if not bad]:
        print(textwrap.fill(f"warning: {text}", WIDTH, subsequent_indent="  "))
    if wrong := [text for bad, text in findings if bad]:
        raise UserError("\nrocl: ".join(wrong))


def encoder_folder(node: Node) -> Path | None:
    """Where the encoder it begins with comes from: the Checkpoint it names, else the first need that is done or names
    one; None if none does."""
    if found := checkpoints_of(node.experiment):
        return found[0].folder()
    left = [need.folder / "model" for need in node.needs.values() if (need.folder / "done").exists()]
    ready = (folder for folder in left if (folder / "config.json").exists())
    return next(ready, None) or next(filter(None, map(encoder_folder, node.needs.values())), None)


def judge_run(experiment: Experiment, tasks: Sequence[Task], folder: Path | None) -> Iterator[Finding]:
    names = [task.name for task in tasks]
    if twice := {name for name in names if names.count(name) > 1}:
        yield True, f"several tasks are called {min(twice)!r}; give each a name of its own"
    if experiment.evaluations < 1:
        yield True, f"evaluations is {experiment.evaluations}; dev must be looked at once or more"
    if not experiment.judge and (bare := [task.name for task in tasks if task.kind == "text" and task.metric]):
        yield True, f"{bare[0]} is bare text: give the experiment a judge that scores it"
    if experiment.objective and not tasks:
        yield False, "its tasks are made when its needs are done and are not checked here"
    if tasks and not any(task.metric for task in tasks):
        yield True, "no task has a metric, by which the best weights are chosen; give one"
    if experiment.objective and not folder:
        yield False, "no Checkpoint says which tokenizer it takes: tokens, time and memory are not checked here"


def judge_rows(task: Task, facts: Mapping) -> Iterator[Finding]:
    splits = {split: facts["splits"].get(split, ABSENT) for split in SPLITS}
    rows = splits["train"]["rows"]
    if not rows:
        yield True, "no training rows; look at the corpus, and at what cuts it"
    if not splits["dev"]["rows"] and task.metric:
        why = "there may be too few rows (or groups) to draw from"
        yield True, f"no dev rows, by which the best weights are chosen; {why}"
    if not splits["test"]["rows"]:
        yield False, "no test rows: there will be no test scores"
    for split, of in splits.items():
        absent = [label for label in task.labels if not of["labels"].get(label)]
        fix = "it cannot be learned: keep its rows or do not declare it" if split == "train" else "its scores are 0"
        if of["rows"] and absent:
            yield split == "train", f"no {split} row has the label {', '.join(absent)}; {fix}"
        if of["empty"]:
            yield False, f"{of['empty']} {split} texts are empty"
        if task.kind == "one" and (bare := of["labels per row"].get("0")):
            yield False, f"{bare} {split} rows have no label: they teach nothing, and no answer to them is right"
    for split, leaks in facts["leaks"].items():
        if leaks:
            yield False, f"{leaks} training texts also stand in {split}; drop_leaks=True takes them out (Task; CHOICES)"
    if facts["conflicts"]:
        yield False, f"{facts['conflicts']} training texts occur with different labels"
    if (weight := task.columns.get("weight")) is not None and not np.any(weight):
        yield True, "all weights are 0: nothing can be learned; give some rows more"
    for name, column in task.columns.items():
        if len(column) != rows:
            yield True, f"column {name} has {len(column)} rows, train has {rows}; make it from the same rows"
    if task.kind not in KINDS:
        yield True, f"its labels are of kind {task.kind!r}; there are {', '.join(KINDS)}"
        return
    if task.kind == "text":
        return
    if len(task.labels) < 2:
        yield True, f"{len(task.labels)} label is declared; there must be two to tell apart"
        return
    alike = defaultdict(list)  # labels by what is seen of them
    for label in task.labels:
        alike["".join(c for c in label if unicodedata.category(c) != "Cf").casefold().strip()].append(ascii(label))
    if some := [labels for labels in alike.values() if len(labels) > 1]:
        told = f"labels that differ in case or unseen characters alone are different labels: {', '.join(some[0])}"
        yield False, f"{told}; write them alike"
    if task.kind == "many" and all(set(of["labels per row"]) <= {"0", "1"} for of in splits.values()):
        yield False, "no row has two labels: is its separator right, and many=True?"
    gold = np.eye(len(task.labels))
    if task.metric and task.metric not in (known := list(metrics.scores(gold, gold, task.labels, task.kind))):
        yield True, f"for labels of its kind there is no metric {task.metric!r}{hint(task.metric, known)}"


def judge_tokens(task: Task, packs: Packs, config: Config, tokenizer: tokens.Tokenizer) -> Iterator[Finding]:
    if task.max_length > config.longest:
        have = f"max_length is {task.max_length}, the encoder has positions for {config.longest}"
        yield True, f"{have}: take that or less"
    if tokenizer.size > config.vocabulary:
        sizes = f"the tokenizer has {tokenizer.size} ids, the encoder {config.vocabulary} embeddings"
        yield True, f"{sizes}: they do not belong together; get both from one place"
    if config.padding not in (None, tokenizer.pad):
        yield False, f"the padding id is {tokenizer.pad} for the tokenizer, {config.padding} for the encoder"
    if (cut := share(packs["train"].cut)) > 0.05:
        yield False, f"{cut:.1%} of training texts are cut at {task.max_length} tokens; {config.longest} are possible"
    if (unknown := share(packs["train"].unknown, packs["train"].ids)) > 0.01:
        yield False, f"{unknown:.1%} of training tokens are unknown: is the encoder one of {task.language!r}?"


def share(part: np.ndarray, whole: np.ndarray | None = None) -> float:
    return float(part.sum()) / max(1, len(part if whole is None else whole))


def block(task: Task, facts: Mapping, packs: Packs) -> str:
    """One task: a line a split, then its labels (train/dev/test), its copies, and what reading the corpus did."""
    chosen = f"chosen by {task.metric}" if task.metric else "chosen by the others"
    lines = [f"{task.name}: {task.corpus.name} {task.corpus.digest}, {task.language}, {KINDS.get(task.kind)}, {chosen}"]
    more = f"  {'tokens':>10} {'median':>7} {'99 %':>5} {'longest':>8} {f'cut at {task.max_length}':>11} {'unknown':>8}"
    lines.append(f"  {'':5} {'rows':>7} {'empty':>6} {'in train':>9}" + more * bool(packs))
    for split, of in facts["splits"].items():
        line = f"  {split:5} {of['rows']:7,} {of['empty']:6,} {facts['leaks'].get(split, ''):>9}"
        if of["rows"] and split in packs:
            pack, long = packs[split], np.diff(packs[split].texts)
            line += f"  {len(pack.ids):10,} {np.median(long):7.0f} {np.quantile(long, 0.99):5.0f} {long.max():8}"
            line += f" {share(pack.cut):11.1%} {share(pack.unknown, pack.ids):8.2%}"
        lines.append(line)
    splits = facts["splits"].values()
    counts = [f"{label} {'/'.join(str(of['labels'][label]) for of in splits)}" for label in task.labels]
    about = ["labels: " + ", ".join(counts), f"copies in train: {facts['duplicates']}"]
    about += [f"note: {facts['note']}"] * bool(facts["note"])
    return "\n".join(lines + [textwrap.fill(t, WIDTH, initial_indent="  ", subsequent_indent="    ") for t in about])


def runs_table(nodes: Sequence[Node], costs: Mapping[Path, tuple[int, float, float]]) -> str:
    """The graph, needs first: where each run lies, how far it is, and what the rest will take."""
    lines, left = [["run", "state", "steps", "time", "memory"]], 0.0
    for node in nodes:
        steps, seconds, size = costs.get(node.folder, (0, 0.0, 0.0))
        at = max((int(path.stem) for path in (node.folder / "checkpoints").glob("*.json")), default=0)
        state = f"to go on at step {at}" if at else "to train"
        if not node.experiment.objective or (node.folder / "done").exists():
            state, at = "done" if node.experiment.objective else "tables only", steps
        seconds *= 0 if state == "done" else 1 - min(1.0, at / max(1, steps))
        left += seconds
        numbers = [f"{steps:,}", str(timedelta(seconds=round(seconds))), f"{size / 1e6:,.0f} MB"]
        lines.append([str(node.folder), state, *(numbers if steps else ["", "", ""])])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(f"{cell:{'<<>>>'[n]}{widths[n]}}" for n, cell in enumerate(line)).rstrip() for line in lines]
    how = f"(an estimate: {PROBE} tokens through one layer on this {device().type}; baselines come on top)"
    return "\n".join([*text, f"about {timedelta(seconds=round(left))} (h:mm:ss) of training left {how}"])


def cost(experiment: Experiment, packs: Sequence[Packs], config: Config) -> tuple[int, float, float]:
    """(steps, seconds, bytes) of a run, estimated. The bytes are weights, gradients and two moments in float32, and
    what a step keeps for its backward pass: 34 D + 5 H length a token and layer, at half precision (Korthikanti et
    al. 2022, 2205.05198, section 4.1)."""
    rows, texts = (sum(len(getattr(pack["train"], of)) - 1 for pack in packs) for of in ("rows", "texts"))
    total = {split: sum(len(pack[split].ids) for pack in packs) for split in SPLITS}  # tokens
    steps, step = experiment.length(rows), experiment.batch * total["train"] / max(1, rows)
    length = max(1, round(total["train"] / max(1, texts)))
    with torch.device("meta"):
        parameters = sum(p.numel() for p in Encoder(config).parameters())
    by_token, by_parameter = pace(config, min(length, PROBE, config.longest))
    judged = (experiment.evaluations + 2) * total["dev"] + total["test"]  # forward is a third of forward and backward
    seconds = config.layers * by_token * (steps * step + judged / 3) + steps * parameters * by_parameter
    kept = (34 * config.width + 5 * config.heads * length) * precision(device(), config.width).itemsize / 2
    return steps, seconds, 16 * parameters + min(2 * step, experiment.token_budget) * config.layers * kept


@cache
def pace(config: Config, length: int) -> tuple[float, float]:
    """Seconds to train on a token, a layer, and to update a parameter: the quicker of two passes through one layer."""
    layer = Encoder(replace(config, layers=1, vocabulary=256, padding=None)).to(device())
    adamw, times = torch.optim.AdamW(layer.parameters(), fused=True), []
    low = precision(device(), config.width)
    starts = torch.arange(0, PROBE + length, length).clamp(max=PROBE)  # (B + 1,)
    ids = torch.zeros(PROBE, dtype=torch.long, device=device())  # (T,)
    for _ in range(3):  # the first warms up
        begun = time.perf_counter()
        with torch.autocast(device().type, low, low != torch.float32):
            vectors, _ = layer(ids, starts)  # (T, D)
        vectors.float().square().mean().backward()
        layer.embeddings.words.weight.grad.sum().item()  # waits for the device
        middle = time.perf_counter()
        adamw.step()
        layer.embeddings.words.weight.sum().item()
        times.append((middle - begun, time.perf_counter() - middle))
    return tuple(np.min(times[1:], 0) / [PROBE, sum(p.numel() for p in layer.parameters())])


def main(arguments: Sequence[str]) -> None:
    check(graphs(parsed(parser("python -m rocl.check", __doc__), arguments)))


if __name__ == "__main__":
    sys.exit(command.run(main))
