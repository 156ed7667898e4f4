"""Images from a trained model, for any subset of its modalities."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Key, UInt8

from mmgen_jax.conditioning import fusion
from mmgen_jax.conditioning.fusion import Presence, Values
from mmgen_jax.conditioning.guidance import check_weights, guide, passes_needed
from mmgen_jax.errors import InputError
from mmgen_jax.media import gallery
from mmgen_jax.media.images import normalise, quantise, read_image, read_mask, resize
from mmgen_jax.model import Model, encode
from mmgen_jax.nn.layout import by_example, gathered, on_mesh
from mmgen_jax.objective import recover

Latents = Float[Array, "batch rows columns channel"]


class Known(NamedTuple):
    """A part of the pictures, given: the rest is to be drawn to fit.

    Attributes:
      images: in [-1, 1].
      keep: True where they are to stay.
    """

    images: Float[Array, "batch height width 3"]
    keep: Bool[Array, "batch height width"]


def sample(
    model: Model,
    params: Any,
    state: Any,
    values: Values,
    has: Presence,
    weights: Mapping[str, Float[Array, "batch"]],
    keys: Key[Array, "batch"],
    options: Any,
    passes: tuple[int, ...] | None = None,
    known: Known | None = None,
) -> Float[Array, "batch height width channel"]:
    """Draws one image in [-1, 1] per row; pure.

    Args:
      model: what to draw with.
      params: its parameters, as a rule their moving average.
      state: the family's state.
      values: by modality, what `prepare` made; anything where `has` is False.
      has: by modality, which rows are given it.
      weights: by modality, guidance weight of each row.
      keys: one per row.
      options: config.generator.FAMILY.sample.
      passes: see `guidance.guide`.
      known: what is given of the images, of families that have `inpaint`; None: nothing.
    """
    params = gathered(params)
    encodings = encode(model, params, values, has)
    guidance = guide(params["encoders"]["fusion"], encodings, weights, passes)

    if known is not None:
        # Grey where it is to be redrawn: an encoder tells of each place what lies around it.
        shown = jnp.where(known.keep[..., None], known.images, 0)
        latents = model.codec.encode(params, shown)
        keep = kept_whole(known.keep, model.codec.shape[:2])

    def draw(keys: Key[Array, "batch"]) -> Latents:
        if known is None:
            return model.generator.sample(params, state, guidance, keys, options)
        return model.generator.inpaint(params, state, guidance, keys, options, latents, keep)

    def finish(latents: Latents) -> Float[Array, "batch height width 3"]:
        images = model.codec.decode(params, latents)
        return images if known is None else jnp.where(known.keep[..., None], known.images, images)

    if options.candidates == 1:
        return finish(draw(keys))

    def score(latents: Latents) -> Float[Array, "batch"]:
        given = {name: has[name] & (weights[name] > 0) for name in model.modalities}
        found = recover(model.modalities, params["recovery"], latents, values, encodings)
        return sum(jnp.where(given[name], found[name].ranking, 0) for name in found)

    return finish(best_of(draw, score, keys, options.candidates))


def kept_whole(
    keep: Bool[Array, "batch height width"], grid: tuple[int, int]
) -> Bool[Array, "batch rows columns"]:
    """Which latents of a grid are of pixels that are all to be kept."""
    batch, height, width = keep.shape
    rows, columns = grid
    return keep.reshape(batch, rows, height // rows, columns, width // columns).all((2, 4))


def best_of(
    draw: Callable[[Key[Array, "batch"]], Latents],
    score: Callable[[Latents], Float[Array, "batch"]],
    keys: Key[Array, "batch"],
    count: int,
) -> Latents:
    """Of several draws the one of the highest score, row by row.

    As CLIP ranked what DALL-E drew (Ramesh et al. 2021, section 2.6), the heads that recover the
    inputs rank here; a judge of quality must be another (`metrics`).

    Args:
      draw: keys -> what is drawn, a row for each.
      score: of what is drawn, row by row.
      keys: one per row.
      count: draws of each row.
    """

    def one(number: Array) -> tuple[Latents, Float[Array, "batch"]]:
        latents = draw(jax.vmap(lambda key: jax.random.fold_in(key, number))(keys))
        return latents, score(latents)

    drawn, scores = jax.lax.map(one, jnp.arange(count))
    best = scores.argmax(axis=0)
    return jnp.take_along_axis(drawn, best[None, :, None, None, None], axis=0)[0]


def reconstruct(
    model: Model,
    params: Any,
    state: Any,
    images: Float[Array, "batch height width channel"],
    values: Values,
    has: Presence,
) -> Float[Array, "batch height width channel"]:
    """Images as the family's code gives them back, beside the inputs that they have; pure."""
    params = gathered(params)
    condition = fusion.fuse(params["encoders"]["fusion"], encode(model, params, values, has), has)
    latents = model.codec.encode(params, images)
    again = model.generator.reconstruct(params, state, latents, condition)
    return model.codec.decode(params, again)


