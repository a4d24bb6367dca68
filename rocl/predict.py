"""A finished run on new text, on the command line or for what is built on it.

python -m rocl.predict RUN "a text" "another"
python -m rocl.predict RUN --file texts.jsonl        one {"text": ...} a line, or plain lines
cat texts.txt | python -m rocl.predict RUN
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import Tensor

from rocl import runs
from rocl.data import batches, tokens
from rocl.data.task import Task
from rocl.download import UserError
from rocl.experiment import Node
from rocl.models import checkpoints
from rocl.models.encoder import Encoder
from rocl.models.heads import Encoded, Model

BUDGET = 8192  # tokens encoded at once


@torch.no_grad()
def outputs(model: Model, table: batches.Table, head: Callable[[Encoded], Tensor]) -> np.ndarray:
    """What a head (or a pooling function) says of every row of a table, in its order, (rows, C) float32; no dropout."""
    device = next(model.parameters()).device
    model.eval()
    said: np.ndarray | None = None
    for rows in table.cut(np.arange(len(table)), BUDGET):
        part = head(model.encode(table.batch(rows).to(device))).float().cpu().numpy()  # (R, C)
        said = np.empty((len(table), *part.shape[1:]), np.float32) if said is None else said
        said[rows] = part
    return said


class Done:
    """A finished run, for the experiments that need it."""

    def __init__(self, node: Node, needs: Mapping[str, "Done"]):
        self.node, self.needs, self.folder = node, needs, node.folder

    @cached_property
    def record(self) -> dict:
        return runs.read_json(self.folder / "done")

    @property
    def scores(self) -> dict:
        """{task: {split: {metric: value}}}"""
        return self.record["scores"]

    def encoder(self) -> Encoder:
        """Its encoder, to go on from; the folder it comes from holds the tokenizer."""
        return checkpoints.read(model_folder(self.folder, self.record["tasks"][0], self.record["tasks"]))

    def tasks(self) -> list[Task]:
        tasks = self.node.experiment.tasks
        return list(tasks(self.needs) if callable(tasks) else tasks)

    def model(self) -> Model:
        """The whole model with every head, built as the experiment builds it, with the best weights."""
        model = self.node.experiment.model(self.tasks(), self.needs)
        weights = self.folder / "weights.safetensors"
        if runs.digest(weights) != self.record["sha256"]:
            raise UserError(f"{weights} is not what its run left there: remove {self.folder} and run it again")
        model.load_state_dict(load_file(weights))
        return model

    def logits(self, task: Task) -> np.ndarray:
        """What it says of the training rows of a task, (rows, C): written once, refused when stale."""
        return self.predict(task, "train", task.name)

    def predict(self, task: Task, split: str, head: str) -> np.ndarray:
        """What one of its heads says of the rows of a split, (rows, C), kept on disk beside what it depends on."""
        texts = hashlib.sha256("\n".join("\0".join(row.texts) for row in task.rows(split)).encode()).hexdigest()
        key = {"weights": self.record["sha256"], "texts": texts, "max_length": str(task.max_length), "head": head}
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]
        path = self.folder / "outputs" / f"{task.name}-{split}-{name}.safetensors"
        if path.exists():
            with safe_open(path, framework="np") as file:
                if file.metadata() != key:
                    raise UserError(f"{path} was made from other weights or texts: remove it to have it made again")
                return file.get_tensor("outputs")
        model = self.model().to(device())
        model.precision = precision(device())
        said = outputs(model, tables(model, [task], split, self.node.out)[0], model.heads[head])
        path.parent.mkdir(exist_ok=True)
        save_file({"outputs": said}, path.with_suffix(".part"), metadata=key)
        path.with_suffix(".part").replace(path)
        return said


def tables(model: Model, tasks: list[Task], split: str, out: Path) -> list[batches.Table]:
    """The rows of a split of each task as numbers, by the tokenizer that lies beside the encoder's weights."""
    tokenizer = tokens.tokenizer(model.encoder.source)
    return [batches.table(task, split, tokenizer, out / "tokens") for task in tasks]


def model_folder(run: Path, task: str, tasks: list[str]) -> Path:
    """Where a run keeps the Hugging Face folder of a task: `model`, or where it has several, `model/<task>`."""
    return run / "model" if len(tasks) == 1 else run / "model" / task


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(device: torch.device) -> torch.dtype:
    """The dtype the encoder computes in: bfloat16 where the hardware multiplies it fast, else float16 on CUDA,
    float32 on a CPU."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32
