"""Checkpoints of every family give what transformers gives, to the stored digits, read and written; whatever cannot be
read whole is refused by name."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rocl import disk
from rocl.errors import UserError
from rocl.models import checkpoints, heads
from rocl.models.checkpoints import Checkpoint, read, read_classifier, read_config, write
from rocl.models.families import FAMILIES
from rocl.models.heads import Encoded

transformers = pytest.importorskip("transformers", reason="the oracle is transformers: pip install -e .[test]")
transformers.logging.set_verbosity_error()

SHARED = Path(__file__).parents[2] / "shared"
GOLDEN = sorted(SHARED.glob("golden/*/golden.safetensors"))
needs_golden = pytest.mark.skipif(not GOLDEN, reason=f"no golden files in {SHARED / 'golden'}")
SIZES = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
DISTIL_SIZES = {"vocab_size": 120, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
LABELS = ["fear", "joy", "anger"]
PAD = {family: 1 if row.after_padding else 0 for family, row in FAMILIES.items()}


# What the reference did


def positions(mask: torch.Tensor, ids: torch.Tensor, after_padding: bool, pad: int) -> torch.Tensor:
    """Rows of the position table of every place, as transformers counts them, (B, L)."""
    if not after_padding:
        return torch.arange(ids.shape[1]).expand_as(ids)
    real = (ids != pad).long()
    return real.cumsum(1) * real + pad


def run(encoder, ids, mask=None, types=None) -> tuple[list[torch.Tensor], torch.Tensor, Encoded]:
    """Our hidden states of padded texts at the attended places, the mask, and what heads are given."""
    mask = torch.ones_like(ids).bool() if mask is None else mask.bool()
    config = encoder.config
    places = positions(mask, ids, FAMILIES[config.family].after_padding, config.padding)
    starts = torch.cat([torch.zeros(1), mask.sum(1).cumsum(0)]).int()
    given = None if types is None or not config.types else types[mask]
    out, layers = encoder(ids[mask], starts, types=given, positions=places[mask], layers=True)
    return layers, mask, Encoded(out, starts, torch.arange(len(ids) + 1), None)


def distance(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    assert mine.shape == theirs.shape
    return (mine - theirs).abs().max().item()


# Golden files


def folder_of(golden: Path) -> Path:
    """Where the weights lie that a golden file was made from."""
    own = golden.parent
    return own if (own / "config.json").exists() else SHARED / "weights" / own.name


def cases(golden: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of a golden file by case; the only case of a file without names is called ""."""
    found = {}
    for key, tensor in load_file(golden).items():
        case, _, rest = key.rpartition("/in/") if "/in/" in key else key.rpartition("/out/")
        if key.startswith(("in/", "out/")):
            case, rest = "", key.partition("/")[2]
        if rest and "/grad" not in key:
            found.setdefault(case, {})[rest] = tensor
    return found


def refused(folder: Path) -> bool:
    """Whether the folder is refused; if so, by the name of what is not known."""
    stored = json.loads((folder / "config.json").read_text())
    try:
        read_config(folder)
    except UserError as error:
        assert any(repr(value) in str(error) for value in stored.values()), error
        return True
    assert stored["model_type"] in FAMILIES
    return False


def golden_classifier(folder: Path):
    """Encoder and head of a golden folder, the head None where none is stored."""
    try:
        return (part.eval() for part in read_classifier(folder))
    except UserError as error:
        assert "no classification head" in str(error)
        return read(folder).eval(), None


