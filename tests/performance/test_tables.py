"""Tables in Markdown."""

from mmgen_jax.performance import tables


def test_a_table():
    table = tables.markdown(["a", "b"], [["1", "2"], ["3", "4"]])
    assert table == "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |"
