"""A package, so that no other that is installed as `tests` comes before it."""
