"""A small convolutional classifier, and the judge that it makes of a data set with labels.

It is trained on real pictures by `launch/train_judge.py`, apart from every model that it judges.
"""

import functools
import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int, Key
from tqdm import tqdm

from mmgen_jax.data import DataOptions, Record, Source, values_of
from mmgen_jax.data.names import normalized
from mmgen_jax.data.pipeline import fixed_batch, training_batches
from mmgen_jax.errors import InputError, writing
from mmgen_jax.evaluation.judges import JUDGES, Judge
from mmgen_jax.media.images import normalise, quantise, resize
from mmgen_jax.media.outputs import KEY
from mmgen_jax.sampling.sampler import in_batches
from mmgen_jax.storage import write_whole

FILE = "judge.safetensors"
# What a file raises that holds something else; AttributeError where NumPy lacks its type.
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError)
BATCH_SIZE = 128
FEATURES = 128  # of the last hidden layer
SHIFT = 2  # pixels: how far pictures are moved, at most, in training


class Classifier(nn.Module):
    """Three convolutions and two dense layers; enough for small pictures of one thing."""

    classes: int

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channel"], dropout: Key[Array, ""] | None
    ) -> Float[Array, "batch classes"]:
        x = images
        for i, (channels, stride) in enumerate([(32, 2), (48, 1), (64, 2)]):
            x = nn.Conv(channels, (3, 3), strides=stride, use_bias=False, name=f"conv{i}")(x)
            x = nn.relu(nn.GroupNorm(8, name=f"norm{i}")(x))
        x = nn.relu(nn.Dense(FEATURES, name="hidden")(x.reshape(x.shape[0], -1)))
        x = nn.Dropout(0.3, deterministic=dropout is None)(x, rng=dropout)
        return nn.Dense(self.classes, name="logits")(x)


class Trained(NamedTuple):
    """A classifier that was trained.

    Attributes:
      params: its parameters.
      names: the classes.
      image_size: of the pictures that it was trained on.
      accuracy: share of the test split that it classifies rightly.
    """

    params: Any
    names: tuple[str, ...]
    image_size: int
    accuracy: float


def train(options: DataOptions, steps: int, seed: int) -> Trained:
    """Trains on split `train` of a data set with labels, and tests on split `test`.

    Records without a label, and bad ones, are passed over.

    Args:
      options: which data set.
      steps: of BATCH_SIZE pictures.
      seed: of parameters, order, shifts and dropout.

    Raises:
      InputError: if the data set has no labels, or not both splits.
    """
    source, test = (options.open(split) for split in ("train", "test"))
    names = source.info.label_names
    if not names:
        raise InputError(f"data set {options.name!r} has no labels to judge by")
    prepare = partial(_prepare, names=names, size=options.image_size)
    step, state = _training(len(names), options.image_size, steps, seed)
    batches = training_batches(source, prepare, BATCH_SIZE, seed, on_bad_record="skip")
    for i in tqdm(range(steps), desc="judge", unit="step", disable=None):
        state = step(state, next(batches), np.uint32(i))
    batches.close()
    trained = Trained(state[0], names, options.image_size, accuracy=0.0)
    return trained._replace(accuracy=_accuracy(trained, test, prepare))


def _prepare(record: Record, index: int, names: tuple[str, ...], size: int) -> dict[str, Any]:
    if "label" not in record.values:
        raise InputError("it has no label")
    label = names.index(record.values["label"])
    return {"image": normalise(resize(record.image, (size, size))), "label": np.int32(label)}


