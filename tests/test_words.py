"""Proves that gradients made and cleared by rows are those of nn.Embedding however used, and what LazyRows moves."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from rocl import optimizer
from rocl.models.words import Words

IDS = [torch.tensor(ids) for ids in ([3, 1, 3, 0], [2, 3], [5], [1, 1, 1])]


def pair(padding: int | None = 0) -> tuple[Words, nn.Embedding]:
    torch.manual_seed(0)
    words, plain = Words(7, 4, padding_idx=padding), nn.Embedding(7, 4, padding_idx=padding)
    plain.load_state_dict(words.state_dict())
    return words, plain


def back(table: nn.Embedding, ids: torch.Tensor, seed: int = 1) -> None:
    slope = torch.randn(len(ids), 4, generator=torch.Generator().manual_seed(seed))
    (table(ids) * slope).sum().backward()


def as_model(words: nn.Embedding) -> nn.Module:
    model = nn.Module()
    model.encoder, model.head = nn.Module(), nn.Linear(2, 3)
    model.encoder.embeddings = nn.Module()
    model.encoder.embeddings.words = words
    return model


@pytest.mark.parametrize("padding", [None, 0, 3])
def test_the_gradient_of_several_look_ups_is_that_of_an_embedding_step_after_step(padding):
    words, plain = pair(padding)
    places = set()
    for _ in range(3):
        for ids in IDS:
            back(words, ids)
            back(plain, ids)
        assert_close(words.weight.grad, plain.weight.grad)
        places.add(words.weight.grad.data_ptr())
        assert words.step_rows().tolist() == [0, 1, 2, 3, 5]
        words.cleared()
        plain.zero_grad()
        assert words.weight.grad is None and not words.spare.any()
    assert len(places) == 1, "its memory is used again"


def test_a_gradient_that_is_kept_is_not_written_to_again():
    """As where the tasks' gradients are combined: each is taken away before the next is made."""
    words, plain = pair()
    kept = []
    for number in (1, 2):
        back(words, IDS[0], number)
        kept.append(words.weight.grad)
        words.zero_grad(set_to_none=True)
    for number, gradient in zip((1, 2), kept, strict=True):
        plain.zero_grad()
        back(plain, IDS[0], number)
        assert_close(gradient, plain.weight.grad)
    words.weight.grad = kept[0] + kept[1]
    assert words.step_rows() is None
    words.cleared()
    back(words, IDS[1])
    plain.zero_grad()
    back(plain, IDS[1])
    assert_close(words.weight.grad, plain.weight.grad)


@pytest.mark.parametrize("tied_first", [True, False])
def test_a_tied_layer_beside_the_look_up_is_seen(tied_first):
    words, plain = pair()
    for _ in range(2):
        for table in (words, plain):
            if tied_first:
                table.weight.square().sum().backward()
            back(table, IDS[0])
            if not tied_first:
                table.weight.square().sum().backward()
        assert_close(words.weight.grad, plain.weight.grad)
        assert words.step_rows() is None, "rows that no look-up touched are not 0"
        words.cleared()
        plain.zero_grad()


def test_one_graph_for_both_uses_is_right_too():
    words, plain = pair()
    for table in (words, plain):
        ((table(IDS[0]) @ table.weight.t()).square().sum()).backward()
    assert_close(words.weight.grad, plain.weight.grad)
    assert words.step_rows() is None


def test_frozen_and_without_a_graph_it_is_an_embedding():
    words, plain = pair()
    with torch.no_grad():
        assert torch.equal(words(IDS[0]), plain(IDS[0]))
    words.requires_grad_(False)
    assert not words(IDS[0]).requires_grad


def two_models() -> list[nn.Module]:
    models = [as_model(table) for table in pair()]
    models[1].head.load_state_dict(models[0].head.state_dict())
    for model in models:
        back(model.encoder.embeddings.words, IDS[0])
        model.head(torch.ones(1, 2)).sum().backward()
    return models


@pytest.mark.parametrize("most", [0.1, 1e6])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", [None, optimizer.LazyRows])
def test_a_step_is_that_of_torch_after_its_clipping(most, known, kind):
    """The rate is great and there is one step, after which AdamW's moments are the clipped gradient's."""
    models = two_models()
    if not known:
        models[0].encoder.embeddings.words.weight.grad.add_(0)
    groups = [{"params": list(model.parameters()), "lr": 0.1, "weight_decay": 0.0} for model in models]
    ours = optimizer.optimizers(models[0], groups[:1], kind, eps=1e-2)
    theirs = torch.optim.AdamW(groups[1:], eps=1e-2)
    found = optimizer.take(models[0], ours, torch.amp.GradScaler("cpu", enabled=False), most)
    assert_close(found, nn.utils.clip_grad_norm_(models[1].parameters(), most))
    theirs.step()
    moments = {parameter: state for each in ours.values() for parameter, state in each.state.items()}
    for mine, plain in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert_close(mine, plain)
        assert mine.grad is None and moments[mine]["step"] == 1
        for name in ("exp_avg", "exp_avg_sq"):
            assert_close(moments[mine][name], theirs.state[plain][name])


