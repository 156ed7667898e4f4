"""What every launcher shares: flags, one clear line for bad input, exit codes."""

import sys
from pathlib import Path

from mmgen_jax.training import interrupts

# A launcher is guarded before the imports that take seconds.
if Path(sys.argv[0]).absolute().parent == Path(__file__).absolute().parents[2] / "launch":
    interrupts.GUARD.begin()

import contextlib
import errno
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from logging import ERROR, LogRecord
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from mmgen_jax.cli.bounds import define_names, define_number, define_seed
from mmgen_jax.cli.explanations import explain, without_backend
from mmgen_jax.data import SOURCES
from mmgen_jax.errors import Failure, InputError, reading
from mmgen_jax.outputs import Output, check, hush

FAILED, BAD_INPUT = 1, 2
# Whether this process is a launcher's own, and not that of who runs one within it, as tests do.
IS_PROGRAM = interrupts.GUARD.is_on and sys.argv[0] in sys.orig_argv[1:]
MOST_DETAILS = 200
# Of a row of a table: their features (2,048 numbers each) are held together.
MOST_PICTURES = 100_000

# What is defined here is a launcher's own flag, and stands in its --help.
flags.disclaim_key_flags()


def define_config(default: str | None = None) -> flags.FlagHolder:
    """The flag --config=FILE[:ARGUMENT], with --config.KEY=VALUE to override."""
    # A default recipe is the checkout's own, whatever folder the command is started from.
    own = default and str(Path(__file__).absolute().parents[2] / default)
    return config_flags.DEFINE_config_file(
        "config", own, "Recipe and its argument, such as configs/flow.py:data=emoji,size=tiny."
    )


def define_out(
    command: str,
    *suffixes: str,
    beside: Sequence[str] = (),
    default: str | None = None,
    required: bool = True,
    help: str = "",
) -> Callable[..., Output]:
    """The flags --out and --overwrite; call what is returned before any work.

    Args:
      command: the launcher's name, which marks its files.
      suffixes: of the file, one of them.
      beside: suffixes of files of the same name that are written too.
      default: of --out.
      required: whether --out must be given where it has no default.
      help: of --out.

    Returns:
      (path instead of --out, where that is not given; names of more files in its folder) -> the
      output, once it is known that all these files may be written. Raises InputError otherwise.
    """
    kinds, required = " or ".join(suffixes), required and default is None
    meaning = help or f"File ({kinds}) to write."
    out = flags.DEFINE_string("out", default, meaning, required=required)
    overwrite = flags.DEFINE_bool(
        "overwrite", False, "Replace files at --out that this command did not make."
    )

    def checked(instead: Path | None = None, names: Sequence[str] = ()) -> Output:
        output = Output(Path(out.value or instead or ""), f"mmgen_jax {command}")
        flag = f"--out={output.path if out.value is None else out.value}"
        if output.path.suffix not in suffixes:
            raise InputError(f"{flag} is no {kinds} file")
        others = (*map(output.beside, beside), *map(output.named, names))
        check(flag, (output, *others), overwrite.value)
        return output

    return checked


def define_data_path() -> Callable[[Any], bool]:
    """The flag --data_path; call what is returned with a config whose data may have been moved.

    Returns:
      (config) -> whether the flag was given; it then has taken the place of `config.data.path`.
      Raises InputError, with the name of the flag, if the config's data set is not there.
    """
    path = flags.DEFINE_string(
        "data_path", None, "Where the run's data set is now, if it was moved after training."
    )

    def moved(config: Any) -> bool:
        if path.value == "":
            raise InputError("--data_path is empty; allowed: the folder of the run's data set")
        if path.value is not None:
            config.data.path = path.value
        try:
            SOURCES[config.data.name].describe(config.data)
        except InputError as error:
            raise InputError(f"{error}; if it was moved, --data_path says where it is") from error
        return path.value is not None

    return moved


def define_inputs() -> Callable[[], dict[str, str]]:
    """The flags --text, --label, --audio, --image and --condition; call what is returned to read.

    Returns:
      () -> modality -> the text of its flag, for those that were given.
    """
    own = {
        "text": flags.DEFINE_string("text", None, "A caption."),
        "label": flags.DEFINE_string("label", None, "The name of a class."),
        "audio": flags.DEFINE_string("audio", None, "A sound file (wav, flac, ogg, aiff)."),
        "image": flags.DEFINE_string("image", None, "A picture file to be guided by."),
    }
    others = flags.DEFINE_multi_string(
        "condition", [], "MODALITY=VALUE, for a modality without a flag of its own."
    )

    def given() -> dict[str, str]:
        texts = {name: flag.value for name, flag in own.items() if flag.value is not None}
        times = Counter({name: flags.FLAGS[name].present for name in texts})
        for pair in others.value:
            name, equals, value = pair.partition("=")
            if not equals:
                raise InputError(f"--condition={pair} is not MODALITY=VALUE")
            texts[name] = value
            times[name] += 1
        for name, value in texts.items():
            flag = name if name in own else f"condition={name}"
            if times[name] > 1:
                raise InputError(f"--{flag} is given {times[name]} times; allowed: once")
            if not value.strip():
                raise InputError(f"--{flag} is empty; leave it out to draw without this input")
        return texts

    return given


