"""Makes a data set from raw inputs, once.

    python launch/build_dataset.py --dataset=emoji --out=data/emoji

emoji: pictures of all emoji with their names and keywords in many languages; it takes Debian's
packages fonts-noto-color-emoji, unicode-cldr-core, unicode-data and, for --speech, espeak-ng, or
the same files from elsewhere; --openmoji and --twemoji take npm packages (`npm pack`, and tar).
digits: written digits (MNIST) with spoken ones and number words in many languages, from --raw.
folder: a folder of files with a metadata.jsonl, --raw, packed into few files and small pictures;
read it with --config=RECIPE:data=tfds --config.data.path=OUT.
example: such a folder, of scenes with captions, labels and sounds; read it with
--config=RECIPE:data=folder --config.data.path=OUT.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from mmgen_jax import cli
from mmgen_jax.data.builders import BUILDERS
from mmgen_jax.data.builders.staging import check
from mmgen_jax.errors import InputError

_DATASET = flags.DEFINE_string("dataset", None, f"What to build: {', '.join(BUILDERS)}.")
_OUT = flags.DEFINE_string("out", None, "The data set's folder; data/DATASET if not given.")
_OVERWRITE = flags.DEFINE_boolean("overwrite", False, "Replace a data set that is there.")
# None means "not given": the defaults are the builder's own.
_OPTIONS = (
    flags.DEFINE_string("font", None, "Colour bitmap font (CBDT); Debian's Noto if not given."),
    flags.DEFINE_string("cldr", None, "CLDR's folder `common`; Debian's if not given."),
    flags.DEFINE_string("emoji_test", None, "Unicode's emoji-test.txt; Debian's if not given."),
    flags.DEFINE_integer("image_size", None, "Height and width in pixels; 64 if not given."),
    flags.DEFINE_string("openmoji", None, "Unpacked npm package openmoji: sketches."),
    flags.DEFINE_string("twemoji", None, "Unpacked npm package @discordapp/twemoji: references."),
    flags.DEFINE_list(
        "languages", None, "CLDR locales of captions and keywords; all complete ones if not given."
    ),
    flags.DEFINE_boolean("speech", None, "Also speak the English names, with espeak-ng."),
    flags.DEFINE_integer("voices", None, "How many of 8 voices speak each name; 1 if not given."),
    flags.DEFINE_string("raw", None, "digits, folder: the folder of the raw inputs."),
    flags.DEFINE_enum("on_bad_record", None, ["raise", "skip"], "folder: raise if not given."),
    flags.DEFINE_integer("seed", None, "digits: of the pairing; 0 if not given."),
    flags.DEFINE_integer("limit", None, "Build only so many records, a random sample."),
)


def main() -> None:
    """Builds, then prints one line that sums up what was built."""
    name = _DATASET.value
    if name is None:
        raise InputError(f"--dataset is missing; allowed: {', '.join(BUILDERS)}")
    out = _OUT.value or f"data/{name}"
    check(Path(out), _OVERWRITE.value)
    build = _builder(name)
    options = {flag.name: flag.value for flag in _OPTIONS if flag.value is not None}
    unknown = options.keys() - inspect.signature(build).parameters
    if unknown:
        raise InputError(f"--{min(unknown)} does not apply to --dataset={name}")
    summary = build(out, overwrite=_OVERWRITE.value, **options)
    splits = ", ".join(f"{split} {count}" for split, count in summary["splits"].items())
    facts = [f"{summary['records']} records ({splits})"]
    if "unique_pictures" in summary:
        facts.append(f"{summary['unique_pictures']} unique pictures")
    if "skipped" in summary:
        facts.append(f"{len(summary['skipped'])} bad ones left out")
    print(f"{name}: {', '.join(facts)}, {summary['seconds']:.1f} s, in {out}")


def _builder(name: str) -> Callable[..., dict[str, Any]]:
    try:
        return BUILDERS[name]
    except ModuleNotFoundError as error:
        raise InputError(
            f"--dataset={name} needs {error.name}; install it: pip install 'mmgen_jax[data]'"
        ) from error


if __name__ == "__main__":
    cli.run(main)
