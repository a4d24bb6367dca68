"""Proves that an encoder keeps what it knows through a change of vocabulary or of layers, and that transformers reads
the result."""

import json
import random
from pathlib import Path

import pytest
import tiny
import torch

from rocl.data import tokens
from rocl.data.vocabulary import SPECIAL, speller, wordpiece
from rocl.errors import UserError
from rocl.models.checkpoints import read, write
from rocl.models.encoder import Encoder
from rocl.models.families import FAMILIES
from rocl.models.transplant import factorised, layers_kept, scaled, transplant

transformers = pytest.importorskip("transformers", reason="the oracle is transformers: pip install -e .[test]")
transformers.logging.set_verbosity_error()

OLD = [f"piece{number}" for number in range(60)]
LENGTHS = (7, 3, 1, 9)
SIZES = {"vocab_size": 60, "hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 40}
DISTIL_SIZES = {"vocab_size": 60, "dim": 24, "n_layers": 4, "n_heads": 2, "hidden_dim": 40}


def stored(folder: Path, family: str) -> Encoder:
    """A small encoder of the family as transformers makes and writes it, read by rocl."""
    torch.manual_seed(0)
    options = dict(DISTIL_SIZES if family == "distilbert" else SIZES, max_position_embeddings=32, initializer_range=0.3)
    if family == "electra":
        options["embedding_size"] = 16
    config = transformers.AutoConfig.for_model(family, **options)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    return read(folder).eval()


def unknown_to_all(piece: str) -> list[int]:
    raise AssertionError(f"{piece} was spelled")


def packed(config, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids of texts, none of them the padding, and where the texts begin."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(config.padding + 1, config.vocabulary, (sum(LENGTHS),), generator=generator)
    return ids, torch.tensor([0, *LENGTHS]).cumsum(0).int()


@torch.no_grad()
def theirs(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    """What AutoModel makes of the same texts, padded; it must know every tensor of the folder."""
    model, told = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), told
    parts = ids.split(LENGTHS)
    rows = torch.nn.utils.rnn.pad_sequence(parts, True, model.config.pad_token_id)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(part) for part in parts], True)
    return model.eval()(rows, attention_mask=mask).last_hidden_state[mask.bool()]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_permuted_vocabulary_gives_the_same_bits_and_transformers_the_same_vectors(family, tmp_path):
    encoder = stored(tmp_path / "old", family)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    order = random.Random(2).sample(OLD, len(OLD))
    known = {piece: id for id, piece in enumerate(OLD)}
    padding = order.index(OLD[encoder.config.padding])
    new = transplant(encoder, order, known, unknown_to_all, padding)

    ids, starts = packed(encoder.config)
    place = torch.tensor([order.index(piece) for piece in OLD])
    with torch.no_grad():
        expected, layers = encoder(ids, starts, layers=True)
        got, new_layers = new(place[ids], starts, layers=True)
    assert all(torch.equal(a, b) for a, b in zip(layers, new_layers, strict=True))
    assert padding != encoder.config.padding and new.config.longest == encoder.config.longest
    write(tmp_path / "new", new)
    assert torch.allclose(theirs(tmp_path / "new", place[ids]), expected, atol=1e-5)
    again = read(tmp_path / "new").eval()
    assert again.config == new.config and torch.equal(again(place[ids], starts)[0], got)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_new_pieces_begin_as_the_mean_of_what_spells_them(tmp_path):
    encoder = stored(tmp_path, "bert")
    old = encoder.embeddings.words.weight
    pieces = ["[PAD]", "known", "two", "three", "one", "none"]
    spelled = {"two": [7, 9], "three": [5, 5, 11], "one": [8], "none": []}
    new = transplant(encoder, pieces, {"[PAD]": 0, "known": 30}, spelled.__getitem__, 0)
    words = new.embeddings.words.weight
    by_hand = [old[0], old[30], (old[7] + old[9]) / 2, (old[5] + old[5] + old[11]) / 3, old[8], old.sum(0) / 60]
    assert torch.allclose(words, torch.stack(by_hand), atol=1e-6, rtol=0) and torch.equal(words[:2], old[[0, 30]])
    assert (new.config.vocabulary, new.config.padding, new.config.stored["vocab_size"]) == (6, 0, 6)
    assert new.source is None and new.embeddings.words.padding_idx == 0
    for name, value in encoder.state_dict().items():
        if name != "embeddings.words.weight":
            assert torch.equal(new.state_dict()[name], value), name


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_a_copy_learns_by_itself(family, tmp_path):
    encoder = stored(tmp_path, family)
    known = {piece: id for id, piece in enumerate(OLD)}
    for new in (transplant(encoder, OLD[:20], known, unknown_to_all, 3), layers_kept(encoder, [0, 2])):
        shared = {value.data_ptr() for value in encoder.parameters()} & {value.data_ptr() for value in new.parameters()}
        assert not shared and not new.training
        assert {layer.config for layer in new.layers} == {new.config}
        ids, starts = packed(new.config)
        new.train()(ids, starts)[0].square().sum().backward()
        trained = [value for name, value in new.named_parameters() if not name.startswith("pooler.")]
        assert all(value.grad is not None and value.grad.any() for value in trained)
        assert not any(value.grad is not None for value in encoder.parameters())
        assert not new.embeddings.words.weight.grad[new.config.padding].any()