@needs_golden
@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.parent.name)
def test_golden_outputs_are_met_in_every_case(golden):
    folder = folder_of(golden)
    if refused(folder):
        return
    encoder, head = golden_classifier(folder)
    compared = 0
    for case, of in cases(golden).items():
        with torch.no_grad():
            layers, mask, encoded = run(encoder, of["input_ids"], of.get("attention_mask"), of.get("token_type_ids"))
            assert distance(encoded.tokens, of["last_hidden_state"][mask]) < 1e-5, case
            for name in (name for name in of if name.startswith("hidden_states.")):
                assert distance(layers[int(name.split(".")[1])], of[name][mask]) < 1e-5, (case, name)
                compared += 1
            first_attended = mask.long().argmax(1) == 0  # the reference pools column 0, attended or not
            if "pooler_output" in of:
                pooled = torch.tanh(encoder.pooler(heads.first(encoded)))
                assert distance(pooled[first_attended], of["pooler_output"][first_attended]) < 1e-5, case
            if "logits" in of:
                assert distance(head(encoded)[first_attended], of["logits"][first_attended]) < 1e-5, case
            if "mean" in of:
                mean = heads.mean(encoded)
                assert distance(mean, of["mean"]) < 1e-5
                unit = torch.nn.functional.normalize(mean)
                assert distance(unit, of["sentence_embedding"]) < 1e-5
    assert compared


