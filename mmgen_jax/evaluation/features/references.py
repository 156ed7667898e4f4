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

from mmgen_jax.data import DataOptions
from mmgen_jax.data.pipeline import spread
from mmgen_jax.errors import InputError, reading, writing
from mmgen_jax.evaluation.cache import Memo, digest
from mmgen_jax.evaluation.features import Extractor
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.media.images import SUFFIXES, find_images, read_image
from mmgen_jax.storage import check_file, write_whole

MOST = 50_000  # pictures
# What a file raises that holds something else; AttributeError where NumPy lacks its type.
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError)
PART = 128  # pictures held at once


class Reference(NamedTuple):
    """What is known of real pictures.

    Attributes:
      features: of each.
      facts: what they are features of, and by what: data, split, count, extractor, identity, ...
    """

    features: Float[np.ndarray, "rows features"]
    facts: dict[str, Any]


def of_run(
    draw: Drawing, data: DataOptions, split: str, extractor: Extractor, kept: Path, memo: Memo
) -> Reference:
    """Features of a split's pictures, in the model's size: of all, or of `MOST` chosen by hash.

    Args:
      draw: of the run.
      data: which data set.
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
    facts["pictures"] = _digest_all(map(_content, files))
    return _made_once(facts, lambda: read_files(files), extractor, kept, memo)


def picture_files(path: Path) -> list[Path]:
    """Lists the pictures in a folder and below, and says what else is there (`find_images`).

    Raises:
      InputError: if there is none, or no such folder.
    """
    if not path.is_dir():
        raise InputError(f"{path} is no folder; allowed: a folder of {' '.join(SUFFIXES)}")
    found = find_images(path)
    if not found.files:
        also = f" ({found.left_out})" if found.left_out else ""
        raise InputError(
            f"{path} holds no pictures{also}; allowed: a folder of {' '.join(SUFFIXES)}"
        )
    if found.left_out:
        print(f"{path}: {len(found.files)} pictures; {found.left_out}", flush=True)
    return found.files


def read_files(files: Iterable[Path]) -> Iterator[np.ndarray]:
    """The pictures of these files, one after the other."""
    return (read_image(str(file)) for file in files)


def load(path: Path, extractor: Extractor) -> Reference:
    """Reads a file of features.

    Raises:
      InputError: if it is none, or of another extractor.
    """
    try:
        check_file(path)
        with safetensors.safe_open(path, "numpy") as file:
            features, facts = file.get_tensor("features"), json.loads(file.metadata()["facts"])
            identity, name = facts["identity"], facts["extractor"]
        if features.ndim != 2 or not features.size or not np.isfinite(features).all():
            raise ValueError(f"features of shape {features.shape}, or that are not finite")
        if facts.get("sha256", _checksum(features)) != _checksum(features):
            raise ValueError("the file is damaged (the SHA-256 of its features differs)")
    except (safetensors.SafetensorError, OSError, *_MALFORMED) as error:
        raise InputError(
            f"cannot read features of real pictures in {path}: {error}; delete it, and they are"
            " made anew"
        ) from error
    if identity != extractor.identity:
        raise InputError(
            f"{path} holds features of {name} ({identity[:8]}); allowed: those of"
            f" {extractor.name} ({extractor.identity[:8]}), that pictures are read with here"
        )
    if features.shape[1] != extractor.features:
        raise InputError(
            f"{path} holds {features.shape[1]} features of a picture; allowed:"
            f" {extractor.features}, as {extractor.name} has them"
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


def _content(file: Path) -> bytes:
    with reading(file, "picture"):
        return file.read_bytes()


def _digest_all(contents: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for content in contents:
        found.update(hashlib.sha256(content).digest())
    return found.hexdigest()


def _checksum(features: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(features).tobytes()).hexdigest()


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
        found = load(path, extractor)
        if found.facts | facts != found.facts:
            raise InputError(
                f"{path} holds features of other pictures than its name says; delete it, and they"
                " are made anew"
            )
        return found
    print(f"features of {facts['count']} real pictures, by {extractor.name}", flush=True)
    features = read_all(pictures(), extractor, memo)[0]
    facts["sha256"] = _checksum(features)
    contents = safetensors.numpy.save({"features": features}, {"facts": json.dumps(facts)})
    with writing(path):
        kept.mkdir(parents=True, exist_ok=True)
        write_whole(path, [contents])
    return Reference(features, facts)