def test_the_written_config_speaks_of_the_new_vocabulary_alone(tmp_path):
    stored(tmp_path / "old", "xlm-roberta")
    about = json.loads((tmp_path / "old" / "config.json").read_text())
    about |= {"bos_token_id": 58, "sep_token_id": 59, "tokenizer_class": "XLMRobertaTokenizer", "note": "kept"}
    (tmp_path / "old" / "config.json").write_text(json.dumps(about))
    encoder = read(tmp_path / "old")
    assert encoder.config.longest == 30
    new = transplant(encoder, OLD[:9], {piece: 2 for piece in OLD}, unknown_to_all, 0)
    write(tmp_path / "new", new)
    written = json.loads((tmp_path / "new" / "config.json").read_text())
    expected = {"vocab_size": 9, "pad_token_id": 0, "max_position_embeddings": 31, "note": "kept"}
    assert {key: written[key] for key in expected} == expected
    assert not {"bos_token_id", "sep_token_id", "tokenizer_class"} & written.keys()


@pytest.mark.parametrize("family", ["bert", "electra", "distilbert"])
@pytest.mark.parametrize("numbers", [[0, 1, 2, 3], [1, 3], [3, 0]])
def test_kept_layers_are_those_that_transformers_keeps(family, numbers, tmp_path):
    encoder = stored(tmp_path / "old", family)
    new = layers_kept(encoder, numbers)
    model = transformers.AutoModel.from_pretrained(tmp_path / "old").eval()
    stack = model.transformer if family == "distilbert" else model.encoder
    stack.layer = torch.nn.ModuleList(stack.layer[number] for number in numbers)
    model.config.num_hidden_layers = len(numbers)
    ids, starts = packed(encoder.config)
    with torch.no_grad():
        out = new(ids, starts)[0]
        for part, expected in zip(ids.split(LENGTHS), out.split(LENGTHS), strict=True):
            assert torch.allclose(model(part[None]).last_hidden_state[0], expected, atol=1e-5)
    write(tmp_path / "new", new)
    assert torch.allclose(theirs(tmp_path / "new", ids), out, atol=1e-5)
    assert new.source == encoder.source and len(encoder.layers) == 4


@pytest.mark.parametrize("numbers", [[], [4], [-1], [1, 1]])
def test_layers_that_are_not_there_are_refused(numbers, tmp_path):
    with pytest.raises(UserError, match="numbers below 4"):
        layers_kept(stored(tmp_path, "bert"), numbers)


def test_a_small_encoder_with_a_trained_vocabulary_is_an_ordinary_folder(tmp_path):
    encoder = stored(tmp_path / "old", "bert")
    pieces = [*SPECIAL, "."] + [mark + letter for letter in "abcdefghijklmnopqrstuvwxyz" for mark in ("", "##")]
    (tmp_path / "old" / "vocab.txt").write_text("\n".join(pieces) + "\n")
    old = tokens.tokenizer(tmp_path / "old").backend
    texts = ["o casă și o țară.", "două case și două țări.", "the house of a country."] * 5
    made = wordpiece(texts, 70)
    vocabulary = made.get_vocab()
    new = transplant(encoder, sorted(vocabulary, key=vocabulary.get), old.get_vocab(), speller(old), 0)
    folder = tmp_path / "new"
    write(folder, layers_kept(new, [0, 3]))
    made.save(str(folder / "tokenizer.json"))
    tokens.write(tokens.tokenizer(folder), folder, 32)

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor(tokenizer("O ţară și the house")["input_ids"])
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        ours = read(folder).eval()(ids, torch.tensor([0, len(ids)], dtype=torch.int32))[0]
        assert torch.allclose(model(ids[None]).last_hidden_state[0], ours, atol=1e-5)
    known = old.get_vocab()
    mean = encoder.embeddings.words.weight[[known["t"], known["##a"], known["##r"], known["##a"]]].mean(0)
    assert torch.allclose(new.embeddings.words.weight[vocabulary["țară"]], mean, atol=1e-6)


def test_embeddings_of_nearly_full_rank_are_kept_when_factorised_and_transformers_reads_them(tmp_path):
    encoder = stored(tmp_path / "old", "bert")
    ids, starts = packed(encoder.config)
    with torch.no_grad():
        before = encoder.embeddings(ids, None, torch.arange(len(ids)) % 9)
        errors = []
        for width in (4, 12, 23):
            new = factorised(encoder, width).eval()
            errors.append((new.embeddings(ids, None, torch.arange(len(ids)) % 9) - before).square().mean().item())
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.1 * before.var()
    assert new.embeddings.project.weight.abs().max() < 10  # what the norm leaves no trace of is not made up for
    write(tmp_path / "new", new)
    again = read(tmp_path / "new").eval()
    assert again.config.family == "electra" and again.config.embedding == 23
    vectors = new(ids, starts)[0]
    assert torch.equal(vectors, again(ids, starts)[0])
    torch.testing.assert_close(theirs(tmp_path / "new", ids), vectors, atol=2e-6, rtol=0)


def test_what_cannot_be_factorised_is_refused(tmp_path):
    for family, width in (("bert", 24), ("bert", 0), ("electra", 8), ("distilbert", 8)):
        with pytest.raises(UserError, match="embeddings of"):
            factorised(stored(tmp_path / f"{family}{width}", family), width)


def test_longer_vectors_keep_their_directions_and_leave_the_pooler_behind(tmp_path):
    torch.manual_seed(0)
    encoder = tiny.checkpoint(tmp_path / "bert", 0.0).fresh()
    encoder.pooler = torch.nn.Linear(encoder.config.width, encoder.config.width)
    ids, starts = torch.randint(5, 30, (40,)), torch.tensor([0, 12, 40])
    before, _ = encoder(ids, starts)
    new = scaled(encoder, 7.5)
    after, _ = new(ids, starts)
    torch.testing.assert_close(after, 7.5 * before)
    assert new.pooler is None and encoder.pooler is not None
