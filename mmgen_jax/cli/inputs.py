"""Flags of what an image is to be made from: one for each input of a run."""

import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from mmgen_jax.errors import InputError
from mmgen_jax.storage import read_json

# What is defined here is a launcher's own flag, and stands in its --help.
flags.disclaim_key_flags()

USUAL = ("text", "label", "audio", "image")


def define_inputs() -> Callable[[], dict[str, str]]:
    """The flags --text, --label, --audio, --image and --condition; call what is returned to read.

    Inputs of other names have a flag too, once `define_of_run` has read the run's config.

    Returns:
      () -> input -> the text of its flag, for those that were given.
    """
    flags.DEFINE_string("text", None, "A caption.")
    flags.DEFINE_string("label", None, "The name of a class.")
    flags.DEFINE_string("audio", None, "A sound file (wav, flac, ogg, aiff).")
    flags.DEFINE_string("image", None, "A picture file to be guided by.")
    others = flags.DEFINE_multi_string(
        "condition", [], "INPUT=VALUE, for an input without a flag of its own."
    )

    def given() -> dict[str, str]:
        own = [*USUAL, *_of_run()]
        texts = {name: flags.FLAGS[name].value for name in own}
        texts = {name: text for name, text in texts.items() if text is not None}
        times = Counter({name: flags.FLAGS[name].present for name in texts})
        for pair in others.value:
            name, equals, value = pair.partition("=")
            if not equals:
                raise InputError(f"--condition={pair} is not INPUT=VALUE")
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


def define_of_run(argv: Sequence[str]) -> None:
    """Defines a flag for each input of the run that --workdir names, where it has none yet.

    Whether the run can be used is said later, by whoever reads it.
    """
    if "condition" not in flags.FLAGS:
        return
    for name in _names_in(argv):
        if name not in flags.FLAGS:
            flags.DEFINE_string(name, None, f"Input {name!r} of the run.", module_name=__name__)
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])


def _names_in(argv: Sequence[str]) -> list[str]:
    """The names of the inputs of the run that a command line names; none where there is none."""
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if found := re.fullmatch(r"--?workdir(?:=(.*))?", word, re.DOTALL):
            workdir = following if found[1] is None else found[1]
            try:
                names = read_json(Path(workdir) / "config.json")["modalities"]["names"]
            except (OSError, ValueError, LookupError, TypeError):
                return []
            is_name = lambda name: isinstance(name, str) and re.fullmatch(r"[a-z]\w*", name)  # noqa: E731
            return list(filter(is_name, names)) if isinstance(names, list) else []
    return []


def _of_run() -> list[str]:
    """The flags that `define_of_run` has defined."""
    return [name for name in flags.FLAGS if flags.FLAGS.find_module_defining_flag(name) == __name__]
