"""Reading and writing Hugging Face folders, by the tables of rocl.models.families.

Reading is complete both ways: a tensor that is missing, or that nobody knows, is an error.
"""

import hashlib
import json
import os
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rocl import disk
from rocl.download import data_folder, offline
from rocl.errors import UserError
from rocl.models.encoder import ACTIVATIONS, Config, Encoder
from rocl.models.families import FAMILIES, REFUSED
from rocl.models.heads import Classifier, classification_head

# Keys of config.json that writing sets anew or drops; the others are kept as they were read.
REPLACED = "architectures id2label label2id num_labels problem_type".split()
REPLACED += "dtype torch_dtype transformers_version _name_or_path".split()
TOKENIZER = "tokenizer.json tokenizer_config.json special_tokens_map.json vocab.txt vocab.json merges.txt".split()
WEIGHTS = ["model.safetensors", "model.safetensors.index.json", "model-*.safetensors"]


@dataclass(frozen=True)
class Checkpoint:
    """A pretrained encoder: a local folder, or a name on the hub with a revision; `sha256` of model.safetensors."""

    name: str
    revision: str | None = None
    sha256: str | None = None

    def folder(self, weights: bool = True) -> Path:
        """The local folder, else the folder of that name in $ROCL_WEIGHTS, else what the hub has, downloaded once."""
        local = Path(self.name or "no name").expanduser()
        places = [local, *(Path(p).expanduser() / local.name for p in [os.environ.get("ROCL_WEIGHTS")] if p)]
        if found := [place for place in places if place.is_dir()]:
            return found[0]
        if self.name.count("/") != 1 or self.name[0] in "./~":
            hub = "" if "/" in self.name else "; on the hub names have an owner, as sentence-transformers/LaBSE has"
            raise UserError(f"{self.name or 'Checkpoint()'}: no such folder, and no {local.name} in $ROCL_WEIGHTS{hub}")
        options = {"revision": self.revision, "local_files_only": offline()}
        try:
            files = ["config.json", *TOKENIZER, *(WEIGHTS if weights else [])]
            folder = Path(huggingface_hub.snapshot_download(self.name, allow_patterns=files, **options))
            if weights and not any(folder.glob("model*.safetensors")):
                huggingface_hub.snapshot_download(self.name, allow_patterns=["pytorch_model.bin"], **options)
        except Exception as error:  # the client lets the errors of several libraries through
            where = "in the hub's cache, and rocl is offline" if offline() else "to be had from the hub"
            fix = f"put it into $ROCL_WEIGHTS, as {local.name}"
            raise UserError(f"{self.name}: not {where}: {fix} ({_brief(error)})") from error
        return folder

    def encoder(self) -> Encoder:
        """The encoder with the stored weights."""
        folder = self.folder()
        if self.sha256 and (found := disk.digest(folder / "model.safetensors")) != self.sha256:
            raise UserError(f"{folder}/model.safetensors: its sha256 is {found}, not {self.sha256}: get it anew")
        return read(folder)

    def fresh(self) -> Encoder:
        """An encoder with new weights, of config.json alone."""
        folder = self.folder(weights=False)
        encoder = Encoder(read_config(folder))
        encoder.source = folder
        return encoder

    def checksum(self) -> str:
        """Hex digest over config, weights and tokenizer files, as far as they are there."""
        folder = self.folder()
        files = [folder / "config.json", *_weights(folder), *(folder / name for name in TOKENIZER)]
        return disk.digest(*(file for file in files if file.exists()))


