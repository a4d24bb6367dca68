"""An encoder for a new language out of an old one, from unlabelled text and some translations.

1. A WordPiece vocabulary of both languages; pieces that the old encoder knows keep their vectors, the others begin as
   the mean of the pieces they were spelled with.
2. Masked language modelling (BERT) on text of both languages.
3. In the same run, parallel distillation (Reimers and Gurevych 2020, arXiv 2004.09813): an English sentence and its
   translation both approach the vector that the old encoder gives the English one.
"""

from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F

from experiments.scales import setting
from rocl.data import tokens, vocabulary
from rocl.data.batches import proportional, uniforms
from rocl.data.corpora import (
    ag_news_samples,
    emotion,
    goemotions,
    laroseda,
    mlqe_pe,
    newsgroups,
    ntrex,
    redv2,
    ro_sts,
    rosent,
    sst2,
    tatoeba,
    vardial,
    written,
)
from rocl.data.masking import mask, pieces
from rocl.data.task import Task, column, sample
from rocl.data.text import apart, joined, passages, side
from rocl.experiment import Experiment, Scale
from rocl.losses import approach, masked_language
from rocl.metrics import retrieval
from rocl.models.checkpoints import Checkpoint
from rocl.models.heads import MaskedLanguage, Model, outputs, owners, texts
from rocl.models.transplant import transplant

SIZE = {Scale.SAMPLE: 2_000, Scale.SMALL: 20_000, Scale.PAPER: 30_000}  # pieces
PASSES = {Scale.SAMPLE: 2, Scale.SMALL: 4, Scale.PAPER: 10}


def bare(scale: Scale) -> list[Task]:
    """Text of each language for masked language modelling; nothing that a task of the scale is judged on."""
    if scale is Scale.SAMPLE:
        ro = [written.written_emotion_ro(), written.written_sentiment_ro(), written.written_news_ro()]
        en = [written.written_emotion_en(), written.written_sentiment_en(), written.written_news_en()]
    else:
        ro = [vardial.vardial(), rosent.rosent(), laroseda.laroseda(), redv2.redv2()]
        en = [
            sst2.sst2(),
            emotion.emotion(),
            goemotions.goemotions(),
            ag_news_samples.ag_news_samples(),
            newsgroups.newsgroups(),
        ]
    choice = setting(scale)
    judged = [task.corpus for task in (*choice.romanian.values(), *choice.english.values(), *translated(scale))]
    judged += [*ro, *en] if scale is Scale.SAMPLE else [*ro, *en, laroseda.laroseda(title=False)]
    corpora = [passages("romanian", "ro", ro, without=judged), passages("english", "en", en, without=judged)]
    tasks = [Task(name=c.name, corpus=c, max_length=128, metric="masked_accuracy") for c in corpora]
    return [tasks[0], sample(tasks[1], 30_000)]  # the old encoder knows the old language


@cache
def translated(scale: Scale) -> list[Task]:
    """English sentences with their Romanian translations; RO-STS test and Tatoeba are there to be found."""
    if scale is Scale.SAMPLE:
        corpora = [written.written_pairs()]
    else:
        pairs = joined(
            "pairs",
            train=[(mlqe_pe.mlqe_pe(), "train"), (ntrex.ntrex(), "train")],
            dev=[(mlqe_pe.mlqe_pe(), "dev")],
            test=[(tatoeba.tatoeba(), "test")],
        )
        corpora = [apart(ro_sts.ro_sts()), apart(pairs)]
    return [Task(name=corpus.name, corpus=corpus, max_length=96, metric="retrieval") for corpus in corpora]


def old(tasks, done, *, checkpoint: Checkpoint, fresh: bool) -> Model:
    """The encoder as it is: what is reached by doing nothing, and the teacher of sentences."""
    return Model(checkpoint.fresh() if fresh else checkpoint.encoder(), {"sentence": torch.nn.Identity()})


