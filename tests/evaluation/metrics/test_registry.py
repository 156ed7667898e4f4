"""Tables, and what is asked for."""

from mmgen_jax.evaluation.metrics import METRICS
from mmgen_jax.evaluation.report import table


def test_a_table_shows_what_all_rows_have():
    row = {"rate": 0.25, "count": 8, "chance": 0.125, "interval": [0.0625, 0.5], "other": {}}
    text = table(
        METRICS["satisfaction"], {"a": row, "long name": row | {"binding_errors": 3.0}}, "right"
    )
    assert text.splitlines() == [
        "right       rate  95% interval  chance  count",
        "a          25.0%  6.2% - 50.0%  12.50%      8",
        "long name  25.0%  6.2% - 50.0%  12.50%      8",
    ]
