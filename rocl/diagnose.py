"""Why a finished run is as it is: what its layers know of the language, where its classes lie, where and how it errs.

python -m rocl.diagnose RUN                        tables, and RUN/diagnosis: report.md, pictures, numbers.json
python -m rocl.diagnose RUN RUN2                   and the texts on which the two disagree
python -m rocl.diagnose RUN --pairs FILE           and translations to find: .tsv of two columns, .jsonl of two values
python -m rocl.diagnose RUN --same sports=Sport    labels that are one class under two names, besides those of one name

RUN is a run's folder, such as runs/sample/mtkd-1a2b3c4d/seed-1. The texts are those of its tasks and of the tasks of
all that it needed. TensorBoard shows the same. Letters: N rows, L layers with the embeddings, D width, C labels.
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, permutations, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from rocl import command, disk, metrics, pictures, probes, runs
from rocl.data.corpus import Corpus, Row
from rocl.data.task import Task
from rocl.errors import UserError
from rocl.models.heads import outputs
from rocl.predict import finished
from rocl.trace import GRAPH, ROWS, Subject, halves, held, opened, paired, some, title, traced

FEW = 12  # values of a field whose scores are told one by one
SHOWN, LETTERS = 20, 200  # texts that two runs disagree on, and how much of each
UNLABELLED = ["The run learned no labels."]


class Found(NamedTuple):
    """A section of the report: its table, what could not be measured and why, its picture."""

    rows: Sequence[Mapping[str, object]]
    lacking: Sequence[str] = ()
    picture: np.ndarray | None = None


def decided(run: Path, task: Task) -> dict[str, dict]:
    """What a run left of a task's held-out rows, by id: gold, predicted, probabilities."""
    path = run / "predictions" / f"{task.name}-{held(task)}.jsonl"
    return {line["id"]: line for line in map(json.loads, path.read_text("utf-8").splitlines())}


def judged(run: Path, task: Task) -> tuple[list[Row], np.ndarray, np.ndarray, np.ndarray]:
    """A task's held-out rows, and of them gold, decisions (N, C) bool and probabilities (N, C)."""
    by_id, rows = decided(run, task), task.rows(held(task))
    lines = [by_id[row.id] for row in rows]
    gold, said = (np.array([[n in line[key] for n in task.labels] for line in lines]) for key in ("gold", "predicted"))
    return rows, gold, said, np.array([[line["probabilities"][n] for n in task.labels] for line in lines])


def across(subject: Subject) -> list[tuple[Task, Task, list[tuple[str, str]]]]:
    """Labelled tasks of two languages, either first, and the labels that are one class, in the first one's order: those
    said to be the same and, of the others, those of one name, whatever its case."""
    heard, found = [task for tasks in subject.spoken.values() for task in tasks if task.kind != "text"], []
    for one, two in [(one, two) for one, two in permutations(heard, 2) if one.language != two.language]:
        every = list(product(one.labels, two.labels))
        said = [(a, b) for a, b in every if (a, b) in subject.same or (b, a) in subject.same]
        named = [(a, b) for a, b in every if a.casefold() == b.casefold() and not {a, b} & set(chain(*said))]
        if twice := [name for side in zip(*said, strict=True) for name, times in Counter(side).items() if times > 1]:
            raise UserError(f"--same: {twice[0]} stands for two labels of {one.name} or {two.name}: choose one")
        found.append((one, two, sorted(said + named, key=lambda pair, one=one: one.labels.index(pair[0]))))
    return found


def texts(subject: Subject) -> Found:
    """What the figures are measured on: the test rows or, where a task has none, those of dev or, where it has none
    either, every other training row. Scores are of all of them; at most 1,000 of a task are encoded, evenly spaced, and
    for the probes to learn from at most 1,000 training texts of a language, as many of each of its tasks."""
    rows = []
    for task in subject.tasks.values():
        kind = "translations" if paired(task) else f"{task.kind} of {len(task.labels)}" if task.labels else "bare text"
        row = {"task": task.name, "learned": "yes" if task.name in subject.decisions else "", "labels": kind}
        row |= {"language": task.language, "corpus": task.corpus.name, "digest": task.corpus.digest}
        row |= {split: len(task.rows(split)) for split in ("train", "dev", "test")}
        rows.append(row | {"encoded": len(subject.seen[task.name][0]) if task.name in subject.seen else ""})
    return Found(rows)


