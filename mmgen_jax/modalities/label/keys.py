"""Modality `label`: what the registry holds of it."""

from mmgen_jax.modalities import ModalityOptions, ModalitySpec
from mmgen_jax.registry import deferred

LABEL = ModalitySpec(
    options=ModalityOptions,
    fit=deferred("mmgen_jax.modalities.label.modality:fit"),
    build=deferred("mmgen_jax.modalities.label.modality:build"),
    serves=deferred("mmgen_jax.modalities.label.modality:serves"),
    tied=("embed", "logits"),
)
