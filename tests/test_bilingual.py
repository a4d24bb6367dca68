"""What the bilingual encoder learns from holds no text that it, or a task trained on it, is judged by."""

import hashlib
from pathlib import Path

import pytest

from experiments.bilingual import bare, translated
from experiments.encoders import judged
from experiments.scales import setting
from rocl.data.text import cut, forms
from rocl.experiment import Scale

SHARED = Path(__file__).parents[2] / "shared" / "data"


def digest(form: str) -> str:
    return hashlib.sha256(form.encode("utf-8", "surrogatepass")).hexdigest()


@pytest.mark.parametrize("scale", [Scale.SAMPLE, Scale.SMALL], ids=lambda scale: scale.value)
def test_no_dev_or_test_text_is_learned_from(scale, monkeypatch):
    if scale is Scale.SMALL and not SHARED.exists():
        pytest.skip("the upstream files are not beside the repository")
    monkeypatch.setenv("ROCL_DATA", str(SHARED))
    pairs = translated(scale)
    choice = setting(scale)
    tasks = [*choice.romanian.values(), *choice.english.values(), *judged(scale), *pairs]
    rows = [row for task in tasks for split in ("dev", "test") for row in task.rows(split)]
    if scale is Scale.SMALL:  # its encoders are judged on the written sample too
        written = [*setting(Scale.SAMPLE).romanian.values(), *setting(Scale.SAMPLE).english.values()]
        rows += [row for task in written for split in ("dev", "test") for row in task.rows(split)]
    if scale is Scale.SAMPLE:
        rows = [row for task in pairs for split in ("dev", "test") for row in task.rows(split)]
    held_out = {digest(form) for row in rows for form in forms(row)}
    passages = {
        digest(" ".join(part.casefold().split())) for row in rows for text in row.texts for part in cut(text, 64)
    }
    learned = [row for task in (*bare(scale), *pairs) for row in task.rows("train")]
    found = {digest(form) for row in learned for form in forms(row)}
    assert len(found) > (200 if scale is Scale.SAMPLE else 100_000) and len(held_out) > 70
    assert not found & held_out
    shared = found & passages  # of long texts a passage may be a sentence that both hold, such as a greeting
    assert len(shared) < 0.002 * len(found), f"{len(shared)} of {len(found)}"
