"""How well does a family's own code give pictures back?"""

import numpy as np
from jaxtyping import Float, UInt8

from mmgen_jax.evaluation.metrics import METRICS
from mmgen_jax.evaluation.request import Asked, Evaluation
from mmgen_jax.evaluation.run_sampler import SHOWN
from mmgen_jax.evaluation.statistics.rates import level
from mmgen_jax.media.images import quantise


def reconstruction(asked: Asked) -> Evaluation:
    """How well the model's own code gives pictures back, that it was trained on and that not.

    For splits `data.split` and `eval.split` the mean peak signal-to-noise ratio, in dB, of `count`
    pictures chosen from the split by hash, with the inputs that their records have.

    Raises:
      InputError: if the run's family has no code.
    """
    METRICS["reconstruction"].check(asked)
    config, draw = asked.trained.config, asked.drawing
    numbers, sections = {}, []
    for split in dict.fromkeys((config.data.split, config.eval.split)):
        found, shown = [], None
        for part in draw.parts(draw.open(split), asked.count, again=False):
            originals, images = quantise(part.images), draw.reconstruct(part)
            found.append(peak_signal_to_noise(originals, images))
            if shown is None:
                pairs = np.concatenate([originals, images], axis=2)
                shown = draw.grid(pairs, part, rows=range(4 * SHOWN))
        numbers[split] = level(np.concatenate(found))
        heading = f"{split}: {numbers[split]['psnr']:.1f} dB; originals beside reconstructions"
        print(heading, flush=True)
        sections.append((heading, shown))
    return Evaluation(numbers, sections)


def peak_signal_to_noise(
    originals: UInt8[np.ndarray, "rows height width 3"],
    images: UInt8[np.ndarray, "rows height width 3"],
) -> Float[np.ndarray, "rows"]:
    """PSNR of each picture, in dB: 10 log10(255^2 / mean squared error).

    One without any error counts as if one value were off by 1, so that means are finite.
    """
    error = np.square(originals.astype(np.float64) - images).mean(axis=(1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(error, 1 / originals[0].size))


def lacks(asked: Asked) -> str | None:
    """Why it does not fit the run."""
    if asked.trained.model.generator.reconstruct is not None:
        return None
    return (
        "metric 'reconstruction' needs a family that reconstructs;"
        f" {asked.trained.config.generator.name!r} does not"
    )
