"""Training and inference beside Hugging Face's Trainer: real tokens a second of the same texts, in turns.

python -m benchmarks.throughput [--short]

Works are 50 batches of the English tweets, of LaRoSeDa and of MOROCO in $ROCL_DATA, else made-up texts of such lengths;
new weights of the sizes of MiniLM-L6 and BERT-base learn two labels. All steps of an epoch are timed, with order,
collation, clipping and AdamW. Padding never counts. 50 batches are one chunk of Hugging Face's grouping by length.

| column | |
|---|---|
| HF ... | transformers' Trainer: bf16 is its autocast, grouping its `train_sampling_strategy` |
| rocl, padded | rocl's step on texts that padding makes equally long |
| rocl | rocl's step; as dropout, that of Hugging Face's columns |
| rocl, relaxed | the same without dropout of attention, and with AdamW on those rows of words that the step had |
| products alone | the matrix products of a step's linear layers, forward and back, and nothing else |

On CUDA attention has no dropout in any column but "HF bf16, its dropout". Hugging Face's collator without padding makes
one sequence of a batch, of which a classifier of texts has one answer: it is no column.
"""

import json
import os

# Every column has shapes of its own, for which oneDNN makes kernels and keeps 1,024. In one process the columns would
# drive out each other's at every turn, which nobody sees who runs one of them.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "65536")

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks import made_up, measure
from rocl import runs
from rocl.data import batches, tokens
from rocl.data.corpora import emotion, laroseda, vardial
from rocl.data.tokens import Packed
from rocl.experiment import Experiment
from rocl.models import attention
from rocl.models.checkpoints import Checkpoint
from rocl.models.encoder import Config
from rocl.models.heads import Model, outputs
from rocl.optimizer import LazyRows
from rocl.predict import device

try:
    import accelerate  # noqa: F401  its Trainer needs it
    import transformers
except ImportError:
    transformers = None  # its columns are shown as not run

PIECES = Checkpoint("sentence-transformers/all-MiniLM-L6-v2", revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41")
CORPORA = {"tweets": emotion.emotion, "reviews": laroseda.laroseda, "news": vardial.vardial}
WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy")  # not those of the clock, for the device
Timed = Callable[[], tuple[float, int]]  # seconds of an epoch, and tokens with padding


@dataclass(frozen=True)
class Work:
    """One encoder on one kind of texts."""

    size: str
    config: Config
    texts: str
    batch: int
    longest: int
    rounds: int = 3
    steps: int = 50

    @property
    def name(self) -> str:
        return f"{self.size}, {self.texts}, batch {self.batch}"


FULL = (
    Work("MiniLM", made_up.MINILM, "tweets", 32, 64),
    Work("MiniLM", made_up.MINILM, "reviews", 16, 256),
    Work("MiniLM", made_up.MINILM, "news", 8, 256),
    Work("base", made_up.BASE, "tweets", 32, 64),
)
SHORT = (Work("small", made_up.SMALL, "tweets", 32, 64, rounds=1, steps=4),)


def texts(work: Work) -> Packed:
    """As many of a corpus as the work has steps for, drawn by a seed, else made-up ones."""
    size = work.batch * work.steps
    if "ROCL_DATA" not in os.environ or work.config.vocabulary != made_up.MINILM.vocabulary:
        return made_up.packed(made_up.lengths(work.texts, size, work.longest), work.config.vocabulary)
    rows = CORPORA[work.texts]().splits["train"]
    chosen = np.random.default_rng(0).permutation(len(rows))[:size]
    return tokens.pack(
        [rows[place] for place in chosen], tokens.tokenizer(PIECES.folder(weights=False)), work.longest, None
    )


class Padded(batches.Table):
    """Rows of one text that batches make as long as their longest."""

    def batch(self, rows: np.ndarray) -> batches.Batch:
        batch = super().batch(rows)
        there = torch.arange(max(batch.lengths)) < batch.starts.diff()[:, None]  # (R, L)
        ids = torch.zeros(there.shape, dtype=torch.int64).masked_scatter(there, batch.ids)
        starts = torch.arange(len(rows) + 1) * max(batch.lengths)
        return replace(batch, ids=ids.flatten(), starts=starts, lengths=starts.diff().tolist())


def ours(work: Work, table: batches.Table, attention: float, words: type | None = None) -> Timed:
    """Epochs as `rocl.train` trains them."""
    take = made_up.learner(replace(work.config, attention_dropout=attention), [table], words)
    experiment = Experiment(name=work.name, tasks=[table.task], model=Model, objective=made_up.objective, steps=1)
    of_epoch = {"batch": work.batch, "steps": work.steps, "sampling": batches.proportional}

    def epoch() -> tuple[float, int]:
        begun = measure.clock()
        taken = sum(take(experiment, [table], pairs) for pairs in batches.steps([len(table)], seed=0, **of_epoch))
        return measure.clock() - begun, taken

    return epoch


def theirs(work: Work, table: batches.Table, attention: float, *, bf16: bool = False, grouped: bool = False) -> Timed:
    """Epochs of Hugging Face's Trainer on the same texts."""
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(hf_config(work.config, attention))
    rows = [{"input_ids": ids, "labels": label} for ids, label in zip(split(table), gold(table), strict=True)]
    pad = hf_pad()
    moments, slots, folder = {}, [], tempfile.mkdtemp()

    def collate(features: list[dict]) -> dict:
        batch = pad(features)
        slots.append(batch["input_ids"].numel())
        return batch

    class Clock(transformers.TrainerCallback):
        def on_epoch_begin(self, *_, **__):
            moments["begun"] = measure.clock()

        def on_epoch_end(self, *_, **__):
            moments["ended"] = measure.clock()

    def epoch() -> tuple[float, int]:
        slots.clear()
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=work.batch,
            bf16=bf16,
            train_sampling_strategy="group_by_length" if grouped else "random",
            learning_rate=1e-5,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=device().type == "cpu",
        )
        options = {"train_dataset": rows, "data_collator": collate, "callbacks": [Clock()]}
        trainer = transformers.Trainer(model, arguments, **options)
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
        os.rmdir(folder)
        return moments["ended"] - moments["begun"], sum(slots)

    return epoch


