"""How the files of each family of encoders differ from ours: tables of names, and what is refused."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Family(NamedTuple):
    """What a family's files look like."""

    classes: str  # how the names of transformers' classes begin
    prefix: str  # of the encoder's tensors in a model with a head; a bare model has none
    keys: Mapping[str, tuple[str, object]]  # field of Config: key of config.json, its value where it is absent
    names: Mapping[str, Sequence[str]]  # our module: theirs; several are stacked
    head: Mapping[str, Sequence[str]]  # the same for the classification head
    others: Sequence[str]  # modules of further heads, which may be stored and are not read
    pooler: bool = False  # whether the bare model has one
    after_padding: bool = False  # whether the first position is the row behind the padding id


BERT_KEYS = {
    "vocabulary": ("vocab_size", 30522),
    "width": ("hidden_size", 768),
    "layers": ("num_hidden_layers", 12),
    "heads": ("num_attention_heads", 12),
    "inner": ("intermediate_size", 3072),
    "positions": ("max_position_embeddings", 512),
    "types": ("type_vocab_size", 2),
    "padding": ("pad_token_id", 0),
    "activation": ("hidden_act", "gelu"),
    "epsilon": ("layer_norm_eps", 1e-12),
    "dropout": ("hidden_dropout_prob", 0.1),
    "attention_dropout": ("attention_probs_dropout_prob", 0.1),
    "classifier_dropout": ("classifier_dropout", None),  # None: as on hidden states
    "initializer_range": ("initializer_range", 0.02),
}
ELECTRA_KEYS = {"embedding": ("embedding_size", 128), "width": ("hidden_size", 256)}
ELECTRA_KEYS |= {"heads": ("num_attention_heads", 4), "inner": ("intermediate_size", 1024)}
XLM_KEYS = BERT_KEYS | {"padding": ("pad_token_id", 1)}
DISTILBERT_KEYS = BERT_KEYS | {
    "width": ("dim", 768),
    "layers": ("n_layers", 6),
    "heads": ("n_heads", 12),
    "inner": ("hidden_dim", 3072),
    "types": (None, 0),  # no key sets it
    "activation": ("activation", "gelu"),
    "epsilon": (None, 1e-12),
    "dropout": ("dropout", 0.1),
    "attention_dropout": ("attention_dropout", 0.1),
    "output_dropout": (None, 0.0),
    "classifier_dropout": ("seq_classif_dropout", 0.2),
}
BERT_NAMES = {
    "embeddings.words": ["embeddings.word_embeddings"],
    "embeddings.positions": ["embeddings.position_embeddings"],
    "embeddings.types": ["embeddings.token_type_embeddings"],
    "embeddings.norm": ["embeddings.LayerNorm"],
    "embeddings.project": ["embeddings_project"],
    "layers.{}.qkv": [f"encoder.layer.{{}}.attention.self.{part}" for part in ("query", "key", "value")],
    "layers.{}.out": ["encoder.layer.{}.attention.output.dense"],
    "layers.{}.attention_norm": ["encoder.layer.{}.attention.output.LayerNorm"],
    "layers.{}.up": ["encoder.layer.{}.intermediate.dense"],
    "layers.{}.down": ["encoder.layer.{}.output.dense"],
    "layers.{}.output_norm": ["encoder.layer.{}.output.LayerNorm"],
    "pooler": ["pooler.dense"],
}
DISTILBERT_NAMES = BERT_NAMES | {
    "layers.{}.qkv": [f"transformer.layer.{{}}.attention.{part}_lin" for part in "qkv"],
    "layers.{}.out": ["transformer.layer.{}.attention.out_lin"],
    "layers.{}.attention_norm": ["transformer.layer.{}.sa_layer_norm"],
    "layers.{}.up": ["transformer.layer.{}.ffn.lin1"],
    "layers.{}.down": ["transformer.layer.{}.ffn.lin2"],
    "layers.{}.output_norm": ["transformer.layer.{}.output_layer_norm"],
}
BERT_HEAD = {"dense": ["bert.pooler.dense"], "output": ["classifier"]}
ROBERTA_HEAD = {"dense": ["classifier.dense"], "output": ["classifier.out_proj"]}  # ELECTRA's too
DISTILBERT_HEAD = {"dense": ["pre_classifier"], "output": ["classifier"]}
BERT_OTHERS = ["cls", "classifier", "qa_outputs"]
ELECTRA_OTHERS = ["discriminator_predictions", "generator_predictions", "generator_lm_head", "classifier", "qa_outputs"]
ROBERTA_OTHERS = ["lm_head", "classifier", "qa_outputs"]
DISTILBERT_OTHERS = "vocab_transform vocab_layer_norm vocab_projector pre_classifier classifier qa_outputs".split()
DISTILBERT = [DISTILBERT_KEYS, DISTILBERT_NAMES, DISTILBERT_HEAD, DISTILBERT_OTHERS]
ROBERTA = Family("Roberta", "roberta.", XLM_KEYS, BERT_NAMES, ROBERTA_HEAD, ROBERTA_OTHERS, True, True)
FAMILIES = {
    "bert": Family("Bert", "bert.", BERT_KEYS, BERT_NAMES, BERT_HEAD, BERT_OTHERS, True),
    "electra": Family("Electra", "electra.", BERT_KEYS | ELECTRA_KEYS, BERT_NAMES, ROBERTA_HEAD, ELECTRA_OTHERS),
    "roberta": ROBERTA._replace(keys=XLM_KEYS | {"vocabulary": ("vocab_size", 50265)}),
    "xlm-roberta": ROBERTA._replace(classes="XLMRoberta"),
    "camembert": ROBERTA._replace(classes="Camembert"),
    "distilbert": Family("DistilBert", "distilbert.", *DISTILBERT),
}
REFUSED = {  # keys that change what is computed: the values the encoder honours, what others would need
    "position_embedding_type": ((None, "absolute"), "these positions inside the attention"),
    "is_decoder": ((None, False), "causal attention"),
    "add_cross_attention": ((None, False), "cross attention"),
    "quantization_config": ((None,), "quantised layers: take the checkpoint they were made from"),
    "auto_map": ((None,), "the code that comes with the repository"),
}
