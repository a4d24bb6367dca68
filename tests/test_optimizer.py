"""Each parameter has one group, with BAM's rate for its depth and decay on matrices only; schedules as published."""

import pytest
import torch
from torch import nn

from rocl.models.encoder import Config, Encoder
from rocl.models.heads import Model, classification_head
from rocl.optimizer import adamw, depth, groups, warmup_linear, warmup_linear_bert


def layer(width: int) -> nn.ModuleDict:
    return nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "output_norm": nn.LayerNorm(width)})


def toy(layers: int = 12, width: int = 4) -> nn.Module:
    model = nn.Module()
    model.encoder = nn.Module()
    model.encoder.embeddings = nn.ModuleDict({"words": nn.Embedding(10, width), "norm": nn.LayerNorm(width)})
    model.encoder.layers = nn.ModuleList([layer(width) for _ in range(layers)])
    model.encoder.pooler = nn.Linear(width, width)
    head = nn.ModuleDict({"dense": nn.Linear(width, width), "output": nn.Linear(width, 2)})
    model.heads = nn.ModuleDict({"redv2": head, "language": nn.Linear(width, 2)})
    return model


def names_to_groups(model: nn.Module, **options) -> dict[str, dict]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group for group in groups(model, 1e-4, **options) for p in group["params"]}


@pytest.mark.parametrize(
    "name, share",
    [
        ("encoder.embeddings.words.weight", 0.2287679245),
        ("encoder.embeddings.norm.bias", 0.2287679245),
        ("encoder.layers.0.qkv.weight", 0.2541865828),
        ("encoder.layers.5.output_norm.weight", 0.4304672100),
        ("encoder.layers.11.qkv.bias", 0.81),
        ("encoder.pooler.weight", 0.9),
        ("heads.redv2.dense.weight", 0.9),
        ("heads.redv2.output.weight", 1.0),
        ("heads.language.bias", 1.0),
    ],
)
def test_layer_wise_rates_of_bam(name, share):
    group = names_to_groups(toy(), decay=0.9)[name]
    assert group["rate"] == group["lr"] == pytest.approx(1e-4 * share, rel=1e-9)


@pytest.mark.parametrize("decay", [1.0, 0.9])
def test_every_parameter_is_in_exactly_one_group(decay):
    model = toy()
    grouped = [id(p) for group in groups(model, 1e-4, decay=decay) for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in model.parameters()}


def test_the_parameters_of_a_real_model_stand_where_bam_has_them():
    sizes = {
        "vocabulary": 9,
        "width": 4,
        "layers": 2,
        "heads": 2,
        "inner": 8,
        "positions": 8,
        "types": 2,
        "embedding": 2,
    }
    rates = {
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "output_dropout": 0.0,
        "classifier_dropout": 0.0,
        "epsilon": 1e-12,
    }
    encoder = Encoder(Config(family="electra", padding=0, activation="gelu", **sizes, **rates))
    model = Model(encoder, {"joy": classification_head(encoder, 3)})
    by_name = names_to_groups(model, decay=0.5)
    assert set(by_name) == {name for name, _ in model.named_parameters()}
    below = {"encoder.embeddings.": 4, "encoder.layers.0.": 3, "encoder.layers.1.": 2, "heads.joy.dense.": 1}
    for start, steps in below.items():
        rates = {group["rate"] for name, group in by_name.items() if name.startswith(start)}
        assert rates == {1e-4 * 0.5**steps}, start
    assert by_name["heads.joy.output.weight"]["rate"] == 1e-4
    spared = {name for name, group in by_name.items() if group["weight_decay"] == 0}
    assert spared == {name for name in by_name if "norm" in name or name.endswith("bias")}


def test_weight_decay_falls_on_matrices_only():
    for name, group in names_to_groups(toy(), weight_decay=0.01).items():
        spared = "norm" in name or name.endswith("bias")
        assert group["weight_decay"] == (0.0 if spared else 0.01), name


def test_without_layer_wise_decay_two_groups_are_enough():
    assert len(groups(toy(), 1e-4)) == 2


def test_a_parameter_that_stands_nowhere_is_refused():
    model = toy()
    model.extra = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="extra.weight"):
        groups(model, 1e-4)
    with pytest.raises(ValueError, match="encoder.elsewhere"):
        depth("encoder.elsewhere.weight", 12)


def test_adamw_is_fused_and_one_step_has_the_rates_and_the_decay():
    model = toy(layers=1)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = adamw(groups(model, 1e-2, decay=0.5, weight_decay=0.1), betas=(0.9, 0.98), eps=1e-12)
    assert optimizer.defaults["fused"] and optimizer.defaults["betas"] == (0.9, 0.98)
    sum(parameter.sum() for parameter in model.parameters()).backward()
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * 0.5
    optimizer.step()
    for name, parameter in model.named_parameters():  # Adam's first step is the rate itself where the gradient is 1
        rate = 0.5e-2 * 0.5 ** (3 - depth(name, 1))
        shrunk = before[name] * (1 - rate * (0.1 if parameter.ndim >= 2 else 0.0))
        torch.testing.assert_close(parameter.detach(), shrunk - rate)


def test_warmup_linear_is_the_schedule_of_transformers():
    expected = {0: 0.0, 1: 0.1, 5: 0.5, 9: 0.9, 10: 1.0, 11: 0.9888888889, 50: 0.5555555556, 99: 0.0111111111, 100: 0.0}
    assert {step: warmup_linear(step / 100, 0.1) for step in expected} == pytest.approx(expected, abs=1e-9)


def test_warmup_linear_bert_never_reaches_the_peak():
    expected = {0: 0.0, 1: 0.1, 5: 0.5, 9: 0.9, 10: 0.9, 11: 0.89, 50: 0.5, 99: 0.01, 100: 0.0}
    assert {step: warmup_linear_bert(step / 100, 0.1) for step in expected} == pytest.approx(expected, abs=1e-9)


def test_schedules_stand_without_warmup_and_at_their_ends():
    for schedule in (warmup_linear, warmup_linear_bert):
        assert schedule(0.0, 0.0) == 1.0
        assert schedule(1.0, 0.0) == schedule(1.0, 1.0) == 0.0
