"""A tokenizer's latents of a whole data set, written once, so that no training step makes them."""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float
from ml_collections import ConfigDict
from tqdm import tqdm

from mmgen_jax.data import DataOptions, Source, choose
from mmgen_jax.data.builders.staging import SUMMARY, staged
from mmgen_jax.data.builders.writer import Card, write
from mmgen_jax.data.latents import FEATURE, SPLIT, LatentSource, features
from mmgen_jax.errors import InputError
from mmgen_jax.generators.codecs import Codec
from mmgen_jax.media.images import normalise, resize
from mmgen_jax.model import build_codec
from mmgen_jax.nn.layout import gathered, on_mesh
from mmgen_jax.storage import write_json
from mmgen_jax.training import transfer

VERSION = "1.0.0"
PER_DEVICE = 64  # pictures that each device encodes at once
COMPARED = 8  # of a split, when its latents are opened
# Of the mean difference, where latents have deviation 1: what halves and other batches change.
TOLERANCE = 0.02
_DESCRIPTION = """\
Latents of the pictures of a data set, by a trained tokenizer; record by record in its order."""

Picture = Float[np.ndarray, "height width 3"]
Pictures = Float[np.ndarray, "rows height width 3"]


def precompute(config: ConfigDict, out: Path, overwrite: bool = False) -> dict[str, Any]:
    """Writes the latents of the split that a config trains on, in TFDS format (array_record).

    The folder appears whole or not at all. Of a record that is bad, and may be skipped, they are
    not numbers.

    Args:
      config: validated; of a generator in a tokenizer's latents.
      out: the folder, for `config.tokenizer.latents`.
      overwrite: whether to replace latents that are there.

    Returns:
      What is in `summary.json`: dataset, records, shape, tokenizer, seconds and so on.

    Raises:
      InputError: if the config has no tokenizer, or its run does not match, a record is bad and not
        to be skipped, or `out` must not be replaced.
    """
    start, frozen = time.perf_counter(), transfer.tokenizer(config)
    if not frozen:
        raise InputError(
            "config.tokenizer.family = ''; allowed: that of a tokenizer (latents= or tokenizer=)"
        )
    split, codec = config.data.split, build_codec(config)
    source = DataOptions.of(config).open(split)
    with staged(out, overwrite) as folder, _pool(config) as pool:
        read = partial(_read, config, source, codec, pool)
        card = Card("latents", VERSION, _DESCRIPTION, "That of the pictures.")
        with tqdm(total=len(source), desc="encoding", unit="record", disable=None) as progress:
            records = _records(codec, frozen, len(source), read, progress)
            write(folder, card, features(codec.shape), {SPLIT: records})
        summary = {
            "dataset": config.data.name,
            "split": split,
            "records": len(source),
            "shape": list(codec.shape),
            "tokenizer": config.tokenizer.run,
            "seconds": round(time.perf_counter() - start, 2),
        }
        write_json(folder / SUMMARY, summary)
    return summary


def opened(config: ConfigDict, source: Source) -> LatentSource:
    """The source with the latents that the config names; see `compare`.

    Raises:
      InputError: if they are not there, or too few, or of another shape.
    """
    return LatentSource(source, config.tokenizer.latents, build_codec(config).shape)


def compare(
    config: ConfigDict, source: LatentSource, params: Any, mesh: Mesh | None = None
) -> None:
    """Compares the latents of some records with what a tokenizer makes of their pictures.

    Args:
      config: the run's.
      source: from `opened`.
      params: with the tokenizer's group.
      mesh: where they lie; None for arrays of the host.

    Raises:
      InputError: if they are others: of another tokenizer, or of other data.
    """
    codec, numbers = build_codec(config), choose(COMPARED, len(source))
    with _pool(config) as pool:
        pictures = _read(config, source, codec, pool, numbers)
    good = [row for row in range(len(numbers)) if np.isfinite(pictures[row]).all()]
    kept = {row: source.latents(numbers[row]) for row in good}
    good = [row for row in good if np.isfinite(kept[row]).all()]  # what was bad may be good now
    encode = jax.jit(codec.encode)
    if mesh is not None:
        encode = jax.jit(
            on_mesh(mesh, lambda params, x: codec.encode(gathered(params), x)),
            out_shardings=NamedSharding(mesh, PartitionSpec()),
        )
    made = np.asarray(encode(params, pictures))
    if good and np.abs(made[good] - np.stack([kept[row] for row in good])).mean() > TOLERANCE:
        place = config.tokenizer.latents
        raise InputError(
            f"config.tokenizer.latents = {place!r} holds others than the tokenizer of this run,"
            f" {config.tokenizer.run!r}, makes of these pictures; make them anew: python"
            f" launch/encode_dataset.py --out={shlex.quote(place)} --overwrite"
        )


def _pool(config: ConfigDict) -> ThreadPoolExecutor:
    """Threads that decode: as many as the config has for it, or processes."""
    return ThreadPoolExecutor(max(config.data.threads, config.data.workers, 1))


def _read(
    config: ConfigDict,
    source: Source,
    codec: Codec,
    pool: ThreadPoolExecutor,
    numbers: Sequence[int],
) -> Pictures:
    """The pictures of these records, as a codec takes them; not numbers where they are bad."""

    def read(number: int) -> Picture:
        try:
            return normalise(resize(source[number].image, codec.image_shape[:2]))
        except InputError:
            if config.data.on_bad_record == "raise":
                raise
            return np.full(codec.image_shape, np.nan, np.float32)

    return np.stack(list(pool.map(read, numbers)))


def _records(
    codec: Codec, frozen: Any, count: int, read: Callable[[Sequence[int]], Pictures], progress: tqdm
) -> Iterator[dict[str, Any]]:
    """All records' latents, a batch after another, on all devices of this machine."""
    mesh = Mesh(np.array(jax.local_devices()), ("data",))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    params = jax.device_put(frozen, NamedSharding(mesh, PartitionSpec()))
    encode, size = jax.jit(codec.encode), PER_DEVICE * mesh.size
    for start in range(0, count, size):
        numbers = [min(i, count - 1) for i in range(start, start + size)]  # the last one is filled
        pictures = read(numbers)
        made = np.array(encode(params, jax.device_put(pictures, rows)), np.float16)
        made[np.isnan(pictures).any(axis=(1, 2, 3))] = np.nan  # codes are numbers even so
        for latents in made[: count - start]:
            yield {FEATURE: latents}
            progress.update()
