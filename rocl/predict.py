"""A finished run on new text, on the command line or for what is built on it.

python -m rocl.predict RUN "a text" "another"
python -m rocl.predict RUN --file texts.jsonl        one {"text": ...} a line; of any other file a text a line
cat texts.txt | python -m rocl.predict RUN           a text a line, or {"text": ...} where a line begins with {

RUN is a run's folder, such as runs/sample/mtkd-1a2b3c4d/seed-1. Of each text: every task's decision and probabilities,
as JSON lines, or as a table where texts are typed at a terminal. 256 texts are held at once, so files may be endless.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from safetensors.torch import load_file

from rocl import command, disk, experiment
from rocl.data import batches, tokens
from rocl.data.corpus import Corpus, Row
from rocl.data.streams import digest, listed
from rocl.data.task import Task
from rocl.decisions import decide, named, probabilities
from rocl.errors import UserError, hint
from rocl.experiment import Node
from rocl.models import checkpoints
from rocl.models.encoder import Encoder
from rocl.models.heads import Model, mean, outputs
from rocl.rewrite import rewritten

CHUNK = 256  # lines read, judged and printed at once


class Needs(dict[str, "Done"]):
    """Finished needs by name; a wrong name is told with the nearest right one."""

    def __missing__(self, name: str):
        raise UserError(f"there is no need {name!r} among {', '.join(self) or 'none'}{hint(name, list(self))}")


class Done:
    """A finished run, for the experiments that need it."""

    def __init__(self, node: Node, needs: Mapping[str, "Done"]):
        self.node, self.needs, self.folder = node, Needs(needs), node.folder

    @cached_property
    def record(self) -> dict:
        return disk.read_json(self.folder / "done")

    @property
    def scores(self) -> dict:
        """{task: {split: {metric: value}}}"""
        return self.record["scores"]

    def encoder(self) -> Encoder:
        """Its encoder, to go on from; the folder it comes from holds the tokenizer."""
        names = self.record["tasks"]
        if not names:
            return checkpoints.read(self.folder / "model")
        return checkpoints.read_classifier(model_folder(self.folder, names[0], names))[0]

    def tasks(self) -> list[Task]:
        tasks = self.node.experiment.tasks
        return list(tasks(self.needs) if callable(tasks) else tasks)

    def model(self) -> Model:
        """The whole model with every head, built as the experiment builds it, with the best weights."""
        model = self.node.experiment.model(self.tasks(), self.needs)
        weights = self.folder / "weights.safetensors"
        if not weights.exists() or disk.digest(weights) != self.record["sha256"]:
            raise UserError(f"{weights} is not what its run left there: remove {self.folder} and run it again")
        model.load_state_dict(load_file(weights))
        return model

    def logits(self, task: Task) -> np.ndarray:
        """What it says of the training rows of a task, (rows, C): written once, refused when stale."""
        return self.predict(task, "train", task.name)

    def predict(self, task: Task, split: str, head: str | None = None) -> np.ndarray:
        """What one of its heads says of the rows of a split, (rows, C), or with None the mean vectors (rows, D); kept
        on disk beside what it depends on."""
        texts = digest(listed(row.texts for row in task.rows(split)))
        key = json.dumps([self.record["sha256"], head, task.max_length, texts])
        name = hashlib.sha256(key.encode()).hexdigest()[:8]
        path = self.folder / "outputs" / f"{task.name}-{split}-{name}.safetensors"
        with disk.missing(path) as missing:
            if missing:
                self._predict(task, split, head, path, key)
        try:
            with safe_open(path, framework="np") as file:
                if (file.metadata() or {}).get("key") != key:
                    raise UserError(f"{path} was made from other weights or texts: remove it to have it made again")
                return file.get_tensor("outputs")
        except SafetensorError as error:
            raise UserError(f"{path} is damaged ({error}): remove it to have it made again") from error

    def _predict(self, task: Task, split: str, head: str | None, path: Path, key: str) -> None:
        model = ready(self.model())
        if head is not None and head not in model.heads:
            names = list(model.heads)
            raise UserError(f"{self.folder} has no head {head!r}, only {', '.join(names)}{hint(head, names)}")
        function = mean if head is None else model.heads[head]
        said = outputs(model, tables(model, [task], split, self.node.out)[0], function)
        with disk.whole(path) as part:
            save_file({"outputs": said}, part, metadata={"key": key})  # one entry: several come in any order

    def rewrite(self, task: Task, guess: Callable, *, copies: int = 1, share: float = 0.15, likely: int = 10) -> Path:
        """A file of the task's training texts with some words replaced by what this masked language model guesses in
        their places (see `rocl.rewrite.rewritten`), for `rocl.data.augment.answers`; written once."""
        rows = task.rows("train")
        texts = hashlib.sha256(json.dumps([[row.id, row.texts] for row in rows]).encode()).hexdigest()
        how = [experiment.named(guess, "guess"), task.max_length, copies, share, likely]
        key = json.dumps([self.record["sha256"], texts, *how])
        name = hashlib.sha256(key.encode()).hexdigest()[:8]
        path = self.folder / "outputs" / f"{task.name}-rewritten-{name}.jsonl"
        with disk.missing(path) as missing:
            if missing:
                options = {"copies": copies, "share": share, "likely": likely, "max_length": task.max_length}
                made = rewritten(ready(self.model()), rows, guess, **options)
                disk.write(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in made))
        return path


def results(nodes: Sequence[Node]) -> list[Done]:
    """What each of these nodes leaves, or will leave; the needs of a node stand before it."""
    done: dict[Path, Done] = {}
    for node in nodes:
        done[node.folder] = Done(node, {name: done[need.folder] for name, need in node.needs.items()})
    return list(done.values())


def tables(model: Model, tasks: list[Task], split: str, out: Path) -> list[batches.Table]:
    """The rows of a split of each task as numbers, by the tokenizer that lies beside the encoder's weights."""
    tokenizer = tokens.tokenizer(model.encoder.source)
    return [batches.table(task, split, tokenizer, out / "tokens") for task in tasks]


