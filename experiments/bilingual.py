"""An encoder for a new language out of an old one (the scale's), from unlabelled text and some translations.

1. A WordPiece vocabulary of both languages; pieces that the old encoder knows keep their vectors, the others begin as
   the mean of the pieces they were spelled with.
2. Masked language modelling (BERT) on text of both languages.
3. In the same run, distillation of sentences (Reimers and Gurevych 2020, arXiv 2004.09813): an English sentence and its
   translation both approach the vector that the old encoder gives the English one; so does bare English text, masked.

Then a tiny encoder out of that one, with its first and last layer, fewer pieces and narrow embeddings, by masks and by
the larger encoder's vector of every text.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F

from experiments.scales import setting
from rocl.data import batches, tokens, vocabulary
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
from rocl.data.corpus import Corpus
from rocl.data.masking import mask, pieces
from rocl.data.task import Task, column, sample
from rocl.data.text import apart, joined, passages, side, translations
from rocl.experiment import Experiment, Scale
from rocl.losses import approach, masked_language
from rocl.metrics import retrieval
from rocl.models.checkpoints import Checkpoint
from rocl.models.encoder import Encoder
from rocl.models.heads import MaskedLanguage, Model, first, outputs, owners, texts
from rocl.models.transplant import factorised, layers_kept, scaled, transplant

SIZE = {Scale.SAMPLE: 2_000, Scale.TINY: 12_000, Scale.SMALL: 20_000, Scale.PAPER: 30_000}  # pieces
PASSES = {Scale.SAMPLE: 2, Scale.TINY: 4, Scale.SMALL: 4, Scale.PAPER: 10}
TINY_SIZE = {Scale.SAMPLE: 1_500, Scale.TINY: 12_000, Scale.SMALL: 12_000, Scale.PAPER: 12_000}  # pieces
LONGEST = 128  # tokens of a text
NARROW = 96  # width of the tiny encoder's embeddings: with two layers of 384, 9.6 MB in float16


@cache
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
    tasks = [Task(name=c.name, corpus=c, max_length=LONGEST, metric="masked_accuracy") for c in corpora]
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


class Dropless(Model):
    """Without dropout, which is all that training changes in a model: few passes over much text are not learned by
    heart, and dropout would cost a fifth of the time. The encoder's config keeps its rates, for fine-tuning."""

    def train(self, mode: bool = True):
        return super().train(False)


def old(tasks, done, *, checkpoint: Checkpoint) -> Model:
    """The encoder as it is: what is reached by doing nothing, and the teacher of sentences."""
    return Model(checkpoint.encoder(), {"sentence": torch.nn.Identity()})


def grown(tasks, done, *, checkpoint: Checkpoint, size: int) -> Model:
    """The old layers under the vocabulary of both languages."""
    return learner(respelled(checkpoint.encoder(), tasks, size))


def shrunk(tasks, done, *, size: int, width: int) -> Model:
    """The first and the last layer of the bilingual encoder, under fewer pieces and with embeddings of this width."""
    large = done["teacher"].encoder()
    small = respelled(layers_kept(large, sorted({0, large.config.layers - 1})), tasks, size)
    return learner(small if small.config.family == "electra" else factorised(small, width))


def respelled(encoder: Encoder, tasks: list[Task], size: int) -> Encoder:
    """The encoder with a vocabulary of at most so many pieces, learnt from the training texts of the tasks."""
    known = tokens.tokenizer(encoder.source)
    learned = [text for task in tasks for row in task.rows("train") for text in row.texts]
    folder = vocabulary.trained(learned, size)
    new = tokens.tokenizer(folder)
    names = [new.backend.id_to_token(id) for id in range(new.size)]
    encoder = transplant(encoder, names, known.backend.get_vocab(), vocabulary.speller(known.backend), new.pad)
    encoder.source = folder
    return encoder


def sized(encoder: Encoder, tasks: Sequence[Task]) -> Encoder:
    """The encoder with vectors whose entries are about 1 in size, measured on first tokens of 256 texts a task.

    Encoders of sentences are taught vectors of length 1 or little more. A new head's weights are small, as suits the
    long vectors of BERT; on short ones it has hardly anything to say for its first hundreds of steps.
    """
    tokenizer, model = tokens.tokenizer(encoder.source), Model(encoder, {})
    tables = [batches.table(sample(task, 256), "train", tokenizer, None) for task in tasks]
    vectors = np.concatenate([outputs(model, table, first) for table in tables])  # (N, D)
    return scaled(encoder, 1 / float(np.sqrt(np.square(vectors).mean())))


def resized(tasks, done) -> Model:
    return Model(sized(done["before"].encoder(), tasks), {"sentence": torch.nn.Identity()})


def learner(encoder: Encoder) -> Model:
    return Dropless(encoder, {"words": MaskedLanguage(encoder), "sentence": torch.nn.Identity()})


