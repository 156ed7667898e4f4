"""Do a model's pictures vary as the real ones do? For data sets with a judge by class."""

import numpy as np

from mmgen_jax.metrics import classifier
from mmgen_jax.metrics.drawing import all_and_each
from mmgen_jax.metrics.evaluation import Asked, Evaluation
from mmgen_jax.metrics.manifold import precision_recall

K = 3  # neighbours


def diversity(asked: Asked) -> Evaluation:
    """Precision and recall against real pictures, and which classes the pictures show.

    `count` records spread over the split `eval.split` are drawn from all of their inputs, and from
    each one alone; features are those of the judge's last hidden layer, neighbours 3. "classes" is
    the share of the classes that the judge finds among the pictures, "rarest" that of the rarest
    class, of an equal share.

    Raises:
      InputError: if the data set has no judge by class.
    """
    config, draw = asked.trained.config, asked.drawing()
    judge = classifier.of_data(config.data)
    whole = draw.spread(draw.open(config.eval.split), asked.count)
    real, _ = classifier.read(judge, np.stack([draw.picture(record) for record in whole.records]))
    numbers, sections = {}, []
    for given in asked.subsets(all_and_each):
        part = whole.given(given)
        images = draw(part)
        features, logits = classifier.read(judge, images)
        precision, recall = precision_recall(real, features, K)
        shown = np.bincount(logits.argmax(-1), minlength=len(judge.names))
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
        sections.append((heading, draw.grid(images, part)))
    return Evaluation(numbers, sections)
