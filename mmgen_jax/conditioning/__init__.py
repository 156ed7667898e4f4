"""From encodings and who is present to what a generator is given: fusion and guidance."""
