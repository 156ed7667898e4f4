"""The augmentation that a discriminator sees pictures through (Karras et al. 2020, StyleGAN2-ADA).

"Training Generative Adversarial Networks with Limited Data", appendix B: each transformation is
applied with a probability well below 1, to real and generated pictures alike, so that a generator
cannot take part in it unnoticed; `adapt` steers the probability.
"""

from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mmgen_jax.errors import InputError
from mmgen_jax.generators.stylegan.augmentations import GROUPS, Augmentations

# Appendix B: the reach of uniform values, and the standard deviation of normal ones. Moves are
# shares of the picture's side, scales are logarithms to the base of 2, colours lie in [-1, 1].
TRANSLATION_REACH = 0.125
SCALE_DEVIATION = 0.2
ANISOTROPIC_DEVIATION = 0.2
FRACTIONAL_DEVIATION = 0.125
BRIGHTNESS_DEVIATION = 0.2
CONTRAST_DEVIATION = 0.5
SATURATION_DEVIATION = 1.0

_HIGHEST = jax.lax.Precision.HIGHEST  # positions and colours must not be rounded to 8 bits


class Draw(NamedTuple):
    """What is done to one picture, in the order of its fields; the defaults change nothing.

    Attributes:
      flip: 1 swaps left and right.
      quarter_turn: 0 to 3, counter-clockwise.
      translation: [2], down and right, as shares of height and width; rounded to whole pixels.
      scale: of the content, about the middle, as all below.
      rotation_before: counter-clockwise, in radians.
      anisotropic_scale: horizontal; vertically it is 1 over this.
      rotation_after: as `rotation_before`.
      fractional_translation: [2], as `translation`, not rounded.
      brightness: is added.
      contrast: multiplies.
      luma_flip: 1 mirrors luma at 0 and leaves hue and saturation.
      hue: turn about the luma axis, in radians.
      saturation: scales the distance from the luma axis.
    """

    flip: Any = 0.0
    quarter_turn: Any = 0.0
    translation: Any = (0.0, 0.0)
    scale: Any = 1.0
    rotation_before: Any = 0.0
    anisotropic_scale: Any = 1.0
    rotation_after: Any = 0.0
    fractional_translation: Any = (0.0, 0.0)
    brightness: Any = 0.0
    contrast: Any = 1.0
    luma_flip: Any = 0.0
    hue: Any = 0.0
    saturation: Any = 1.0


def augment(
    images: Float[Array, "batch height width channel"],
    keys: Key[Array, "batch"],
    probability: Float[Array, ""],
    kinds: Augmentations,
) -> Float[Array, "batch height width channel"]:
    """Transforms each picture at random; affine in the pixels, so differentiable at any order.

    Departures from the paper: pixels are interpolated bilinearly, where the paper filters with
    sym6 wavelets at twice the resolution; the borders are reflected without end, where its code
    has grey beyond the first reflection; there are no image-space filters and corruptions, which
    the paper leaves out as well after comparing (section 2.3).

    Args:
      images: of at least 2 x 2 pixels, in [-1, 1]; the result may leave that range.
      keys: one per picture, so that nothing depends on how the batch is laid out.
      probability: p, that of each transformation; at 0 the result is `images`, bit for bit.
      kinds: what is applied; Python numbers, as they decide what is compiled.

    Raises:
      InputError: if colours are to change and there are not 3 channels.
    """
    if not any(kinds):
        return images
    if _has(kinds, "colour") and images.shape[-1] != 3:
        raise InputError(
            f"augmentation of colour with {images.shape[-1]} channels; allowed: 3, or names of "
            f"blit and geometry: {', '.join(GROUPS['blit'] + GROUPS['geometry'])}"
        )

    def augment_one(
        image: Float[Array, "height width channel"], key: Key[Array, ""]
    ) -> Float[Array, "height width channel"]:
        happens, what = draw(key, probability, kinds)
        # Weights of 0 and 1 would change nothing but the sign of 0, and spread a NaN.
        return jnp.where(happens, transform(image, what, kinds), image)

    return jax.vmap(augment_one)(images, keys)


