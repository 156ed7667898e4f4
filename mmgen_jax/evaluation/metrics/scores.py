"""Scores of features: how far are a model's pictures, as a whole, from real ones?

Each score is a function of features elsewhere (`frechet`, `kernel_distance`, `inception_score`,
`manifold`); here it meets a run, or folders of pictures, and gets the name of its extractor.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from mmgen_jax.data import choose
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation import features as extractors
from mmgen_jax.evaluation.cache import Memo
from mmgen_jax.evaluation.features import Extractor, references
from mmgen_jax.evaluation.features.references import Reference
from mmgen_jax.evaluation.request import Asked, Evaluation, Section
from mmgen_jax.evaluation.run_sampler import SHOWN, Drawing
from mmgen_jax.evaluation.statistics import frechet
from mmgen_jax.evaluation.statistics.inception_score import inception_score
from mmgen_jax.evaluation.statistics.kernel_distance import kernel_distance
from mmgen_jax.evaluation.statistics.manifold import density_coverage, precision_recall
from mmgen_jax.media import gallery
from mmgen_jax.media.images import resize

PARTS = 10  # of an Inception score
SUBSET = 1_000  # of a kernel distance, at most
NEIGHBOURS = 5  # of density and coverage; precision and recall have 3
Features = Float[np.ndarray, "rows features"]


class Generated(NamedTuple):
    """What an extractor reads of a model's pictures."""

    features: Features
    logits: Float[np.ndarray, "rows classes"]


def fid(asked: Asked) -> Evaluation:
    """Fréchet distance of `count` pictures to the real ones of split `eval.split`.

    Conditions are those of records chosen from the split by hash, all inputs given unless others
    are asked for. With any extractor but Inception-v3 it is called FD, of the extractor's name.

    Raises:
      InputError: for as many features as pictures, or more.
    """
    return _of_run("fid", asked)


def kid(asked: Asked) -> Evaluation:
    """Kernel distance: see `fid`. Of 100 subsets of 1,000 pictures, or of all if they are fewer."""
    return _of_run("kid", asked)


def inception(asked: Asked) -> Evaluation:
    """Inception score, or of another classifier: see `fid`. It compares with no real picture."""
    return _of_run("is", asked)


def prdc(asked: Asked) -> Evaluation:
    """Precision and recall (3 neighbours), density and coverage (5): see `fid`.

    Against as many real pictures as are drawn, chosen from the split by hash.
    """
    return _of_run("prdc", asked)


def of_folder(
    metric: str,
    images: Path,
    reference: Path | None,
    extractor: Extractor,
    kept: Path,
    memo: Memo | None = None,
) -> Evaluation:
    """The same scores, of a folder of pictures against another.

    Args:
      metric: of `SCORES`.
      images: folder of the pictures that are scored.
      reference: folder of real ones, or a file of their features; the Inception score needs none.
      extractor: of features.
      kept: folder where features of real pictures are kept.
      memo: keeps what is read until the report is written.

    Raises:
      InputError: for a metric that needs a run, and as `fid` does.
    """
    if metric not in SCORES:
        raise InputError(
            f"metric {metric!r} needs --workdir; of folders allowed: {', '.join(SCORES)}"
        )
    files, memo = references.picture_files(images), memo or Memo()
    _check_count(metric, len(files), f"--images={images} holds", extractor)
    real = None
    if SCORES[metric].compares:
        if reference is None:
            raise InputError(f"metric {metric!r} of --images needs --reference: real pictures")
        real = references.of_folder(reference, extractor, kept, memo)
        _check_count(metric, len(real.features), f"--reference={reference} holds", extractor)
    generated = Generated(*references.read_all(references.read_files(files), extractor, memo))
    row = _row(metric, real, generated, extractor)
    title = extractor.titles[metric]
    return Evaluation({images.name: row}, [_first_pictures(title, files)], title)


def _first_pictures(title: str, files: list[Path]) -> Section:
    """Some pictures of a folder, as large as the first one, by name."""
    chosen = [files[row] for row in choose(SHOWN, len(files))]
    pictures = list(references.read_files(chosen))
    size = pictures[0].shape[:2]
    shown = np.stack([resize(picture, size) for picture in pictures])
    return title, gallery.grid(shown, [file.name for file in chosen])


