"""Sets jax up for tests, before it is imported: quick to compile, strict, and on the CPU."""

import gc
import os
import sys
from pathlib import Path

import pytest

from tools import quick_to_compile

assert "jax" not in sys.modules, "jax reads its settings when it is imported"

CACHE = Path(__file__).parents[1] / ".cache" / "jax"

# In the environment, so that the subprocesses of tests have them too. The two workers share the
# cache.
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(CACHE)),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "XLA_FLAGS": quick_to_compile.XLA_FLAGS,
    "MPLBACKEND": "Agg",
}

import jax  # noqa: E402, it reads them

# Collections that walk all that jax keeps took a twelfth of the tests' time.
gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="module", autouse=True)
def forgotten():
    """What a file has compiled is of no use to the next, and slows all that comes after it."""
    yield
    jax.clear_caches()


@pytest.fixture
def tokenizers(tmp_path, monkeypatch):
    """The configs of tokenizers' runs, where documents have them: runs/vqvae and others."""
    from mmgen_jax import config as configs
    from tests.launching import recipe

    of_emoji = "data=emoji,modalities=label,quantizer=kl"
    for name, argument in (("vqvae", ""), ("kl", "quantizer=kl"), ("kl_emoji", of_emoji)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        config = recipe("vqvae").get_config(argument)
        configs.save(config, tmp_path / "runs" / name / "config.json")
    monkeypatch.chdir(tmp_path)