@needs_golden
@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.parent.name)
def test_golden_gradients_are_met_by_every_parameter(golden):
    stored, folder = load_file(golden), folder_of(golden)
    expected = {key.partition("/grad/")[2]: tensor for key, tensor in stored.items() if key.startswith("a/grad/")}
    if refused(folder) or not expected:
        pytest.skip("refused, or no gradients stored")
    encoder, head = (part.eval() for part in read_classifier(folder))
    of = cases(golden)["a"]
    _, _, encoded = run(encoder, of["input_ids"], of.get("attention_mask"), of.get("token_type_ids"))
    loss = torch.nn.functional.cross_entropy(head(encoded), of["labels"])
    assert abs(loss.item() - of["loss"].item()) < 1e-5
    loss.backward()
    family = FAMILIES[encoder.config.family]
    gradients = {name: parameter.grad for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    mine = {family.prefix + name: tensor for name, tensor in checkpoints._named(gradients, family.names).items()}
    mine |= checkpoints._named({name: p.grad for name, p in head.named_parameters()}, family.head)
    assert expected.keys() <= mine.keys()
    for name in mine.keys() & expected.keys():
        assert distance(mine[name], expected[name]) < 1e-4, name
    norm = torch.stack([tensor.norm() for tensor in mine.values()]).norm()
    assert abs(norm.item() - stored["a/grad_norm_all"].item()) < 1e-3


# Models made by transformers


def their_config(family: str, **changes):
    sizes = DISTIL_SIZES if family == "distilbert" else SIZES
    if family == "distilbert" and "hidden_act" in changes:
        changes["activation"] = changes.pop("hidden_act")
    if family == "electra":
        changes = {"embedding_size": 16} | changes
    return transformers.AutoConfig.for_model(
        family, **(sizes | {"max_position_embeddings": 30, "num_labels": 3, "pad_token_id": PAD[family]} | changes)
    )


def theirs(auto, folder: Path, family: str, dtype=torch.float32, **changes):
    """A model of transformers with weights far from the initial ones, saved in a folder."""
    torch.manual_seed(0)
    model = auto.from_config(their_config(family, **changes)).eval()
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.1
    model = model.to(dtype)
    model.save_pretrained(folder)
    return model.float()


def inputs(family: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(5, 120, (4, 19))
    mask = torch.arange(19) < torch.tensor([19, 7, 1, 12])[:, None]
    given = {"input_ids": ids.masked_fill(~mask, PAD[family]), "attention_mask": mask.long()}
    if family in ("bert", "electra"):
        given["token_type_ids"] = (torch.arange(19) > 5).long().expand(4, 19).contiguous()
    return given


def assert_equal(encoder, model, family: str, tolerance: float = 1e-5, head=None) -> None:
    """Every hidden state, and the logits if there is a head, are those of transformers' model."""
    given = inputs(family)
    with torch.no_grad():
        expected = model(**given, output_hidden_states=True)
        layers, mask, encoded = run(encoder.eval(), *given.values())
    assert len(layers) == len(expected.hidden_states)
    for mine, other in zip(layers, expected.hidden_states, strict=True):
        assert distance(mine, other[mask]) < tolerance
    if head is not None:
        assert distance(head.eval()(encoded), expected.logits) < tolerance


@pytest.mark.parametrize("family", FAMILIES)
def test_bare_models_of_every_family_are_read(family, tmp_path):
    model = theirs(transformers.AutoModel, tmp_path, family)
    encoder = read(tmp_path)
    assert_equal(encoder, model, family)
    assert encoder.source == tmp_path and (encoder.pooler is not None) == FAMILIES[family].pooler


@pytest.mark.parametrize("family", FAMILIES)
def test_classification_models_of_every_family_are_read(family, tmp_path):
    model = theirs(transformers.AutoModelForSequenceClassification, tmp_path, family)
    encoder, head = read_classifier(tmp_path)
    assert_equal(encoder, model, family, head=head)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_encoder_of_masked_language_models_is_read_and_the_head_named(family, tmp_path, capsys):
    model = theirs(transformers.AutoModelForMaskedLM, tmp_path, family)
    assert_equal(read(tmp_path), model, family)
    assert "left aside" in capsys.readouterr().err


def test_discriminators_pretraining_and_question_answering_models_are_read(tmp_path):
    auto = transformers
    for number, (kind, family) in enumerate(
        [
            (auto.AutoModelForPreTraining, "electra"),
            (auto.AutoModelForPreTraining, "bert"),
            (auto.AutoModelForQuestionAnswering, "roberta"),
            (auto.AutoModelForQuestionAnswering, "distilbert"),
            (auto.AutoModelForTokenClassification, "camembert"),
        ]
    ):
        folder = tmp_path / str(number)
        torch.manual_seed(0)
        kind.from_config(their_config(family, num_labels=2)).save_pretrained(folder)
        assert_equal(read(folder), transformers.AutoModel.from_pretrained(folder).eval(), family)


@pytest.mark.parametrize("activation", ["gelu_new", "gelu_pytorch_tanh", "gelu_fast", "relu", "silu", "swish"])
def test_every_activation_is_the_one_of_its_name(activation, tmp_path):
    for family in ("electra", "distilbert"):
        folder = tmp_path / family
        model = theirs(transformers.AutoModelForSequenceClassification, folder, family, hidden_act=activation)
        encoder, head = read_classifier(folder)
        assert_equal(encoder, model, family, head=head)


def test_numbers_of_the_config_are_honoured(tmp_path):
    changes = {"layer_norm_eps": 1e-3, "type_vocab_size": 1, "embedding_size": 32, "classifier_dropout": 0.3}
    model = theirs(transformers.AutoModel, tmp_path, "electra", **changes, hidden_dropout_prob=0.2)
    given = inputs("electra")
    del given["token_type_ids"]
    encoder = read(tmp_path).eval()
    with torch.no_grad():
        layers, mask, _ = run(encoder, given["input_ids"], given["attention_mask"])
        assert distance(layers[-1], model(**given).last_hidden_state[mask]) < 1e-5
    assert encoder.config.classifier_dropout == 0.3 and encoder.config.output_dropout == 0.2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_float32(dtype, tmp_path):
    model = theirs(transformers.AutoModel, tmp_path, "roberta", dtype)
    encoder = read(tmp_path)
    assert all(parameter.dtype == torch.float32 for parameter in encoder.parameters())
    assert_equal(encoder, model, "roberta")


def test_sharded_weights_are_read(tmp_path):
    model = theirs(transformers.AutoModel, tmp_path / "whole", "bert")
    model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("model-*.safetensors"))) > 2
    assert_equal(read(tmp_path / "parts"), model, "bert")
    min((tmp_path / "parts").glob("model-*.safetensors")).unlink()
    with pytest.raises(UserError, match="model-00001-of"):
        read(tmp_path / "parts")


