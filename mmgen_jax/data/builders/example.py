"""Writes a small folder of images, sounds and captions, to try `data=folder` with."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from mmgen_jax.data import DataOptions
from mmgen_jax.data.builders.staging import SUMMARY, staged
from mmgen_jax.data.folder.source import METADATA
from mmgen_jax.data.shapes import MINIMUM_IMAGE_SIZE
from mmgen_jax.errors import InputError
from mmgen_jax.media.audio import SAMPLE_RATE
from mmgen_jax.storage import write_json, write_text

MASK, HIGH = "mask.png", "high.wav"


def build(
    out: str | Path, *, overwrite: bool = False, image_size: int = 64, limit: int = 200
) -> dict[str, Any]:
    """Writes scenes of the data set `shapes` as image, sound and metadata files.

    Besides, the folder holds a mask of the images' size (white in its lower half) for inpainting,
    and `high.wav`, a tone that stands for a small object.

    Args:
      out: the folder; it appears whole or not at all.
      overwrite: whether to replace a folder that a builder made.
      image_size: height and width of the images in pixels.
      limit: how many images.

    Returns:
      What is in `summary.json`: dataset, records, splits, seconds.

    Raises:
      InputError: for a size or a number that cannot be, or if `out` must not be replaced.
    """
    start = time.perf_counter()
    if not MINIMUM_IMAGE_SIZE <= image_size <= 1_024:
        raise InputError(f"--image_size={image_size}: allowed: {MINIMUM_IMAGE_SIZE} to 1024")
    if not 2 <= limit <= 100_000:
        raise InputError(f"--limit={limit}: allowed: 2 to 100000")
    source = DataOptions("shapes", image_size=image_size).open("train")
    with staged(Path(out), overwrite) as folder:
        lines = []
        for number in range(limit):
            name, record = f"{number:05}", source[number]
            sound = record.values["audio"]
            Image.fromarray(record.image).save(folder / f"{name}.png")
            soundfile.write(folder / f"{name}.wav", sound, SAMPLE_RATE)
            line = {"file_name": f"{name}.png", "audio_file_name": f"{name}.wav"}
            lines.append(line | {key: record.values[key] for key in ("text", "label")})
        write_text(folder / METADATA, "".join(f"{_json(line)}\n" for line in lines))
        mask = np.zeros((image_size, image_size), np.uint8)
        mask[image_size // 2 :] = 255
        Image.fromarray(mask).save(folder / MASK)
        clock = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
        soundfile.write(folder / HIGH, 0.5 * np.sin(2 * np.pi * 1_200 * clock), SAMPLE_RATE)
        summary = {
            "dataset": "example",
            "records": limit,
            "splits": {"all": limit},
            "labels": dict(Counter(line["label"] for line in lines)),
            "seconds": round(time.perf_counter() - start, 2),
        }
        write_json(folder / SUMMARY, summary)
    return summary


def _json(line: dict[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False)