def hf_config(config: Config, attention: float) -> "transformers.BertConfig":
    return transformers.BertConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.inner,
        max_position_embeddings=config.positions,
        attention_probs_dropout_prob=attention,
    )


def hf_pad() -> Callable:
    """Transformers' own collator, for ids that are there already."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    backend = Tokenizer(WordLevel({"[PAD]": 0}, unk_token="[PAD]"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]")
    return transformers.DataCollatorWithPadding(tokenizer)


def split(table: batches.Table) -> list[list[int]]:
    return [ids.tolist() for ids in np.split(table.packed.ids, table.packed.texts[1:-1])]


def gold(table: batches.Table) -> list[int]:
    return table.columns["labels"].argmax(1).tolist()


def answered(work: Work, table: batches.Table, *, bf16: bool, by_length: bool) -> Timed:
    """Inference with Hugging Face's model, in batches of 32 texts."""
    model = transformers.BertForSequenceClassification(hf_config(work.config, 0.0)).to(device()).eval()
    pad, rows = hf_pad(), [{"input_ids": ids} for ids in split(table)]
    rows = sorted(rows, key=lambda row: len(row["input_ids"])) if by_length else rows

    @torch.no_grad()
    def pass_over() -> tuple[float, int]:
        begun, slots = measure.clock(), 0
        for start in range(0, len(rows), 32):
            batch = pad(rows[start : start + 32]).to(device())
            with torch.autocast(device().type, torch.bfloat16, enabled=bf16):
                model(**batch).logits.float().cpu()
            slots += batch["input_ids"].numel()
        return measure.clock() - begun, slots

    return pass_over


def answers(work: Work, table: batches.Table) -> Timed:
    model = made_up.model(work.config, [table])

    def pass_over() -> tuple[float, int]:
        begun = measure.clock()
        outputs(model, table, model.heads[table.task.name])
        return measure.clock() - begun, int(table.lengths.sum())

    return pass_over


