"""How a trained tokenizer uses its codebook."""

from typing import Any

import numpy as np
from jaxtyping import Int

from mmgen_jax.evaluation.metrics import METRICS
from mmgen_jax.evaluation.request import Asked, Evaluation
from mmgen_jax.evaluation.run_sampler import BATCH, over_devices
from mmgen_jax.generators import family_of
from mmgen_jax.media.images import quantise


def codes(asked: Asked) -> Evaluation:
    """Which of its codes a tokenizer uses for pictures that it was trained on, and others.

    For splits `data.split` and `eval.split` one pass over `count` pictures chosen by hash:
    "usage" is the share of the codes that stand anywhere, "perplexity" exp(entropy) of how often
    each one does, and "tokens" how many there were.

    Raises:
      InputError: if the run's family makes no codes.
    """
    METRICS["codes"].check(asked)
    trained, config = asked.trained, asked.trained.config
    tokenizer, codec = _codec(asked)

    def read(params: Any, state: Any, images: Any) -> Any:
        frozen = tokenizer.freeze(params, state)
        return codec.tokens(frozen, codec.encode(frozen, images))

    draw, numbers, sections = asked.drawing, {}, []
    tokens_of = over_devices(trained, read, finish=np.asarray, most=min(BATCH, asked.count))
    for split in dict.fromkeys((config.data.split, config.eval.split)):
        found, shown = [], None
        for part in draw.parts(draw.open(split), asked.count, again=False):
            found.append(tokens_of(part.images))
            shown = draw.grid(quantise(part.images), part) if shown is None else shown
        numbers[split] = use(np.concatenate(found), codec.codes)
        heading = f"{split}: {numbers[split]['usage']:.1%} of {codec.codes} codes"
        print(heading, flush=True)
        sections.append((heading, shown))
    return Evaluation(numbers, sections)


def use(tokens: Int[np.ndarray, "rows places"], vocabulary: int) -> dict[str, Any]:
    """The numbers of `codes`, of what was found in one pass."""
    share = np.bincount(tokens.ravel(), minlength=vocabulary) / tokens.size
    return {
        "usage": float((share > 0).mean()),
        "perplexity": float(np.exp(-(share * np.log(np.where(share > 0, share, 1))).sum())),
        "tokens": tokens.size,
        "count": len(tokens),
    }


def _codec(asked: Asked) -> tuple[Any, Any]:
    """(the run's family as a tokenizer, its codec), each None where there is none."""
    config = asked.trained.config
    family = config.generator.name
    (spec, options), shape = family_of(config, family), asked.trained.model.shared.image_shape
    tokenizer = spec.tokenizer
    return tokenizer, tokenizer and tokenizer.codec(options, *shape, config.train.dtype)


def lacks(asked: Asked) -> str | None:
    """Why it does not fit the run."""
    codec = _codec(asked)[1]
    if codec is not None and codec.codes:
        return None
    family = asked.trained.config.generator.name
    return f"metric 'codes' needs a run of a tokenizer with codes, not of {family!r}"
