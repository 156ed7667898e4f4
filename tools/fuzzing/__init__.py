"""The parts of `tools/fuzz.py`: what runs a case and judges it, and one file for each kind."""