def read_config(folder: Path) -> Config:
    """The Config of a folder's config.json; UserError where it asks for what the encoder cannot do."""
    file = Path(folder) / "config.json"
    stored = _json(file)
    kind = stored.get("model_type")
    if kind not in FAMILIES:
        need = "a row in rocl/models/families.py" + " and layers that share weights" * (kind == "albert")
        raise UserError(f"{file}: model type {kind!r} is none of {', '.join(FAMILIES)}; it would need {need}")
    for key, (honoured, need) in REFUSED.items():
        if stored.get(key) not in honoured:
            raise UserError(f"{file}: {key} is {stored[key]!r}, which the encoder does not do; it would need {need}")
    values = {name: stored.get(key, default) for name, (key, default) in FAMILIES[kind].keys.items()}
    values = {"embedding": values["width"], "output_dropout": values["dropout"]} | values
    if values["classifier_dropout"] is None:
        values["classifier_dropout"] = values["dropout"]
    if values["activation"] not in ACTIVATIONS:
        need = f"a row in rocl/models/encoder.py, which has {', '.join(ACTIVATIONS)}"
        raise UserError(f"{file}: activation {values['activation']!r} is not known; it would need {need}")
    for name in ("vocabulary", "width", "layers", "heads", "inner", "positions"):
        if not (isinstance(values[name], int) and values[name] > 0):
            key = FAMILIES[kind].keys[name][0]
            raise UserError(f"{file}: {key} is {values[name]!r}: it must be a whole number above 0")
    if values["width"] % values["heads"]:
        raise UserError(f"{file}: a width of {values['width']} does not divide into {values['heads']} heads")
    if FAMILIES[kind].after_padding:
        if values["padding"] is None:
            raise UserError(f"{file}: pad_token_id is null, but {kind} counts positions from it: set it")
        values["first_position"] = values["padding"] + 1
    return Config(family=kind, stored=stored, **values)


def read(folder: Path) -> Encoder:
    """The encoder of a Hugging Face folder, in float32 however it is stored; heads stored with it are left aside."""
    encoder, tensors, used = _load(Path(folder))
    _complete(tensors, used, encoder)
    return encoder


def read_classifier(folder: Path) -> tuple[Encoder, Classifier]:
    """The encoder and the head of a folder with a classification model."""
    encoder, tensors, used = _load(Path(folder))
    family = FAMILIES[encoder.config.family]
    if (output := f"{family.head['output'][0]}.weight") not in tensors:
        raise UserError(f"{folder}: {output} is missing, so it has no classification head: read the encoder alone")
    head = classification_head(encoder, len(tensors[output]))
    names = {ours: [theirs[0].removeprefix(family.prefix)] for ours, theirs in family.head.items()}
    _complete(tensors, used | _fill(head, names, tensors, folder), encoder)
    return encoder, head


def read_head(folder: Path, encoder: Encoder) -> Classifier:
    """The head alone of a folder with a classification model, for the encoder that stands in it too."""
    file, names = folder / "model.safetensors", FAMILIES[encoder.config.family].head
    try:
        with safe_open(file, "pt") as stored:
            tensors = {f"{n}.{k}": stored.get_tensor(f"{n}.{k}") for (n,) in names.values() for k in ("weight", "bias")}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: missing, cut short or without a head ({_brief(error)}): get it anew") from error
    head = classification_head(encoder, len(tensors[f"{names['output'][0]}.weight"]))
    _fill(head, names, tensors, folder)
    return head


def _load(folder: Path) -> tuple[Encoder, dict[str, Tensor], set[str]]:
    """The encoder of a folder, all its tensors by their bare names, and the names of those that the encoder used."""
    config = read_config(folder)
    family = FAMILIES[config.family]
    tensors = {}
    for name, tensor in _tensors(folder).items():
        name = name.removeprefix(family.prefix)
        for old, new in (("gamma", "weight"), ("beta", "bias")):  # as TensorFlow called them
            name = re.sub(rf"\bLayerNorm\.{old}$", f"LayerNorm.{new}", name)
        if name in tensors:
            raise UserError(f"{folder}: {name} is stored twice, with and without {family.prefix}: remove one")
        tensors[name] = tensor
    tensors.pop("embeddings.position_ids", None)  # a buffer of older versions: 0, 1, 2, ...
    with torch.device("meta"):  # no memory and no random numbers for weights that are read
        encoder = Encoder(config)
        if family.pooler and "pooler.dense.weight" in tensors:
            encoder.pooler = nn.Linear(config.width, config.width).requires_grad_(False)  # heads start from a copy
    encoder.source = folder
    used = _fill(encoder, family.names, tensors, folder)
    if encoder.pooler is not None and encoder.pooler.weight.equal(torch.eye(config.width)):
        encoder.pooler = None  # what `write` puts where there was none
    return encoder, tensors, used


