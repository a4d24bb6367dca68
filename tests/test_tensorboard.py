"""Proves that a run's TensorBoard page shows what it should, and that stopping a run leaves no trace on it."""

import numpy as np
import pytest
import tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_train import Stop, made, run

from rocl import disk, finish, runs, train


def board(folder) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return events


def curves(folder) -> dict[str, list[tuple[int, float]]]:
    """Every scalar but clock readings, as (step, value)."""
    events = board(folder)
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith("speed/")]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return run(made(folder), folder / "runs")


@pytest.mark.parametrize("step, patience", [(1, 100), (3, -1), (5, -1), (9, 100)])
def test_a_resumed_run_draws_the_curves_of_one_that_was_never_stopped(tmp_path, whole, monkeypatch, step, patience):
    """Also where no checkpoint was written yet, and where the last one is older than the last point."""

    def dies(*arguments):
        if arguments[-1].step == step:
            raise Stop
        return backward(*arguments)

    backward = train.backward
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(train, "backward", dies)
        patch.setattr(train, "PATIENCE", patience)
        run(made(tmp_path), tmp_path / "runs")
    assert curves(run(made(tmp_path), tmp_path / "runs")) == curves(whole)


def test_a_run_stopped_while_it_is_scored_tells_its_test_scores_once(tmp_path, whole, monkeypatch):
    def dies(*arguments):
        project(*arguments)
        raise Stop

    project = finish.project
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(finish, "project", dies)
        run(made(tmp_path), tmp_path / "runs")
    again = run(made(tmp_path), tmp_path / "runs")
    assert curves(again) == curves(whole)
    assert len(board(again).Images("confusion/test/one")) == 1


def test_the_steps_of_every_curve_rise_and_its_values_are_those_of_metrics_jsonl(whole):
    for tag, points in curves(whole).items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), tag
    lines = [line for line in map(runs.json.loads, (whole / "metrics.jsonl").read_text().splitlines())]
    expected = [(line["step"], line["dev/one/macro_f1"]) for line in lines if "dev/one/macro_f1" in line]
    np.testing.assert_allclose(curves(whole)["dev/one/macro_f1"], expected, rtol=1e-6)


def test_curves_are_grouped_and_details_stay_in_metrics_jsonl(whole):
    tags = set(board(whole).Tags()["scalars"])
    for task in ("one", "many"):
        assert {f"loss/{task}/cross_entropy", f"train/{task}/progress", f"share/{task}"} <= tags
        assert {f"{split}/{task}/macro_f1" for split in ("dev", "test")} <= tags
        assert {f"label_f1/{split}/{task}/{task}{label}" for split in ("dev", "test") for label in range(3)} <= tags
    assert {"train/learning_rate", "train/gradient_norm", "speed/tokens_per_second", "dev/score"} <= tags
    assert not [tag for tag in tags if "/support" in tag or "/precision/" in tag or "redv2" in tag]
    assert '"dev/one/precision/one0"' in (whole / "metrics.jsonl").read_text()


def test_pictures_curves_hyper_parameters_and_the_page_of_text_are_there(whole):
    events = board(whole)
    assert set(events.Tags()["images"]) == {"confusion/dev/one", "confusion/test/one"}  # "many" has no such matrix
    plugins = {name: events.PluginTagToContent(name) for name in ("pr_curves", "hparams", "text")}
    assert "precision_recall/test/many/many2" in plugins["pr_curves"]
    assert "_hparams_/session_start_info" in plugins["hparams"]
    assert b"learning_rate" in plugins["hparams"]["_hparams_/session_start_info"]
    (page,) = events.Tensors("run/text_summary")
    text = page.tensor_proto.string_val[0].decode()
    for fact in ("seed 1", "encoder", "tiny-one", tiny.task("one").corpus.digest, "torch"):
        assert fact in text


def test_the_projector_has_a_vector_and_a_line_for_every_dev_row(whole):
    vectors = np.loadtxt(whole / "tensorboard" / "vectors.tsv")
    header, *lines = (whole / "tensorboard" / "metadata.tsv").read_text().splitlines()
    assert header.split("\t") == ["label", "task", "language", "text"]
    assert vectors.shape == (48, 32) and len(lines) == 48


def test_the_clock_counts_the_seconds_of_all_sessions(tmp_path, monkeypatch):
    def dies(*arguments):
        if arguments[-1].step == 6:
            raise Stop
        return backward(*arguments)

    backward, now = train.backward, [0.0]
    monkeypatch.setattr(train.time, "monotonic", lambda: now.__setitem__(0, now[0] + 1) or now[0])
    monkeypatch.setattr(train, "PATIENCE", -1)
    monkeypatch.setattr(train, "WORTH", 0)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(train, "backward", dies)
        run(made(tmp_path), tmp_path / "runs")
    _, saved = runs.latest(next((tmp_path / "runs").rglob("checkpoints")))
    folder = run(made(tmp_path), tmp_path / "runs")
    assert disk.read_json(folder / "clock.json")["seconds"] > saved["state"]["seconds"] > 0
