"""Features of real pictures, that scores compare with: made once, and kept with what made them."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
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
from mmgen_jax.metrics.memo import Memo, digest
from mmgen_jax.storage import write_whole

MOST = 50_000  # pictures
PART = 128  # pictures held at once
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class Reference(NamedTuple):
    """What is known of real pictures.

    Attributes:
      features: of each.
      facts: what they are features of, and by what: data, split, count, extractor, identity, ...
    """

    features: Float[np.ndarray, "rows features"]
    facts: dict[str, Any]


def of_run(
    draw: Drawing, data: Any, split: str, extractor: Extractor, kept: Path, memo: Memo
) -> Reference:
    """Features of a split's pictures, in the model's size: of all, or of `MOST` chosen by hash.

    Args:
      draw: of the run.
      data: config.data.
      split: whose pictures.
      extractor: of the features.
      kept: folder where they are looked for, and kept, by a hash of every picture among others.
      memo: keeps what is read of them until that is done.
    """
    source = draw.open(split)
    indices = draw.usable(source, spread(source, MOST))

    def pictures() -> Iterator[np.ndarray]:
        return (draw.picture(source[i]) for i in indices)

    facts = {"data": data.name, "split": split, "count": len(indices)}
    facts["size"] = list(next(pictures()).shape[:2])
    facts["pictures"] = _digest_all(picture.tobytes() for picture in pictures())
    return _made_once(facts, pictures, extractor, kept, memo)


def of_folder(path: Path, extractor: Extractor, kept: Path, memo: Memo) -> Reference:
    """Features of all pictures in a folder, or what `of_run` and this one have written.

    Raises:
      InputError: for a folder without pictures, and for a file of another extractor.
    """
    if path.is_file():
        return load(path, extractor)
    files = picture_files(path)
    facts = {"data": path.name, "split": "", "count": len(files)}
    facts["pictures"] = _digest_all(file.read_bytes() for file in files)
    return _made_once(facts, lambda: read_files(files), extractor, kept, memo)


def picture_files(path: Path) -> list[Path]:
    """The pictures in a folder and below, by name.

    Raises:
      InputError: if there is none.
    """
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"{path} holds no pictures; allowed: a folder of {' '.join(SUFFIXES)}")
    return found


def read_files(files: Iterable[Path]) -> Iterator[np.ndarray]:
    """The pictures of these files, one after the other."""
    return (read_image(str(file)) for file in files)


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
    pictures: Iterator[np.ndarray], extractor: Extractor, memo: Memo
) -> tuple[Float[np.ndarray, "rows features"], Float[np.ndarray, "rows classes"]]:
    """(features, logits) of pictures, some at a time; what was read before is not read again."""
    found = []
    while part := list(itertools.islice(pictures, PART)):
        facts, compute = partial(_facts, extractor, part), partial(extractor.read, part)
        found.append(memo(facts, compute))
    features, logits = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return features, logits


def _facts(extractor: Extractor, part: list[np.ndarray]) -> Any:
    return extractor.identity, part


def _digest_all(contents: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for content in contents:
        found.update(hashlib.sha256(content).digest())
    return found.hexdigest()


def _made_once(
    facts: dict[str, Any],
    pictures: Callable[[], Iterator[np.ndarray]],
    extractor: Extractor,
    kept: Path,
    memo: Memo,
) -> Reference:
    facts |= {"extractor": extractor.name, "identity": extractor.identity}
    path = kept / f"{facts['data']}-{digest(facts)[:16]}.safetensors"
    if path.exists():
        return load(path, extractor)
    print(f"features of {facts['count']} real pictures, by {extractor.name}", flush=True)
    features = read_all(pictures(), extractor, memo)[0]
    contents = safetensors.numpy.save({"features": features}, {"facts": json.dumps(facts)})
    with writing(path):
        kept.mkdir(parents=True, exist_ok=True)
        write_whole(path, [contents])
    return Reference(features, facts)
