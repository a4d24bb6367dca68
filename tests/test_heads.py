"""Heads pool the rows they are given, the model keeps low precision inside the encoder, and a family's own head
starts where its checkpoints do."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from rocl.errors import UserError
from rocl.models import heads
from rocl.models.encoder import Config, Encoder
from rocl.models.families import FAMILIES
from rocl.models.heads import Encoded, Model


@dataclass
class Batch:
    ids: torch.Tensor
    starts: torch.Tensor
    rows: torch.Tensor
    lengths: list[int]


def encoder(family: str = "bert") -> Encoder:
    torch.manual_seed(0)
    sizes = {"vocabulary": 50, "width": 32, "layers": 2, "heads": 4, "inner": 40, "positions": 20, "types": 2}
    rates = {"dropout": 0.1, "attention_dropout": 0.1, "output_dropout": 0.1, "classifier_dropout": 0.5}
    config = Config(family=family, embedding=32, padding=0, activation="gelu", epsilon=1e-12, **sizes, **rates)
    return Encoder(config)


def batch() -> Batch:
    """Rows of two, one and three texts."""
    lengths = torch.tensor([3, 5, 4, 1, 2, 6])
    starts = torch.cat([torch.zeros(1), lengths.cumsum(0)]).int()
    ids = torch.randint(1, 50, (21,), generator=torch.Generator().manual_seed(0))
    return Batch(ids, starts, torch.tensor([0, 2, 3, 6]), lengths.tolist())


def encoded() -> Encoded:
    torch.manual_seed(0)
    return Encoded(torch.randn(21, 32), batch().starts, batch().rows, None)


def test_pooling_takes_the_tokens_of_a_row_and_no_others():
    tokens = encoded().tokens
    assert torch.equal(heads.first(encoded()), tokens[[0, 8, 12]])
    expected = torch.stack([tokens[:8].mean(0), tokens[8:12].mean(0), tokens[12:].mean(0)])
    assert (heads.mean(encoded()) - expected).abs().max() < 1e-6


@pytest.mark.parametrize("pool", [heads.first, heads.mean])
def test_the_gradient_of_pooling_is_the_one_of_the_equation(pool):
    tokens = encoded().tokens.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda tokens: pool(Encoded(tokens, batch().starts, batch().rows, None)), tokens)


def test_the_model_gives_float32_whatever_the_encoder_computes_in():
    model = Model(encoder(), {}).eval()
    plain = model.encode(batch(), layers=True)
    model.precision = torch.bfloat16
    low = model.encode(batch(), layers=True)
    for one in (plain, low):
        assert one.tokens.dtype == torch.float32 and all(layer.dtype == torch.float32 for layer in one.layers)
    assert 0 < (plain.tokens - low.tokens).norm() < 0.02 * plain.tokens.norm()
    assert model.encode(batch()).layers is None and not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("name", ["a.b", "", "keys", "forward", "train"])
def test_names_that_torch_cannot_take_are_refused(name):
    with pytest.raises(UserError, match="another name"):
        Model(encoder(), {name: nn.Identity()})


def test_parameters_are_named_after_their_head():
    made = encoder()
    model = Model(made, {"știri 2": heads.classification_head(made, 3)})
    assert "heads.știri 2.output.weight" in model.state_dict() and "encoder.layers.1.qkv.weight" in model.state_dict()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_family_s_head_gives_logits_and_drops_in_training_only(family):
    head = heads.classification_head(encoder(family), 4)
    given = encoded()
    assert not torch.equal(head(given), head(given))
    head.eval()
    logits = head(given)
    assert logits.shape == (3, 4) and torch.equal(head(given), logits)


def test_bert_s_head_starts_from_a_copy_of_the_stored_pooler_and_no_other_does():
    for family in ("bert", "roberta"):
        made = encoder(family)
        made.pooler = nn.Linear(32, 32).requires_grad_(False)
        head = heads.classification_head(made, 4)
        assert torch.equal(head.dense.weight, made.pooler.weight) == (family == "bert")
        assert head.dense.weight is not made.pooler.weight and head.dense.weight.requires_grad


@pytest.mark.parametrize("pool", [heads.first, heads.mean])
def test_simple_heads_are_layers_on_the_pooled_vectors(pool):
    pooled = pool(encoded())
    line = heads.linear(encoder(), 4, pool)
    assert torch.equal(line(encoded()), line[0](pooled))
    deep = heads.mlp(encoder(), 4, hidden=7, pool=pool)
    assert deep[0].out_features == 7 and heads.mlp(encoder(), 4)[0].out_features == 32
    assert torch.equal(deep(encoded()), deep[2](nn.functional.gelu(deep[0](pooled))))


def test_new_heads_are_drawn_as_the_encoder_s_config_says():
    for head in (heads.classification_head(encoder(), 4), heads.linear(encoder(), 4), heads.mlp(encoder(), 4)):
        for name, parameter in head.named_parameters():
            assert parameter.abs().max() <= (0 if name.endswith("bias") else 0.04), name
            assert parameter.abs().max() > 0.02 or name.endswith("bias"), name
