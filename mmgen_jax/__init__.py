"""mmgen_jax: train conditional image generators on any combination of modalities."""

__version__ = "0.1.0"
