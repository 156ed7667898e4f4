"""The metrics that a trained run can be asked for: what the registry holds of each.

Nothing here imports jax, so that the help of a command can name them; the functions live one file
each beside this one.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mmgen_jax.errors import InputError
from mmgen_jax.registry import Registry, deferred


class Column(NamedTuple):
    """A column of a metric's table.

    Attributes:
      title: of the column.
      form: how its number is written, for `str.format`.
    """

    title: str
    form: str


class MetricSpec(NamedTuple):
    """What the registry holds for one metric.

    Attributes:
      evaluate: (request) -> Evaluation.
      help: what it tells, in a few words.
      columns: by the name of a number in its rows, in the order of the table; a column is shown
        where all rows have its number.
      headline: the number that stands for a row where there is room for one; the first of these
        that the rows have.
      lacks: (request) -> why it does not fit the run, in one line; None if it does. Reads no
        record.
      choice: 1 for what is run where nobody names a metric, 2 for what is run instead where nothing
        of choice 1 fits; None for what is run by name only.
    """

    evaluate: Callable[[Any], Any]
    help: str
    columns: Mapping[str, Column]
    headline: tuple[str, ...]
    lacks: Callable[[Any], str | None] = lambda request: None
    choice: int | None = None

    def check(self, request: Any) -> None:
        """Raises InputError if it does not fit the run."""
        reason = self.lacks(request)
        if reason is not None:
            raise InputError(reason)


RATE = {
    "rate": Column("rate", "{:.1%}"),
    "interval": Column("95% interval", "{0[0]:.1%} - {0[1]:.1%}"),
    "chance": Column("chance", "{:.2%}"),
}
COUNT = {"count": Column("count", "{:d}")}
SCORED = COUNT | {"extractor": Column("by", "{}")}
DISTANCE = {"distance": Column("distance", "{:.4g}")}
DEVIATION = {"deviation": Column("+-", "{:.2g}")}


def _of(module: str, *names: str) -> list[deferred]:
    return [deferred(f"mmgen_jax.evaluation.metrics.{module}:{name}") for name in names]


_satisfaction, _fits_satisfaction = _of("satisfaction", "satisfaction", "lacks")
_contradictions, _fits_contradictions = _of("contradictions", "contradictions", "lacks")
_fitting, _fits_fitting = _of("fitting", "fitting", "lacks")
_languages, _fits_languages = _of("languages", "languages", "lacks")
_reconstruction, _fits_reconstruction = _of("reconstruction", "reconstruction", "lacks")
_codes, _fits_codes = _of("codes", "codes", "lacks")
_likelihood, _fits_likelihood = _of("likelihood", "likelihood", "lacks")
_diversity, _memorization = *_of("diversity", "diversity"), *_of("memorization", "memorization")
_fid, _kid, _inception, _prdc, _fits_scores = _of(
    "scores", "fid", "kid", "inception", "prdc", "lacks"
)

METRICS: Registry[MetricSpec] = Registry(
    "metric",
    {
        "satisfaction": MetricSpec(
            _satisfaction,
            "do pictures say all they were asked for, for every subset of inputs",
            RATE
            | {
                "product_of_marginals": Column("if independent", "{:.1%}"),
                "binding_errors": Column("binding errors", "{:.1%}"),
            }
            | COUNT,
            ("rate",),
            _fits_satisfaction,
            choice=1,
        ),
        "fitting": MetricSpec(
            _fitting,
            "is the nearest training picture the record's own, or for others of its label",
            RATE | COUNT | {"judged": Column("right if the nearest training picture", "{}")},
            ("rate",),
            _fits_fitting,
            choice=2,
        ),
        "languages": MetricSpec(
            _languages,
            "does a caption give the same picture in every one of data.languages",
            RATE | COUNT,
            ("rate",),
            _fits_languages,
        ),
        "reconstruction": MetricSpec(
            _reconstruction,
            "how well does the family's own code give pictures back",
            {
                "psnr": Column("PSNR", "{:.2f} dB"),
                "psnr_interval": Column("95% interval", "{0[0]:.2f} - {0[1]:.2f}"),
            }
            | COUNT,
            ("psnr",),
            _fits_reconstruction,
            choice=2,
        ),
        "diversity": MetricSpec(
            _diversity,
            "do pictures vary as real ones do (precision, recall, classes shown)",
            {
                "within": Column("within a condition", "{:.3f}"),
                "precision": Column("precision", "{:.3f}"),
                "recall": Column("recall", "{:.3f}"),
                "classes": Column("classes shown", "{:.0%}"),
                "rarest": Column("rarest class", "{:.2f}"),
            }
            | COUNT,
            ("recall", "within"),
            choice=2,
        ),
        "codes": MetricSpec(
            _codes,
            "how much of its vocabulary does a tokenizer use",
            {
                "usage": Column("codes used", "{:.1%}"),
                "perplexity": Column("perplexity", "{:.0f}"),
            }
            | COUNT,
            ("usage",),
            _fits_codes,
            choice=2,
        ),
        "contradictions": MetricSpec(
            _contradictions,
            "which of two inputs wins where they ask for different things",
            {
                "first": Column("the first", "{:.1%}"),
                "second": Column("the second", "{:.1%}"),
                "neither": Column("neither", "{:.1%}"),
            }
            | COUNT,
            ("first",),
            _fits_contradictions,
        ),
        "likelihood": MetricSpec(
            _likelihood,
            "how probable are unseen pictures (ELBO and IWAE, bits per dimension)",
            {
                "elbo": Column("ELBO, bits/dim", "{:.4f}"),
                "elbo_error": Column("+-", "{:.4f}"),
                "iwae": Column("IWAE, bits/dim", "{:.4f}"),
                "iwae_error": Column("+-", "{:.4f}"),
            }
            | COUNT,
            ("elbo",),
            _fits_likelihood,
        ),
        "memorization": MetricSpec(
            _memorization,
            "are they copies of training pictures",
            RATE
            | {"copied": Column("copied", "{}"), "closeness": Column("closeness", "{:.2f}")}
            | COUNT,
            ("rate",),
        ),
        "fid": MetricSpec(
            _fid,
            "how far are they from real ones, by the Fréchet distance of an extractor's features"
            " (with --weights of Inception-v3 the FID)",
            DISTANCE | SCORED,
            ("distance",),
            _fits_scores,
        ),
        "kid": MetricSpec(
            _kid,
            "the same by the kernel distance",
            DISTANCE | DEVIATION | SCORED,
            ("distance",),
            _fits_scores,
        ),
        "is": MetricSpec(
            _inception,
            "the Inception score, or another extractor's",
            {"score": Column("score", "{:.3f}")} | DEVIATION | SCORED,
            ("score",),
            _fits_scores,
        ),
        "prdc": MetricSpec(
            _prdc,
            "precision, recall, density and coverage of an extractor's features",
            {
                name: Column(name, "{:.3f}")
                for name in ("precision", "recall", "density", "coverage")
            }
            | SCORED,
            ("recall",),
            _fits_scores,
        ),
    },
)