def both(done, *, bare: list[Task], translated: list[Task]) -> list[Task]:
    """All tasks, those with English text with the teacher's vectors of it as a column."""
    romanian, english = bare
    taught = [(english, english), *((task, side(task, 0)) for task in translated)]
    return [romanian, *(column(task, teacher=done["teacher"].predict(text, "train")) for task, text in taught)]


def followed(done, *, bare: list[Task], translated: list[Task]) -> list[Task]:
    """All tasks with the bilingual encoder's vectors: of bare text its own, of a pair that of its English side."""
    taught = [*((task, task) for task in bare), *((task, side(task, 0)) for task in translated)]
    return [column(task, teacher=done["teacher"].predict(text, "train")) for task, text in taught]


def masks(model, batch, draw):
    """Bare text is masked, pairs are not."""
    single = len(batch.starts) == len(batch.rows)
    return mask(batch, draw, pieces(model.encoder.source), whole_words=True) if single else batch


def guesses(model, vectors):
    return model.heads["words"](vectors, model.encoder.embeddings.words.weight, model.precision)


def objective(model, encoded, batch, progress, *, weight: float = 600.0):
    """The mean of a text's tokens and its first token both approach the teacher's vector: sentences are compared by
    their means, and the families' heads read the first token. The squared distance is small, since vectors are: without
    its weight nothing but masks is learned."""
    terms = {}
    if "teacher" in batch.columns:
        vectors = torch.stack([texts(encoded), encoded.tokens[encoded.starts[:-1]]], 1)  # (B, 2, D)
        vectors = vectors.view(len(batch.row_ids), -1, vectors.shape[-1])  # (R, two a text, D)
        terms["distance"] = weight * approach(vectors, batch.columns["teacher"])
    if "answers" in batch.tokens:
        asked = batch.tokens["answers"] >= 0  # (T,)
        answers, rows = batch.tokens["answers"][asked], owners(encoded)[asked]  # (M,) each
        logits = guesses(model, encoded.tokens[asked])  # (M, V)
        terms["masked"] = masked_language(logits, answers, rows, len(batch.row_ids))
    return terms


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


def trained(start: Checkpoint, bare: list[Task], translated: list[Task], *, size: int, passes: float) -> Experiment:
    """The encoder of the old one's size, with the head of masked words, and vectors as short as the teacher's.

    `bare` are text of the new and of the old language, `translated` have texts of the old language first; at most
    `size` pieces."""
    teacher = Experiment(
        name="old-encoder",
        tasks=translated,
        model=partial(old, checkpoint=start),
        objective=objective,
        judge=judge,
        steps=0,
    )
    return Experiment(
        name="bilingual",
        needs={"teacher": teacher},
        tasks=partial(both, bare=bare, translated=translated),
        model=partial(grown, size=size, checkpoint=start),
        alter=masks,
        objective=objective,
        judge=judge,
        epochs=passes,
        sampling=partial(proportional, exponent=0.5),
        batch=64,
        learning_rate=5e-4,
        seed=1,  # one encoder, whatever the seed of what is built on it
    )


def ready(before: Experiment, translated: list[Task]) -> Experiment:
    """The encoder that `before` leaves, at the scale of vectors that heads for classification are made for."""
    return replace(
        before,
        name=f"{before.name}-ready",
        needs={"before": before},
        tasks=[replace(task, max_length=LONGEST) for task in translated],
        model=resized,
        alter=None,
        epochs=None,
        steps=0,
    )


@cache
def mini(scale: Scale) -> Experiment:
    return trained(setting(scale).encoder, bare(scale), translated(scale), size=SIZE[scale], passes=PASSES[scale])


def bilingual(scale: Scale) -> Experiment:
    """What others start from; rocl-mini at scale `small`."""
    return ready(mini(scale), translated(scale))


def tiny(scale: Scale) -> Experiment:
    """rocl-tiny, which the package brings along, at scale `small`."""
    large = mini(scale)
    small = replace(
        large,
        name="tiny",
        needs={"teacher": large},
        tasks=partial(followed, bare=bare(scale), translated=translated(scale)),
        model=partial(shrunk, size=TINY_SIZE[scale], width=NARROW),
    )
    return ready(small, translated(scale))


def made_for(scale: Scale, corpus: Corpus, twin: Corpus, *, passes: float = 10) -> Experiment:
    """An encoder for the language of a corpus out of the scale's, from nothing but the training texts of the corpus
    and their translations into a language that the scale's encoder knows (`rocl.data.files.twin`)."""
    sides = [passages(name, c.language, [c], without=[corpus, twin]) for name, c in (("new", corpus), ("old", twin))]
    texts = [Task(name=side.name, corpus=side, max_length=LONGEST, metric="masked_accuracy") for side in sides]
    pairs = [Task(name="pairs", corpus=apart(translations(twin, corpus)), max_length=LONGEST, metric="retrieval")]
    return ready(trained(setting(scale).encoder, texts, pairs, size=SIZE[scale], passes=passes), pairs)


def experiment(scale: Scale) -> Experiment:
    return Experiment(name="encoders-made", needs={"mini": bilingual(scale), "tiny": tiny(scale)})
