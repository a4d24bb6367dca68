"""Confusion matrices show the shares of their rows, charts have their points where they belong; hyper-parameters and
embeddings stand in the run itself."""

import numpy as np
import pytest
from google.protobuf import text_format
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch.utils.tensorboard import SummaryWriter

from rocl.pictures import BLUE, CELL, GAP, HEIGHT, WIDTH, chart, confusion_picture, hparams, projector


def corner(picture: np.ndarray, labels: int, gold: int, predicted: int) -> tuple[int, ...]:
    """The colour near the upper left corner of a cell, where no digit stands."""
    height, width, _ = picture.shape
    y, x = height - GAP - (labels - gold) * CELL, width - GAP - (labels - predicted) * CELL
    return tuple(picture[y + 5, x + 5].tolist())


def test_colour_is_the_share_of_the_row():
    picture = confusion_picture(np.array([[5, 0], [300, 100]]), ["no", "yes"])
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    assert corner(picture, 2, 0, 0) == BLUE  # all of a small row is as dark as all of a large one
    assert corner(picture, 2, 0, 1) == (255, 255, 255)
    quarter = [round(255 + (blue - 255) * 0.25) for blue in BLUE]
    assert corner(picture, 2, 1, 1) == tuple(quarter)


def test_a_label_without_rows_and_long_and_romanian_names_are_drawn():
    labels = ["știință", "un nume de etichetă care nu se mai termină", "sănătate"]
    picture = confusion_picture(np.array([[0, 0, 0], [1, 2, 3], [0, 0, 9]]), labels)
    assert corner(picture, 3, 0, 0) == (255, 255, 255)
    height, width, _ = picture.shape
    assert max(height, width) < 3 * CELL + 300
    plain = ["stiinta", "un nume de eticheta care nu se mai termina", "sanatate"]
    assert (picture == confusion_picture(np.array([[0, 0, 0], [1, 2, 3], [0, 0, 9]]), plain)).all()


def test_points_of_a_chart_lie_where_x_and_y_say_and_bars_reach_their_ends():
    """The second curve's middle point: half-way between the ends of all x, a quarter up, its bar from 0.1 to 0.4."""
    curves = {"uitați": np.array([[0, 1, 1, 1], [4, 1, 1, 1]]), "b": np.array([[2, 0.25, 0.1, 0.4]])}
    picture = chart(curves, "layer", "share", {0: "embeddings", 4: "4"})
    assert (
        picture.dtype == np.uint8 and (picture == chart(curves | {}, "layer", "share", {0: "embeddings", 4: "4"})).all()
    )
    red = picture[..., 0].astype(int) - picture[..., 2] > 40  # of the second curve
    y, x = np.nonzero(red[:, : 64 + WIDTH])  # without its name
    assert np.median(x) == pytest.approx(64 + WIDTH / 2, abs=1)
    up = 20 + HEIGHT - y
    assert [up.min(), up.max()] == pytest.approx([0.1 * HEIGHT, 0.4 * HEIGHT], abs=2)
    widest = np.bincount(up).argmax()
    assert widest == pytest.approx(0.25 * HEIGHT, abs=4)  # the dot
    plain = chart({"uitati": curves["uitați"], "b": curves["b"]}, "layer", "share", {0: "embeddings", 4: "4"})
    assert (picture == plain).all()


def test_a_chart_of_one_point_and_of_more_curves_than_colours_is_drawn():
    point = np.array([[3.0, 0.5, 0.5, 0.5]])
    assert chart({"a": point}, "x", "y", {3: "3"}).shape[0] > HEIGHT
    many = {str(n): point + [[n, 0, 0, 0]] for n in range(9)}
    straight, diagonal = (chart(many, "x", "y", {0: "0", 12: "12"}, diagonal=d) for d in (False, True))
    assert straight.shape == diagonal.shape and (straight != diagonal).any()


def test_hyper_parameters_stand_in_the_run_and_open_no_second_one(tmp_path):
    board = SummaryWriter(str(tmp_path))
    hparams(board, {"learning_rate": 1e-4, "scale": "sample", "needs": ("a", "b")}, ["dev/macro_f1"])
    board.add_scalar("dev/macro_f1", 0.5, 1)
    board.close()
    assert len(list(tmp_path.rglob("events.out.*"))) == 1
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.value for event in events.Scalars("dev/macro_f1")] == [0.5]
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    assert values["learning_rate"].number_value == pytest.approx(1e-4)
    assert values["scale"].string_value == "sample"
    assert values["needs"].string_value == "('a', 'b')"


def test_the_projector_finds_vectors_and_one_line_of_metadata_for_each(tmp_path):
    board = SummaryWriter(str(tmp_path))
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    for step in (10, 20):  # a second time replaces the first
        projector(board, vectors, [["joy", "ro", "un\ttext\nîn două rânduri"]] * 5, ["label", "language", "text"], step)
    board.close()
    (config,) = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig()).embeddings
    assert config.tensor_name == "step 20"
    assert np.loadtxt(tmp_path / config.tensor_path, delimiter="\t") == pytest.approx(vectors, rel=1e-5)
    lines = (tmp_path / config.metadata_path).read_text(encoding="utf-8").splitlines()
    assert lines == ["label\tlanguage\ttext"] + ["joy\tro\tun text în două rânduri"] * 5