def _fill(module: nn.Module, names: Mapping[str, Sequence[str]], tensors: Mapping[str, Tensor], folder: Path) -> set:
    """Set every parameter of the module from the tensors, as float32. Returns the names of those it used."""
    parameters = module.state_dict()
    sources = {name: _theirs(name, names) for name in parameters}
    used = {theirs for several in sources.values() for theirs in several}
    if missing := sorted(used - tensors.keys()):
        raise UserError(f"{folder}: {len(missing)} tensors are missing: {', '.join(missing)}; is its model_type right?")
    for name, several in sources.items():
        shape = (len(parameters[name]) // len(several), *parameters[name].shape[1:])
        for theirs in several:
            found = tensors[theirs]
            if found.shape != shape:
                raise UserError(f"{folder}: {theirs} is {tuple(found.shape)}, but config.json makes it {shape}")
            if not found.is_floating_point() or found.itemsize < 2:
                raise UserError(f"{folder}: {theirs} is stored as {found.dtype}: get it as float32 or half of it")
        parameters[name] = torch.cat([tensors[theirs].float() for theirs in several])
    module.load_state_dict(parameters, assign=True)
    return used


def _theirs(name: str, names: Mapping[str, Sequence[str]]) -> list[str]:
    """The stored tensors of which our parameter is stacked."""
    module, _, kind = name.rpartition(".")
    number = re.search(r"\.(\d+)\.", module)
    if number is None:
        return [f"{theirs}.{kind}" for theirs in names[module]]
    return [f"{theirs.format(number[1])}.{kind}" for theirs in names[module.replace(number[0], ".{}.")]]


def _complete(tensors: Mapping[str, Tensor], used: set[str], encoder: Encoder) -> None:
    """Refuse tensors that nobody knows; say which known heads are left aside."""
    left = sorted(tensors.keys() - used)
    family = encoder.config.family
    if unknown := [name for name in left if name.split(".")[0] not in FAMILIES[family].others]:
        raise UserError(f"{encoder.source}: {len(unknown)} tensors are no part of a {family}: {', '.join(unknown)}")
    if left:
        heads = ", ".join(sorted({name.split(".")[0] for name in left}))
        print(f"{encoder.source}: the heads stored with it are left aside: {heads}", file=sys.stderr)


def _tensors(folder: Path) -> dict[str, Tensor]:
    files = _weights(folder)
    if not files and any(folder.glob("pytorch_model-*.bin")):
        raise UserError(f"{folder}: its weights lie in several .bin files: get model.safetensors instead")
    if not files:
        raise UserError(f"{folder}: config.json but no model.safetensors: get the weights, or begin with fresh() ones")
    tensors = {}
    for file in files:
        try:
            tensors |= load_file(file)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file}: missing, cut short or damaged ({_brief(error)}): get it anew") from error
    return tensors