def _of_run(metric: str, asked: Asked) -> Evaluation:
    config = asked.trained.config
    extractor = extractors.build(asked.extraction, asked.data)
    _check_count(metric, asked.count, "--count asks for", extractor)
    draw, real = asked.drawing, None
    if SCORES[metric].compares:
        split = config.eval.split
        _check_count(metric, len(draw.open(split)), f"split {split!r} has", extractor)
        kept = asked.references, asked.memo
        real = references.of_run(draw, asked.data, split, extractor, *kept)
    numbers, sections = {}, []
    for given in asked.subsets(lambda names: [names]):
        generated, shown = _generated(asked, draw, given, extractor)
        title = "+".join(given)
        numbers[title] = _row(metric, real, generated, extractor)
        name = extractor.titles[metric]
        sections.append((f"{name}: given {title}", shown))
    return Evaluation(numbers, sections, extractor.titles[metric])


def _generated(
    asked: Asked, draw: Drawing, given: tuple[str, ...], extractor: Extractor
) -> tuple[Generated, Any]:
    """(features of what the run draws, a grid of the first pictures)."""
    source, found, shown = draw.open(asked.trained.config.eval.split), [], None
    for part in draw.parts(source, asked.count, again=True):
        part = part.given(given)
        images = draw(part)
        found.append(
            asked.memo(
                lambda images=images: (extractor.identity, images), partial(extractor.read, images)
            )
        )
        shown = draw.grid(images, part) if shown is None else shown
    return Generated(*(np.concatenate(rows) for rows in zip(*found, strict=True))), shown


def _row(
    metric: str, real: Reference | None, generated: Generated, extractor: Extractor
) -> dict[str, Any]:
    row = SCORES[metric].score(real and real.features, generated)
    row |= {"count": len(generated.features), "extractor": extractor.name}
    row["identity"] = extractor.identity
    return row if real is None else row | {"reference": real.facts}


def _check_count(metric: str, count: int, where: str, extractor: Extractor) -> None:
    least = _least(metric, extractor)
    if count < least:
        raise InputError(
            f"{where} {count} pictures; allowed for {extractor.titles[metric]}: at least {least}"
            + (f", more than its {extractor.features} features" if metric == "fid" else "")
        )


def _least(metric: str, extractor: Extractor) -> int:
    return max(SCORES[metric].least, 1 + extractor.features * (metric == "fid"))


def _frechet(real: Features, generated: Generated) -> dict[str, Any]:
    return {"distance": frechet.distance(*map(frechet.fit, (real, generated.features)))}


def _kernel(real: Features, generated: Generated) -> dict[str, Any]:
    size = min(SUBSET, len(real), len(generated.features))
    mean, deviation = kernel_distance(real, generated.features, size=size)
    return {"distance": mean, "deviation": deviation, "subset": size}


def _inception(real: Features | None, generated: Generated) -> dict[str, Any]:
    mean, deviation = inception_score(generated.logits, PARTS)
    return {"score": mean, "deviation": deviation}


def _manifold(real: Features, generated: Generated) -> dict[str, Any]:
    real = real[choose(len(generated.features), len(real))]
    precision, recall = precision_recall(real, generated.features)
    density, coverage = density_coverage(real, generated.features, NEIGHBOURS)
    return {"precision": precision, "recall": recall, "density": density, "coverage": coverage}


class Score(NamedTuple):
    """A function of features.

    Attributes:
      score: (real features or None, Generated) -> numbers.
      least: pictures that it needs, on both sides.
      compares: whether it needs real pictures.
    """

    score: Callable[[Any, Generated], dict[str, Any]]
    least: int
    compares: bool = True


SCORES = {
    "fid": Score(_frechet, 2),  # and more than features
    "kid": Score(_kernel, 2),
    "is": Score(_inception, PARTS, compares=False),
    "prdc": Score(_manifold, NEIGHBOURS + 1),
}


def usual(count: int, compares: bool, extractor: Extractor) -> tuple[str, ...]:
    """The scores that so many pictures allow, with or without real ones to compare with.

    Raises:
      InputError: if they allow none.
    """
    names = [name for name in SCORES if compares or not SCORES[name].compares]
    found = tuple(name for name in names if count >= _least(name, extractor))
    if not found:
        least = min(_least(name, extractor) for name in names)
        raise InputError(f"--images holds {count} pictures; allowed: at least {least}")
    return found


def lacks(asked: Asked) -> str | None:
    """Why it does not fit the run."""
    return extractors.lacks(asked.extraction, asked.data)