def _training(classes: int, size: int, steps: int, seed: int) -> tuple[Any, Any]:
    """(a compiled step, its first state)."""
    model = Classifier(classes)
    key = jax.random.key(seed)
    params = model.init(key, jnp.zeros((1, size, size, 3)), None)["params"]
    optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, steps), weight_decay=1e-2)

    def loss(params: Any, batch: Any, key: Any) -> Any:
        moved, dropout = jax.random.split(key)
        logits = model.apply({"params": params}, shifted(batch["image"], moved), dropout)
        targets = optax.smooth_labels(jax.nn.one_hot(batch["label"], classes), 0.05)
        return optax.softmax_cross_entropy(logits, targets).mean()

    @jax.jit
    def step(state: Any, batch: Any, number: Any) -> Any:
        params, moments = state
        grads = jax.grad(loss)(params, batch, jax.random.fold_in(key, number))
        updates, moments = optimizer.update(grads, moments, params)
        return optax.apply_updates(params, updates), moments

    return step, (params, optimizer.init(params))


def shifted(
    images: Float[Array, "batch height width channel"], key: Key[Array, ""]
) -> Float[Array, "batch height width channel"]:
    """Moves each picture by up to SHIFT pixels; its border repeats."""
    padding = [(0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)]
    padded = jnp.pad(images, padding, mode="edge")
    offsets = jax.random.randint(key, (images.shape[0], 2), 0, 2 * SHIFT + 1)
    cut = lambda x, o: jax.lax.dynamic_slice(x, (o[0], o[1], 0), images.shape[1:])  # noqa: E731
    return jax.vmap(cut)(padded, offsets)


def predict(trained: Trained, images: Iterable[np.ndarray]) -> Int[np.ndarray, "batch"]:
    """The class of each picture, uint8 [height, width, 3] of any size."""
    return read(trained, images)[1].argmax(-1)


def read(
    trained: Trained, images: Iterable[np.ndarray]
) -> tuple[Float[np.ndarray, "batch feature"], Float[np.ndarray, "batch classes"]]:
    """(what the last hidden layer says, logits) of pictures, uint8 [height, width, 3] each."""
    shape = (trained.image_size, trained.image_size)
    rows = np.stack([normalise(resize(image, shape)) for image in images])
    apply = partial(_read, len(trained.names), trained.params)
    found = in_batches(apply, BATCH_SIZE, rows, finish=np.asarray)
    return found[:, :FEATURES], found[:, FEATURES:]


@partial(jax.jit, static_argnums=0)
def _read(classes: int, params: Any, images: Any) -> Any:
    hidden = lambda module, method: module.name == "hidden"  # noqa: E731
    logits, seen = Classifier(classes).apply(
        {"params": params}, images, None, capture_intermediates=hidden
    )
    features = nn.relu(seen["intermediates"]["hidden"]["__call__"][0])
    return jnp.concatenate([features, logits], axis=1)


def _accuracy(trained: Trained, source: Source, prepare: Any) -> float:
    right = []
    for start in range(0, len(source), 1024):
        chosen = range(start, min(start + 1024, len(source)))
        batch = fixed_batch(source, prepare, chosen, "skip")
        right.append(predict(trained, quantise(batch["image"])) == batch["label"])
    return float(np.concatenate(right).mean())


def save(trained: Trained, path: Path, mark: Mapping[str, str] | None = None) -> None:
    """Writes a classifier as one safetensors file; `mark` goes with its metadata."""
    facts = {
        "names": json.dumps(trained.names),
        "image_size": str(trained.image_size),
        "accuracy": repr(trained.accuracy),
    }
    arrays = {k: np.asarray(v) for k, v in flatten_dict(trained.params, sep="/").items()}
    facts["sha256"] = _checksum(facts, arrays)
    with writing(path):
        write_whole(path, [safetensors.numpy.save(arrays, facts | dict(mark or {}))])


def load(path: Path, remedy: str) -> Trained:
    """Reads what `save` wrote.

    Raises:
      InputError: if it is not there (saying what makes it), or no such file.
    """
    if not path.is_file():
        raise InputError(f"no judge in {path}; train one: {remedy}")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = file.metadata() or {}
        facts.pop(KEY, None)  # of who wrote the file; no part of the judge
        checksum = facts.pop("sha256", None)  # older files have none
        if checksum not in (None, _checksum(facts, arrays)):
            raise ValueError("the file is damaged (its SHA-256 differs)")
        trained = Trained(
            unflatten_dict(arrays, sep="/"),
            tuple(map(normalized, json.loads(facts["names"]))),
            int(facts["image_size"]),
            float(facts["accuracy"]),
        )
    except (safetensors.SafetensorError, OSError, *_MALFORMED) as error:
        raise InputError(f"cannot read the judge in {path}: {error}") from error
    _check_shapes(trained, arrays, path)
    return trained