def _weights(folder: Path) -> list[Path]:
    """The safetensors files of a folder, made from pytorch_model.bin if it has only that; none if it has no weights."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    if index.exists():
        if not isinstance(places := _json(index).get("weight_map"), dict):
            raise UserError(f"{index}: its weight_map names no files: get it anew")
        return [folder / name for name in sorted(set(places.values()))]
    older = folder / "pytorch_model.bin"
    return [_converted(older)] if older.exists() else []


def _converted(file: Path) -> Path:
    """The tensors of a pytorch_model.bin as model.safetensors beside it, or in the cache if that cannot be written."""
    state = file.stat()
    key = hashlib.sha256(f"{file.resolve()} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:16]
    cached = data_folder() / "converted" / key / "model.safetensors"
    if cached.exists():
        return cached
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
        tensors = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}  # none may share memory
    except Exception as error:  # a damaged pickle raises anything
        raise UserError(f"{file}: damaged, or not just tensors ({_brief(error)}): get safetensors") from error
    for target in (file.with_name("model.safetensors"), cached):
        try:
            with disk.whole(target) as part:
                save_file(tensors, part, metadata={"format": "pt"})
            print(f"{file}: converted once, to {target}", file=sys.stderr)
            return target
        except (OSError, SafetensorError) as error:
            problem = error
    raise UserError(f"{file}: cannot be converted ({_brief(problem)}): make its folder or {cached.parent} writable")


def write(
    folder: Path,
    encoder: Encoder,
    head: nn.Module | None = None,
    labels: Sequence[str] = (),
    kind: str = "one",
    dtype: torch.dtype = torch.float32,
) -> None:
    """A Hugging Face folder: the bare encoder, or with `head` the family's classification model for these labels, of
    which a text has `kind` "one" or "many"; stored as `dtype`. The tokenizer is not this function's.

    AutoModel and AutoModelForSequenceClassification load it without a missing or an unexpected tensor. UserError for
    a head that is not the family's own, which has no form there."""
    config, folder = encoder.config, Path(folder)
    family = FAMILIES[config.family]
    about = {key: value for key, value in config.stored.items() if key not in REPLACED}
    about |= {"model_type": config.family, "dtype": str(dtype).removeprefix("torch.")}
    about |= {key: getattr(config, name) for name, (key, _) in family.keys.items() if key}
    if head is None:
        about["architectures"] = [f"{family.classes}Model"]
        tensors = _named(encoder.state_dict(), family.names)
        if family.pooler and encoder.pooler is None:
            print(f"{folder}: the encoder has no pooler, but the format: an identity is written", file=sys.stderr)
            pooler = {"pooler.weight": torch.eye(config.width), "pooler.bias": torch.zeros(config.width)}
            tensors |= _named(pooler, family.names)
    else:
        judge_head(folder, config, head, labels)
        about["architectures"] = [f"{family.classes}ForSequenceClassification"]
        about["id2label"] = {str(number): label for number, label in enumerate(labels)}
        about["label2id"] = {label: number for number, label in enumerate(labels)}
        about["problem_type"] = {"one": "single_label", "many": "multi_label"}[kind] + "_classification"
        state = {name: value for name, value in encoder.state_dict().items() if not name.startswith("pooler.")}
        tensors = {family.prefix + name: value for name, value in _named(state, family.names).items()}
        tensors |= _named(head.state_dict(), family.head)
    with disk.whole(folder / "model.safetensors") as part:
        save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, part, metadata={"format": "pt"})
    disk.write_json(folder / "config.json", about)


def judge_head(folder: Path, config: Config, head: nn.Module, labels: Sequence[str]) -> None:
    """UserError if `write` could not put this head with these labels into a folder."""
    if not isinstance(head, Classifier) or head.family != config.family:
        name = f"{FAMILIES[config.family].classes}ForSequenceClassification"
        raise UserError(f"{folder}: {name} has no place for a {type(head).__name__}: export a classification_head")
    if len(labels) != head.output.out_features:
        raise UserError(f"{folder}: {len(labels)} labels for a head of {head.output.out_features}: name each")


def _named(state: Mapping[str, Tensor], names: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
    """Our parameters by the stored names, in float32 and in memory of their own."""
    tensors = {}
    for name, parameter in state.items():
        theirs = _theirs(name, names)
        parts = parameter.float().cpu().chunk(len(theirs))
        tensors |= {theirs: part.clone() for theirs, part in zip(theirs, parts, strict=True)}
    return tensors


def sentence_transformers(folder: Path, pooling: str = "mean", max_length: int = 256) -> None:
    """Make a written folder a sentence-transformers model too: `pooling` "mean" or "first", as in rocl.models.heads."""
    folder, modes = Path(folder), {"first": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens"}
    if pooling not in modes:
        raise UserError(f"{folder}: sentence-transformers has no pooling {pooling!r}; take one of {', '.join(modes)}")
    pool = {"word_embedding_dimension": read_config(folder).width}
    pool |= {mode: name == pooling for name, mode in modes.items()}
    modules = [("", "sentence_transformers.models.Transformer"), ("1_Pooling", "sentence_transformers.models.Pooling")]
    modules = [{"idx": n, "name": str(n), "path": path, "type": kind} for n, (path, kind) in enumerate(modules)]
    disk.write_json(folder / "1_Pooling" / "config.json", pool)
    disk.write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    disk.write_json(folder / "modules.json", modules)


def _json(file: Path) -> dict:
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file}: missing or no JSON object ({_brief(error)}): get it anew") from error


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
