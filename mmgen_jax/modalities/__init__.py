"""What can condition an image: the protocol of a modality, and the registry of modalities.

A modality is six pure functions. Nothing here imports jax, so that a config's modalities are
checked before jax is loaded; the functions themselves live one file each beside this one.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from ml_collections import ConfigDict

from mmgen_jax.errors import InputError
from mmgen_jax.registry import Registry
from mmgen_jax.schema import (
    FRACTION,
    MOST_GUIDANCE,
    WEIGHT,
    Check,
    Key,
    between,
    option,
    read_options,
)

Options = TypeVar("Options", bound="ModalityOptions")
CHOSEN = "chosen"  # of assets: what `ModalitySpec.fit` chose for options that were left open


class Encoding(NamedTuple):
    """What an encoder says of a batch of values: h_m = f(x_m).

    Attributes:
      tokens: Float[batch, tokens, width], for attention.
      mask: Bool[batch, tokens], True where a token counts; all False where the value is absent.
      mean: Float[batch, pooled], the expert's mean.
      log_precision: Float[batch, pooled], log of the expert's precision.
      present: Bool[batch], whether the record has this modality.
    """

    tokens: Any
    mask: Any
    mean: Any
    log_precision: Any
    present: Any


class Modality(NamedTuple):
    """One modality, ready to use: its sizes, vocabulary and statistics are fixed.

    Attributes:
      prepare: (raw) -> dict of NumPy arrays of fixed shape and dtype, on the host. Raises
        InputError for a value that cannot be used.
      absent: what `prepare` would return, for a record that lacks the modality. Its bits never
        matter, its shapes do.
      init: (key) -> {"encoders": tree, "recovery": tree}, the parameters; and "frozen": tree, if
        it has some that are never trained.
      encode: (params, value) -> Encoding. `params` is the trees "encoders" and "frozen" in one
        dict, `value` is `prepare`'s dict with a leading batch axis. It need not think of absence:
        the caller replaces absent values before and masks their encodings after
        (`fusion.encode`), and fills `present`.
      recover: (params["recovery"], images, value, encoding) -> Recovery, per example.
      parse: (str) -> raw value, from a command line. Raises InputError.
      show: (one `prepare`d value) -> what the model is fed, for people: a str, a sound
        (float [samples]) or a picture (uint8 [height, width, 3]).
      extent: (raw) -> how much of a value is fed, an `Extent`; None if that is always all of it.
      pretrained: () -> those parts of what `init` makes that a fresh run takes from files instead,
        NumPy arrays in the same structure. Raises InputError if they are not there.
    """

    prepare: Callable[[Any], dict[str, Any]]
    absent: dict[str, Any]
    init: Callable[[Any], dict[str, Any]]
    encode: Callable[[Any, Any], Encoding]
    recover: Callable[[Any, Any, Any, Encoding], "Recovery"]
    parse: Callable[[str], Any]
    show: Callable[[Any], Any]
    pretrained: Callable[[], dict[str, Any]] = dict
    extent: Callable[[Any], "Extent | None"] = lambda raw: None


class Extent(NamedTuple):
    """How much of a raw value a model is fed: as much as there is room for, the rest is cut.

    Attributes:
      whole: what there is of it, in `unit`.
      room: what can be fed.
      unit: such as "tokens".
      end: where it ends as it is fed, for people, such as "after 0.5 s".
      key: the config key that says how much room there is.
      declared: which values it may have.
      blank: whether what is fed tells nothing, as of a sound that begins with silence.
    """

    whole: float | int
    room: float | int
    unit: str
    end: str
    key: str
    declared: Key
    blank: bool = False

    @property
    def cut(self) -> bool:
        """Whether a part of the value is not fed."""
        return self.room < self.whole

    def describe(self) -> str:
        """Says in one line what is cut of the value, and which key of the run's config did it."""
        left = ", and those are blank" if self.blank else ""
        return (
            f"cut {self.end}: {self.room:.4g} of {self.whole:.4g} {self.unit} are fed{left}"
            f" (config.{self.key})"
        )


class Recovery(NamedTuple):
    """How well a value can be read back from an image.

    Attributes:
      bound: Float[batch], a lower bound on log p(x_m | y) in nats, up to a constant that the
        modality's docstring names. Meaningless where the value is absent.
      correct: Float[batch], 1 where the value was recovered, in the modality's own sense, else 0;
        between them where it was recovered in part.
      score: Float[batch], by which images of one value are ranked, where the bound depends on the
        other values of the batch; None where it does not.
      ceiling: Float[batch], the largest value that the bound can have; None where there is none.
    """

    bound: Any
    correct: Any
    score: Any = None
    ceiling: Any = None

    @property
    def ranking(self) -> Any:
        """Higher for an image that shows its value better: log p(x_m | y) but for a constant."""
        return self.bound if self.score is None else self.score


