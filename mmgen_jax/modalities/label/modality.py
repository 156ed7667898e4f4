"""Modality `label`: one class out of a fixed list of names."""

from typing import Any, SupportsIndex

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mmgen_jax.data import Source
from mmgen_jax.data.names import listing, meant, normalized, suggestion
from mmgen_jax.errors import InputError
from mmgen_jax.modalities import Encoding, Modality, ModalityOptions, Recovery, Shared, malformed
from mmgen_jax.modalities.encoder import ExpertHead
from mmgen_jax.modalities.reader import ImageReader


class LabelEncoder(nn.Module):
    """An embedding per class.

    Of unit variance, as what other encoders hand on: of small ones, a bias learned in a few steps
    is soon all that a network which normalises its condition can see.
    """

    classes: int
    shared: Shared

    @nn.compact
    def __call__(self, labels: Int[Array, "batch"]) -> Encoding:
        unit = nn.initializers.normal(1.0)
        x = nn.Embed(self.classes, self.shared.width, embedding_init=unit, name="embed")(labels)
        return ExpertHead(self.shared)(x[:, None], jnp.ones((labels.shape[0], 1), bool))


class LabelReader(nn.Module):
    """Classifies an image."""

    classes: int
    shared: Shared

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channel"], labels: Int[Array, "batch"]
    ) -> Recovery:
        logits = nn.Dense(self.classes, name="logits")(ImageReader(self.shared)(images))
        log_likelihood = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
        correct = (logits.argmax(axis=-1) == labels).astype(jnp.float32)
        return Recovery(log_likelihood[:, 0], correct)


def fit(options: ModalityOptions, source: Source) -> dict[str, Any]:
    """The class names, in the data set's order."""
    return {"names": list(dict.fromkeys(map(normalized, source.info.label_names)))}


def _names(name: str, assets: dict[str, Any]) -> list[str]:
    names = assets.get("names")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise malformed(name, "'names' must be a list of class names")
    if len(set(names)) < len(names):
        raise malformed(name, "'names' has a class name twice")
    return names


def build(options: ModalityOptions, shared: Shared, assets: dict[str, Any]) -> Modality:
    """A label out of `assets["names"]`.

    Recovery is the log-likelihood of a classifier q(label | image): E[log q] <= E[log p], the
    variational bound on log p(x | y) itself (Barber & Agakov 2003, eq. 3), without a constant.
    """
    names = _names(options.name, assets)
    encoder = LabelEncoder(len(names), shared)
    reader = LabelReader(len(names), shared)
    # Runs that are older than `normalized` have names as they came, of which two may now be one.
    number = {normalized(name): k for k, name in reversed([*enumerate(names)])}
    number |= {name: k for k, name in enumerate(names)}

    def prepare(raw: str | SupportsIndex) -> dict[str, Any]:
        name = normalized(str(raw))
        if name not in number:
            near = suggestion(name, names)
            raise InputError(f"unknown label {raw!r}; allowed: {listing(names)}{near}")
        return {"label": np.int32(number[name])}

    def init(key: jax.Array) -> dict[str, Any]:
        encoder_key, reader_key = jax.random.split(key)
        images = jnp.zeros((1, *shared.drawn))
        labels = jnp.zeros(1, jnp.int32)
        return {
            "encoders": encoder.init(encoder_key, labels)["params"],
            "recovery": reader.init(reader_key, images, labels)["params"],
        }

    return Modality(
        prepare=prepare,
        absent={"label": np.int32(0)},
        init=init,
        encode=lambda params, value: encoder.apply({"params": params}, value["label"]),
        recover=lambda params, images, value, encoding: reader.apply(
            {"params": params}, images, value["label"]
        ),
        parse=lambda text: meant(text, names) or text,
        show=lambda value: names[int(value["label"])],
    )


def serves(options: ModalityOptions, assets: dict[str, Any], source: Source) -> bool:
    """Whether other classes hold all of these."""
    return {*map(normalized, source.info.label_names)} <= {*map(normalized, assets["names"])}
