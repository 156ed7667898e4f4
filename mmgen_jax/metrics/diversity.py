"""Do a model's pictures vary as the real ones do? For data sets with a judge by class."""

import numpy as np

from mmgen_jax.data.pipeline import spread
from mmgen_jax.metrics import classifier
from mmgen_jax.metrics.evaluation import Drawing, Evaluation, all_and_each
from mmgen_jax.metrics.manifold import precision_recall
from mmgen_jax.training.run import Trained

K = 3  # neighbours


def diversity(trained: Trained, count: int, seed: int) -> Evaluation:
    """Precision and recall against real pictures, and which classes the pictures show.

    `count` records spread over the split `eval.split` are drawn from all of their inputs, and from
    each one alone; features are those of the judge's last hidden layer, neighbours 3. "classes" is
    the share of the classes that the judge finds among the pictures, "rarest" that of the rarest
    class, of an equal share.

    Raises:
      InputError: if the data set has no judge by class.
    """
    options = trained.config.data
    judge = classifier.of_data(options)
    draw = Drawing(trained, seed)
    source = draw.open(trained.config.eval.split)
    records, batch = draw.conditions(source, draw.usable(source, spread(source, count)))
    real, _ = classifier.read(judge, np.stack([draw.picture(record) for record in records]))
    numbers, sections = {}, []
    for given in all_and_each(tuple(trained.model.modalities)):
        has = {m: there & (m in given) for m, there in batch["has"].items()}
        images = draw(batch["values"], has)
        features, classes = classifier.read(judge, images)
        precision, recall = precision_recall(real, features, K)
        shown = np.bincount(classes, minlength=len(judge.names))
        title = "+".join(given)
        numbers[title] = {
            "precision": precision,
            "recall": recall,
            "classes": float((shown > 0).mean()),
            "rarest": float(shown.min() * len(judge.names) / len(images)),
            "count": len(images),
        }
        heading = f"given {title}: precision {precision:.3f}, recall {recall:.3f}"
        print(heading, flush=True)
        sections.append((heading, draw.grid(images, batch["values"], has)))
    return Evaluation(numbers, sections)
