"""Your own corpus, by itself and with help from a twin in another language: copy this file and edit lines 8 to 10."""

from pathlib import Path

from experiments.own import compared
from rocl.data.files import files

CORPUS = files(Path(__file__).parent / "yours.csv", text="text", label="label", language="ro")
TWIN = files(Path(__file__).parent / "yours_twin.csv", text="text", label="label", language="en")  # or None
CHOICES = {"max_length": 64, "epochs": 12}  # tokens a text; passes over each corpus


def experiment(scale):
    return compared(scale, CORPUS, TWIN, **CHOICES)
