"""The Inception score (Salimans et al. 2016, "Improved techniques for training GANs", section 4).

exp(E KL(p(class | picture) || p(class))), with the classes of Inception-v3; with those of any other
classifier it must be named after that one.
"""

import numpy as np
from jaxtyping import Float

from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.statistics.kernel_distance import Spread


def inception_score(
    logits: Float[np.ndarray, "batch classes"], parts: int = 10, seed: int = 2020
) -> Spread:
    """The score of equal parts of the pictures, shuffled as torch-fidelity does for this seed.

    Args:
      logits: of the classes; of Inception-v3 without the biases of its last layer.
      parts: how many.
      seed: of the order.

    Raises:
      InputError: if there are fewer pictures than parts.
    """
    n = len(logits)
    if n < parts:
        raise InputError(f"{n} pictures in {parts} parts; allowed: at least one in each")
    logits = logits[np.random.RandomState(seed).permutation(n)].astype(np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    scores = []
    for part in range(parts):
        log_q = log_p[part * n // parts : (part + 1) * n // parts]
        q = np.exp(log_q)
        # A class without any probability adds nothing, not 0 * inf.
        mean = np.maximum(q.mean(axis=0, keepdims=True), np.finfo(np.float64).tiny)
        scores.append(np.exp((q * (log_q - np.log(mean))).sum(axis=1).mean()))
    return Spread(float(np.mean(scores)), float(np.std(scores)))