def define_variety() -> Callable[[], dict[str, float | None]]:
    """Flags of how samples are drawn, --temperature and others; call what is returned to read.

    Returns:
      () -> option of the family's sampling -> its value, None where the run's is meant.
    """
    truncation = define_number(
        "truncation",
        None,
        "How far from typical pictures may be (gan, stylegan); default: the run's.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    temperature = define_number(
        "temperature",
        None,
        "How random codes are drawn (autoencoder, vae, vqvae, dalle); default: the run's.",
        lower_bound=0.0,
        upper_bound=1e6,
    )
    top_k = flags.DEFINE_integer(
        "top_k",
        None,
        "Likeliest codes that are eligible, 0 for all (dalle).",
        lower_bound=0,
        upper_bound=2**31 - 1,
    )
    top_p = define_number(
        "top_p", None, "Probability that they sum to (dalle).", lower_bound=1e-6, upper_bound=1.0
    )
    candidates = flags.DEFINE_integer(
        "candidates",
        None,
        "Pictures drawn for each one kept, from which the inputs are recovered best.",
        lower_bound=1,
        upper_bound=1_000,
    )
    chosen = (truncation, temperature, top_k, top_p, candidates)
    return lambda: {flag.name: flag.value for flag in chosen}


def define_metrics() -> flags.FlagHolder:
    """The flag --metrics, of what evaluates runs; None stands for what fits the run."""
    return define_names(
        "metrics",
        None,
        "Default: satisfaction, or what fits the run where its pictures cannot be judged."
        " satisfaction: do pictures say all they were asked for, for every subset of inputs;"
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
    count = flags.DEFINE_integer(
        "count",
        512,
        "Pictures per row of the table.",
        lower_bound=1,
        upper_bound=MOST_PICTURES,
    )
    seed = define_seed("Of the noise and of what is drawn.")
    given = define_names(
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


def run(main: Callable[[], None]) -> NoReturn:
    """Parses the flags, runs `main`, and exits: 0 done, 1 failed, 2 bad input.

    Bad input and `Failure` are one line on stderr; anything else keeps its traceback, and exits
    with 1. `SystemExit` passes through. SIGTERM and Ctrl-C end it with one line and 143.
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
    logging.get_absl_handler().addFilter(_is_news)
    sys.unraisablehook = _unraisablehook
    try:
        with interrupts.GUARD:
            app.run(lambda argv: _guarded(lambda: main()), flags_parser=_parse)
    except (interrupts.Stopped, interrupts.Interrupted):
        if IS_PROGRAM:
            _leave(interrupts.EXIT_CODE)
        raise
    raise SystemExit(0)


def _leave(code: int) -> NoReturn:
    """Ends the process, of which all that was open is closed, without Python's own end.

    That would take from the threads of XLA what they still compute with: a segmentation fault.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _is_news(record: LogRecord) -> bool:
    """Whether a person should read what a library has logged.

    A failed save is one line of `checkpoints`; orbax and asyncio would log hundreds of errors
    before it. What orbax only warns of, it goes on after: nobody else says it.
    """
    of_orbax = "orbax" in record.pathname and record.levelno >= ERROR
    return record.name != "asyncio" and not of_orbax


def fail(message: str, code: int = BAD_INPUT) -> NoReturn:
    """Prints one line and exits."""
    print(f"error: {_one_line(message)}", file=sys.stderr)
    raise SystemExit(code)


def _one_line(message: str) -> str:
    """Without line breaks; other spaces stay, for they may be a path's."""
    return " ".join(part.strip() for part in message.strip().splitlines())


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; whatever a recipe or an override refuses is the user's to mend."""
    # --batch-size is as good as --batch_size.
    argv = [re.sub(r"^--[a-z][\w-]*", lambda name: _underscored(name[0]), word) for word in argv]
    try:
        _check_recipe_file(argv)
        rest = flags.FLAGS(argv)
        _check_recipe()
    except interrupts.Stopped:
        raise
    except SystemExit:  # absl has shown the help, which for it is a failure
        raise SystemExit(0) from None
    except Exception as error:  # a recipe is a person's program: whatever it raises is theirs
        fail(explain(error, argv))
    if len(rest) > 1:
        fail(f"unexpected argument {rest[1]!r}; flags are written --name=value")
    return rest


def _underscored(flag: str) -> str:
    return "--" + flag[2:].replace("-", "_")


def _check_recipe_file(argv: Sequence[str]) -> None:
    """Raises InputError where --config names a pipe or a device, whose reading might never end."""
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if found := re.fullmatch(r"--?config(?:=(.*))?", word, re.DOTALL):
            path = Path((following if found[1] is None else found[1]).partition(":")[0])
            if path.exists() and not path.is_dir():
                with reading(path, "the recipe of --config"):
                    pass


def _check_recipe() -> None:
    """Raises what ml_collections kept back: that the recipe's file cannot be read."""
    if "config" in flags.FLAGS:
        flags.FLAGS.config.keys()


def _unraisablehook(unraisable: Any) -> None:
    """As Python's own, but for what tensorstore's threads say of a save that has failed already."""
    error = unraisable.exc_value
    if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
        sys.__unraisablehook__(unraisable)


def _guarded(main: Callable[[], None]) -> None:
    try:
        main()
        print(end="", flush=True)
    except InputError as error:
        for detail in error.details[:MOST_DETAILS]:
            print(f"error: {_one_line(detail)}", file=sys.stderr)
        if len(error.details) > MOST_DETAILS:
            print(f"... and {len(error.details) - MOST_DETAILS} more", file=sys.stderr)
        fail(str(error))
    except Failure as error:
        fail(str(error), FAILED)
    except (RuntimeError, AssertionError) as error:
        line = without_backend(error)
        if line is None:
            raise
        fail(line)
    except BrokenPipeError:
        hush()
    except OSError as error:  # after the pipe, which is one too
        if error.errno != errno.ENAMETOOLONG:  # of which only what a person typed can be the cause
            raise
        fail(f"the path {str(error.filename)[:80]!r}... is too long")