def model_folder(run: Path, task: str, tasks: list[str]) -> Path:
    """Where a run keeps the Hugging Face folder of a task: `model`, or where it has several, `model/<task>`."""
    return run / "model" if len(tasks) == 1 else run / "model" / task


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(device: torch.device, width: int) -> torch.dtype:
    """The dtype an encoder computes in: bfloat16 where the hardware multiplies it fast, else float16 on CUDA and
    float32 on a CPU. There an encoder narrower than 256 stays in float32 too: its casts cost more than its products."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if width >= 256 and torch.cpu._is_amx_tile_supported() else torch.float32


def ready(model: Model) -> Model:
    """The model on the device where it is quickest, in the precision that it computes fastest in there."""
    model.to(device()).precision = precision(device(), model.encoder.config.width)
    return model


class Classifier:
    """A finished run on new texts, from its Hugging Face folders alone: one encoder, and a head for each task."""

    def __init__(self, run: Path):
        names = disk.read_json(run / "done")["tasks"]
        if not names:
            raise UserError(f"{run} learned no labels: it left an encoder, in {run / 'model'}")
        folders = [model_folder(run, name, names) for name in names]
        encoder, head = checkpoints.read_classifier(folders[0])
        heads = [head, *(checkpoints.read_head(folder, encoder) for folder in folders[1:])]
        self.model = ready(Model(encoder, dict(zip(names, heads, strict=True))))
        self.decisions = [disk.read_json(folder / "decision.json") for folder in folders]
        self.tokenizer = tokens.tokenizer(encoder.source)
        self.texts = self.cut = 0  # how many it was given, and how many of them were longer than a task reads

    def __call__(self, texts: Sequence[str]) -> list[dict[str, dict]]:
        """Of every text {task: {"labels": the decision, "probabilities": by label}}."""
        rows = [Row(str(number), (text,), ()) for number, text in enumerate(texts)]
        corpus = Corpus(name="texts", language="", labels=(), licence="", read=lambda files: {"test": rows})
        answers: list[dict[str, dict]] = [{name: {} for name in self.model.heads} for _ in texts]
        cut = np.zeros(len(texts), bool)
        for length in {decision["max_length"] for decision in self.decisions}:
            some = [decision for decision in self.decisions if decision["max_length"] == length]
            heads = [self.model.heads[decision["task"]] for decision in some]
            task = Task(name="texts", corpus=corpus, max_length=length)
            table = batches.table(task, "test", self.tokenizer, None)
            cut |= table.packed.cut
            logits = outputs(self.model, table, lambda encoded, heads=heads: torch.cat([h(encoded) for h in heads], 1))
            ends = np.cumsum([len(decision["labels"]) for decision in some])
            for decision, part in zip(some, np.split(logits, ends[:-1], 1), strict=True):  # (R, C)
                probable = probabilities(part, decision["kind"])
                predicted = decide(probable, decision["kind"], decision["thresholds"])
                for answer, said in zip(answers, named(decision["labels"], predicted, probable), strict=True):
                    answer[decision["task"]] = dict(zip(("labels", "probabilities"), said, strict=True))
        self.texts, self.cut = self.texts + len(texts), self.cut + int(cut.sum())
        return answers


def finished(run: Path) -> Path:
    """The folder of the run that is meant: this one or, of a node with a single seed, that seed's."""
    seeds = sorted(run.glob("seed-*"))
    if len(seeds) > 1:
        raise UserError(f"{run} holds several seeds: choose one, such as {seeds[0]}")
    run = seeds[0] if seeds else run
    if (run / "done").exists():
        return run
    if (run / "run.json").exists():
        again = disk.read_json(run / "run.json")["environment"]["command"]
        raise UserError(f"{run} is not finished: the command that began it goes on with it ({again})")
    if (run / "report.md").exists():
        raise UserError(f"{run} holds the table of several runs: choose one of them, beside it in {run.parent.parent}")
    others = sorted(done.parent for depth in ("*", "*/*", "*/*/*") for done in run.glob(f"{depth}/done"))
    fix = f"those in it are {', '.join(map(str, others))}" if others else "give one such as runs/sample/NAME/seed-1"
    raise UserError(f"{run} is no run's folder: {fix}")


