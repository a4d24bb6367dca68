"""Proves that every benchmark prints a table and a last line of JSON with what it promises, that exponents, peaks of
memory and the slow attention are right, and that a benchmark that fails does not hide the others."""

import json
import re
import sys
from importlib.metadata import version

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import rocl.losses
from benchmarks import __main__ as every
from benchmarks import (
    attention,
    corpus,
    data,
    distillation,
    distributed,
    growth,
    losses,
    made_up,
    measure,
    throughput,
    together,
)
from rocl.models.encoder import Config
from rocl.predict import device

TINY: Config = made_up.encoder_size(16, 1, 2, 100)


def last(printed: str, benchmark: str) -> dict:
    """The object on the last line, once what every benchmark promises is there."""
    *table, line = printed.strip().splitlines()
    found = json.loads(line)
    assert found["benchmark"] == benchmark
    assert found["device"] and found["threads"] and found["versions"]["torch"] == version("torch")
    assert {"commit", "changed", "date", "cores"} <= set(found)
    rows = [row for row in table if row.startswith("|")]
    assert len(rows) == len(found["results"]) + 2, "a line a result, under a head and its rule"
    assert all(row.count("|") == len(found["results"][0]) + 1 for row in rows)
    return found


def test_every_path_of_attention_is_compared(capsys):
    attention.run(texts=3, longest=12, heads=((2, 8),), rounds=1)
    found = last(capsys.readouterr().out, "attention")
    lines = found["results"]
    assert len(lines) == len(made_up.LENGTHS) * 2 * len(attention.PATHS)
    for line in lines:
        bound = 1e-5 if line["dtype"] == "float32" else 0.05
        ran = not line["why_not"]
        assert ran == (line["output_error"] is not None) == (line["both_ms"] is not None)
        assert not ran or (line["output_error"] < bound and line["gradient_error"] < bound and line["forward_ms"] > 0)
    assert {line["path"] for line in lines if not line["why_not"]} >= {"grouped", "sdpa", "reference"}


def test_the_slow_attention_is_that_of_torch():
    lengths = [5, 1, 9]
    qkv = torch.randn(15, 3, 2, 4, generator=torch.Generator().manual_seed(1))
    slow = attention.slow(qkv, lengths)
    for text, own in zip(qkv.double().split(lengths), slow.split(lengths), strict=True):
        q, k, v = text.permute(1, 2, 0, 3)  # (H, L, d) each
        torch.testing.assert_close(own, F.scaled_dot_product_attention(q, k, v).transpose(0, 1))


def test_an_error_in_a_path_is_seen(monkeypatch):
    monkeypatch.setitem(attention.PATHS, "reference", lambda qkv, layout, dropout: 1.01 * qkv[:, 2])
    monkeypatch.setitem(attention.PATHS, "sdpa", lambda qkv, layout, dropout: qkv @ qkv[:1])
    lines = {line["path"]: line for line in attention.compared([4, 2], 2, 8, torch.float32, 1)}
    assert lines["reference"]["output_error"] > 0.005 and lines["sdpa"]["why_not"]


def test_losses_are_timed_and_weighed(capsys):
    names = ("distil, many", "info_nce")
    losses.run(rows=(8,), classes=(3,), among_all=(64, 1024), rounds=2, names=names)
    lines = last(capsys.readouterr().out, "losses")["results"]
    assert [(line["loss"], line["rows"], line["classes"]) for line in lines] == [
        ("distil, many", 8, 7),
        ("distil, many", 512, 3),
        ("info_nce", 64, 7),
        ("info_nce", 1024, 7),
    ]
    assert all(line["lowest_ms"] <= line["ms"] <= line["highest_ms"] for line in lines)
    assert lines[3]["peak_mib"] > 8, "the similarities of 1,024 rows and their gradient are 4 MiB each"


