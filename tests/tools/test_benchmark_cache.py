"""The launcher that times the cache; how fast it is, is nothing to assert."""

import re

from tests.launching import assert_bad_input, launch

SMALL = [f"--config.generator.dalle.{k}" for k in ("width=16", "depth=1", "num_heads=2")]


def test_it_reports_both_ways_by_quarters():
    done = launch("tools/benchmark_cache.py", *SMALL, "--side=2", "--batch_size=2", "--rounds=1")
    assert (done.code, done.err) == (0, "")
    head, *ways, ratio = done.out.splitlines()
    assert head.startswith("2 pictures of 2x2 codes, ")
    for name, line in zip(("cached", "recomputed"), ways, strict=True):
        assert re.fullmatch(
            rf"{name}: [\d.]+ s; ms per code in each quarter: ([\d.]+(, |$)){{4}}", line
        )
    assert re.fullmatch(r"recomputed / cached: [\d.]+", ratio)


def test_bad_input():
    done = launch("tools/benchmark_cache.py", "--config=configs/flow.py:size=tiny")
    assert_bad_input(done, "config.generator.name = 'flow'", "'dalle'")
    assert_bad_input(launch("tools/benchmark_cache.py", "--side=3"), "--side=3", "even")
