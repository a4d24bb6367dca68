"""What stands behind each scale: corpora, encoder, and how long to train."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import rocl
from rocl.data.corpora import ag_news, ag_news_samples, emotion, laroseda, moroco, redv2, sample, sst2, vardial
from rocl.data.task import Task
from rocl.data.task import sample as drawn
from rocl.experiment import Scale
from rocl.models.checkpoints import Checkpoint

PARTS = ("emotion", "sentiment", "news")  # the tasks of the paper; each English twin is called `<task>-en`


@dataclass(frozen=True)
class Setting:
    """Everything that changes with the scale and nothing else."""

    encoder: Checkpoint
    fresh: bool  # the encoder starts from new weights: it has none
    romanian: dict[str, Task]
    english: dict[str, Task]  # the twin of each Romanian task
    epochs: dict[str, float]  # passes over a task trained alone, by the task's name; "all" for all of them together
    exponent: float  # task shares when learned together: size ** exponent
    learning_rate: float
    layer_decay: float
    batch: int


@cache
def setting(scale: Scale) -> Setting:
    return {Scale.SAMPLE: bundled, Scale.SMALL: small, Scale.PAPER: paper}[scale]()


def bundled() -> Setting:
    """A fresh machine, offline, about a minute: made-up sentences and a tiny encoder that starts from nothing."""
    ro = [sample.sample_emotion_ro(), sample.sample_sentiment_ro(), sample.sample_news_ro()]
    en = [sample.sample_emotion_en(), sample.sample_sentiment_en(), sample.sample_news_en()]
    return Setting(
        encoder=Checkpoint(str(Path(rocl.__file__).parent / "data" / "sample_encoder")),
        fresh=True,
        romanian=tasks(ro, max_length=64),
        english=twins(en, max_length=64),
        epochs={"emotion": 12, "sentiment": 12, "news": 12, "english": 4, "all": 13},
        exponent=0.75,
        learning_rate=7e-4,
        layer_decay=1.0,
        batch=32,
    )


def small() -> Setting:
    """A laptop, two hours: every Romanian training row, English twins cut to 10,000 rows, texts to 128 tokens.

    The encoder is English and uncased: it reads Romanian without its diacritics, piece by piece.
    """
    ro = [redv2.redv2(), laroseda.laroseda(), vardial.vardial()]
    en = [emotion.emotion(), sst2.sst2(), ag_news_samples.ag_news_samples()]
    return Setting(
        encoder=Checkpoint(
            "sentence-transformers/all-MiniLM-L6-v2",
            revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        fresh=False,
        romanian=tasks(ro, max_length=128),
        english={name: drawn(task, 10_000) for name, task in twins(en, max_length=128).items()},
        epochs={"emotion": 10, "sentiment": 2, "news": 4, "english": 2, "all": 6},
        exponent=0.0,  # shares by size leave the tweets, which learn slowest, half trained
        learning_rate=2e-4,
        layer_decay=1.0,
        batch=32,
    )


def paper() -> Setting:
    """The paper's corpora, splits and encoder, and BAM's numbers; one GPU and some hours."""
    ro = [redv2.redv2(), laroseda.laroseda(title=True), moroco.moroco()]
    en = [emotion.emotion(), sst2.sst2(), ag_news.ag_news()]
    return Setting(
        encoder=Checkpoint(
            "dumitrescustefan/bert-base-romanian-cased-v1", revision="faa3aa8154249bb75976801be02994c37be91c5c"
        ),
        fresh=False,
        romanian=tasks(ro, max_length=256),
        english=twins(en, max_length=128),
        epochs={"emotion": 5, "sentiment": 3, "news": 3, "english": 2, "all": 6},
        exponent=0.75,
        learning_rate=5e-5,
        layer_decay=0.9,
        batch=32,
    )


def tasks(corpora: list, **options) -> dict[str, Task]:
    return {name: Task(name=name, corpus=corpus, **options) for name, corpus in zip(PARTS, corpora, strict=True)}


def twins(corpora: list, **options) -> dict[str, Task]:
    return {name: replace(task, name=f"{name}-en") for name, task in tasks(corpora, **options).items()}
