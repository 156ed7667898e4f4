"""Flags that several launchers have."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from mmgen_jax.cli.bounds import define_names, define_number, define_seed
from mmgen_jax.data import DataOptions
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.judges import JUDGES
from mmgen_jax.evaluation.metrics import METRICS
from mmgen_jax.media.outputs import Output, check

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
            DataOptions.of(config).describe()
        except InputError as error:
            raise InputError(f"{error}; if it was moved, --data_path says where it is") from error
        return path.value is not None

    return moved


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
    known = "; ".join(f"{name}: {METRICS[name].help}" for name in METRICS)
    return define_names(
        "metrics",
        None,
        "Default: satisfaction, or what fits the run where its pictures cannot be judged."
        f" {known}. satisfaction judges {', '.join(JUDGES)}, diversity digits (after"
        " launch/train_judge.py).",
    )


def define_evaluation() -> Callable[[], dict[str, Any]]:
    """What launchers that evaluate runs share: --count, --seed, --given, and of features.

    Returns:
      () -> count, seed, given (subsets, or None), extraction (name, weights, resize) and references
      (a folder), as `evaluation.request.Asked` has them.
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
        " memorization and fid, kid, is, prdc; default: the metric's.",
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
