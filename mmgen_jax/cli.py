"""What every launcher shares: flags, one clear line for bad input, exit codes."""

import difflib
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from mmgen_jax.config import KEYS
from mmgen_jax.errors import Failure, InputError

FAILED, BAD_INPUT = 1, 2
MOST_DETAILS = 200

# What is defined here is a launcher's own flag, and stands in its --help.
flags.disclaim_key_flags()


def define_config(default: str | None = None) -> flags.FlagHolder:
    """The flag --config=FILE[:ARGUMENT], with --config.KEY=VALUE to override."""
    return config_flags.DEFINE_config_file(
        "config", default, "Recipe and its argument, such as configs/flow.py:data=emoji,size=tiny."
    )


def define_inputs() -> Callable[[], dict[str, str]]:
    """The flags --text, --label, --audio, --image and --condition; call what is returned to read.

    Returns:
      () -> modality -> the text of its flag, for those that were given.
    """
    own = {
        "text": flags.DEFINE_string("text", None, "A caption."),
        "label": flags.DEFINE_string("label", None, "The name of a class."),
        "audio": flags.DEFINE_string("audio", None, "A sound file (wav, flac, ogg)."),
        "image": flags.DEFINE_string("image", None, "A picture file to be guided by."),
    }
    others = flags.DEFINE_multi_string(
        "condition", [], "MODALITY=VALUE, for a modality without a flag of its own."
    )

    def given() -> dict[str, str]:
        texts = {name: flag.value for name, flag in own.items() if flag.value is not None}
        for pair in others.value:
            name, equals, value = pair.partition("=")
            if not equals:
                raise InputError(f"--condition={pair} is not MODALITY=VALUE")
            texts[name] = value
        return texts

    return given


def define_variety() -> Callable[[], dict[str, float | None]]:
    """Flags of how samples are drawn, --temperature and others; call what is returned to read.

    Returns:
      () -> option of the family's sampling -> its value, None where the run's is meant.
    """
    truncation = flags.DEFINE_float(
        "truncation",
        None,
        "How far from typical pictures may be (gan, stylegan); default: the run's.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    temperature = flags.DEFINE_float(
        "temperature",
        None,
        "How random codes are drawn (autoencoder, vae, vqvae, dalle); default: the run's.",
        lower_bound=0.0,
    )
    top_k = flags.DEFINE_integer(
        "top_k", None, "Likeliest codes that are eligible, 0 for all (dalle).", lower_bound=0
    )
    top_p = flags.DEFINE_float(
        "top_p", None, "Probability that they sum to (dalle).", lower_bound=1e-6, upper_bound=1.0
    )
    candidates = flags.DEFINE_integer(
        "candidates",
        None,
        "Pictures drawn for each one kept, from which the inputs are recovered best.",
        lower_bound=1,
    )
    chosen = (truncation, temperature, top_k, top_p, candidates)
    return lambda: {flag.name: flag.value for flag in chosen}


def define_metrics() -> flags.FlagHolder:
    """The flag --metrics, of what evaluates runs."""
    return flags.DEFINE_list(
        "metrics",
        ["satisfaction"],
        "satisfaction: do pictures say all they were asked for, for every subset of inputs;"
        " contradictions: which of two inputs wins where they ask for different things;"
        " diversity: do pictures vary as real ones do (precision, recall, classes shown);"
        " fid, kid, is, prdc: how far are they from real ones, as a whole, by an extractor's"
        " features (with --weights of Inception-v3 the FID, Inception score and so on);"
        " memorisation: are they copies of training pictures;"
        " fitting: is the nearest training picture the record's own, or for others of its label;"
        " languages: does a caption give the same picture in every one of data.languages;"
        " reconstruction: how well does the family's own code give pictures back;"
        " likelihood: how probable are unseen pictures (ELBO and IWAE, bits per dimension);"
        " codes: how much of its vocabulary does a tokenizer use."
        " satisfaction judges shapes, emoji and digits, diversity digits (after"
        " launch/train_judge.py); fitting needs labels, reconstruction an"
        " autoencoder, VAE or VQ-VAE, likelihood a VAE.",
    )


