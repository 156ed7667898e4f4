"""Packs a folder of files into array_record: few files, small pictures, checked once for all."""

import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tqdm import tqdm

from mmgen_jax.data import BadRecords, DataOptions, OneOf, Record
from mmgen_jax.data.builders.staging import SUMMARY, staged
from mmgen_jax.data.builders.writer import Card, write
from mmgen_jax.data.folder.source import FEATURES, FOLDER, FolderSource
from mmgen_jax.errors import InputError
from mmgen_jax.media.audio import quantise
from mmgen_jax.media.images import resize
from mmgen_jax.storage import write_json, write_text

VERSION = "1.0.0"
MOST_SIDE = 4_096  # pixels
_DESCRIPTION = """\
A folder of files with a metadata.jsonl, packed. image: the picture to generate; text, label, audio,
reference: what it had, all alternatives; an empty one is missing."""


def build(
    out: str | Path,
    *,
    overwrite: bool = False,
    raw: str = "",
    image_size: int | None = None,
    on_bad_record: str = "raise",
) -> dict[str, Any]:
    """Packs a folder in TFDS format (array_record) into the folder `out`, for `data=tfds`.

    The folder appears whole or not at all. Captions in several languages become alternatives.

    Args:
      out: the data set's folder.
      overwrite: whether to replace a data set that is there.
      raw: the folder of files, see `mmgen_jax.data.folder.source`.
      image_size: pictures are cropped to their central square and resized to so many pixels a
        side, as training on squares would do; None keeps them as they are.
      on_bad_record: "raise", or "skip" to leave bad records out.

    Returns:
      What is in `summary.json`: dataset, records, splits, skipped, seconds and so on.

    Raises:
      InputError: if there is no such folder, or `out` must not be replaced.
      BadRecords: naming all bad records, unless they are skipped.
    """
    start = time.perf_counter()
    if not raw:
        raise InputError("--raw is missing; allowed: a folder of files with a metadata.jsonl")
    if image_size is not None and not 1 <= image_size <= MOST_SIDE:
        raise InputError(f"--image_size={image_size}: allowed: 1 to {MOST_SIDE}")
    options = DataOptions("folder", path=raw, on_bad_record=on_bad_record)
    info = FOLDER.describe(options)
    splits = [split for split in info.splits if split != "all"] or list(info.splits)
    sources = _open_all(options, splits)
    if not info.modalities:
        raise InputError(
            f"no line of {raw} has a value for any of the keys {', '.join(FEATURES.values())};"
            " rename what a picture is to be drawn from to one of them"
        )
    with staged(Path(out), overwrite) as folder:
        total = sum(map(len, sources.values()))
        with tqdm(total=total, desc="folder", unit="record", disable=None) as progress:
            card = Card("folder", VERSION, _DESCRIPTION, "That of the files which were packed.")
            records = {
                split: _records(source, info.modalities, image_size, progress)
                for split, source in sources.items()
            }
            counts = write(folder, card, _features(info), records)
        skipped = {str(bad) for source in sources.values() for bad in source.bad}
        summary = {
            "dataset": "folder",
            "records": sum(counts.values()),
            "splits": counts,
            "skipped": sorted(skipped),
            "modalities": list(info.modalities),
            "image_size": image_size,
            "seconds": round(time.perf_counter() - start, 2),
        }
        write_text(folder / "README.md", f"# {Path(raw).name}\n\n{_DESCRIPTION}\n")
        write_json(folder / SUMMARY, summary)
    return summary


def _open_all(options: DataOptions, splits: Sequence[str]) -> dict[str, FolderSource]:
    """Each split. Raises BadRecords for the bad records of all of them together."""
    sources, bad = {}, list[BadRecords]()
    for split in splits:
        try:
            sources[split] = FolderSource(options, split)
        except BadRecords as error:
            bad.append(error)
    if bad:
        raise BadRecords.joined(bad, options.path)
    return sources


def _features(info: Any) -> tfds.features.FeaturesDict:
    picture = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
    kinds = {
        "text": ("text", tfds.features.Sequence(tfds.features.Text())),
        "audio": ("audio", tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes")),
        "image": ("reference", tfds.features.Sequence(picture)),
    }
    if info.label_names:
        names = tfds.features.ClassLabel(names=list(info.label_names))
        kinds["label"] = ("label", tfds.features.Sequence(names))
    chosen = dict(kinds[name] for name in info.modalities)
    return tfds.features.FeaturesDict({"image": picture} | chosen)


def _records(
    source: FolderSource, modalities: tuple[str, ...], size: int | None, progress: tqdm
) -> Iterator[dict[str, Any]]:
    for index in range(len(source)):
        record = source[index]
        found = {name: _listed(record, name) for name in modalities}
        packed: dict[str, Any] = {"image": _png(record.image, size)}
        if "text" in found:
            packed["text"] = found["text"]
        if "label" in found:
            packed["label"] = found["label"]
        if "audio" in found:
            if len(found["audio"]) > 1:
                raise InputError(f"{source.where(index)}: several sounds cannot be packed")
            sound = found["audio"][0] if found["audio"] else np.zeros(0)
            packed["audio"] = quantise(sound)
        if "image" in found:
            packed["reference"] = [_png(picture, size) for picture in found["image"]]
        yield packed
        progress.update()


def _listed(record: Record, name: str) -> list[Any]:
    if name not in record.values:
        return []
    value = record.values[name]
    return list(value) if isinstance(value, OneOf) else [value]


def _png(picture: np.ndarray, size: int | None) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(picture if size is None else resize(picture, (size, size))).save(file, "png")
    file.seek(0)
    return file