def draw(
    key: Key[Array, ""], probability: Float[Array, ""], kinds: Augmentations
) -> tuple[Bool[Array, ""], Draw]:
    """Chooses for one picture: (whether anything happens, what).

    All values are drawn, whatever `kinds` leaves out: to add one changes none of the others.
    """
    # Normal values are made of uniform ones as jax.random.normal does it, on the open (-1, 1): two
    # calls of the generator, and one to split the key, would compile three times as long.
    lowest = jnp.nextafter(jnp.float32(-1), jnp.float32(0))
    uniform = jax.random.uniform(key, (28,), jnp.float32, lowest, 1)
    gates, uniform, normal = (uniform[:13] + 1) / 2, uniform[13:21], uniform[21:]
    normal = jnp.sqrt(2.0) * jax.scipy.special.erfinv(normal)
    drawn = Draw(
        flip=uniform[0] > 0,
        quarter_turn=jnp.floor(2 * uniform[1] + 2),
        translation=TRANSLATION_REACH * uniform[2:4],
        scale=jnp.exp2(SCALE_DEVIATION * normal[0]),
        rotation_before=jnp.pi * uniform[4],
        anisotropic_scale=jnp.exp2(ANISOTROPIC_DEVIATION * normal[1]),
        rotation_after=jnp.pi * uniform[5],
        fractional_translation=FRACTIONAL_DEVIATION * normal[2:4],
        brightness=BRIGHTNESS_DEVIATION * normal[4],
        contrast=jnp.exp2(CONTRAST_DEVIATION * normal[5]),
        luma_flip=uniform[6] > 0,
        hue=jnp.pi * uniform[7],
        saturation=jnp.exp2(SATURATION_DEVIATION * normal[6]),
    )
    chosen = gates < _chances(probability, kinds)
    values = [
        jnp.where(happens, value, jnp.asarray(neutral, jnp.float32))
        for happens, value, neutral in zip(chosen, drawn, Draw(), strict=True)
    ]
    return chosen.any(), Draw(*values)


def _chances(probability: Float[Array, ""], kinds: Augmentations) -> Float[Array, " fields"]:
    """The probability of each field of a `Draw`."""
    chance = {name: probability * multiplier for name, multiplier in kinds._asdict().items()}
    # Of two rotations, so that at least one happens with the probability that was asked for.
    each = 1 - jnp.sqrt(1 - jnp.minimum(chance.pop("rotation"), 1))
    chance |= {"rotation_before": each, "rotation_after": each}
    return jnp.stack([chance[name] for name in Draw._fields])


def transform(
    image: Float[Array, "height width channel"], what: Draw, kinds: Augmentations
) -> Float[Array, "height width channel"]:
    """Applies a `Draw` to one picture: what `kinds` leaves out must be at its default."""
    interpolate = _has(kinds, "geometry")
    if interpolate or _has(kinds, "blit"):
        image = resample(image, source(what, *image.shape[:2]), interpolate)
    if _has(kinds, "colour"):
        image = recolour(image, colours(what).astype(image.dtype))
    return image


def source(what: Draw, height: int, width: int) -> Float[Array, "3 3"]:
    """Where each pixel comes from: (row, column, 1) of the result -> those of the picture.

    Positions are in pixels, from the middle of the picture. A pixel is traced back through the
    last transformation first: the first one's inverse stands on the left.
    """
    size = jnp.array([height, width], jnp.float32)
    quarter = jnp.pi / 2 * what.quarter_turn
    inverses = [
        _scale(1.0, 1 - 2 * what.flip),
        # Rounded, so that a multiple of 90 degrees hits the pixels.
        _rotate(jnp.round(jnp.cos(quarter)), jnp.round(jnp.sin(quarter))),
        _translate(-jnp.round(what.translation * size)),
        _scale(1 / what.scale, 1 / what.scale),
        _rotate(jnp.cos(what.rotation_before), jnp.sin(what.rotation_before)),
        _scale(what.anisotropic_scale, 1 / what.anisotropic_scale),
        _rotate(jnp.cos(what.rotation_after), jnp.sin(what.rotation_after)),
        _translate(-what.fractional_translation * size),
    ]
    return reduce(lambda a, b: jnp.matmul(a, b, precision=_HIGHEST), inverses)