def layers(subject: Subject) -> Found:
    """What each layer knows, by the mean over the tokens of a text and by its first token. Probe: the share of held-out
    texts whose language a logistic regression tells after learning from training texts, as many of either language, so
    that guessing gives 0.5; it also hears what the tasks of a language are about. A-distance: 2 (1 - 2 error) of a
    linear SVM (C = 0.01), from 0 to 2 (Ben-David et al. 2007). Translations (their number in brackets): how often the
    nearest of all by cosine is the right one, forth and back; and told apart: by a probe that learned from the first
    half of them and is asked about the second, so that both languages speak of the same things."""
    fit, test, sides, lacking = {}, {}, {}, []
    for language, tasks in subject.spoken.items() if len(subject.spoken) > 1 else ():
        learned = [subject.see(task, some(halves(task)[0], ROWS // len(tasks)))[1] for task in tasks]
        fit[language] = np.concatenate(learned)
        test[language] = np.concatenate([subject.seen[task.name][1] for task in tasks])
    lacking += [f"Not used: {name}." for name, pairs in subject.pairs.items() if not pairs]
    for name, pairs in subject.pairs.items():
        if not (chosen := some(pairs, ROWS)):
            continue
        corpus = Corpus(name=name, language="", labels=(), kind="text", licence="", read=dict)
        task = Task(name="pairs", corpus=corpus, max_length=max(task.max_length for task in subject.tasks.values()))
        rows = [[Row(str(n), (pair[side],), ()) for n, pair in enumerate(chosen)] for side in (0, 1)]
        sides[f"{name} ({len(chosen)})"] = [subject.see(task, side)[1] for side in rows]
    if len(subject.spoken) < 2:
        lacking.append(f"No language probe: {' and '.join(subject.spoken) or 'no language'} alone, in {GRAPH}.")
    if not sides:
        lacking.append(f"No retrieval: no translations in {GRAPH} (--pairs FILE gives some).")
    rows, curves = probes.by_layer(fit, test, sides), {}
    for name, pool in product([n for n in rows[0] if n.endswith(("probe", "forth"))] if rows else [], probes.POOLS):
        values = [row[name] for row in rows if row["vectors"] == pool]
        curves[f"{name}, {pool}"] = np.stack([np.arange(len(values)), values, values, values], 1)  # (L, 4)
    ticks = {n: row["layer"] for n, row in enumerate(rows[: len(rows) // 2])}
    return Found(rows, lacking, pictures.chart(curves, "layer", "share", ticks) if curves else None)


def classes(subject: Subject) -> Found:
    """Cosine distances after the last layer, on held-out texts, for labels that tasks of two languages share. Across:
    from the label's centroid in one language to that in the other; across, others: to the other labels' centroids
    there. Within: from a text to the centroid of its label and language; between: from the label's centroid to the
    others of its language. Where a class is one class in both languages, "across" is small beside "between"."""
    rows, pairs = [], [pair for pair in across(subject) if pair[0].language < pair[1].language]  # each in one order
    for one, two, labels in [pair for pair in pairs if pair[2]]:
        places = ([one.labels.index(a) for a, _ in labels], [two.labels.index(b) for _, b in labels])
        seen = [subject.seen[task.name] for task in (one, two)]
        gold = [side[:, place] for (side, _), place in zip(seen, places, strict=True)]  # (N, shared labels) each
        for pool, name in enumerate(probes.POOLS):
            found = probes.class_distances([vectors[:, -1, pool] for _, vectors in seen], gold)
            for n, label in enumerate(labels):
                row = {"tasks": f"{one.name}, {two.name}", "label": " = ".join(dict.fromkeys(label)), "vectors": name}
                row["texts"] = ", ".join(str(int(side[:, n].sum())) for side in gold)
                rows.append(row | {key: float(of[n]) for key, of in found.items()})
    apart = "; ".join(f"{one.name} and {two.name}" for one, two, labels in pairs if not labels)
    lacking = [f"No label in common: {apart} (--same A=B tells which are one)."] if apart else []
    return Found(rows, lacking if pairs else [f"No labels of a second language, in {GRAPH}."])


def scores(subject: Subject) -> Found:
    """Of all held-out texts, by language and task; by length in tokens, five groups of about equal size; and by each
    field of the corpus that has 2 to 12 values. Low and high: the 95 % interval of the accuracy (Wilson 1927), which
    for a text of many labels counts only all of them right. Macro-F1 is over the labels that occur in the group."""
    rows, curves = [], {}
    for task in sorted(subject.own, key=lambda task: task.language):
        of, gold, said, _ = judged(subject.run, task)
        lengths = subject.table(task, of).lengths
        groups = [("all", "", np.ones(len(of), bool)), *probes.by_length(lengths)]
        for name in sorted({name for row in of for name in row.extra}):
            values = np.array([str(row.extra.get(name, "not stated")) for row in of])
            few = 1 < len(kinds := np.unique(values).tolist()) <= min(FEW, len(of) // 10)
            groups += [(name, kind, values == kind) for kind in kinds if few]
        told = [probes.rates(gold[which], said[which]) for *_, which in groups]
        for (name, value, which), rates in zip(groups, told, strict=True):
            row = {"language": task.language, "task": task.name, "by": name, "of": value, "texts": int(which.sum())}
            rows.append(row | rates)
        by_length = [(w, rates) for (name, _, w), rates in zip(groups, told, strict=True) if name == "tokens"]
        curves[task.name] = np.array([[math.log2(lengths[w].mean()), *list(r.values())[:3]] for w, r in by_length])
    places = [place for curve in curves.values() for place in curve[:, 0]]
    ticks = {n: str(2**n) for n in range(math.floor(min(places, default=0)), math.ceil(max(places, default=0)) + 1)}
    picture = pictures.chart(curves, "tokens of a text (mean of a group)", "accuracy", ticks) if curves else None
    alone = {task.language for task in subject.own}
    lacking = [f"{alone.pop()} is the only language that the run has learned labels of."] if len(alone) == 1 else []
    return Found(rows, lacking if curves else UNLABELLED, picture)


def transfer(subject: Subject) -> Found:
    """What a head is worth in the other language: macro-F1 there minus macro-F1 at home, where it learned. A head is
    applied to the tasks of its kind that have just its labels, with its own thresholds; there on the encoded texts."""
    rows, lacking, record = [], [], disk.read_json(subject.run / "done")["scores"]
    for home, there, labels in across(subject):
        if home.name not in subject.decisions or not labels:
            continue
        if not len(labels) == len(home.labels) == len(there.labels) or home.kind != there.kind:
            kinds = f"; a text has {home.kind} here, {there.kind} there" if home.kind != there.kind else ""
            both = f"{len(labels)} labels are shared of {len(home.labels)} and {len(there.labels)}{kinds}"
            lacking.append(f"The head of {home.name} cannot judge {there.name}: {both}.")
            continue
        table = subject.table(there, some(halves(there)[1], ROWS))
        gold = table.columns["labels"][:, [there.labels.index(b) for _, b in labels]]
        cuts = subject.decisions[home.name]["thresholds"]
        logits = outputs(subject.model, table, subject.model.heads[home.name])
        found = metrics.scores(gold, logits, home.labels, home.kind, cuts and np.array(cuts))["macro_f1"]
        own = record[home.name][held(home)]["macro_f1"]
        row = {"head": home.name, "home": home.language, "there": there.language, "task there": there.name}
        rows.append(row | {"texts there": len(gold), "F1 at home": own, "F1 there": found, "gap": found - own})
    none = ["No head of the run has a label in common with a task of another language."] if subject.own else UNLABELLED
    return Found(rows, lacking if rows or lacking else none)


def calibration(subject: Subject) -> Found:
    """Whether the probabilities on held-out texts can be believed. ECE: |share right - mean confidence| over 15 bins of
    confidence, of equal width (Guo et al. 2017) or, adaptive, of equal mass. Brier: squared error, summed over labels.
    NLL: in nats. Where a text has many labels, each label of each text is a decision (how probable it is, whether it
    holds); bins pool them, Brier and NLL are means over them. In the picture what is as sure as it is right lies on the
    diagonal; bars are 95 % intervals (Wilson 1927) that take decisions for independent."""
    rows, curves = [], {}
    for task in subject.own:
        _, gold, _, probable = judged(subject.run, task)
        found, curves[task.name] = probes.calibration(probable, gold, task.kind)
        rows.append({"task": task.name, "language": task.language, "texts": len(gold)} | found)
    ticks = {n / 5: f"{n / 5:.1f}" for n in range(6)}
    picture = pictures.chart(curves, "confidence", "share right", ticks, diagonal=True) if curves else None
    return Found(rows, [] if curves else UNLABELLED, picture)


def compared(subject: Subject) -> Iterator[tuple[Task, dict[str, dict], dict[str, dict]]]:
    """What both runs decided on each task that both learned; UserError where they were judged on other rows."""
    for task in subject.own if subject.other else ():
        if (subject.other / "predictions" / f"{task.name}-{held(task)}.jsonl").exists():
            one, two = decided(subject.run, task), decided(subject.other, task)
            if [(id, one[id]["gold"]) for id in sorted(one)] != [(id, two[id]["gold"]) for id in sorted(two)]:
                have = f"{task.name} of {subject.other} has other rows or labels"
                raise UserError(f"{have}: compare runs on the same ones")
            yield task, one, two


def apart(one: Mapping[str, dict], two: Mapping[str, dict]) -> list[str]:
    """The ids that the two decided otherwise, those first where the wrong one is surest."""
    ids = [id for id in one if set(one[id]["predicted"]) != set(two[id]["predicted"])]
    return sorted(ids, key=lambda id: -max([*mistakes(one[id]), *mistakes(two[id])]))


def agreement(subject: Subject) -> Found:
    """Both runs on the same held-out texts; a text is right where all its labels are."""
    rows, names = [], [title(run) for run in (subject.run, subject.other) if run]
    for task, one, two in compared(subject):
        counts = Counter((not mistakes(one[id]), not mistakes(two[id])) for id in one)
        row = {"task": task.name, "texts": len(one), "both right": counts[True, True]}
        row |= {f"only {names[0]} right": counts[True, False], f"only {names[1]} right": counts[False, True]}
        rows.append(row | {"none right": counts[False, False], "decided otherwise": len(apart(one, two))})
    told = [task.name for task in subject.own if task.name not in [row["task"] for row in rows]]
    lacking = [f"{names[1]} did not learn {', '.join(told)}."] if subject.other and told else []
    return Found(rows, lacking if subject.other else ["Name a second run to see where the two disagree."])


def disagreement(subject: Subject) -> Found:
    """The first 20 texts of each task that the two decided otherwise, those first where the wrong one is surest: by the
    probability of a label it wrongly gave or, if it gave none, by one minus that of a label it wrongly withheld. Of
    each run the labels it gave and, after "not", those it missed, with their probabilities; texts end after 200
    letters."""
    rows = []
    for task, one, two in compared(subject):
        words = {row.id: " ".join(" ".join(row.texts).split()) for row in task.rows(held(task))}
        for id in apart(one, two)[:SHOWN]:
            text = words[id] if len(words[id]) <= LETTERS else words[id][: LETTERS - 1] + "…"
            row = {"task": task.name, "id": id, "text": text, "gold": ", ".join(one[id]["gold"]) or "none"}
            rows.append(row | {title(run): spelled(of[id]) for run, of in ((subject.run, one), (subject.other, two))})
    return Found(rows, [] if rows else ["None to show."])


def mistakes(line: Mapping) -> list[float]:
    """How sure a run was of what it decided wrongly about a text."""
    given = [line["probabilities"][name] for name in line["predicted"] if name not in line["gold"]]
    return given or [1 - line["probabilities"][name] for name in line["gold"] if name not in line["predicted"]]


def spelled(line: Mapping) -> str:
    chances, missed = line["probabilities"], [name for name in line["gold"] if name not in line["predicted"]]
    names = [*line["predicted"], *(f"not {name}" for name in missed)]
    shares = [chances[name] for name in (*line["predicted"], *missed)]
    return ", ".join(f"{name} {share:.2f}" for name, share in zip(names, shares, strict=True)) or "none"


SECTIONS = (texts, layers, classes, scores, transfer, calibration, agreement, disagreement)


def written(section: Callable, found: Found) -> str:
    """A section as Markdown; how to read it is what its function says of itself."""
    name = section.__name__
    cells = [[f"{v:.3f}".replace("nan", "") if isinstance(v, float) else v for v in row.values()] for row in found.rows]
    table = [" ".join((section.__doc__ or "").split()), runs.markdown(list(found.rows[0]), cells)] if found.rows else []
    picture = [f"![{name}]({name}.png)"] if found.picture is not None else []
    return "\n\n".join([f"## {name.capitalize()}", *table[:1], *picture, *table[1:], *found.lacking])


def keep(run: Path, text: str, found: Mapping[str, Found]) -> None:
    """The report, its pictures and its numbers, into the run's folder and on its TensorBoard page, in place of those of
    an earlier diagnosis."""
    from torch.utils.tensorboard import SummaryWriter  # half a second

    folder = run / "diagnosis"
    disk.write(folder / "report.md", text)
    for old in [*folder.glob("*.png"), *(run / "tensorboard").glob("events.*.diagnosis")]:
        old.unlink()
    board = SummaryWriter(str(run / "tensorboard"), filename_suffix=".diagnosis")
    board.add_text("diagnosis", text, 0)
    for name, section in found.items():
        if section.picture is not None:
            Image.fromarray(section.picture).save(folder / f"{name}.png")
            board.add_image(f"diagnosis/{name}", section.picture, 0, dataformats="HWC")
    for number, row in enumerate(found["layers"].rows):
        for name, value in list(row.items())[3:]:
            layer = number % (len(found["layers"].rows) // 2)
            board.add_scalar(f"diagnosis_by_layer/{name}/{row['vectors']}", value, layer)
    board.close()
    tables = {name: [dict(row) for row in section.rows] for name, section in found.items()}
    for row in (row for rows in tables.values() for row in rows):
        row |= {key: None for key, value in row.items() if value != value}  # JSON knows no NaN
    disk.write_json(folder / "numbers.json", tables)


def main(arguments: Sequence[str]) -> None:
    parser = command.Parser(prog="python -m rocl.diagnose", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    parser.add_argument("other", type=Path, nargs="?", metavar="RUN2", help="another one, to compare with")
    parser.add_argument("--pairs", type=Path, metavar="FILE", help="translations: .tsv or .jsonl, a pair a line")
    parser.add_argument("--same", nargs="+", default=[], metavar="A=B", help="labels that are one class")
    options = parser.parse_args(arguments)
    run = finished(options.run).resolve()
    nodes, told = traced(run, disk.read_json(run / "run.json"))
    subject = opened(run, nodes, options)
    found = {section.__name__: section(subject) for section in SECTIONS}
    parts = [f"# Diagnosis of {title(run)}", " ".join([f"Encoder: {nodes[-1].encoder}.", *told])]
    text = "\n\n".join([*parts, *map(written, SECTIONS, found.values())]) + "\n"
    keep(run, text, found)
    print(text)


if __name__ == "__main__":
    sys.exit(command.run(main))