@dataclass(frozen=True)
class ModalityOptions:
    """Options of any input, the group modalities.NAME of a config.

    Attributes:
      name: what the input is called.
    """

    name: str
    recovery_weight: float = option(0.1, "λ_m on real images", WEIGHT)
    generated_weight: float = option(0.0, "λ_m on generated images", WEIGHT)
    keep_rate: float = option(0.5, "probability of being in a random subset", FRACTION)
    guidance: float = option(
        1.0, "guidance weight of samples drawn in training", between(0, MOST_GUIDANCE)
    )


class ModalitySpec(NamedTuple):
    """What the registry holds for one kind of modality.

    It is read before jax is imported.

    Attributes:
      options: a dataclass of `ModalityOptions`, the group modalities.NAME of a config.
      fit: (options, source) -> assets, a JSON-able dict: what must be learned from the data before
        training (vocabulary, class names, statistics). Saved in the run, so that it is
        self-contained.
      build: (options, shared, assets) -> Modality. `shared` is a `Shared`. Raises `malformed` for
        assets that `fit` cannot have made: a run may be damaged,
        or a stranger's.
      check: of options against one another.
      serves: (options, assets of another run, source) -> whether they would do for this data as
        well as new ones; a run that starts from another one's parameters then keeps them.
      tied: names of the parameters, or groups of them, at the top of the trees of `init`, that
        mean nothing with other assets.
      left_open: names of the options for which 0 says that `fit` chooses a number for this data; it
        stands in the assets under `CHOSEN`, and `build` takes it from there (`filled`).
      refit: (options, assets of another run that are kept, source) -> the same, with the options
        that are left open chosen for this data.
    """

    options: type[ModalityOptions]
    fit: Callable[[Any, Any], dict[str, Any]]
    build: Callable[[Any, "Shared", dict[str, Any]], Modality]
    check: Check | None = None
    serves: Callable[[Any, dict[str, Any], Any], bool] = lambda options, assets, source: False
    tied: tuple[str, ...] = ()
    left_open: tuple[str, ...] = ()
    refit: Callable[[Any, dict[str, Any], Any], dict[str, Any]] = lambda options, assets, source: (
        assets
    )


def filled(options: Options, assets: dict[str, Any], name: str, most: float | int) -> Options:
    """Returns the options with the number that `fit` chose for one that was left open (0).

    Args:
      options: of the input.
      assets: what `fit` made.
      name: of the option.
      most: the largest number that it chooses.

    Raises:
      InputError: if the assets have no such number: they are of a run that began with a fixed one.
    """
    if getattr(options, name):
        return options
    chosen = assets.get(CHOSEN)
    value = chosen.get(name) if isinstance(chosen, dict) else None
    if type(value) not in (int, float) or not 0 < value <= most:
        raise InputError(
            f"modalities.{options.name}.{name} = 0 leaves it to the data, but the run's assets hold"
            f" {value!r}; allowed: the number that the run began with, or assets with one up to"
            f" {most:g}"
        )
    return dataclasses.replace(options, **{name: value})


def learned(assets: dict[str, Any] | None) -> dict[str, Any]:
    """Returns assets without `CHOSEN`: parameters mean the same where the rest is the same."""
    return {name: value for name, value in (assets or {}).items() if name != CHOSEN}


def malformed(modality: str, what: str) -> InputError:
    """What `ModalitySpec.build` raises for assets that it cannot use."""
    return InputError(f"malformed assets of modality {modality!r}: {what}")


class ReaderSizes(NamedTuple):
    """Sizes of the small vision transformer with which recovery reads an image."""

    patch_size: int
    width: int
    depth: int
    num_heads: int


class Shared(NamedTuple):
    """Sizes on which all modalities agree.

    Attributes:
      width: channels of a condition token.
      pooled: channels of an expert.
      pool_tokens: True if each modality hands one pooled token to the generator's attention,
        False if it hands all of its tokens.
      image_shape: height and width of pictures.
      drawn: height, width and channels of what is drawn, and read: pixels or latents.
      dtype: compute dtype, "float32" or "bfloat16"; parameters are float32.
      reader: sizes of the networks that recover values from images.
    """

    width: int
    pooled: int
    pool_tokens: bool
    image_shape: tuple[int, int]
    drawn: tuple[int, int, int]
    dtype: str
    reader: ReaderSizes


MODALITIES: Registry[ModalitySpec] = Registry(
    "modality",
    {
        "text": "mmgen_jax.modalities.text.keys:TEXT",
        "label": "mmgen_jax.modalities.label.keys:LABEL",
        "audio": "mmgen_jax.modalities.audio.keys:AUDIO",
        "image": "mmgen_jax.modalities.image.keys:IMAGE",
    },
)


def input_of(config: ConfigDict, name: str) -> tuple[ModalitySpec, ModalityOptions]:
    """Returns what the registry holds of an input's kind, and its options in a config."""
    group = config.modalities[name]
    spec = MODALITIES[group.kind]
    return spec, read_options(spec.options, group, name=name)
