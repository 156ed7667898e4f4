"""The one exception that means: what the user gave cannot work."""


class InputError(ValueError):
    """Bad input from a person: a config, a file, a flag, a record.

    Its message is one line that names what is wrong, where, and what is allowed. Launchers print
    it without a traceback and exit with code 2 (see `mmgen_jax.cli`).
    """