def test_legacy_names_and_prefixes_are_read(tmp_path):
    model = theirs(transformers.AutoModel, tmp_path, "bert")
    stored = load_file(tmp_path / "model.safetensors")
    legacy = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in stored.items()
    }
    legacy["bert.embeddings.position_ids"] = torch.arange(30)[None]
    save_file(legacy, tmp_path / "model.safetensors")
    assert_equal(read(tmp_path), model, "bert")


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_weights_are_converted_once(legacy, tmp_path, capsys):
    model = theirs(transformers.AutoModelForMaskedLM, tmp_path, "bert")
    file = tmp_path / "model.safetensors"
    state = model.state_dict()  # holds the decoder tied to the embeddings
    file.unlink()
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    assert_equal(read(tmp_path), model, "bert")
    assert "converted once" in capsys.readouterr().err
    changed = file.stat().st_mtime_ns
    read(tmp_path)
    assert file.stat().st_mtime_ns == changed and not list(tmp_path.glob("*.part"))


def test_pickled_weights_of_a_folder_that_cannot_be_written_are_converted_into_the_cache(tmp_path, monkeypatch):
    folder, cache = tmp_path / "read-only", tmp_path / "cache"
    model = theirs(transformers.AutoModel, folder, "bert")
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    replace = os.replace

    def refuse(source, target) -> None:
        if Path(target).parent == folder:
            raise PermissionError(f"{target}: read-only")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setenv("ROCL_DATA", str(cache))
    assert_equal(read(folder), model, "bert")
    assert_equal(read(folder), model, "bert")
    assert len(list(cache.rglob("model.safetensors"))) == 1 and not list(folder.glob("*.part"))


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trapped",)


def test_pickles_with_code_or_damage_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    theirs(transformers.AutoModel, tmp_path, "bert")
    (tmp_path / "model.safetensors").unlink()
    torch.save({"x": Trap()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="pytorch_model.bin"):
        read(tmp_path)
    assert not (tmp_path / "trapped").exists()
    for damaged in (b"", b"PK\x03\x04 not a zip", b"\x80\x02."):
        (tmp_path / "pytorch_model.bin").write_bytes(damaged)
        with pytest.raises(UserError, match="pytorch_model.bin"):
            read(tmp_path)


# What is refused


def change(folder: Path, **changes) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("model_type", "albert", "albert.*share"),
        ("model_type", "deberta-v2", "deberta-v2"),
        ("model_type", None, "None"),
        ("position_embedding_type", "relative_key_query", "relative_key_query"),
        ("position_embedding_type", "rotary", "rotary"),
        ("hidden_act", "mish", "mish.*gelu"),
        ("is_decoder", True, "causal"),
        ("add_cross_attention", True, "cross"),
        ("quantization_config", {"bits": 8}, "quantised"),
        ("auto_map", {"AutoModel": "x.Y"}, "auto_map"),
        ("num_attention_heads", 5, "5 heads"),
    ],
)
def test_what_the_encoder_cannot_do_is_refused_by_name(key, value, named, tmp_path):
    theirs(transformers.AutoModel, tmp_path, "bert")
    change(tmp_path, **{key: value})
    with pytest.raises(UserError, match=named) as raised:
        read(tmp_path)
    assert "\n" not in str(raised.value) and str(tmp_path) in str(raised.value)