def products(work: Work, table: batches.Table, *, back: bool = True) -> Timed:
    """The products of all linear layers, of as many tokens as a step of training has on average."""
    size = int(table.lengths.sum()) // work.steps
    model, shapes = made_up.model(work.config, [table]), []
    kind = {"dtype": torch.bfloat16, "device": device()}
    for layer in model.encoder.layers:
        shapes += [tuple(part.weight.shape) for part in layer.modules() if isinstance(part, nn.Linear)]
    weights = [torch.randn(shape, **kind) for shape in shapes]  # (out, in) each
    inputs, slopes = (
        {width: torch.randn(size, width, **kind) for shape in shapes for width in shape} for _ in range(2)
    )

    def epoch() -> tuple[float, int]:
        begun = measure.clock()
        for _ in range(work.steps):
            for weight in weights:
                inputs[weight.shape[1]] @ weight.t()
                if back:
                    slopes[weight.shape[0]] @ weight
                    slopes[weight.shape[0]].t() @ inputs[weight.shape[1]]
        return measure.clock() - begun, size * work.steps

    return epoch


def columns(work: Work, table: batches.Table) -> dict[str, dict[str, Callable[[], Timed] | None]]:
    """What prepares each column of training and of inference; None of one that cannot be run here."""
    cuda = device().type == "cuda"
    rate = 0.0 if cuda else work.config.attention_dropout
    hf = {
        "HF float32": partial(theirs, work, table, rate),
        "HF bf16": partial(theirs, work, table, rate, bf16=True),
        "HF bf16, grouping": partial(theirs, work, table, rate, bf16=True, grouped=True),
        **({"HF bf16, its dropout": partial(theirs, work, table, 0.1, bf16=True)} if cuda else {}),
    }
    padded = Padded(table.task, table.packed, table.columns, table.ids)
    training = {
        **hf,
        "rocl, padded": partial(ours, work, padded, rate),
        "rocl": partial(ours, work, table, rate),
        "rocl, relaxed": partial(ours, work, table, 0.0, LazyRows),
        "products alone": partial(products, work, table),
    }
    inference = {
        "HF float32": partial(answered, work, table, bf16=False, by_length=False),
        "HF bf16": partial(answered, work, table, bf16=True, by_length=False),
        "HF bf16, sorted": partial(answered, work, table, bf16=True, by_length=True),
        "rocl": partial(answers, work, table),
        "products alone": partial(products, work, table, back=False),
    }
    lacking = "HF" if transformers is None else "nothing"
    return {
        what: {name: None if name.startswith(lacking) else make for name, make in each.items()}
        for what, each in (("training", training), ("inference", inference))
    }


def in_turns(makers: Mapping[str, Callable[[], Timed] | None], rounds: int) -> dict[str, list[tuple[float, int]]]:
    """What each work says in each round, there and back; nothing of what cannot be run."""
    ready = {name: make() for name, make in makers.items() if make}
    found: dict[str, list] = {name: [] for name in makers}
    for number in range(rounds):
        for name in list(ready)[:: -1 if number % 2 else 1]:
            found[name].append(ready[name]())
    return found


def table_of(work: Work) -> batches.Table:
    return made_up.table(work.texts, texts(work), 2)


def longest(work: Work, what: str, name: str) -> Timed:
    """One column of a work, on no more than two batches of its longest texts."""
    table, few = table_of(work), replace(work, steps=2)
    rows = np.sort(np.argsort(-table.lengths, kind="stable")[: 2 * work.batch])
    every, lengths = split(table), table.lengths[rows]
    packed = replace(
        made_up.packed(lengths, work.config.vocabulary),
        ids=np.concatenate([every[row] for row in rows]).astype(np.uint16),
    )
    return columns(few, made_up.table(work.texts, packed, 2))[what][name]()


