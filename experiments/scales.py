"""What stands behind each scale: corpora, encoder, and how long to train."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import rocl
from rocl.data.corpora import ag_news, ag_news_samples, emotion, laroseda, moroco, redv2, sst2, vardial, written
from rocl.data.task import Task, sample
from rocl.experiment import Scale
from rocl.models.checkpoints import Checkpoint

TINY = Checkpoint(str(Path(rocl.__file__).parent / "models" / "rocl-tiny"))  # reads Romanian and English
PARTS = ("emotion", "sentiment", "news")  # the tasks of the paper; each English twin is called `<task>-en`
SHARED = {  # labels of the English twins by what the Romanian tasks call them; love, world and sci/tech have no name
    "emotion": {name: name for name in ("sadness", "joy", "anger", "fear", "surprise")},
    "sentiment": {name: name for name in ("negative", "positive")},
    "news": {"sports": "sports", "business": "finance"},
}


@dataclass(frozen=True)
class Setting:
    """Everything that changes with the scale and nothing else."""

    encoder: Checkpoint
    grow: bool  # it is one of English sentences: experiments/bilingual.py first makes one of it that knows Romanian
    romanian: dict[str, Task]
    english: dict[str, Task]  # the twin of each Romanian task
    epochs: dict[str, float]  # passes over a task trained alone, by the task's name; "all" for all of them together
    exponent: float  # task shares when learned together: size ** exponent
    learning_rate: float
    layer_decay: float
    batch: int
    evaluations: int = 10  # looks at dev in a run


@cache
def setting(scale: Scale) -> Setting:
    return {Scale.SAMPLE: bundled, Scale.TINY: tiny, Scale.SMALL: small, Scale.PAPER: paper}[scale]()


def bundled() -> Setting:
    """A fresh machine, offline, about a minute: texts written for rocl, and the tiny encoder that comes with it."""
    ro = [written.written_emotion_ro(), written.written_sentiment_ro(), written.written_news_ro()]
    en = [written.written_emotion_en(), written.written_sentiment_en(), written.written_news_en()]
    return Setting(
        encoder=TINY,
        grow=False,
        romanian=tasks(ro, max_length=64),
        english=twins(en, max_length=64),
        epochs={"emotion": 6, "sentiment": 6, "news": 6, "english": 3, "all": 6},
        exponent=0.75,
        learning_rate=4e-4,
        layer_decay=1.0,
        batch=32,
        evaluations=5,  # each takes as long as some steps
    )


def tiny() -> Setting:
    """The corpora of `small` with the encoder that comes with rocl: minutes a run, and nothing to be made before."""
    epochs = {"emotion": 6, "sentiment": 3, "news": 3, "english": 2, "all": 3}
    return replace(small(), encoder=TINY, grow=False, epochs=epochs)


def small() -> Setting:
    """A laptop, some hours: every Romanian training row, English twins cut to 10,000 rows, texts to 128 tokens."""
    ro = [redv2.redv2(), laroseda.laroseda(), vardial.vardial()]
    en = [emotion.emotion(), sst2.sst2(), ag_news_samples.ag_news_samples()]
    return Setting(
        encoder=Checkpoint(
            "sentence-transformers/all-MiniLM-L6-v2",
            revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        grow=True,
        romanian=tasks(ro, max_length=128),
        english={name: sample(task, 10_000) for name, task in twins(en, max_length=128).items()},
        epochs={"emotion": 3, "sentiment": 1, "news": 3, "english": 2, "all": 3},
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
        grow=False,
        romanian=tasks(ro, max_length=256),
        english=twins(en, max_length=128),
        epochs={"emotion": 5, "sentiment": 3, "news": 3, "english": 2, "all": 6},
        exponent=0.75,
        learning_rate=5e-5,
        layer_decay=0.9,
        batch=32,
    )


def meanings(part: str, twin: Task) -> dict[str, str]:
    """The labels of an English twin, whatever their case, that have a name among the Romanian task's."""
    return {label: SHARED[part][label.lower()] for label in twin.labels if label.lower() in SHARED[part]}


def tasks(corpora: list, **options) -> dict[str, Task]:
    return {name: Task(name=name, corpus=corpus, **options) for name, corpus in zip(PARTS, corpora, strict=True)}


def twins(corpora: list, **options) -> dict[str, Task]:
    return {name: replace(task, name=f"{name}-en") for name, task in tasks(corpora, **options).items()}