def test_missing_unknown_misshapen_and_integer_tensors_are_named(tmp_path):
    theirs(transformers.AutoModel, tmp_path, "bert")
    file = tmp_path / "model.safetensors"
    good, name = load_file(file), "encoder.layer.1.attention.self.key.weight"
    for stored, named in [
        ({key: tensor for key, tensor in good.items() if key != name}, f"1 tensors are missing.*{name}"),
        (good | {"encoder.layer.2.output.dense.weight": torch.ones(1)}, "encoder.layer.2.output.dense.weight"),
        (good | {"embeddings.gamma": torch.ones(1)}, "embeddings.gamma"),
        (good | {name: torch.ones(3, 32)}, rf"{name}.*\(3, 32\).*\(32, 32\)"),
        (good | {name: torch.ones(32, 32, dtype=torch.int8)}, f"{name}.*int8"),
        (good | {f"bert.{name}": torch.ones(32, 32)}, "twice"),
        ({key: tensor for key, tensor in good.items() if key != "pooler.dense.bias"}, "pooler.dense.bias"),
    ]:
        save_file(stored, file)
        with pytest.raises(UserError, match=named):
            read(tmp_path)
    save_file({key: tensor for key, tensor in good.items() if "pooler" not in key}, file)
    assert read(tmp_path).pooler is None
    with pytest.raises(UserError, match="classifier.weight"):
        read_classifier(tmp_path)