def test_no_loss_is_left_out_and_all_run():
    asked = set()
    whole = vars(rocl.losses)
    names = {name for name, value in whole.items() if callable(value)} - {"ramp", "annealed_scale", "clip"}
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(
                losses.losses, name, lambda *a, name=name, was=whole[name], **o: asked.add(name) or was(*a, **o)
            )
        for name in (*losses.LOSSES, *losses.AMONG_ALL):
            losses.prepared(name, 16, 3)()
    assert asked == names, "benchmarks/losses.py times every loss"


def test_a_size_beyond_memory_is_told_not_run(monkeypatch):
    monkeypatch.setattr(measure, "peak", lambda prepare, name, rows, classes: rows**2 / 1024)
    monkeypatch.setattr(measure, "memory", lambda: 16384.0)
    lines = losses.peaks("info_nce", [(512, 7), (1024, 7), (2048, 7), (4096, 7), (8192, 7)])
    assert [line["peak_mib"] for line in lines] == [256, 1024, 4096, None, None]
    assert [line["why_not"] for line in lines][3:] == ["would take some 16 GiB", "would take some 64 GiB"]
    monkeypatch.setattr(measure, "peak", lambda *arguments: None)
    assert [line["why_not"] for line in losses.peaks("info_nce", [(8, 7), (16, 7)])] == [
        "failed",
        "a smaller size failed",
    ]


def test_distillation_compares_three_ways(capsys):
    distillation.run(student=TINY, teacher=made_up.encoder_size(32, 2, 2, 100), rows=40, batch=6, longest=9, rounds=2)
    found = last(capsys.readouterr().out, "distillation")
    steps = {line["step"]: line for line in found["results"]}
    assert list(steps) == ["plain", "cached", "online"] and found["rounds"] == 2 and found["precision"]
    assert steps["plain"]["over_plain"] == steps["cached"]["over_cached"] == 1
    ratio = steps["online"]["over_cached"]
    assert ratio == pytest.approx(steps["online"]["ms"] / steps["cached"]["ms"])
    assert steps["online"]["over_cached_lowest"] <= ratio <= steps["online"]["over_cached_highest"]


def test_online_soft_labels_are_those_of_the_teacher():
    """A teacher asked in the step gives the loss that its logits as a column give."""
    tables = [made_up.table("tweets", made_up.packed(np.array([4, 7, 3]), 100), 7)]
    student, teacher = (made_up.model(TINY, tables).eval() for _ in range(2))
    batch = tables[0].batch(np.array([2, 0]))
    encoded = student.encode(batch)
    online = distillation.asked(student, encoded, batch, 0.3, teachers={"tweets": teacher})
    batch.columns["soft"] = teacher.heads["tweets"](teacher.encode(batch)).detach()
    cached = distillation.mtkd.objective(student, encoded, batch, 0.3)
    torch.testing.assert_close(online["cross_entropy"], cached["cross_entropy"], rtol=0, atol=0)