def in_batches(
    draw: Callable[..., Array],
    size: int,
    *arrays: Any,
    finish: Callable[[np.ndarray], np.ndarray] = quantise,
) -> np.ndarray:
    """What a compiled `draw` makes of all rows of host arrays, as uint8 [rows, height, width, 3].

    It is called with `size` rows at a time; where fewer are left, the last one fills up. What it
    makes need not be pictures, with another `finish`.
    """
    rows, pictures = len(jax.tree.leaves(arrays)[0]), []
    for start in range(0, rows, size):
        take = np.minimum(np.arange(start, start + size), rows - 1)
        # numpy's arrays go to every device, of all processes.
        part = draw(*jax.tree.map(lambda x, take=take: np.asarray(x)[take], arrays))
        pictures.append(finish(jax.device_get(part))[: rows - start])
    return np.concatenate(pictures)


def seed_bits(seed: int) -> np.uint32:
    """A seed as a device has it.

    Raises:
      InputError: if it does not fit.
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"seed {seed}; allowed: 0 to {2**32 - 1}")
    return np.uint32(seed)


def pictures(images: np.ndarray) -> np.ndarray:
    """What a run drew, in [-1, 1], as uint8.

    Raises:
      InputError: if it is no number.
    """
    if not np.isfinite(images).all():
        raise InputError(
            "the run draws NaN or infinite values: its parameters have diverged, or guidance is"
            " too strong; allowed: an earlier checkpoint, by --step, or lower weights"
        )
    return quantise(images)


class Sampler:
    """A compiled `sample` for conditions from the host, in batches of one size.

    Args:
      model: what to draw with.
      options: config.generator.FAMILY.sample.
      batch_size: pictures drawn at once.
      mesh: where the parameters lie, and the pictures are drawn; None where that is one device.
      finish: makes uint8 of what is drawn.
    """

    def __init__(
        self,
        model: Model,
        options: Any,
        batch_size: int,
        mesh: Mesh | None = None,
        finish: Callable[[np.ndarray], np.ndarray] = pictures,
    ):
        self._batch_size, self._finish = batch_size, finish

        def draw(
            params: Any,
            state: Any,
            values: Values,
            has: Presence,
            weights: Any,
            rows: Array,
            known: Known | None,
            seed: Array,
            passes: tuple[int, ...],
        ) -> Array:
            arrays = (values, has, weights, rows, known)
            values, has, weights, rows, known = jax.tree.map(by_example, arrays)
            key = jax.random.key(seed)
            keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)
            return sample(model, params, state, values, has, weights, keys, options, passes, known)

        if mesh is None:
            self._draw = jax.jit(draw, static_argnames="passes")
        else:
            whole = NamedSharding(mesh, PartitionSpec())  # so that every host can read them
            draw_there = on_mesh(mesh, draw)
            self._draw = jax.jit(draw_there, static_argnames="passes", out_shardings=whole)

    def __call__(
        self,
        params: Any,
        state: Any,
        values: Values,
        has: Mapping[str, Bool[np.ndarray, "rows"]],
        weights: Mapping[str, float],
        seed: int,
        known: Known | None = None,
        first: int = 0,
    ) -> np.ndarray:
        """uint8 [rows, height, width, 3].

        Row i is drawn from seed and first + i alone, whatever the batch size.

        Raises:
          InputError: if what is drawn is no number, for weights that are not one for each
            modality, and as `seed_bits` does.
        """
        rows = len(next(iter(has.values())))
        bits = seed_bits(seed)
        check_weights(weights, list(has))
        passes = passes_needed(list(weights.values()))

        def draw(*arrays: Any) -> Array:
            return self._draw(params, state, *arrays, bits, passes=passes)

        full = {m: np.full(rows, weights[m], np.float32) for m in has}
        numbers = np.arange(first, first + rows, dtype=np.uint32)
        inputs = values, dict(has), full, numbers, known
        return in_batches(draw, self._batch_size, *inputs, finish=self._finish)


def parse(model: Model, texts: Mapping[str, str]) -> dict[str, Any]:
    """Inputs as a command line has them -> raw values, by modality.

    Raises:
      InputError: for a modality that the model does not have, or a text that it cannot read.
    """
    for name in texts:
        _check_modality(model, name)
    return {name: model.modalities[name].parse(text) for name, text in texts.items()}


def conditions(
    model: Model, raws: Mapping[str, Any], rows: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The same raw inputs for `rows` rows -> (values, has).

    Raises:
      InputError: for a modality that the model does not have, or a value that it cannot use.
    """
    for name in raws:
        _check_modality(model, name)
    values, has = {}, {}
    for name, modality in model.modalities.items():
        value = modality.prepare(raws[name]) if name in raws else modality.absent
        values[name] = jax.tree.map(lambda x: np.repeat(np.asarray(x)[None], rows, axis=0), value)
        has[name] = np.full(rows, name in raws)
    return values, has