def read(lines: Iterable[bytes], name: str, is_json: Callable[[str], bool]) -> Iterator[str]:
    """The texts of lines: of one that `is_json` what stands under "text", of any other the line itself."""
    for number, line in enumerate(lines, 1):
        where = f"{name} {number}"
        try:
            text = line.decode("utf-8-sig").rstrip("\r\n")
            if text and is_json(text):
                text = json.loads(text)["text"]
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: not UTF-8 ({error.reason} at byte {error.start}): convert the file") from None
        except (ValueError, KeyError, TypeError):
            raise UserError(f'{where}: not a JSON object with a "text"') from None
        if isinstance(text, list):
            raise UserError(f"{where}: rows of several texts cannot be judged from here: use `Done.predict` in Python")
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{where}: there is no text in it: remove the line or fill it")
        yield text


def json_like(line: str) -> bool:
    """Whether a line is a JSON object rather than a text."""
    return re.match(r'\s*\{\s*"', line) is not None


def chunks(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    """Lists of `size` texts; a line that cannot be read is told after those before it."""
    chunk = []
    try:
        for text in texts:
            chunk.append(text)
            if len(chunk) == size:
                yield chunk
                chunk = []
    except UserError:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def as_json(text: str, answers: Mapping[str, dict]) -> str:
    return json.dumps({"text": text, **answers}, ensure_ascii=False)


def readable(text: str, answers: Mapping[str, dict]) -> str:
    """The text, and under it a line a task: the decision, then all labels from the most to the least probable."""
    said = {task: ", ".join(answer["labels"]) or "none" for task, answer in answers.items()}
    left, middle = max(map(len, said)), max(map(len, said.values()))
    lines = [text]
    for task, answer in answers.items():
        order = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
        lines.append(f"  {task:{left}}  {said[task]:{middle}}  " + "  ".join(f"{n} {p:.3f}" for n, p in order))
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    parser = command.Parser(prog="python -m rocl.predict", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="what to judge; else --file, else standard input")
    parser.add_argument("--file", type=Path, help="a text or a JSON object a line")
    options = parser.parse_args(arguments)
    if options.texts and options.file:
        raise UserError("texts and --file: give one of them")
    if options.file and (options.file.is_dir() or not options.file.exists()):
        raise UserError(f"{options.file}: {'a folder: name a file in it' if options.file.is_dir() else 'no such file'}")
    if folders := [text for text in options.texts if os.path.exists(os.path.join(text, "run.json"))]:
        raise UserError(f"{folders[0]} is a run too, and no text: give one run (a pattern may name several)")
    ending = options.file.suffix.lower() if options.file else ""
    if ending in (".csv", ".tsv", ".gz", ".xz"):
        raise UserError(f'{options.file}: write its texts one a line, or as JSON lines with a "text", unpacked')
    classifier = Classifier(finished(options.run))
    typed = not options.file and not options.texts and sys.stdin.isatty()
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # half a surrogate pair stays JSON
    form = readable if sys.stdout.isatty() and (typed or options.texts) else as_json
    with options.file.open("rb") if options.file else sys.stdin.buffer as lines:
        if options.texts:
            texts = read(map(os.fsencode, options.texts), "the command line, text", lambda line: False)
        elif options.file:
            only_json = ending in (".jsonl", ".ndjson", ".json")
            texts = read(lines, f"{options.file}, line", lambda line: only_json or json_like(line))
        else:
            texts = read(lines, "standard input, line", json_like)
        try:
            for chunk in chunks(texts, 1 if typed else CHUNK):
                for text, answers in zip(chunk, classifier(chunk), strict=True):
                    print(form(text, answers))
                sys.stdout.flush()
        except BrokenPipeError:  # whoever reads has seen enough: what is left in the buffer goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        finally:
            if classifier.cut:
                print(f"rocl: {classifier.cut} of {classifier.texts} texts were too long and cut", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(command.run(main))
