"""How much memory a config asks for, by arithmetic alone, before any of it is allocated.

Nothing here imports jax; `training.capacity` counts what depends on the shapes of parameters.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from mmgen_jax.data import image_shape
from mmgen_jax.errors import InputError
from mmgen_jax.schema import find, shown

# More than any one device has. An example lies on one device, however many there are.
MOST_BYTES = 2**39
FLOAT = 4


class Grid(NamedTuple):
    """What is cut into patches, each of which attends to all.

    Attributes:
      group: of the config, with the keys `PREFIXpatch` and `PREFIXheads`.
      prefix: of these keys.
      height: of what is cut.
      width: of it.
    """

    group: str
    prefix: str
    height: int
    width: int


class Part(NamedTuple):
    """Something that is in memory at once.

    Attributes:
      what: in words.
      size: bytes.
      keys: that it grows with, by their dotted paths.
    """

    what: str
    size: int
    keys: tuple[str, ...]


def check_example(config: ConfigDict, grids: Sequence[Grid]) -> None:
    """Refuses a config of which one example needs more memory than any device has.

    Raises:
      InputError: naming the bytes and the keys that they come from.
    """
    for part in of_example(config, grids):
        if part.size > MOST_BYTES:
            raise InputError(refusal(config, part, MOST_BYTES, "any device"))


def refusal(config: ConfigDict, part: Part, room: int, where: str) -> str:
    """One line: what does not fit where, its bytes, and the keys to lower."""
    chosen = ", ".join(f"config.{key} = {shown(_value(config, key))}" for key in part.keys)
    return (
        f"{chosen}: {part.what} would need {readable(part.size)}; allowed: at most"
        f" {readable(room)}, the memory of {where}; lower them"
    )


def readable(size: int | float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} PiB"


def of_example(config: ConfigDict, grids: Sequence[Grid]) -> list[Part]:
    """What one example, or what is drawn in training, needs at the least."""
    height, width = image_shape(config.data)
    sides = ("data.image_size", *(("data.image_width",) if config.data.image_width else ()))
    picture = FLOAT * 3 * height * width
    family = config.generator.name
    candidates = config.generator[family].sample.candidates
    parts = [
        Part("a picture", picture, sides),
        Part(
            "pictures drawn to choose from",
            picture * candidates,
            (f"generator.{family}.sample.candidates", *sides),
        ),
        Part("a grid of samples", picture * config.eval.count, ("eval.count", *sides)),
    ]
    return parts + [_attention(config, grid) for grid in grids]


def _attention(config: ConfigDict, grid: Grid) -> Part:
    """A layer's scores, of every token for every other one and by each head."""
    group, prefix, height, width = grid
    options = find(config, group)
    patch_size, num_heads = options[f"{prefix}patch_size"], options[f"{prefix}num_heads"]
    tokens = (height // patch_size) * (width // patch_size)
    return Part(
        f"attention between {tokens} patches of one example",
        FLOAT * num_heads * tokens**2,
        (f"{group}.{prefix}patch_size", f"{group}.{prefix}num_heads", "data.image_size"),
    )


def _value(config: ConfigDict, key: str) -> object:
    group, _, name = key.rpartition(".")
    return find(config, group)[name]
