"""Features of real pictures, that scores compare with: made once, and kept with what made them."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float

from mmgen_jax.data.pipeline import spread
from mmgen_jax.errors import InputError, writing
from mmgen_jax.images import read_image
from mmgen_jax.metrics.drawing import Drawing
from mmgen_jax.metrics.extractors import Extractor
from mmgen_jax.metrics.memo import digest
from mmgen_jax.training.manifest import write_atomically

MOST = 50_000  # pictures
PART = 128  # pictures held at once
COMPARED = 16  # pictures that tell a data set from another of the same name
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class Reference(NamedTuple):
    """What is known of real pictures.

    Attributes:
      features: of each.
      facts: what they are features of, and by what: data, split, count, extractor, identity, ...
    """

    features: Float[np.ndarray, "rows features"]
    facts: dict[str, Any]


def of_run(draw: Drawing, data: Any, split: str, extractor: Extractor, kept: Path) -> Reference:
    """Features of a split's pictures, in the model's size: of all, or of `MOST` spread over it.

    Args:
      draw: of the run.
      data: config.data.
      split: whose pictures.
      extractor: of the features.
      kept: folder where they are looked for, and kept.
    """
    source = draw.open(split)
    indices = draw.usable(source, spread(source, MOST))
    few = [draw.picture(source[i]) for i in indices[:: -(-len(indices) // COMPARED)]]
    facts = {
        "data": data.name,
        "split": split,
        "pictures": digest(few),
        "size": list(few[0].shape[:2]),
        "count": len(indices),
    }
    pictures = (draw.picture(source[i]) for i in indices)
    return _made_once(facts, pictures, extractor, kept)


def of_folder(path: Path, extractor: Extractor, kept: Path) -> Reference:
    """Features of all pictures in a folder, or what `of_run` and this one have written.

    Raises:
      InputError: for a folder without pictures, and for a file of another extractor.
    """
    if path.is_file():
        return load(path, extractor)
    files = picture_files(path)
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    facts = {"data": path.name, "split": "", "pictures": digest(stats), "count": len(files)}
    return _made_once(facts, (read_image(str(file)) for file in files), extractor, kept)


def picture_files(path: Path) -> list[Path]:
    """The pictures in a folder and below, by name.

    Raises:
      InputError: if there is none.
    """
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"{path} holds no pictures; allowed: a folder of {' '.join(SUFFIXES)}")
    return found


def load(path: Path, extractor: Extractor) -> Reference:
    """Reads a file of features.

    Raises:
      InputError: if it is none, or of another extractor.
    """
    try:
        with safetensors.safe_open(path, "numpy") as file:
            features, facts = file.get_tensor("features"), json.loads(file.metadata()["facts"])
            identity, name = facts["identity"], facts["extractor"]
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"cannot read features of real pictures in {path}: {error}") from error
    if identity != extractor.identity:
        raise InputError(
            f"{path} holds features of {name} ({identity[:8]}); allowed: those of"
            f" {extractor.name} ({extractor.identity[:8]}), that pictures are read with here"
        )
    return Reference(features, facts)


def read_all(
    pictures: Iterable[np.ndarray], extractor: Extractor
) -> tuple[Float[np.ndarray, "rows features"], Float[np.ndarray, "rows classes"]]:
    """(features, logits) of pictures, some at a time."""
    found, part = [], []
    for picture in pictures:
        part.append(picture)
        if len(part) == PART:
            found.append(extractor.read(part))
            part = []
    if part:
        found.append(extractor.read(part))
    features, logits = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return features, logits


def _made_once(
    facts: dict[str, Any], pictures: Iterable[np.ndarray], extractor: Extractor, kept: Path
) -> Reference:
    facts |= {"extractor": extractor.name, "identity": extractor.identity}
    path = kept / f"{facts['data']}-{digest(facts)[:16]}.safetensors"
    if path.exists():
        return load(path, extractor)
    print(f"features of {facts['count']} real pictures, by {extractor.name}", flush=True)
    features = read_all(pictures, extractor)[0]
    contents = safetensors.numpy.save({"features": features}, {"facts": json.dumps(facts)})
    with writing(path):
        kept.mkdir(parents=True, exist_ok=True)
        write_atomically(path, [contents])
    return Reference(features, facts)


def spread_rows(rows: Sequence[Any] | np.ndarray, count: int) -> Any:
    """At most so many of these rows, evenly spread."""
    count = min(count, len(rows))
    return rows[[i * len(rows) // count for i in range(count)]]