def resample(
    image: Float[Array, "height width channel"], source: Float[Array, "3 3"], interpolate: bool
) -> Float[Array, "height width channel"]:
    """Reads each pixel at its `source`, bilinearly or the nearest; the borders are reflected.

    The four corners are gathered one by one: on a CPU it takes a tenth of the time of products
    with one-hot matrices, gradients included, and the work grows with the pixels alone.
    """
    height, width = image.shape[:2]
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    row, column = jnp.meshgrid(
        jnp.arange(height) - middle_row, jnp.arange(width) - middle_column, indexing="ij"
    )
    rows, columns = (a * row + b * column + c for a, b, c in source[:2])
    rows, columns = rows + middle_row, columns + middle_column
    if not interpolate:
        rows, columns = jnp.floor(rows + 0.5), jnp.floor(columns + 0.5)
        return _pixels(image, _reflect(rows, height), _reflect(columns, width))
    rows, columns = _reflect(rows, height), _reflect(columns, width)
    # The last row is reached from the one before it, which then weighs nothing.
    top, left = jnp.minimum(jnp.floor(rows), height - 2), jnp.minimum(jnp.floor(columns), width - 2)
    down = (rows - top)[..., None].astype(image.dtype)
    right = (columns - left)[..., None].astype(image.dtype)
    above = (1 - right) * _pixels(image, top, left) + right * _pixels(image, top, left + 1)
    below = (1 - right) * _pixels(image, top + 1, left) + right * _pixels(image, top + 1, left + 1)
    return (1 - down) * above + down * below


def colours(what: Draw) -> Float[Array, "3 4"]:
    """The affine map of colours: [matrix, offset], in the paper's order.

    All but brightness either act along the luma axis (1, 1, 1) or across it, and commute.
    """
    luma = jnp.full((3, 3), 1 / 3)  # projects on the axis
    # The cross product with the axis: a quarter turn of what is across it.
    quarter = jnp.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / jnp.sqrt(3.0)
    chroma = jnp.cos(what.hue) * (jnp.eye(3) - luma) + jnp.sin(what.hue) * quarter
    sign = 1 - 2 * what.luma_flip
    matrix = what.contrast * (sign * luma + what.saturation * chroma)
    offset = what.contrast * sign * what.brightness * jnp.ones((3, 1))
    return jnp.concatenate([matrix, offset], axis=1)


def recolour(
    image: Float[Array, "height width 3"], colours: Float[Array, "3 4"]
) -> Float[Array, "height width 3"]:
    """Applies an affine map of colours.

    Channel by channel: on a CPU it takes a tenth of the time of a product with so thin a matrix.
    """
    channels = jnp.split(image, 3, axis=-1)
    new = [a * channels[0] + b * channels[1] + c * channels[2] + d for a, b, c, d in colours]
    return jnp.concatenate(new, axis=-1)


def adapt(
    probability: Float[Array, ""], real_signs_mean: Float[Array, ""], target: float, speed: float
) -> Float[Array, ""]:
    """Moves p by `speed` towards the target of the overfitting heuristic r_t (equation 1).

    Args:
      probability: p.
      real_signs_mean: r_t = E[sign(D(real))]: 0 without overfitting, 1 with nothing else.
      target: of r_t; 0.6 in the paper.
      speed: the step; batch size / 500 000 in the paper, for 0 to 1 in half a million pictures.
    """
    return jnp.clip(probability + speed * jnp.sign(real_signs_mean - target), 0, 1)


def _has(kinds: Augmentations, group: str) -> bool:
    return any(getattr(kinds, name) for name in GROUPS[group])


def _scale(vertical: Any, horizontal: Any) -> Float[Array, "3 3"]:
    return jnp.diag(jnp.stack([jnp.float32(vertical), jnp.float32(horizontal), jnp.float32(1)]))


def _rotate(cosine: Any, sine: Any) -> Float[Array, "3 3"]:
    return jnp.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]], jnp.float32)


def _translate(move: Float[Array, "2"]) -> Float[Array, "3 3"]:
    return jnp.eye(3).at[:2, 2].set(move)


def _reflect(position: Float[Array, "height width"], size: int) -> Float[Array, "height width"]:
    """Folds positions to [0, size - 1], mirrored at the middles of the outer pixels."""
    last = size - 1
    return last - jnp.abs(last - jnp.mod(position, 2 * last))


def _pixels(
    image: Float[Array, "height width channel"],
    rows: Float[Array, "height width"],
    columns: Float[Array, "height width"],
) -> Float[Array, "height width channel"]:
    # One index for rows and columns: gradients take half of the time on a CPU. Nothing is left to
    # be checked, as positions were folded into the picture.
    index = rows.astype(jnp.int32) * image.shape[1] + columns.astype(jnp.int32)
    return image.reshape(-1, image.shape[2]).at[index].get(mode="promise_in_bounds")