def test_damaged_and_absent_files_are_named(tmp_path):
    with pytest.raises(UserError, match="config.json"):
        read(tmp_path)
    theirs(transformers.AutoModel, tmp_path, "distilbert")
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:5], b"", whole[:8] + b"x" + whole[9:]):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="model.safetensors"):
            read(tmp_path)
    file.unlink()
    with pytest.raises(UserError, match="no model.safetensors"):
        read(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{")
    with pytest.raises(UserError, match="index.json"):
        read(tmp_path)
    for text in ("{", "[]", "[1]"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match="config.json"):
            read(tmp_path)


# Configurations


@pytest.mark.parametrize("family", FAMILIES)
def test_absent_keys_have_the_family_s_defaults(family, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    config, default = read_config(tmp_path), transformers.AutoConfig.for_model(family)
    for name, (key, _) in FAMILIES[family].keys.items():
        expected = getattr(default, key) if key else getattr(config, name)
        if name == "classifier_dropout" and expected is None:
            expected = 0.1
        assert getattr(config, name) == expected, (name, key)
    assert config.epsilon == 1e-12 and config.output_dropout == (0 if family == "distilbert" else 0.1)
    assert config.types == (0 if family == "distilbert" else 2) and config.embedding == getattr(
        default, "embedding_size", config.width
    )
    assert config.longest == (510 if family in ("roberta", "xlm-roberta", "camembert") else 512)


# Writing


def load_strictly(auto, folder: Path):
    model, report = auto.from_pretrained(folder, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    return model.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_written_classifiers_load_whole_and_give_the_same_logits(family, tmp_path):
    theirs(transformers.AutoModel, tmp_path / "bare", family, hidden_act="gelu_new")
    encoder = read(tmp_path / "bare")
    head = heads.classification_head(encoder, 3)
    for parameter in head.parameters():
        parameter.data += torch.randn_like(parameter) * 0.1
    write(tmp_path / "out", encoder, head, labels=LABELS, kind="many")
    model = load_strictly(transformers.AutoModelForSequenceClassification, tmp_path / "out")
    assert_equal(encoder, model, family, head=head)
    assert model.config.id2label == dict(enumerate(LABELS)) and model.config.label2id["joy"] == 1
    assert model.config.problem_type == "multi_label_classification"
    assert model.config.architectures == [type(model).__name__]
    load_strictly(transformers.AutoModel, tmp_path / "bare")
    again, head_again = read_classifier(tmp_path / "out")
    assert_equal(again, model, family, head=head_again)
    assert again.config == encoder.config
    write(tmp_path / "out", encoder, head, labels=LABELS)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["problem_type"] == "single_label_classification"
    assert sorted(os.listdir(tmp_path / "out")) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("family", FAMILIES)
def test_written_encoders_load_whole_and_give_the_same_vectors(family, tmp_path, capsys):
    theirs(transformers.AutoModelForMaskedLM, tmp_path / "masked", family)
    encoder = read(tmp_path / "masked")  # without a pooler
    write(tmp_path / "out", encoder)
    assert ("identity" in capsys.readouterr().err) == FAMILIES[family].pooler
    model = load_strictly(transformers.AutoModel, tmp_path / "out")
    assert_equal(encoder, model, family)
    assert_equal(read(tmp_path / "out"), model, family)


def test_an_encoder_of_our_own_config_is_written_too(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", **SIZES, "max_position_embeddings": 30}))
    torch.manual_seed(0)
    encoder = Checkpoint(str(tmp_path)).fresh().eval()
    write(tmp_path / "out", encoder, heads.classification_head(encoder, 3), labels=LABELS)
    model = load_strictly(transformers.AutoModelForSequenceClassification, tmp_path / "out")
    assert_equal(encoder, model, "bert")
    assert encoder.source == tmp_path


def test_what_was_stored_in_the_config_is_kept(tmp_path):
    theirs(transformers.AutoModel, tmp_path, "bert", torch.float16)
    change(tmp_path, note="kept", torch_dtype="float16", _name_or_path="/somewhere")
    write(tmp_path / "out", read(tmp_path))
    stored = json.loads((tmp_path / "out" / "config.json").read_text())
    assert stored["note"] == "kept" and stored["dtype"] == "float32"
    assert not {"torch_dtype", "_name_or_path", "transformers_version"} & stored.keys()


def test_heads_that_the_format_cannot_express_are_refused(tmp_path):
    for family in ("bert", "electra"):
        theirs(transformers.AutoModel, tmp_path / family, family)
    bert, electra = read(tmp_path / "bert"), read(tmp_path / "electra")
    for head, named in [
        (heads.linear(bert, 3), "BertForSequenceClassification has no place for a Pooled"),
        (heads.classification_head(electra, 3), "no place for a Classifier"),
        (heads.classification_head(bert, 4), "3 labels for a head of 4"),
    ]:
        with pytest.raises(UserError, match=named):
            write(tmp_path / "out", bert, head, labels=LABELS)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_write_leaves_what_was_there(tmp_path, monkeypatch):
    theirs(transformers.AutoModel, tmp_path, "bert")
    encoder, before = read(tmp_path), (tmp_path / "model.safetensors").read_bytes()

    def full(tensors, path, metadata) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(OSError, match="no space"):
        write(tmp_path, encoder)
    assert (tmp_path / "model.safetensors").read_bytes() == before and not list(tmp_path.glob("*.part"))


def word_tokenizer(folder: Path):
    from rocl.data import tokens

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return tokens.tokenizer(folder)


def test_the_exported_folder_serves_a_pipeline_and_sentence_transformers(tmp_path):
    from rocl.data import tokens

    sentence_transformers = pytest.importorskip("sentence_transformers", reason="an oracle of the test extra")
    theirs(transformers.AutoModel, tmp_path, "bert")
    encoder, tokenizer = read(tmp_path).eval(), word_tokenizer(tmp_path / "words")
    head = heads.classification_head(encoder, 3).eval()
    texts = ["a b c", "c", "b b a c a"]
    ids = [tokenizer.backend.encode(text).ids for text in texts]
    starts = torch.tensor([0, *map(len, ids)]).cumsum(0)
    with torch.no_grad():
        out, _ = encoder(torch.tensor(sum(ids, [])), starts)
        encoded = Encoded(out, starts, torch.arange(4), None)
        said = head(encoded).softmax(-1)
        pooled = {"mean": heads.mean(encoded), "first": heads.first(encoded)}

    write(tmp_path / "task", encoder, head, labels=LABELS)
    tokens.write(tokenizer, tmp_path / "task", 20)
    pipe = transformers.pipeline("text-classification", str(tmp_path / "task"), top_k=None)
    for found, expected in zip(pipe(texts, batch_size=3), said, strict=True):
        assert {one["label"] for one in found} == set(LABELS)
        for one in found:
            assert abs(one["score"] - expected[LABELS.index(one["label"])].item()) < 1e-5

    for pooling, expected in pooled.items():
        folder = tmp_path / pooling
        write(folder, encoder)
        tokens.write(tokenizer, folder, 20)
        checkpoints.sentence_transformers(folder, pooling, max_length=20)
        model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
        assert model.max_seq_length == 20
        assert distance(torch.tensor(model.encode(texts)), expected) < 1e-5
    with pytest.raises(UserError, match="max"):
        checkpoints.sentence_transformers(tmp_path / "mean", "max")


# Where checkpoints are found


def test_a_checkpoint_is_found_by_folder_or_in_rocl_weights(tmp_path, monkeypatch):
    theirs(transformers.AutoModel, tmp_path / "tiny", "bert")
    monkeypatch.delenv("ROCL_WEIGHTS", raising=False)
    assert Checkpoint(str(tmp_path / "tiny")).folder() == tmp_path / "tiny"
    monkeypatch.setenv("ROCL_WEIGHTS", str(tmp_path))
    named = Checkpoint("someone/tiny", revision="main")
    assert named.folder() == tmp_path / "tiny" and named.checksum() == Checkpoint(str(tmp_path / "tiny")).checksum()
    fresh = named.fresh()
    assert fresh.config.width == 32 and fresh.source == tmp_path / "tiny"
    with pytest.raises(UserError, match="no such folder"):
        Checkpoint("./absent").folder()


def test_the_checksum_covers_config_weights_and_tokenizer(tmp_path):
    theirs(transformers.AutoModel, tmp_path, "bert")
    sums = {Checkpoint(str(tmp_path)).checksum()}
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    sums.add(Checkpoint(str(tmp_path)).checksum())
    change(tmp_path, note=1)
    sums.add(Checkpoint(str(tmp_path)).checksum())
    (tmp_path / "model.safetensors").unlink()
    sums.add(Checkpoint(str(tmp_path)).checksum())
    assert len(sums) == 4


def test_weights_that_are_not_the_pinned_ones_are_refused(tmp_path):
    theirs(transformers.AutoModel, tmp_path, "bert")
    right = disk.digest(tmp_path / "model.safetensors")
    Checkpoint(str(tmp_path), sha256=right).encoder()
    with pytest.raises(UserError, match=f"{right}, not 00"):
        Checkpoint(str(tmp_path), sha256="00").encoder()


def test_offline_a_name_is_looked_up_in_the_hub_s_cache_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("ROCL_OFFLINE", "1")
    monkeypatch.delenv("ROCL_WEIGHTS", raising=False)
    asked = []

    def snapshot(name, **options) -> str:
        asked.append((name, options))
        return str(tmp_path)

    theirs(transformers.AutoModel, tmp_path, "bert")
    monkeypatch.setattr(checkpoints.huggingface_hub, "snapshot_download", snapshot)
    Checkpoint("someone/some-model", revision="abc").encoder()
    assert [name for name, _ in asked] == ["someone/some-model"]
    assert asked[0][1]["local_files_only"] and asked[0][1]["revision"] == "abc"
    shutil.move(tmp_path / "model.safetensors", tmp_path / "x")
    torch.save(load_file(tmp_path / "x"), tmp_path / "pytorch_model.bin")
    asked.clear()
    Checkpoint("someone/some-model").encoder()
    assert "pytorch_model.bin" in asked[1][1]["allow_patterns"]


def test_a_name_that_nobody_has_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("ROCL_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("ROCL_WEIGHTS", raising=False)
    with pytest.raises(UserError, match="someone/none-such.*offline.*ROCL_WEIGHTS") as raised:
        Checkpoint("someone/none-such").encoder()
    assert "\n" not in str(raised.value)