def cuts(model: Model, raws: Mapping[str, Any]) -> list[str]:
    """A line for each of some raw inputs of which the model is fed a part alone.

    Raises:
      InputError: for a value that the model cannot use.
    """
    extents = {name: model.modalities[name].extent(raw) for name, raw in raws.items()}
    return [f"{name}: {found.describe()}" for name, found in extents.items() if found and found.cut]


def given_part(model: Model, picture: str | None, mask: str | None, rows: int) -> Known | None:
    """Picture files as a command line names them -> the same known part for `rows` rows.

    Args:
      model: what is to draw the rest.
      picture: what is known; cropped and resized as pictures to train on are.
      mask: white where the picture is to be redrawn, opaque, of the same height and width.
      rows: pictures to draw.

    Raises:
      InputError: if one is given without the other, for files that cannot be used, for a mask that
        leaves nothing to redraw, and for a family that does not inpaint.
    """
    if picture is None and mask is None:
        return None
    if picture is None or mask is None:
        raise InputError("--inpaint and --mask go together; allowed: both, or neither")
    if model.generator.inpaint is None:
        raise InputError("--inpaint: the run's family cannot; allowed: one that --help names")
    image, white = read_image(picture), read_mask(mask)
    if image.shape[:2] != white.shape:
        raise InputError(
            f"--mask={mask} is of {white.shape[1]} x {white.shape[0]} pixels; allowed:"
            f" {image.shape[1]} x {image.shape[0]}, as --inpaint={picture}"
        )
    pixels = np.repeat(np.uint8(255) * white[..., None], 3, axis=2)
    image, redraw = (resize(x, model.shared.image_shape) for x in (image, pixels))
    keep = (redraw < 128).all(-1)
    if keep.all():
        raise InputError(
            f"--mask={mask} leaves nothing to redraw of the {keep.shape[1]} x {keep.shape[0]}"
            f" pixels that are drawn; allowed: white where --inpaint={picture} is to be redrawn"
        )
    if not keep.any():
        print(
            f"--mask={mask} is white all over: nothing of --inpaint={picture} is kept", flush=True
        )
    known = Known(normalise(image), keep)
    return Known(*(np.repeat(x[None], rows, axis=0) for x in known))


def describe(
    model: Model, values: Mapping[str, Any], has: Mapping[str, Bool[np.ndarray, "rows"]]
) -> tuple[list[str], list[list[UInt8[np.ndarray, "height width 3"]]]]:
    """What the model is fed, for people: each row's lines of text, and its small pictures."""
    captions, thumbnails = [], []
    for row in range(len(next(iter(has.values())))):
        lines, pictures = [], []
        for name, modality in model.modalities.items():
            if not has[name][row]:
                continue
            shown = modality.show(jax.tree.map(lambda x, row=row: np.asarray(x)[row], values[name]))
            if isinstance(shown, str):
                lines.append(f"{name}: {shown}")
            elif shown.ndim == 1:
                pictures.append(gallery.spectrogram(shown))
            else:
                pictures.append(shown)
        captions.append("\n".join(lines))
        thumbnails.append(pictures)
    return captions, thumbnails


def _check_modality(model: Model, name: str) -> None:
    if name not in model.modalities:
        raise InputError(f"the run has no modality {name!r}; it has: {', '.join(model.modalities)}")
