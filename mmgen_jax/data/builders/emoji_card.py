"""What the emoji data set says of itself: description, licences, README.md."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import tensorflow_datasets as tfds

from mmgen_jax.data.builders.writer import Card

VERSION = "2.0.0"

_DESCRIPTION = """\
Pictures of all fully-qualified emoji of Unicode, on white, with their names and keywords in many
languages. The variants of a base (an emoji without skin tone and gender), and emoji with equal
pictures, are all in one split. The records are in a fixed random order: any part is a sample."""

_FONT_LICENSE = """\
image: pictures of Noto Color Emoji, SPDX OFL-1.1 (SIL Open Font License 1.1,
https://openfontlicense.org). The font that was used says of itself:
{notice}
"""

_LICENSES = {
    "captions": """\
text, captions, keywords, label, subgroup: Unicode CLDR and Unicode emoji data, SPDX
Unicode-DFS-2016 (https://www.unicode.org/license.txt). Copyright Unicode, Inc.
""",
    "sketch": """\
sketch: OpenMoji, the open-source emoji and icon project (https://openmoji.org), SPDX CC-BY-SA-4.0
(https://creativecommons.org/licenses/by-sa/4.0/). The drawings were made pixels on white, and not
changed otherwise.
""",
    "reference": """\
reference: graphics of Twemoji, copyright Twitter, Inc. and other contributors
(https://github.com/discord/twemoji), SPDX CC-BY-4.0 (https://creativecommons.org/licenses/by/4.0/).
The drawings were made pixels on white, and not changed otherwise.
""",
    "audio": """\
audio: `text`, said by the program espeak-ng (https://github.com/espeak-ng/espeak-ng). What it says
needs no licence of the program's.
""",
}

_MADE = {
    "image": "image: the font's bitmaps, laid on white and resized.",
    "captions": """\
captions and keywords: CLDR's, with inheritance: what a region does not say itself, it says as its
  parent does. An emoji that CLDR does not name yet has its English name from Unicode's
  emoji-test.txt, and nothing else.""",
    "sketch": """\
sketch: OpenMoji's files `black/svg/*.svg`, drawn by resvg. Emoji that differ in colour alone, as
  hearts, skin tones and most flags (a bare frame) do, have equal sketches, across splits too.""",
    "reference": "reference: Twemoji's files `*.svg`, drawn by resvg.",
    "audio": """\
audio: each name is said by some of espeak-ng's voices, which differ from emoji to emoji; the sound
  of the others is empty.""",
}

_README = """\
# emoji {version}

{description}

Made by mmgen_jax (`python launch/build_dataset.py --dataset=emoji`) in {seconds} s; the counts are
in `summary.json` too, the licences in `LICENSE`. To read it without mmgen_jax (TensorFlow is not
needed):

    import tensorflow_datasets as tfds
    records = tfds.builder_from_directory("this folder").as_data_source("train")

## Features

| feature | type | what it is |
|---|---|---|
{features}

## Counts

| what | how many |
|---|---|
{counts}

## Languages

{languages}

## How it was made

{made}
"""


def card(features: Collection[str], notice: str) -> Card:
    """Name, version, description and licences.

    Args:
      features: names of the features, which say what sources were used.
      notice: what the font says of itself.
    """
    licenses = [text for feature, text in _LICENSES.items() if feature in features]
    texts = [_FONT_LICENSE.format(notice=notice), *licenses]
    return Card("emoji", VERSION, _DESCRIPTION, "\n".join(texts))


def readme(features: tfds.features.FeaturesDict, summary: Mapping[str, Any]) -> str:
    """The data card, in Markdown.

    Args:
      features: the data set's.
      summary: what is in `summary.json`.
    """
    counts = {f"split {split}": count for split, count in summary["splits"].items()}
    counts |= {key: value for key, value in summary.items() if type(value) is int}
    return _README.format(
        version=VERSION,
        description=_DESCRIPTION,
        seconds=summary["seconds"],
        features=_table((f"`{key}`", _type(f), f.doc.desc) for key, f in features.items()),
        counts=_table((key.replace("_", " "), str(count)) for key, count in counts.items()),
        languages=", ".join(summary["languages"]),
        made="\n".join(f"- {text}" for feature, text in _MADE.items() if feature in features),
    )


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _type(feature: Any) -> str:
    if isinstance(feature, tfds.features.Sequence):
        return f"sequence of {_type(feature.feature)}"
    if isinstance(feature, tfds.features.FeaturesDict):
        return f"dict of {', '.join(f'`{key}`' for key in feature)}"
    return type(feature).__name__
