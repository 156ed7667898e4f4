"""What the tests of several data sources start from."""

import pytest

from tests.folders import hum, paint


@pytest.fixture
def folder(tmp_path):
    """Pictures a.png to d.png, a sound a.wav, and no metadata."""
    for name in "abcd":
        paint(tmp_path / f"{name}.png")
    hum(tmp_path / "a.wav")
    return tmp_path