def test_the_data_path_is_told_in_tokens_a_second(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    data.run(texts=40, batch=8, longest=16, rounds=1)
    lines = last(capsys.readouterr().out, "data")["results"]
    assert [line["tokens_per_second"] is not None for line in lines] == [True, True, True, False]
    assert lines[2]["tokens_per_second"] == pytest.approx(1000 * lines[2]["tokens"] / lines[2]["ms"])
    assert lines[0]["tokens"] == lines[1]["tokens"] == lines[2]["tokens"] > 40 * 3


def test_the_collator_gets_the_texts_that_rocl_packs():
    pytest.importorskip("transformers")
    tokenizer = data.tokens.tokenizer(data.TOKENIZER)
    rows = data.made_up_rows(tokenizer, 6, 12)
    (padded,) = data.collator(tokenizer, rows, [np.arange(6)], 12)()
    packed = data.tokens.pack(rows, tokenizer, 12, None)
    assert padded["input_ids"][padded["attention_mask"].bool()].tolist() == packed.ids.tolist()


def test_growth_fits_and_draws(capsys, tmp_path):
    grow = {"tokens at once": (128, 512), "rows": (40, 80)}
    growth.run(config=TINY, grow=grow, rounds=1, out=tmp_path)
    found = last(capsys.readouterr().out, "growth")
    assert set(found["exponents"]) == {*grow, "order of a pass"}
    sizes = [line["size"] for line in found["results"] if line["what"] == "tokens at once"]
    values = [line["mib"] for line in found["results"] if line["what"] == "tokens at once"]
    slope = np.log(values[1] / values[0]) / np.log(sizes[1] / sizes[0])
    assert found["exponents"]["tokens at once"]["mib_exponent"] == pytest.approx(slope)
    assert (tmp_path / "growth.png").read_bytes()[:4] == b"\x89PNG"


def test_a_step_in_two_passes_has_the_gradient_of_one(capsys):
    together.run(config=TINY, rows=(6, 12), budget=200)
    found = last(capsys.readouterr().out, "together")
    assert [line["rows"] for line in found["results"]] == ["first", "longest", "all"]
    assert all(line["peak_mib"] is not None for line in found["results"])
    assert 0 < found["difference_of_gradients"] < 1e-4, "with a budget of 25 tokens every text is a part"


def test_ranks_are_measured_beside_one_process_and_have_its_gradient(capsys):
    distributed.run(config=TINY, worlds=(1, 2), rows=12, rounds=1)
    lines = last(capsys.readouterr().out, "distributed")["results"]
    kinds = [(line["judged"], line["ranks"]) for line in lines]
    assert kinds == [("one by one", 1), ("one by one", 2), ("together", 1), ("together", 2)]
    tokens = made_up.lengths("tweets", 12, TINY.positions).sum()
    for line in lines:
        assert line["tokens_per_second"] == pytest.approx(1000 * tokens / line["ms"])
        assert (line["exchange"] > 0) == (line["ranks"] > 1) and line["exchange"] < 1
        assert line["gradient_error"] < 1e-5


def test_the_exponent_of_a_cube_is_three():
    sizes = [1, 2, 5, 11]
    assert measure.exponent(sizes, [7 * size**3 for size in sizes]) == pytest.approx(3)
    assert measure.exponent(sizes, [4.0] * 4) == pytest.approx(0)
    assert measure.exponent(sizes, [1.0, None, 2.0, 3.0]) is None


def mebibytes(number: int):
    return lambda: torch.ones(number * 2**18, device=device()).sum()


def broken(number: int):
    raise SystemExit(3)


def test_a_peak_is_what_the_work_took():
    held = torch.ones(300 * 2**18)  # what this process has must not count in the fresh one
    assert 200 <= measure.peak(mebibytes, 200) < 240
    del held


@pytest.mark.skipif(torch.cuda.is_available(), reason="where there is a GPU the work runs in this process and ends it")
def test_a_work_that_ends_its_process_has_no_peak():
    assert measure.peak(broken, 1) is None


def test_works_are_timed_in_turns_there_and_back():
    called = []
    seconds = measure.timed({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, rounds=2)
    assert called == ["a", "b", "b", "a", "a", "b"] and [len(values) for values in seconds.values()] == [2, 2]
    assert measure.ratio([2.0, 6.0, 4.0], [1.0, 2.0, 4.0], "x") == {"x": 2.0, "x_lowest": 1.0, "x_highest": 3.0}


def test_a_learner_takes_a_step(monkeypatch):
    """Every weight that the rows reach moves, and the rows' tokens are counted."""
    tables = [made_up.table("tweets", made_up.packed(np.array([4, 7, 3]), 100), 2)]
    model = made_up.model(TINY, tables)
    monkeypatch.setattr(made_up, "model", lambda *arguments: model)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    options = {"tasks": [tables[0].task], "model": growth.Model, "objective": made_up.objective, "steps": 1}
    step = made_up.learner(TINY, tables)
    assert step(growth.Experiment(name="x", **options), tables, np.array([[0, 0], [0, 2]])) == 7
    still = [name for name, weight in model.state_dict().items() if torch.equal(weight, before[name])]
    assert not still and all(weight.grad is None for weight in model.parameters())


def test_a_failure_does_not_hide_the_others(capfd):
    commands = {
        "good": [sys.executable, "-c", "print('table'); print('{\"x\": 1}')"],
        "bad": [sys.executable, "-c", "print('half'); raise SystemExit(2)"],
        "endless": [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"],
        "wordy": [sys.executable, "-c", "print('no JSON')"],
    }
    results, rows = every.everything(commands, limit=3.0)
    assert results == {"good": {"x": 1}, "bad": None, "endless": None, "wordy": None}
    assert [row[2].split()[0] for row in rows] == ["done", "ended", "stopped", "its"]
    printed = capfd.readouterr().out
    assert all(word in printed for word in ("table", "half", "begun", "no JSON"))


def test_rocl_needs_no_benchmark():
    for file in (every.ROOT / "rocl").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) benchmarks\b", file.read_text("utf-8"), re.M), file


def test_throughput_counts_real_tokens_of_the_same_texts_in_every_column(tmp_path, capsys):
    work = throughput.Work("tiny", TINY, "tweets", 4, 16, rounds=2, steps=3)
    throughput.run(works=[work], out=tmp_path)
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    assert (tmp_path / "throughput.png").stat().st_size > 1000
    assert found["benchmark"] == "throughput" and found["commit"] and "| rocl, relaxed | " in printed
    lengths = throughput.table_of(work).lengths
    lines = {(line["what"], line["column"]): line for line in found["results"]}
    assert len(lines) == 7 + 5
    for (_, column), line in lines.items():
        ran = not column.startswith("HF") or throughput.transformers is not None
        assert ran == (line["tokens_a_second"] is not None)
        if ran:
            assert line["lowest"] <= line["tokens_a_second"] <= line["highest"]
            np.testing.assert_allclose(line["texts_a_second"] / line["tokens_a_second"], 12 / lengths.sum())
            assert line["over_products alone"] > 0
    assert lines["training", "rocl"]["padding"] == 0 < lines["training", "rocl, padded"]["padding"]


def test_padded_texts_are_as_long_as_the_longest_of_their_batch_and_keep_their_tokens():
    work = throughput.Work("tiny", TINY, "tweets", 4, 16, steps=2)
    table = throughput.table_of(work)
    padded = throughput.Padded(table.task, table.packed, table.columns, table.ids)
    rows = np.array([3, 0, 5])
    batch, plain = padded.batch(rows), table.batch(rows)
    assert batch.starts.diff().tolist() == [max(plain.lengths)] * 3
    for text, own in zip(batch.ids.view(3, -1), plain.ids.split(plain.starts.diff().tolist()), strict=True):
        assert torch.equal(text[: len(own)], own) and not text[len(own) :].any()


@pytest.mark.skipif(throughput.transformers is None, reason="Trainer and accelerate are not installed")
def test_trainer_sees_every_text_once_and_grouping_pads_less():
    work = throughput.Work("tiny", TINY, "tweets", 4, 64, steps=50)
    table = throughput.table_of(work)
    plain, grouped = (throughput.theirs(work, table, 0.0, grouped=each)()[1] for each in (False, True))
    assert table.lengths.sum() <= grouped < plain


def test_all_benchmarks_are_run():
    assert {"attention", "data", "distillation", "distributed", "growth", "losses", "throughput", "together"} <= set(
        every.SCRIPTS
    )
    assert not {"measure", "made_up", "__main__"} & set(every.SCRIPTS)


def test_a_corpus_as_it_grows_is_told_with_its_memory(capsys):
    corpus.run((2000, 4000))
    found = last(capsys.readouterr().out, "corpus")
    first, second = found["results"]
    assert 1800 < first["tokens"] < 2200 and second["rows"] == pytest.approx(2 * first["rows"], abs=1)
    assert all(line["peak_mib"] > 0 and line["tokenise_s"] > 0 and line["open_again_s"] > 0 for line in (first, second))
