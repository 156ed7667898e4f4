"""The table of what the same minutes give."""

import pytest

from tests.launching import assert_bad_input, launch


def test_a_family_that_is_not_there_is_refused(tmp_path):
    flags = (f"--workdir={tmp_path}", f"--out={tmp_path / 'q.md'}", "--families=flow,oracle")
    assert_bad_input(launch("tools/quality.py", *flags), "'oracle'", "autoencoder, dalle")
    assert_bad_input(launch("tools/quality.py", *flags[:1], "--out=q.txt"), "no .md file")


@pytest.mark.slow  # trains three times
def test_a_table_of_two_stages_that_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = (
        *("--minutes=0.02", "--data=shapes", "--families=dalle", "--count=4"),
        *("--workdir=runs", "--out=quality.md", "--modalities=text+label"),
    )
    assert launch("tools/quality.py", *flags).code == 0
    lines = (tmp_path / "quality.md").read_text(encoding="utf-8").splitlines()
    (row,) = (line for line in lines if line.startswith("| `dalle`"))
    assert row.count("%") == 4 and "0.02 minutes" in "\n".join(lines)
    assert (tmp_path / "quality-shapes.png").is_file()
    assert (tmp_path / "runs" / "shapes" / "tokenizer" / "config.json").is_file()
    before = (tmp_path / "runs" / "shapes" / "dalle" / "metrics.jsonl").stat().st_mtime_ns
    assert launch("tools/quality.py", *flags).code == 0
    assert (tmp_path / "runs" / "shapes" / "dalle" / "metrics.jsonl").stat().st_mtime_ns == before
