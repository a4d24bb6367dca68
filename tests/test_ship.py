"""Proves that an encoder is given away in half the bytes and still is the same encoder, and that rocl-tiny, which the
package brings along, is what its card says."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from test_masking import language, run
from test_train import made

import rocl
from rocl import disk, ship, train
from rocl.data import batches, tokens
from rocl.data.corpora import written
from rocl.data.corpus import Corpus, Row
from rocl.data.task import Task
from rocl.errors import UserError
from rocl.experiment import Scale, graph
from rocl.metrics import retrieval
from rocl.models import checkpoints
from rocl.models.heads import Model, mean, outputs

TINY = Path(rocl.__file__).parent / "models" / "rocl-tiny"


def vectors(folder: Path, task: Task, split: str) -> np.ndarray:
    """The mean vectors of a split, by the encoder of a folder, in float32."""
    encoder = checkpoints.read(folder)
    return outputs(Model(encoder, {}), batches.table(task, split, tokens.tokenizer(folder), None), mean)


def texts(name: str, split: str = "test") -> list[str]:
    return [row.texts[0] for row in getattr(written, f"written_{name}")().splits[split]]


def test_what_is_shipped_has_half_the_bytes_and_nearly_the_same_vectors(tmp_path):
    left = run(language(tmp_path, steps=3), tmp_path / "runs")
    ship.main([str(left.parent), str(tmp_path / "given")])
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (left / "model", tmp_path / "given")]
    assert 0.4 < sizes[1] / sizes[0] < 0.7
    task = language(tmp_path).tasks[0]
    one, two = (vectors(folder, task, "dev") for folder in (left / "model", tmp_path / "given"))
    assert np.abs(one - two).max() < 5e-3 < np.abs(one).max() and not np.array_equal(one, two)
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(tmp_path / "given"), device="cpu").float()
    np.testing.assert_allclose(theirs.encode([row.texts[0] for row in task.rows("dev")]), two, atol=1e-5)


def test_a_classifier_is_not_shipped_and_neither_is_a_folder_that_is_no_run(tmp_path):
    (node,) = graph(made(tmp_path, steps=2), Scale.SAMPLE, 1, tmp_path / "runs", Path(__file__))
    train.train(node, {})
    with pytest.raises(UserError, match="learned one, many: what it left in .* can be given away as it is"):
        ship.ship(node.folder, tmp_path / "given")
    with pytest.raises(UserError, match="is no run's folder"):
        ship.ship(tmp_path, tmp_path / "given")
    assert not (tmp_path / "given").exists()
    left = run(language(tmp_path, steps=1), tmp_path / "runs")
    with pytest.raises(UserError, match="is not empty: give a new folder"):
        ship.ship(left, left / "model")


def test_the_card_of_rocl_tiny_names_these_weights_and_they_are_small():
    weights = TINY / "model.safetensors"
    card = (TINY / "README.md").read_text("utf-8")
    assert re.findall(r"[0-9a-f]{64}", card) == [disk.digest(weights)]
    assert sum(file.stat().st_size for file in TINY.rglob("*") if file.is_file()) < 10_000_000
    assert card.startswith("---\nlanguage:\n- ro\n- en\nlicense: ")


def test_rocl_tiny_is_read_alike_by_transformers_and_sentence_transformers():
    transformers = pytest.importorskip("transformers", reason="an oracle of the test extra")
    from sentence_transformers import SentenceTransformer

    model, told = transformers.AutoModel.from_pretrained(TINY, output_loading_info=True, dtype=torch.float32)
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), told
    some = texts("emotion_ro")[:20] + texts("news_en", "dev")[:20]
    own = tokens.tokenizer(TINY)
    theirs = transformers.AutoTokenizer.from_pretrained(TINY)
    assert [theirs(text)["input_ids"] for text in some] == [own.backend.encode(text).ids for text in some]
    given = theirs(some, return_tensors="pt", padding=True, truncation=True, max_length=64)
    with torch.no_grad():
        hidden, mask = model.eval()(**given).last_hidden_state, given["attention_mask"][..., None]
    expected = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
    task = Task(name="emotion", corpus=written.written_emotion_ro(), max_length=64)
    np.testing.assert_allclose(vectors(TINY, task, "test")[:20], expected[:20], atol=1e-5)
    sentences = SentenceTransformer(str(TINY), device="cpu").float().encode(some)
    np.testing.assert_allclose(sentences, expected, atol=1e-5)


def test_rocl_tiny_finds_the_translation_of_most_sentences_it_never_saw():
    pairs = [row.texts for rows in written.written_pairs().splits.values() for row in rows]

    def encoded(side: int) -> np.ndarray:
        rows = [Row(str(number), (pair[side],), ()) for number, pair in enumerate(pairs)]
        corpus = Corpus(name="side", language="", labels=(), kind="text", licence="", read=lambda _: {"test": rows})
        return vectors(TINY, Task(name="side", corpus=corpus, max_length=64), "test")

    english, romanian = encoded(0), encoded(1)
    found = retrieval(english, romanian)
    assert min(found["retrieval/forth"], found["retrieval/back"]) > 0.5, found
    assert retrieval(english, np.roll(romanian, 1, axis=0))["retrieval"] < 0.1


def test_rocl_tiny_knows_every_letter_of_the_sample():
    for name in ("emotion_ro", "sentiment_ro", "news_ro", "emotion_en", "sentiment_en", "news_en"):
        rows = [row for of in getattr(written, f"written_{name}")().splits.values() for row in of]
        packed = tokens.pack(rows, tokens.tokenizer(TINY), 128, None)
        assert packed.unknown.sum() < 0.002 * len(packed.ids), name
