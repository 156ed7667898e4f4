"""Which augmentations of pictures there are, and the names that a config gives them.

Nothing here imports jax; `augment` carries them out.
"""

from typing import NamedTuple

from mmgen_jax.errors import InputError


class Augmentations(NamedTuple):
    """A multiplier of the probability of each transformation; at 0 it is left out.

    The order is that in which they are applied (Karras et al. 2020, appendix B).
    """

    flip: float = 0.0
    quarter_turn: float = 0.0
    translation: float = 0.0
    scale: float = 0.0
    rotation: float = 0.0
    anisotropic_scale: float = 0.0
    fractional_translation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    luma_flip: float = 0.0
    hue: float = 0.0
    saturation: float = 0.0


# A blit moves whole pixels, geometry interpolates between them.
GROUPS = {
    "blit": ("flip", "quarter_turn", "translation"),
    "geometry": ("scale", "rotation", "anisotropic_scale", "fractional_translation"),
    "colour": ("brightness", "contrast", "luma_flip", "hue", "saturation"),
}
NONE = "none"
ALLOWED = f"{NONE}, or any of these joined by +: {', '.join((*GROUPS, *Augmentations._fields))}"


def parse(joined: str) -> Augmentations:
    """Reads names joined by +, such as `blit+geometry` or `flip+scale`: multipliers of 1, else 0.

    Raises:
      InputError: for a name that is not there; `none` stands alone.
    """
    chosen = set()
    for name in [] if joined == NONE else joined.split("+"):
        if name not in GROUPS and name not in Augmentations._fields:
            raise InputError(f"unknown augmentation {name!r} in {joined!r}; allowed: {ALLOWED}")
        chosen |= set(GROUPS.get(name, (name,)))
    return Augmentations(**dict.fromkeys(chosen, 1.0))


def is_known(joined: str) -> bool:
    """Whether `parse` takes it."""
    try:
        parse(joined)
    except InputError:
        return False
    return True
