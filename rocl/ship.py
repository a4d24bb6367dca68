"""The encoder of a finished run as a folder to give away: half the bytes, for transformers and sentence-transformers.

python -m rocl.ship RUN FOLDER
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from rocl import command, disk
from rocl.data import tokens
from rocl.errors import UserError
from rocl.finish import write_encoder
from rocl.models import checkpoints
from rocl.predict import finished


def ship(run: Path, folder: Path) -> None:
    """Writes the encoder of a run that learned no labels into `folder`, its weights in float16; a card is not written.
    UserError if there is something in the folder, or if the run has heads, which `python -m rocl.predict` reads where
    they are."""
    run = finished(run)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: give a new folder")
    if names := disk.read_json(run / "done")["tasks"]:
        raise UserError(f"{run} learned {', '.join(names)}: what it left in {run / 'model'} can be given away as it is")
    left = run / "model"
    longest = disk.read_json(left / "sentence_bert_config.json")["max_seq_length"]
    write_encoder(folder, checkpoints.read(left), tokens.tokenizer(left), longest, torch.float16)


def main(arguments: Sequence[str]) -> None:
    parser = command.Parser(prog="python -m rocl.ship", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run that left an encoder")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where to write")
    options = parser.parse_args(arguments)
    ship(options.run, options.folder)
    weights = options.folder / "model.safetensors"
    print(f"{weights}: {weights.stat().st_size / 1e6:.2f} MB, sha256 {disk.digest(weights)}")


if __name__ == "__main__":
    sys.exit(command.run(main))