def _checksum(facts: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> str:
    found = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name in sorted(arrays):
        found.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()


def _check_shapes(trained: Trained, arrays: Mapping[str, np.ndarray], path: Path) -> None:
    side = trained.image_size
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    init = partial(Classifier(len(trained.names)).init, dropout=None)
    expected = jax.eval_shape(init, jax.random.key(0), images)["params"]
    shapes = {name: leaf.shape for name, leaf in flatten_dict(expected, sep="/").items()}
    for name in sorted(shapes.keys() | arrays.keys()):
        found = arrays[name].shape if name in arrays else "nothing"
        if found != (wanted := shapes.get(name, "nothing")):
            raise InputError(f"{path}: {name} is {found}; allowed for such a judge: {wanted}")


def default_path(options: DataOptions) -> Path:
    """Where the judge of a data set is looked for: in the data set's folder."""
    return Path(options.path or f"data/{options.name}") / FILE


def is_judged(options: DataOptions) -> bool:
    """Whether a data set's pictures are judged by a classifier, trained yet or not."""
    built_in = options.name in JUDGES and JUDGES[options.name] is class_judge
    return built_in or default_path(options).is_file()


def check_judged(name: str) -> None:
    """Raises InputError unless pictures of the data set are judged by a classifier."""
    judged = [other for other in JUDGES if JUDGES[other] is class_judge]
    if name not in judged:
        raise InputError(
            f"data set {name!r} is not judged by a classifier; allowed: {', '.join(judged)}"
        )


def of_data(options: DataOptions) -> Trained:
    """The classifier that was trained for a data set.

    Raises:
      InputError: if there is none; the line says how to train one, or that it cannot be.
    """
    if not default_path(options).is_file():
        check_judged(options.name)
    return load(default_path(options), _remedy(options))


def _remedy(options: DataOptions) -> str:
    remedy = f"python launch/train_judge.py --config=configs/flow.py:data={options.name}"
    return remedy + (f" --config.data.path={shlex.quote(options.path)}" if options.path else "")


def class_judge(options: DataOptions) -> Judge:
    """Judges by class: an image satisfies any input of a record if it shows the record's label.

    Of records without a label it says nothing.

    Raises:
      InputError: if no judge was trained for the data set, or before it had its classes.
    """
    trained = of_data(options)
    classes = options.describe().label_names
    if new := [name for name in classes if name not in trained.names]:
        raise InputError(
            f"the judge in {default_path(options)} knows no class {new[0]!r}, which the data set"
            f" has; delete the file, then train one anew: {_remedy(options)}"
        )

    def satisfied(
        images: np.ndarray, records: Sequence[Record], modalities: Sequence[str]
    ) -> dict[str, np.ndarray]:
        wanted = [trained.names.index(record.values["label"]) for record in records]
        return dict.fromkeys(modalities, predict(trained, images) == np.array(wanted))

    @functools.cache
    def frequencies(split: str) -> dict[str, float]:
        return _frequencies(options, split)

    def chance(modalities: Sequence[str], split: str) -> float:
        drawn, wanted = frequencies("train"), frequencies(split)
        return float(sum(share * wanted.get(name, 0) for name, share in drawn.items()))

    return Judge(
        satisfied, chance, trained.accuracy, judges=lambda record: "label" in record.values
    )


def _frequencies(options: DataOptions, split: str) -> dict[str, float]:
    """Shares of the classes, of at most 10,000 records."""
    source = options.open(split)
    counts = Counter(values_of(source, "label", 10_000))
    return {name: count / counts.total() for name, count in counts.items()}
