"""The packed encoder computes what its equations say: every attention path equals the reference, neighbours in a batch
change nothing, dropout has its rate and is replayed by the generator's state, bfloat16 stays close to float32."""

import dataclasses

import pytest
import torch

from rocl.errors import UserError
from rocl.models import attention
from rocl.models.encoder import Config, Encoder

CONFIG = Config(
    family="bert",
    vocabulary=50,
    width=32,
    layers=2,
    heads=4,
    inner=40,
    positions=40,
    types=2,
    embedding=32,
    padding=0,
    activation="gelu",
    epsilon=1e-12,
    dropout=0.1,
    attention_dropout=0.1,
    output_dropout=0.1,
    classifier_dropout=0.1,
)
LENGTHS = [5, 1, 17, 9, 9, 3, 30, 2, 5, 8, 1, 22]

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def encoder(seed: int = 0, **changes) -> Encoder:
    torch.manual_seed(seed)
    made = Encoder(dataclasses.replace(CONFIG, **changes)).eval()
    for parameter in made.parameters():  # away from the initial values, so that every parameter counts
        parameter.data += torch.randn_like(parameter) * 0.2
    return made


def texts(lengths: list[int] = LENGTHS, seed: int = 1) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randint(1, 50, (length,), generator=draw) for length in lengths]


