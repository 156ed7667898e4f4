"""Does a caption give the same picture in every language?"""

import numpy as np

from mmgen_jax.data.pipeline import spread
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.metrics import METRICS
from mmgen_jax.evaluation.request import Asked, Evaluation, Section
from mmgen_jax.evaluation.statistics.nearest import distinct, nearest
from mmgen_jax.evaluation.statistics.rates import rate

MOST = 50_000  # training pictures that are looked at; of more, as many chosen by hash


def languages(asked: Asked) -> Evaluation:
    """Whether a caption gives the same picture in every language of `data.languages`.

    `count` training records, in random order, whose caption in the first language alone gives their
    own picture: the nearest training picture (L2 at the model's size) is theirs. For each other
    language the share of those that have a caption in it and give the same picture by it. Of more
    than `MOST` training pictures, or than fit in memory, as many are looked at.

    Raises:
      InputError: if the run has no two languages, or no caption is right in the first one.
    """
    METRICS["languages"].check(asked)
    config, count = asked.trained.config, asked.count
    first, *others = config.data.languages
    draw = asked.drawing
    source = draw.open(config.data.split, languages=(first,))
    usable = draw.usable(source, spread(source, draw.held(MOST)))
    pictures = draw.pictures(source, usable)
    identity = distinct(pictures)
    places = [source.where(i) for i in usable]
    order = np.random.default_rng(asked.seed).permutation(len(usable))

    def right(language: str, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, Section]:
        """(those that have a caption, which give their own picture, some of the pictures)."""
        spoken = draw.open(config.data.split, languages=(language,))
        # By place: a record that is bad in one language need not be so in another.
        at = {spoken.where(i): i for i in range(len(spoken))}
        rows = {k: at[places[k]] for k in chosen.tolist() if places[k] in at}
        rows = {
            k: i
            for k, i in rows.items()
            if draw.is_usable(spoken, i) and "text" in spoken[i].values
        }
        if not rows:
            raise InputError(f"none of {len(chosen)} records has a caption in {language!r}")
        kept = np.array(list(rows))
        found, grid = [], None
        for whole in draw.split(spoken, list(rows.values())):
            part = whole.given(("text",))
            images = draw(part)
            found.append(nearest(images, pictures))
            grid = draw.grid(images, part, pictures[found[0]]) if grid is None else grid
        return kept, identity[np.concatenate(found)] == identity[kept], (language, grid)

    kept, hits, section = right(first, order[: 4 * count])
    print(f"{first}: {hits.mean():.1%} of {len(hits)}; the first {count} of these:", flush=True)
    chosen = kept[hits][:count]
    if not len(chosen):
        raise InputError(f"no caption in {first!r} gives its own picture: nothing to compare with")
    numbers, sections = {}, [section]
    for language in others:
        _, hits, section = right(language, chosen)
        numbers[language] = rate(hits, 1 / len(np.unique(identity)))
        sections.append(section)
        print(f"{language}: {hits.mean():.1%} of {len(hits)}", flush=True)
    return Evaluation(numbers, sections)


def lacks(asked: Asked) -> str | None:
    """Why it does not fit the run."""
    trained = asked.trained
    if len(trained.config.data.languages) > 1 and "text" in trained.model.modalities:
        return None
    return "metric 'languages' needs a run with text in several config.data.languages"
