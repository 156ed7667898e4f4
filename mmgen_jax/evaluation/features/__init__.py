"""What turns pictures into features, for scores that compare features.

A score belongs to its extractor, and is called by its name: FID, KID and Inception score are those
of Inception-v3, with weights that the user brings, and of nothing else.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Float

from mmgen_jax.data import DataOptions
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.cache import digest
from mmgen_jax.evaluation.features import resizing
from mmgen_jax.evaluation.judges import classifier
from mmgen_jax.pretrained import inception
from mmgen_jax.registry import Registry
from mmgen_jax.sampling.sampler import in_batches

BATCH = 32  # pictures that a device reads at once
FEATURES = 2_048  # of its last pool
Pictures = Iterable[np.ndarray]  # uint8 [height, width, 3] each, of any size
Read = tuple[Float[np.ndarray, "rows features"], Float[np.ndarray, "rows classes"]]


class Extractor(NamedTuple):
    """A frozen network.

    Attributes:
      name: for people, such as "digits classifier".
      identity: a hash of all that its features depend on: weights, and how pictures are resized.
      features: how many there are of a picture.
      read: pictures -> (their features, the logits of their classes), float32.
      titles: by metric (fid, kid, is, prdc), what the score is called.
    """

    name: str
    identity: str
    features: int
    read: Callable[[Pictures], Read]
    titles: dict[str, str]


class Extraction(NamedTuple):
    """Which extractor, as a command line has it.

    Attributes:
      name: of `EXTRACTORS`; None takes Inception where weights are given, else the classifier.
      weights: its file; None takes the one that belongs to the data set.
      resize: of `resizing.MODES`; how pictures get Inception's size.
    """

    name: str | None = None
    weights: Path | None = None
    resize: str = "clean"


def titles(name: str) -> dict[str, str]:
    """What scores are called with any extractor but Inception-v3."""
    short = {"fid": "FD", "kid": "KD", "is": "CS", "prdc": "PRDC"}
    return {metric: f"{letters}({name})" for metric, letters in short.items()}


def lacks(asked: Extraction, data: DataOptions | None) -> str | None:
    """Why there is no extractor where none is named, in one line; None if there is one.

    Args:
      asked: which one.
      data: as of `build`.
    """
    if asked.name or asked.weights or (data is not None and classifier.is_judged(data)):
        return None
    where = "" if data is None else f": data set {data.name!r} is not judged by a classifier"
    return (
        "scores such as fid need --weights=FILE.safetensors, of Inception-v3 (docs/scores.md says"
        f" where from) or, with --extractor=classifier, of a classifier{where}"
    )


def build(asked: Extraction, data: DataOptions | None) -> Extractor:
    """The extractor that is asked for.

    Args:
      asked: which one.
      data: of the run whose pictures are read; None: there is none.

    Raises:
      InputError: if there is no such extractor, or its weights are not there or not whole.
    """
    reason = lacks(asked, data)
    if reason is not None:
        raise InputError(reason)
    name = asked.name or ("inception" if asked.weights else "classifier")
    return EXTRACTORS[name](asked, data)


def inception_extractor(asked: Extraction, data: DataOptions | None) -> Extractor:
    """Inception-v3 as the FID has it; the weights are the user's (`nn.inception.load`)."""
    if asked.weights is None:
        raise InputError("extractor 'inception' needs --weights=FILE.safetensors (docs/scores.md)")
    if asked.weights.suffix == ".pth":
        raise InputError(
            f"--weights={asked.weights} is a pickle, which is not read here; allowed: the same as"
            " safetensors (docs/scores.md says how)"
        )
    if asked.resize not in resizing.MODES:
        allowed = ", ".join(resizing.MODES)
        raise InputError(f"--resize={asked.resize} is unknown; allowed: {allowed}")
    params = inception.load(asked.weights)
    devices = jax.sharding.Mesh(np.array(jax.local_devices()), ("data",))
    shared, whole = (NamedSharding(devices, PartitionSpec(*x)) for x in (("data",), ()))
    held = jax.device_put(params, whole)
    # pytorch-fid reads 0 to 255 as -1 to 1; the others subtract 128 and divide by it.
    scale = 256 / 255 if asked.resize == "legacy_pytorch" else 1.0

    @partial(jax.jit, in_shardings=(whole, shared), out_shardings=whole)
    def apply(params: Any, images: Any) -> Any:
        found = inception.Inception().apply({"params": params}, images * scale)
        return jnp.concatenate([found["2048"], found["logits"]], axis=1)

    def read(images: Pictures) -> Read:
        side = inception.SIDE
        rows = [resizing.resize(image[None], side, asked.resize)[0] for image in images]
        size = BATCH * devices.size
        found = in_batches(partial(apply, held), size, np.stack(rows), finish=np.asarray)
        return found[:, :FEATURES], found[:, FEATURES:]

    return Extractor(
        name=f"Inception-v3, resized {asked.resize}",
        identity=digest((params, asked.resize)),
        features=FEATURES,
        read=read,
        titles={"fid": "FID", "kid": "KID", "is": "IS", "prdc": "PRDC(Inception-v3)"},
    )


def classifier_extractor(asked: Extraction, data: DataOptions | None) -> Extractor:
    """The last hidden layer of a classifier that `launch/train_judge.py` trained."""
    if asked.weights is not None:
        trained = classifier.load(asked.weights, "python launch/train_judge.py --config=FILE:ARG")
    elif data is None:
        raise InputError("extractor 'classifier' needs --weights=FILE.safetensors")
    else:
        trained = classifier.of_data(data)
    name = f"classifier {asked.weights.stem}" if asked.weights else f"{data.name} classifier"
    return Extractor(
        name=name,
        identity=digest((trained.params, trained.image_size)),
        features=classifier.FEATURES,
        read=partial(classifier.read, trained),
        titles=titles(name),
    )


EXTRACTORS = Registry(
    "extractor",
    {
        "inception": "mmgen_jax.evaluation.features:inception_extractor",
        "classifier": "mmgen_jax.evaluation.features:classifier_extractor",
    },
)
"""By name: (Extraction, DataOptions or None) -> Extractor."""