def define_evaluation() -> Callable[[], dict[str, Any]]:
    """What launchers that evaluate runs share: --count, --seed, --given, and of features.

    Returns:
      () -> count, seed, given (subsets, or None), extraction (name, weights, resize) and references
      (a folder), as `metrics.evaluation.Asked` has them.
    """
    count = flags.DEFINE_integer("count", 512, "Pictures per row of the table.", lower_bound=1)
    seed = flags.DEFINE_integer("seed", 0, "Of the noise and of what is drawn.", lower_bound=0)
    given = flags.DEFINE_list(
        "given",
        None,
        "Subsets of inputs to draw from, as text+label,audio, for satisfaction, diversity, fitting,"
        " memorisation and fid, kid, is, prdc; default: the metric's.",
    )
    name = flags.DEFINE_string(
        "extractor", None, "inception (default where --weights is given) or classifier."
    )
    weights = flags.DEFINE_string(
        "weights", None, "Safetensors file of the extractor; default: the data set's classifier."
    )
    resize = flags.DEFINE_string(
        "resize",
        "clean",
        "How Inception's pictures are resized: clean, legacy_pytorch or legacy_tensorflow.",
    )
    references = flags.DEFINE_string(
        "references", ".cache/references", "Folder where features of real pictures are kept."
    )

    def chosen() -> dict[str, Any]:
        subsets = tuple(tuple(subset.split("+")) for subset in given.value or ())
        file = Path(weights.value) if weights.value else None
        return {
            "count": count.value,
            "seed": seed.value,
            "given": subsets or None,
            "extraction": (name.value, file, resize.value),
            "references": Path(references.value),
        }

    return chosen


def writable(flag: str, value: str, suffix: str) -> Path:
    """The path that a flag names.

    Raises:
      InputError: if it is no file of that kind, or its folder is not there or cannot be written.
    """
    path = Path(value)
    if path.suffix != suffix:
        raise InputError(f"--{flag}={path} is no {suffix} file")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"--{flag}={path}: folder {path.parent} is not there or cannot be written")
    return path


def run(main: Callable[[], None]) -> NoReturn:
    """Parses the flags, runs `main`, and exits: 0 done, 1 failed, 2 bad input.

    Bad input and `Failure` are one line on stderr; anything else keeps its traceback, and exits
    with 1. `SystemExit` passes through.
    """
    # Warnings of libraries about a machine's missing accelerators are no news to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # A program that was compiled once is not compiled again.
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        place = Path(os.path.expanduser("~/.cache/mmgen_jax/jax"))  # noqa: PTH111, never raises
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(place)
    # A terminal whose locale lacks a letter shows its escape; it does not end the command.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.set_verbosity(logging.WARNING)
    # A failed save is one line of `checkpoints`; orbax and asyncio would log hundreds before it.
    logging.get_absl_handler().addFilter(
        lambda record: record.name != "asyncio" and "orbax" not in record.pathname
    )
    sys.unraisablehook = _unraisablehook
    app.run(lambda argv: _guarded(lambda: main()), flags_parser=_parse)
    raise SystemExit(0)


def fail(message: str, code: int = BAD_INPUT) -> NoReturn:
    """Prints one line and exits."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    raise SystemExit(code)


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; whatever a recipe or an override refuses is the user's to mend."""
    # --batch-size is as good as --batch_size.
    argv = [re.sub(r"^--[a-z][\w-]*", lambda name: _underscored(name[0]), word) for word in argv]
    try:
        rest = flags.FLAGS(argv)
        _check_recipe()
    except SystemExit:  # absl has shown the help, which for it is a failure
        raise SystemExit(0) from None
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        fail(_explain(error, argv))
    if len(rest) > 1:
        fail(f"unexpected argument {rest[1]!r}; flags are written --name=value")
    return rest


def _underscored(flag: str) -> str:
    return "--" + flag[2:].replace("-", "_")


def _check_recipe() -> None:
    """Raises what ml_collections kept back: that the recipe's file cannot be read."""
    if "config" in flags.FLAGS:
        flags.FLAGS.config.keys()


def _explain(error: Exception, argv: Sequence[str]) -> str:
    """What a user needs of an error that absl or ml_collections may have wrapped in tracebacks."""
    chain = list(_chain(error))
    for cause in reversed(chain):
        if isinstance(cause, InputError):
            return str(cause)
    for argument in argv:
        key = re.match(r"--?config\.([\w.]+)", argument)
        groups = (path.rpartition(".")[0] for path in KEYS)
        if key and isinstance(error, (AttributeError, KeyError)) and key[1] not in {*KEYS, *groups}:
            nearest = difflib.get_close_matches(key[1], KEYS, n=3, cutoff=0)
            return f"unknown config key {key[1]}; the nearest are: {', '.join(nearest)}"
    if isinstance(error, OSError):
        return f"cannot read the recipe of --config: {chain[-1]}"
    return f"bad flag: {error}"


def _unraisablehook(unraisable: Any) -> None:
    """As Python's own, but for what tensorstore's threads say of a save that has failed already."""
    error = unraisable.exc_value
    if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
        sys.__unraisablehook__(unraisable)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _guarded(main: Callable[[], None]) -> None:
    try:
        main()
    except InputError as error:
        for detail in error.details[:MOST_DETAILS]:
            print(f"error: {' '.join(detail.split())}", file=sys.stderr)
        if len(error.details) > MOST_DETAILS:
            print(f"... and {len(error.details) - MOST_DETAILS} more", file=sys.stderr)
        fail(str(error))
    except Failure as error:
        fail(str(error), FAILED)
    except BrokenPipeError:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
