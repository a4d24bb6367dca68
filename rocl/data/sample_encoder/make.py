"""Makes the files of this folder: a tiny BERT without weights, and a vocabulary of the sample's training texts.

`python -m rocl.data.sample_encoder.make` writes them anew; only a change of the sample's grammars calls for it.
"""

import json
import string
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from rocl.data.corpora import sample

CORPORA = ("emotion_ro", "sentiment_ro", "news_ro", "emotion_en", "sentiment_en", "news_en")
LETTERS = string.ascii_letters + string.digits + "ăâîșțĂÂÎȘȚ€°"
MARKS = string.punctuation + "„”“’–—…«»"  # always a word of their own


def files() -> dict[str, str]:
    """The text of config.json, tokenizer_config.json and vocab.txt, by name."""
    corpora = [getattr(sample, f"sample_{name}")() for name in CORPORA]
    texts = [text for corpus in corpora for row in corpus.splits["train"] for text in row.texts]
    # Ties between merges go by the letters' ids, which are drawn by chance unless they are given beforehand.
    first = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *MARKS, *LETTERS, *("##" + letter for letter in LETTERS)]
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=2000, special_tokens=first, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    pieces = sorted(learner.get_vocab(), key=learner.get_vocab().get)
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
    dropout = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    places = {"vocab_size": len(pieces), "max_position_embeddings": 128, "type_vocab_size": 2, "pad_token_id": 0}
    config = {"model_type": "bert", **sizes, **places, **dropout, "hidden_act": "gelu", "layer_norm_eps": 1e-12}
    reading = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "model_max_length": 128}
    # BERT's 0.02 suits a width of 768; so narrow an encoder learns several times faster from 1 / sqrt(width).
    return {
        "config.json": json.dumps({**config, "initializer_range": 0.08}, indent=2) + "\n",
        "tokenizer_config.json": json.dumps(reading, indent=2) + "\n",
        "vocab.txt": "\n".join(pieces) + "\n",
    }


if __name__ == "__main__":
    for name, text in files().items():
        (Path(__file__).parent / name).write_text(text, encoding="utf-8")