def packed(texts: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([0, *(len(text) for text in texts)])
    return torch.cat(texts), lengths.cumsum(0).int()


def random_qkv(lengths: list[int], dtype: torch.dtype = torch.float32, device: str = "cpu", size: int = 8) -> tuple:
    torch.manual_seed(0)
    qkv = torch.randn(sum(lengths), 3, 4, size).to(device, dtype)  # (T, 3, H, d)
    starts = torch.tensor([0, *lengths]).cumsum(0).to(device)
    return qkv, attention.layout(starts, lengths, qkv, 4, size, 0.0)


def compare(path, lengths: list[int], dtype: torch.dtype, device: str, tolerance: float) -> None:
    """A path's outputs and gradients against the reference's, in float32."""
    qkv, layout = random_qkv(lengths, dtype, device)
    weight = torch.randn(len(qkv), 4, 8, device=device)
    results = []
    for function, inputs in ((path, qkv), (attention.reference, qkv.float())):
        inputs = inputs.clone().requires_grad_()
        output = function(inputs, layout, 0.0)
        (output.float() * weight).sum().backward()
        results.append((output.float(), inputs.grad.float()))
    for mine, theirs in zip(*results, strict=True):
        assert (mine - theirs).abs().max() <= tolerance * max(1.0, theirs.abs().max().item())


@pytest.mark.parametrize("lengths", [LENGTHS, [7], [1], [1, 1], [6] * 11, list(range(1, 31)), [1500, 3, 700]])
def test_grouped_attention_equals_the_reference(lengths):
    compare(attention.grouped, lengths, torch.float32, "cpu", 2e-6)


def test_attention_over_groups_with_torchs_kernel_equals_the_reference():
    compare(attention.sdpa, LENGTHS, torch.float32, "cpu", 2e-6)


def test_attention_in_bfloat16_is_as_close_as_its_digits_allow():
    compare(attention.grouped, LENGTHS, torch.bfloat16, "cpu", 2e-2)


def test_the_reference_is_the_equation():
    qkv, layout = random_qkv([2])
    (q0, q1), (k0, k1), (v0, v1) = qkv.double().unbind(1)  # (H, d) each
    weights = torch.stack([(q0 * k0).sum(-1), (q0 * k1).sum(-1)]).div(8**0.5).exp()
    expected = (weights[0][:, None] * v0 + weights[1][:, None] * v1) / weights.sum(0)[:, None]
    assert (attention.reference(qkv, layout)[0] - expected).abs().max() < 1e-6


def test_a_text_does_not_see_its_neighbours_nor_their_order():
    model, own = encoder(), texts()
    whole, _ = model(*packed(own))
    parts = whole.split(LENGTHS)
    for text, part in zip(own, parts, strict=True):
        alone, _ = model(*packed([text]))
        assert (alone - part).abs().max() < 2e-6
    order = torch.randperm(len(own), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled, _ = model(*packed([own[n] for n in order]))
    for place, part in zip(order, shuffled.split([LENGTHS[n] for n in order]), strict=True):
        assert (parts[place] - part).abs().max() < 2e-6


def test_cutting_a_batch_changes_no_gradient():
    model, own = encoder(), texts()
    gradients = []
    for cut in ([own], [own[:5], own[5:]], [[text] for text in own]):
        model.zero_grad()
        for part in cut:
            out, _ = model(*packed(part))
            (out * torch.linspace(-1, 1, out.shape[1])).square().sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for other in gradients[1:]:
        for name, gradient in gradients[0].items():
            assert (gradient - other[name]).abs().max() <= 1e-5 * gradient.abs().max().clamp(min=1), name


def test_every_hidden_state_is_given_on_request_and_the_last_is_the_output():
    model = encoder(embedding=12)
    out, layers = model(*packed(texts()), layers=True)
    assert len(layers) == CONFIG.layers + 1 and all(layer.shape == out.shape for layer in layers)
    assert torch.equal(layers[-1], out) and model(*packed(texts()))[1] is None


def test_positions_types_and_lengths_are_what_they_stand_for():
    model, (ids, starts) = encoder(), packed(texts())
    plain, _ = model(ids, starts)
    positions = torch.cat([torch.arange(length) for length in LENGTHS])
    zeros = torch.zeros_like(ids)
    told, _ = model(ids, starts, lengths=LENGTHS, positions=positions, types=zeros)
    assert (told - plain).abs().max() < 2e-6
    other, _ = model(ids, starts, types=zeros + 1)
    assert (other - plain).abs().max() > 1e-2
    shifted, _ = encoder(positions=42, first_position=2)(ids, starts)
    again, _ = encoder(positions=42, first_position=2)(ids, starts, positions=positions + 2)
    assert (shifted - again).abs().max() < 2e-6


def test_a_text_longer_than_the_position_table_is_refused():
    with pytest.raises(UserError, match="41 tokens.*positions for 40"):
        encoder()(*packed(texts([41])))
    with pytest.raises(UserError, match="positions for 38"):
        encoder(first_position=2)(*packed(texts([39])))


@pytest.mark.parametrize("rows", [5, 64])
def test_rows_added_for_speed_change_neither_vectors_nor_gradients(rows, monkeypatch):
    ids, starts = packed(texts())
    found = {}
    for ROWS in (1, rows):
        monkeypatch.setattr(attention, "ROWS", ROWS)
        model = encoder()
        out, states = model(ids, starts, layers=True)
        (out * torch.arange(len(ids))[:, None]).sum().backward()
        found[ROWS] = [out, *states, *(p.grad for p in model.parameters())]
        assert all(len(state) == len(ids) for state in states)
    assert len(ids) % rows  # so that rows are added
    for one, two in zip(*found.values(), strict=True):
        torch.testing.assert_close(one, two, atol=2e-4, rtol=1e-5)


def test_token_types_are_refused_by_an_encoder_without_them():
    ids, starts = packed(texts())
    with pytest.raises(UserError, match="token types"):
        encoder(types=0)(ids, starts, types=torch.ones_like(ids))


def test_padding_rows_take_part_and_learn_nothing():
    model = encoder(positions=42, first_position=2, padding=1)
    ids, starts = packed(texts())
    ids[3] = 1
    out, _ = model(ids, starts)
    out.square().sum().backward()
    assert model.embeddings.words.weight.grad[1].abs().max() == 0
    assert model.embeddings.words.weight.grad[int(ids[0])].abs().max() > 0
    model.embeddings.words.weight.data[1, 0] += 1  # all of a row alike would be taken out by the layer norm
    assert (model(ids, starts)[0] - out)[:5].abs().max() > 1e-3


def test_new_weights_are_drawn_as_configured():
    torch.manual_seed(0)
    model = Encoder(dataclasses.replace(CONFIG, vocabulary=4000, initializer_range=0.05))
    weight = model.embeddings.words.weight
    assert weight.abs().max() <= 0.1 and abs(weight.std().item() / 0.05 - 0.88) < 0.02  # cut at two deviations
    layer = model.layers[1]
    assert (layer.qkv.bias == 0).all() and (layer.output_norm.weight == 1).all() and (layer.output_norm.bias == 0).all()
    torch.manual_seed(0)
    same = Encoder(dataclasses.replace(CONFIG, vocabulary=4000, initializer_range=0.05))
    assert torch.equal(same.embeddings.words.weight, weight)


# Dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.02])
def test_dropout_has_its_rate_and_keeps_the_mean(rate):
    torch.manual_seed(0)
    x = torch.ones(400_001)
    y = attention.dropout(x, rate)
    deviation = (rate * (1 - rate) / len(x)) ** 0.5
    assert abs((y == 0).float().mean() - rate) < 4 * deviation
    assert abs(y.mean() - 1) < 4 * deviation / (1 - rate)
    assert y.unique().numel() == 2 and abs(y.max() * (1 - rate) - 1) < 1e-4
    zeros = (y == 0).float() - rate  # neighbours are drawn from the same 64 bits
    assert all(abs((zeros[:-lag] * zeros[lag:]).mean()) < 5 * deviation**2 * len(x) ** 0.5 for lag in (1, 2, 3, 4))


def test_dropout_is_replayed_by_the_state_of_the_generator_and_passes_its_mask_back():
    x = torch.randn(33, 7, requires_grad=True)
    state = torch.get_rng_state()
    first = attention.dropout(x, 0.3)
    other = attention.dropout(x, 0.3)
    torch.set_rng_state(state)
    assert torch.equal(attention.dropout(x, 0.3), first) and not torch.equal(other, first)
    first.sum().backward()
    assert torch.equal(x.grad, torch.where(first == 0, 0.0, x.grad.max()))


def test_dropout_keeps_the_dtype_and_scale_of_bfloat16():
    y = attention.dropout(torch.ones(10_000, dtype=torch.bfloat16), 0.1)
    assert y.dtype == torch.bfloat16 and y.max() == torch.tensor(1 / 0.9).bfloat16()


@pytest.mark.parametrize("field", ["dropout", "attention_dropout", "output_dropout"])
def test_each_dropout_of_the_config_is_applied_in_training_only(field):
    rates = {"dropout": 0.0, "attention_dropout": 0.0, "output_dropout": 0.0}
    model, inputs = encoder(**rates | {field: 0.5}), packed(texts())
    plain = encoder(**rates)(*inputs)[0]
    assert torch.equal(model(*inputs)[0], plain)
    model.train()
    torch.manual_seed(3)
    once = model(*inputs)[0]
    torch.manual_seed(3)
    assert torch.equal(model(*inputs)[0], once) and (once - plain).abs().max() > 1e-2


def test_attention_dropout_drops_probabilities():
    qkv, layout = random_qkv([4] * 600)
    qkv[:, 2] = 1  # values of one: each output is the sum of the probabilities that were kept, scaled
    torch.manual_seed(0)
    out = attention.grouped(qkv, layout, 0.25)
    assert abs(out.mean() - 1) < 0.02 and out.std() > 0.1


def test_dropout_has_a_second_derivative():
    x = torch.randn(50, requires_grad=True)
    torch.manual_seed(0)
    y = attention.dropout(x, 0.5)
    (slope,) = torch.autograd.grad((y**3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), x)
    torch.testing.assert_close(second, 6 * y.detach() * (y.detach() != 0) * (65536 / 32768) ** 2)


def test_layers_that_are_computed_again_keep_less_and_give_the_same_gradients_to_the_bit():
    kept, gradients = [], []
    for recompute in (False, True):
        model, sizes = encoder().train(), []
        model.recompute = recompute
        torch.manual_seed(5)

        def pack(tensor, sizes=sizes):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out, _ = model(*packed(texts()))
        kept.append(sum(sizes))
        (out * torch.linspace(-1, 1, out.shape[1])).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(map(torch.equal, *gradients)) and kept[1] < kept[0] / 2


# Precision and devices


def test_bfloat16_autocast_is_close_to_float32_and_gives_float32_gradients():
    model, inputs = encoder(embedding=12), packed(texts())
    gradients = []
    for low in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            out, _ = model(*inputs)
        out.float().square().mean().backward()
        assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())
        gradients.append((out.float(), torch.cat([parameter.grad.flatten() for parameter in model.parameters()])))
    (plain, slope), (low, low_slope) = gradients
    assert (plain - low).norm() < 0.02 * plain.norm()
    assert (slope - low_slope).norm() < 0.05 * slope.norm()


def test_the_path_of_each_device_is_chosen_and_announced_once(capsys):
    attention.announce.cache_clear()
    half, single = torch.bfloat16, torch.float32
    assert attention.choose("cpu", half, 32, 0.1) is attention.choose("cpu", half, 64, 0.1) is attention.grouped
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert attention.choose("cuda", half, 64, 0.0) is attention.varlen
    assert attention.choose("cuda", torch.float16, 256, 0.0) is attention.varlen
    capsys.readouterr()
    assert attention.choose("cuda", half, 64, 0.1) is attention.sdpa
    assert "takes no dropout" in capsys.readouterr().err
    for size in (12, 264):
        assert attention.choose("cuda", half, size, 0.0) is attention.sdpa
    assert attention.choose("cuda", single, 64, 0.0) is attention.sdpa


def test_a_gpu_older_than_the_flash_kernel_takes_another_path(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert attention.choose("cuda", torch.float16, 64, 0.0) is attention.sdpa
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    assert attention.choose("cuda", torch.float16, 64, 0.0) is attention.varlen


@cuda
@pytest.mark.parametrize(
    ("path", "dtype", "tolerance"),
    [
        ("varlen", torch.bfloat16, 2e-2),
        ("varlen", torch.float16, 3e-3),
        ("sdpa", torch.bfloat16, 2e-2),
        ("sdpa", torch.float32, 1e-5),
    ],
)
def test_cuda_attention_equals_the_reference(path, dtype, tolerance):
    compare(getattr(attention, path), LENGTHS, dtype, "cuda", tolerance)


@cuda
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_encoder_on_cuda_is_close_to_the_one_on_the_cpu(dtype):
    model, (ids, starts) = encoder(), packed(texts())
    expected, _ = model(ids, starts)
    model.cuda()
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        out, _ = model(ids.cuda(), starts.cuda(), lengths=LENGTHS)
    assert (out.float().cpu() - expected).norm() < (1e-5 if dtype == torch.float32 else 0.02) * expected.norm()
    model.train()
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        model(ids.cuda(), starts)[0].float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
