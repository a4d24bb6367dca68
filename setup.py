import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

setup(
    name="rocl",
    version=re.search(r'__version__ = "(.+)"', (HERE / "rocl" / "__init__.py").read_text("utf-8"))[1],
    description="Text classifiers for a language with little data, with help from a language with much",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0 AND CC-BY-NC-SA-4.0",  # the code, and the weights of rocl-tiny
    python_requires=">=3.10",
    packages=find_packages(include=["rocl", "rocl.*"]),
    package_data={"rocl.data.corpora": ["written/*"], "rocl.models": ["rocl-tiny/*", "rocl-tiny/1_Pooling/*"]},
    install_requires=[
        "torch>=2.11,<2.14",
        "numpy",
        "tokenizers>=0.20",
        "safetensors>=0.4",
        "scikit-learn>=1.3",
        "scipy",  # comes with scikit-learn
        "tensorboard",
        "requests",
        "huggingface_hub",  # comes with tokenizers
        "filelock",  # comes with torch
        "tqdm",  # comes with tokenizers
        "pillow",  # comes with tensorboard
    ],
    extras_require={
        "test": ["pytest", "ruff", "transformers>=5", "sentence-transformers>=5"],
        "benchmark": ["transformers>=5", "accelerate"],
    },
)