@pytest.mark.parametrize("where", ["words", "head"])
@pytest.mark.parametrize("kind", [None, optimizer.LazyRows])
def test_a_gradient_that_is_no_number_moves_nothing_and_does_not_count(where, kind):
    model, _ = two_models()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    spoilt = model.encoder.embeddings.words.weight if where == "words" else model.head.bias
    spoilt.grad[1] = torch.nan
    made = optimizer.optimizers(model, [{"params": list(model.parameters()), "lr": 0.1, "weight_decay": 0.1}], kind)
    assert optimizer.take(model, made, torch.amp.GradScaler("cpu", enabled=False), 1.0).isnan()
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    for state in [state for each in made.values() for state in each.state.values()]:
        assert state["step"] == 0 and not state["exp_avg"].any() and not state["exp_avg_sq"].any()


@pytest.mark.parametrize("known", [True, False])
def test_lazy_rows_move_as_adamw_moves_them_and_no_others(known):
    """Rows that every step touches go the way of AdamW; others stay where they are, to the bit."""
    words, plain = pair(None)
    groups = [{"params": [table.weight], "rate": 0.1, "lr": 0.1, "weight_decay": 0.05} for table in (words, plain)]
    lazy = optimizer.LazyRows(groups[:1], words, betas=(0.8, 0.9), eps=1e-6)
    adamw = optimizer.adamw(groups[1:], betas=(0.8, 0.9), eps=1e-6)
    before = words.weight.detach().clone()
    for number in range(4):
        for table, mover in ((words, lazy), (plain, adamw)):
            back(table, IDS[0], number)
            if table is words:
                assert table.step_rows() is not None
                table.rows = table.rows if known else None
            mover.step()
            table.zero_grad()
        words.held = None
    assert_close(words.weight[[0, 1, 3]], plain.weight[[0, 1, 3]])
    assert torch.equal(words.weight[[2, 4, 5, 6]], before[[2, 4, 5, 6]])
    assert not torch.equal(plain.weight[[2, 4, 5, 6]], before[[2, 4, 5, 6]]), "AdamW decays all of them"


def test_every_parameter_has_one_optimizer_with_and_without_lazy_rows():
    words, _ = pair()
    model = as_model(words)
    model.encoder.layers = nn.ModuleList()
    parameters = {name: parameter for name, parameter in model.named_parameters()}

    def groups() -> list[dict]:
        return [{"params": list(parameters.values()), "rate": 0.1, "lr": 0.1, "weight_decay": 0.0}]

    for kind, names in ((None, {"adamw"}), (optimizer.LazyRows, {"adamw", "words"})):
        made = optimizer.optimizers(model, groups(), kind)
        own = [p for each in made.values() for group in each.param_groups for p in group["params"]]
        assert set(made) == names and sorted(map(id, own)) == sorted(map(id, parameters.values()))
    assert made["words"].param_groups[0]["params"] == [words.weight]
    assert made["words"].param_groups[0]["rate"] == 0.1


def test_rows_that_were_looked_up_without_a_slope_stay_whether_they_are_known_or_not():
    for known in (True, False):
        words, _ = pair(0)
        before = words.weight.detach().clone()
        groups = [{"params": [words.weight], "rate": 0.1, "lr": 0.1, "weight_decay": 0.5}]
        lazy = optimizer.LazyRows(groups, words)
        (words(torch.tensor([0, 2, 3])) * torch.tensor([[1.0], [0.0], [1.0]])).sum().backward()
        assert words.step_rows().tolist() == [0, 2, 3]
        words.rows = words.rows if known else None
        lazy.step()
        moved = (words.weight != before).any(1)
        assert moved.nonzero().flatten().tolist() == [3], "0 is padding, 2 got nothing"


def test_frozen_words_need_no_optimizer_of_their_own():
    words, _ = pair()
    model = as_model(words.requires_grad_(False))
    groups = [{"params": list(model.head.parameters()), "rate": 0.1, "lr": 0.1, "weight_decay": 0.0}]
    assert set(optimizer.optimizers(model, groups, optimizer.LazyRows)) == {"adamw"}


def test_memory_of_another_dtype_and_rows_that_came_late_are_not_used_again():
    words, _ = pair()
    back(words, IDS[0])
    words.step_rows()
    words.cleared()
    words.double()
    back(words, IDS[1])
    assert words.weight.grad.dtype == torch.float64
    words.step_rows()
    back(words, IDS[2])  # after the rows were asked for
    words.cleared()
    assert words.spare is None


@pytest.mark.filterwarnings("ignore:Using backward")
def test_a_gradient_made_for_a_second_derivative_is_no_part_of_a_graph():
    words, _ = pair()
    words(IDS[0]).square().sum().backward(create_graph=True)
    assert not words.weight.grad.requires_grad