def grown(tasks, done, *, checkpoint: Checkpoint, fresh: bool, size: int) -> Model:
    """The old layers under the vocabulary of both languages."""
    known = tokens.tokenizer(checkpoint.folder(weights=not fresh))
    learned = [text for task in tasks for row in task.rows("train") for text in row.texts]
    folder = vocabulary.trained(learned, size)
    new = tokens.tokenizer(folder)
    names = [new.backend.id_to_token(id) for id in range(new.size)]
    spell = vocabulary.speller(known.backend)
    encoder = checkpoint.fresh() if fresh else checkpoint.encoder()
    encoder = transplant(encoder, names, known.backend.get_vocab(), spell, new.pad)
    encoder.source = folder
    return Model(encoder, {"words": MaskedLanguage(encoder), "sentence": torch.nn.Identity()})


def both(done, *, bare: list[Task], translated: list[Task]) -> list[Task]:
    """All tasks, the translated ones with the teacher's vectors of their English side as a column."""
    taught = [column(task, teacher=done["teacher"].predict(side(task, 0), "train")) for task in translated]
    return [*bare, *taught]


def masks(model, batch, draw):
    """Bare text is masked, pairs are not."""
    return batch if "teacher" in batch.columns else mask(batch, draw, pieces(model.encoder.source), whole_words=True)


def guesses(model, vectors):
    return model.heads["words"](vectors, model.encoder.embeddings.words.weight, model.precision)


def objective(model, encoded, batch, progress, *, weight: float = 300.0):
    """The squared distance is small, since vectors are: without its weight nothing but masks is learned."""
    if "teacher" in batch.columns:
        vectors = model.heads["sentence"](texts(encoded)).view(len(batch.row_ids), 2, -1)  # (R, 2, D)
        return {"parallel": weight * approach(vectors, batch.columns["teacher"])}
    asked = batch.tokens["answers"] >= 0  # (T,)
    answers, rows = batch.tokens["answers"][asked], owners(encoded)[asked]  # (M,) each
    logits = guesses(model, encoded.tokens[asked])  # (M, V)
    return {"masked": masked_language(logits, answers, rows, len(batch.row_ids))}


@torch.no_grad()
def judge(model, table) -> dict[str, float]:
    """Pairs by finding the translation; bare text by how well masked words are guessed, always the same ones."""
    if table.task.metric == "retrieval":
        vectors = outputs(model, table, lambda encoded: texts(encoded).view(len(encoded.rows) - 1, -1))  # (N, 2 D)
        return retrieval(*np.split(vectors, 2, axis=1))
    model.eval()
    losses, right, asked_for = 0.0, 0, 0
    for rows in table.cut(np.arange(len(table)), 8192):
        batch = table.batch(rows)
        batch = masks(model, batch, partial(uniforms, batch, 0, 0)).to(model.device)
        asked = batch.tokens["answers"] >= 0
        answers = batch.tokens["answers"][asked]
        logits = guesses(model, model.encode(batch).tokens[asked])  # (M, V)
        losses += F.cross_entropy(logits, answers, reduction="sum").item()
        right += int((logits.argmax(1) == answers).sum())
        asked_for += len(answers)
    return {"masked_accuracy": right / max(1, asked_for), "perplexity": float(np.exp(losses / max(1, asked_for)))}


def experiment(scale: Scale) -> Experiment:
    choice = setting(scale)
    start = {"checkpoint": choice.encoder, "fresh": choice.fresh}
    pairs = translated(scale)
    teacher = Experiment(
        name="old-encoder", tasks=pairs, model=partial(old, **start), objective=objective, judge=judge, steps=0
    )
    return Experiment(
        name="bilingual",
        needs={"teacher": teacher},
        tasks=partial(both, bare=bare(scale), translated=pairs),
        model=partial(grown, size=SIZE[scale], **start),
        alter=masks,
        objective=objective,
        judge=judge,
        epochs=PASSES[scale],
        sampling=partial(proportional, exponent=0.5),
        batch=64,
        learning_rate=5e-4,
    )
