"""Safetensors files, and the places of their arrays among a network's parameters.

Other people's weights have other names and layouts than our parameters. A network's reader
(`t5_weights`, `dit_weights`) says where each key goes; what can be wrong with a file is told here,
before anything is read. Nothing is unpickled.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_dtypes
import numpy as np
import safetensors
from flax.traverse_util import flatten_dict

from mmgen_jax.errors import InputError
from mmgen_jax.storage import check_file

# Of 8 bits: those that PyTorch calls float8_e4m3fn and float8_e5m2.
EIGHT_BITS = {"F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2}
DTYPES = ("F32", "F16", "BF16", *EIGHT_BITS)


class Place(NamedTuple):
    """Where the array of a key goes.

    Attributes:
      path: of the parameter, joined by /.
      layer: number of the layer, on the parameter's axis 0; None for what no layer has.
      file_shape: the shape of the array in the file; None where any size will do.
      turned: the array of the file -> the parameter, or its part of that layer.
    """

    path: str
    layer: int | None
    file_shape: tuple[int | None, ...]
    turned: Callable[[np.ndarray], np.ndarray] = np.asarray

    @property
    def expected(self) -> str:
        """The shape in the file, for messages."""
        return f"[{', '.join('any' if size is None else str(size) for size in self.file_shape)}]"

    def fits(self, shape: list[int]) -> bool:
        """Whether the array in the file may have this shape."""
        return len(shape) == len(self.file_shape) and all(
            allowed in (None, size) for allowed, size in zip(self.file_shape, shape, strict=True)
        )


def dense_place(path: str, layer: int | None, shape: tuple[int, ...]) -> Place:
    """The place of a parameter that a file has as PyTorch does: kernels as [out, in].

    Args:
      path: of the parameter.
      layer: as in `Place`.
      shape: of the parameter, without the layers' axis.
    """
    if path.endswith("/kernel"):
        return Place(path, layer, shape[::-1], np.transpose)
    return Place(path, layer, shape)


def parameter_shapes(init: Callable[..., Any], *inputs: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter that `init(key, *inputs)` makes, by its path."""
    params = jax.eval_shape(init, jax.random.key(0), *inputs)["params"]
    return {path: leaf.shape for path, leaf in flatten_dict(params, sep="/").items()}


def missing_keys(places: dict[str, Place], listing: Path, files: dict[str, Path]) -> list[str]:
    """A line for each key that no file has.

    Args:
      places: the place of each key that there must be.
      listing: the file that lists the keys.
      files: key -> the file that has it.
    """
    return [
        f"{listing}: key {key} is missing; expected: an array of shape {place.expected}"
        for key, place in places.items()
        if key not in files
    ]


def wrong_arrays(places: dict[str, Place], files: dict[str, Path], why: str) -> list[str]:
    """A line for each key whose array cannot be what `places` says.

    Args:
      places: as in `missing_keys`.
      files: as in `missing_keys`; none of `places` is missing.
      why: the end of the line, which says what asks for the shapes.
    """
    faults = []
    for key, place in places.items():
        with opened(files[key]) as file:
            array = file.get_slice(key)
            shape, dtype = array.get_shape(), array.get_dtype()
        if not place.fits(shape):
            faults.append(
                f"{files[key]}: key {key} has shape {shape}; expected: {place.expected}, {why}"
            )
        if dtype not in DTYPES:
            faults.append(
                f"{files[key]}: key {key} is {dtype}; expected: one of {', '.join(DTYPES)}"
            )
    return faults


def raise_faults(faults: list[str], where: Path, source: str) -> None:
    """Raises InputError if there are faults: with the one, or with all of them as details.

    Args:
      faults: a line each.
      where: the file or folder that has them.
      source: whose sizes the keys do not fit.
    """
    if len(faults) == 1:
        raise InputError(faults[0])
    if faults:
        error = InputError(f"{where}: {len(faults)} keys are not those that {source} asks for")
        error.details = tuple(faults)
        raise error


def filled(
    places: dict[str, Place], files: dict[str, Path], shapes: dict[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Reads the arrays of `places`, which fill all parameters of `shapes`: path -> float32.

    Raises:
      InputError: if there is not enough memory for them, or one holds what is no finite number.
    """
    try:
        params = {path: np.empty(shape, np.float32) for path, shape in shapes.items()}
    except MemoryError as error:
        raise InputError(f"not enough memory for the weights: {error}") from error
    for key, place in places.items():
        array = place.turned(read(files[key], key))
        params[place.path][... if place.layer is None else place.layer] = array
    return params


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A safetensors file, as NumPy arrays; jax brings NumPy the bfloat16 that these may have.

    Raises:
      InputError: if it cannot be read.
    """
    try:
        check_file(path)
        with safetensors.safe_open(path, "numpy") as file:
            yield file
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def keys(path: Path) -> list[str]:
    """The keys of a file."""
    with opened(path) as file:
        return list(file.keys())


def read(path: Path, key: str) -> np.ndarray:
    """Reads the array of a key as float32.

    Raises:
      InputError: if the file cannot be read, or the array holds what is no finite number.
    """
    with opened(path) as file:
        dtype = file.get_slice(key).get_dtype()
        found = _read_eight_bits(path, key) if dtype in EIGHT_BITS else file.get_tensor(key)
    array = found.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise InputError(f"{path}: key {key} has values that are no finite numbers")
    return array


def _read_eight_bits(path: Path, key: str) -> np.ndarray:
    """Reads an array that safetensors has no type of NumPy for; it has checked the file's head."""
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(start - 8))[key]
        begin, end = entry["data_offsets"]
        file.seek(start + begin)
        values = np.frombuffer(file.read(end - begin), EIGHT_BITS[entry["dtype"]])
    return values.reshape(entry["shape"])