def on_gpu(work: Work, table: batches.Table, name: str, rate: float) -> dict[str, object]:
    """What a column of training at this rate of real tokens a second does with a GPU: its share of what one large
    product reaches; kernels that it launches and times that the host waits, a step."""
    epoch = longest(work, "training", name)  # two steps
    epoch()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        epoch()
    called = Counter(event.name for event in seen.events())
    launches = sum(count for call, count in called.items() if "LaunchKernel" in call)
    flash = attention.choose("cuda", torch.bfloat16, work.config.width // work.config.heads, 0.0) is attention.varlen
    return {
        "flops_share": rate * flops(work, table) / large_product(),
        "launches_a_step": launches / 2,
        "waits_a_step": sum(called[call] for call in WAITS) / 2,
        "attention": "flash kernel" if name.startswith("rocl") and flash else "scaled_dot_product_attention",
    }


def flops(work: Work, table: batches.Table) -> float:
    """Of the products of training, linear layers and attention, forward and back, a real token."""
    width, inner = work.config.width, work.config.inner
    linear = 2 * (4 * width * width + 2 * width * inner)
    mixing = 4 * width * float(np.square(table.lengths, dtype=np.int64).sum() / table.lengths.sum())
    return 3 * work.config.layers * (linear + mixing)


@cache
def large_product() -> float:
    """Floating-point operations a second of a product that a device does best, in bf16."""
    square = torch.randn(8192, 8192, device=device(), dtype=torch.bfloat16)
    seconds = measure.timed({"product": lambda: square @ square}, rounds=10)["product"]
    return 2 * len(square) ** 3 / median(seconds)


def lines(work: Work) -> Iterator[dict[str, object]]:
    """A result for each column, of training and of inference."""
    table = table_of(work)
    real = int(table.lengths.sum())
    for what, makers in columns(work, table).items():
        found = in_turns(makers, work.rounds)
        seconds = {name: [taken for taken, _ in each] for name, each in found.items()}
        for name, each in found.items():
            rates = [real / taken for taken in seconds[name]] or [None]
            line = {"work": work.name, "what": what, "column": name}
            line |= {"tokens_a_second": median(rates) if each else None, "lowest": min(rates), "highest": max(rates)}
            line |= {"texts_a_second": median(rates) * len(table) / real if each else None}
            line |= {"padding": 1 - real / max(each[0][1], real) if each else None}
            peak = measure.peak(longest, work, what, name) if each and name != "products alone" else None
            line |= {"peak_mib": peak}
            if device().type == "cuda" and each and what == "training" and name != "products alone":
                line |= on_gpu(work, table, name, median(rates))
            for other in [*makers][:3] + ["products alone"]:
                over = measure.ratio(seconds[other], seconds[name], "") if each and seconds[other] else {}
                line |= {f"over_{other}": over.get(""), f"over_{other}_spread": spread(over)}
            yield line


def spread(over: Mapping[str, float]) -> str | None:
    return f"{over['_lowest']:.3g} to {over['_highest']:.3g}" if over else None


def picture(results: Sequence[Mapping]) -> Image.Image:
    """Bars of real tokens a second, in each work as shares of its fastest column, with the ends of the spread."""
    lines = [line for line in results if line["column"] != "products alone" and line["tokens_a_second"]]
    works = list(dict.fromkeys((line["work"], line["what"]) for line in lines))
    font, row, left, wide = ImageFont.load_default(13), 18, 150, 420
    image = Image.new("RGB", (left + wide + 80, row * (len(lines) + 2 * len(works))), "white")
    draw, y = ImageDraw.Draw(image), 0
    for work in works:
        own = [line for line in lines if (line["work"], line["what"]) == work]
        most = max(line["highest"] for line in own)
        draw.text((8, y + row), ": ".join(work), "black", font, anchor="lm")
        y += 2 * row
        for line in own:
            middle, low, high = (left + wide * line[name] / most for name in ("tokens_a_second", "lowest", "highest"))
            ink = "#1f77b4" if line["column"].startswith("rocl") else "#b0b0b0"
            draw.text((left - 8, y), line["column"], "black", font, anchor="rm")
            draw.rectangle((left, y - 6, middle, y + 6), ink)
            draw.line((low, y, high, y), "black")
            draw.text((left + wide + 8, y), f"{line['tokens_a_second']:,.0f}", "black", font, anchor="lm")
            y += row
    return image


def run(*, works: Sequence[Work], out: Path = Path("runs/benchmarks")) -> None:
    results = []
    for work in works:
        found = list(lines(work))
        for what in ("training", "inference"):
            own = [line for line in found if line["what"] == what]
            shown = [name for name in own[0] if name not in ("work", "what")]
            print(f"\n{work.name}: {what}\n", flush=True)
            head = [name.replace("_", " ") for name in shown]
            print(runs.markdown(head, [[measure.cell(line[name]) for name in shown] for line in own]), flush=True)
        results += found
    out.mkdir(parents=True, exist_ok=True)
    picture(results).save(out / "throughput.png")
    facts = {"picture": str(out / "throughput.png"), **measure.environment()}
    print(json.dumps({"benchmark": "throughput", **facts, "results": results}, allow_nan=False))


def main(short: bool) -> None:
    run(works=SHORT if short else FULL)


if __name__ == "__main__":
    main(measure.short(__doc__))
