"""An encoder grown out of another: another vocabulary, some of its layers, narrower embeddings, longer vectors."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from rocl.errors import UserError
from rocl.models.encoder import Embeddings, Encoder
from rocl.models.families import FAMILIES
from rocl.models.words import Words

# V pieces of the new vocabulary, P rows of the position table, E width of the embeddings


def transplant(
    encoder: Encoder, pieces: Sequence[str], known: Mapping[str, int], spell: Callable[[str], list[int]], padding: int
) -> Encoder:
    """A copy of the encoder for the vocabulary `pieces`, in the order of their ids; `padding` is the padding's.

    A piece that is `known` keeps the vector of that old id. Another begins as the mean of the vectors of the old ids
    that `spell` gives for it, which are none special or unknown; without any, as the mean of all old vectors. What is
    no word vector is copied. The copy has no `source`: set it to the folder of the new tokenizer.
    """
    config, old = encoder.config, encoder.embeddings.words.weight.detach()
    ids = [[known[piece]] if piece in known else spell(piece) for piece in pieces]
    everything = old.mean(0)
    words = torch.stack([old[several].mean(0) if several else everything for several in ids])  # (V, E)
    # Positions that count from behind the padding id move with it; the rows in front of them are never looked up.
    first = padding + 1 if config.first_position else 0
    shift = first - config.first_position
    places = nn.functional.pad(encoder.embeddings.positions.weight.detach(), (0, 0, shift, 0))  # (P + shift, E)
    # The ids of other special tokens and the tokenizer's class speak of the old vocabulary.
    stored = {key: config.stored[key] for key in config.stored if not key.endswith(("_token_id", "tokenizer_class"))}
    new = _copy(encoder, stored, padding=padding, first_position=first, vocabulary=len(pieces), positions=len(places))
    new.source = None
    new.embeddings.words = Words.from_pretrained(words, freeze=False, padding_idx=padding)
    new.embeddings.positions = nn.Embedding.from_pretrained(places, False, padding if first else None)
    return new


def layers_kept(encoder: Encoder, numbers: Sequence[int]) -> Encoder:
    """A copy of the encoder with just the layers of these numbers, counted from 0, in the order given."""
    if not numbers or len({*numbers} & {*range(encoder.config.layers)}) < len(numbers):
        raise UserError(f"layers {list(numbers)} to keep: give different numbers below {encoder.config.layers}")
    new = _copy(encoder, encoder.config.stored, layers=len(numbers))
    new.layers = nn.ModuleList(new.layers[number] for number in numbers)
    return new


def factorised(encoder: Encoder, width: int) -> Encoder:
    """A copy of a BERT with embeddings `width` wide and projected to its own width: an ELECTRA (2003.10555).

    The tables are the nearest of that rank, by singular values, with type 0 added to the positions and the other types
    left out. The projection, which stands behind a layer norm, makes of them what comes nearest to the old embeddings
    by least squares: over every word once, at some position or other.
    """
    config, old = encoder.config, encoder.embeddings
    if config.family != "bert" or config.embedding != config.width or not 0 < width < config.width:
        have = f"a {config.family} {config.embedding} wide in its embeddings and {config.width} in its layers"
        raise UserError(f"embeddings of {width} in place of those of {have}: it must be a BERT and wider than that")
    words, positions, types = (table.weight.detach() for table in (old.words, old.positions, old.types))
    positions = positions + types[0]  # (P, D)
    # By numpy and in float64: torch's svd gives other last bits from call to call.
    tables = torch.cat([words, positions]).double().numpy()  # (V + P, D)
    narrow = np.linalg.svd(tables, full_matrices=False)[2][:width].T  # (D, E), of rows by singular value
    new = _copy(encoder, config.stored, family="electra", embedding=width)
    new.pooler, new.embeddings = None, Embeddings(new.config)
    tables = torch.from_numpy(tables @ narrow).float()  # (V + P, E)
    new.embeddings.words.weight.data, new.embeddings.positions.weight.data = tables.split([len(words), len(positions)])
    new.embeddings.types.weight.data.zero_()
    places = torch.arange(len(words)) % min(len(positions), 128)  # (V,)
    with torch.no_grad():
        target = old.norm(words + positions[places])  # (V, D)
        given = new.embeddings.norm(new.embeddings.words.weight + new.embeddings.positions.weight[places])  # (V, E)
        given = nn.functional.pad(given, (0, 1), value=1.0)
        # What a layer norm gives sums to nought, up to the rounding of float32: that direction is left out.
        found = np.linalg.lstsq(given.double().numpy(), target.double().numpy(), rcond=1e-4)[0]  # (E + 1, D)
        new.embeddings.project.weight.copy_(torch.from_numpy(found[:width].T))
        new.embeddings.project.bias.copy_(torch.from_numpy(found[width]))
    return new


def scaled(encoder: Encoder, factor: float) -> Encoder:
    """A copy of the encoder whose vectors are `factor` times as long, by its last layer norm; without its pooler, which
    was taught with the old ones."""
    new = _copy(encoder, encoder.config.stored)
    norm = new.layers[-1].output_norm
    with torch.no_grad():
        norm.weight.mul_(factor)
        norm.bias.mul_(factor)
    new.pooler = None
    return new


def _copy(encoder: Encoder, stored: Mapping[str, object], **changes: int | str) -> Encoder:
    """A copy whose config has these changes; so has `stored`, the config.json it keeps for writing."""
    keys = FAMILIES[encoder.config.family].keys
    theirs = {keys[name][0]: value for name, value in changes.items() if name in keys}
    new = copy.deepcopy(encoder)
    new.config = replace(encoder.config, **changes, stored={**stored, **theirs})
    for layer in new.layers:
        layer.config = new.config
    return new
