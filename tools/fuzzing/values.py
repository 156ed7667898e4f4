"""Hostile and nearly valid values, for flags and for config keys."""

import ast
import functools
import random
from pathlib import Path
from typing import Any, NamedTuple

from tools.fuzzing.cases import ROOT

WHOLE = (
    *("0", "1", "2", "3", "4", "7", "8", "16", "32", "64", "100", "-1", "-0", "+5", "007", "1_000"),
    *("2147483647", "2147483648", "4294967296", "5000000000", "1099511627776", "9" * 25),
    *("1e3", "1e9", "1e20", "1.0", "1.5", "0x10", "½", "²", "٣", "五", "", " ", "nan", "inf"),
    *("None", "True", "''", "1 2", "1,2", "--", "-", "1\n2"),
)
REAL = (
    *(
        "0",
        "0.0",
        "-0.0",
        "1",
        "0.5",
        "0.1",
        "1.0",
        "2.5",
        "-1",
        "-1e-9",
        "1e-300",
        "1e-45",
        "1e38",
    ),
    *(
        "1e39",
        "1e308",
        "1e309",
        "nan",
        "-nan",
        "inf",
        "-inf",
        "infinity",
        "1_0.5",
        "1,5",
        "\u0663.\u0665",
        "½",
    ),
    *("", " ", "None", "True", "one", "0x1p3", "1e", "0.5.5", "9" * 400),
)
TEXT = (
    *("", " ", "x", "text", "None", "''", '""', "'", '"', "\\", "a'b", 'a"b', "a\nb", "a\tb", "\r"),
    *("../..", "/", ".", "..", "~", "~nobody", "/dev/null", "/dev/zero", "/dev/full", "/proc/self"),
    *("missing", "folder", "par[2026]", "lr=[1e-4]", "a*b", "a?b", "%s", "{x}", "{0}", "$HOME"),
    *(
        "`id`",
        ";ls",
        "é",
        "e\u0301",
        "日本",
        "‮abc",
        "\u200b",
        "😀",
        "\ufeff",
        "x" * 300,
        "x" * 3_000,
    ),
    *(
        "train",
        "test",
        "train[:10%]",
        "train[::2]",
        "train[",
        "train[a:b]",
        "all",
        "1",
        "-1",
        "nan",
    ),
)
TUPLES = (
    *("()", "(1,)", "(0,)", "(-1,)", "(8, 5, 5, 5)", "(2.5, 3)", "(1, 2, 3)", "(64, 32)", "(1e9,)"),
    *("('text',)", "('text', 'text')", "(['text'],)", "('text', 1)", "('',)", "(None,)", "((),)"),
    *("('label', 'audio')", "('video',)", "[1, 2]", "[]", "{}", "{'a': 1}", "(True,)", "(nan,)"),
    *(
        "(1, (2, 3))",
        "1",
        "text",
        "(",
        "(1",
        "None",
        "('text', 'label', 'audio', 'image')",
        "(2**70,)",
    ),
    *("(8,) * 100", "('\\x00',)", "(1099511627776,)", "(3, 3)", "(2, 2)", "'text'", "'labels'"),
)
TRUTH = ("True", "False", "true", "0", "1", "2", "", "yes", "None", "nan", "maybe")


def for_default(draw: random.Random, default: Any) -> str:
    """A value, as a person types it, for a config key with this default."""
    if draw.random() < 0.1:
        return draw.choice(WHOLE + REAL + TEXT + TUPLES + TRUTH)
    if isinstance(default, bool):
        return draw.choice(TRUTH)
    if isinstance(default, int):
        near = (default - 1, default + 1, default * 2, default // 2, default)
        return draw.choice(WHOLE) if draw.random() < 0.7 else str(draw.choice(near))
    if isinstance(default, float):
        return draw.choice(REAL) if draw.random() < 0.8 else str(default * 2)
    if isinstance(default, str):
        return draw.choice(TEXT)
    return draw.choice(TUPLES)


def near(draw: random.Random, default: Any) -> Any:
    """A value that a check might well let pass, for a config key with this default."""
    if isinstance(default, bool):
        return draw.random() < 0.5
    if isinstance(default, int):
        large = (2**20, 2**31 - 1, 2**31, 2**40, 10**20)
        small = (0, 1, 2, 3, 4, 8, 16, 64, default * 2, default // 2, -1)
        return draw.choice(large) if draw.random() < 0.15 else draw.choice(small)
    if isinstance(default, float):
        odd = (float("nan"), float("inf"), 1e308, 1e38, 1e-300, -0.0)
        usual = (0.0, 0.1, 0.5, 1.0, 2.0, default * 2, default / 3)
        return draw.choice(odd) if draw.random() < 0.2 else draw.choice(usual)
    if isinstance(default, str):
        return draw.choice(("", "train", "test", "adamw", "loss", "x", "latents", "é"))
    odd = ((), (1,), (2.5, 3), (True,), (8, 5), (0,), (4, 4), (1, 2), (float("nan"),), (2**40,))
    return draw.choice(odd)


class Flag(NamedTuple):
    """A flag of a launcher: its name and the kind of absl's DEFINE."""

    name: str
    kind: str


@functools.cache
def flags_of(script: str) -> tuple[Flag, ...]:
    """The flags that a launcher defines, by itself or by `cli`, as the sources have them."""
    tree = ast.parse((ROOT / "launch" / script).read_text(encoding="utf-8"))
    files = [ROOT / "mmgen_jax" / "cli" / name for name in ("flags.py", "inputs.py")]
    shared = [node for file in files for node in ast.parse(file.read_text(encoding="utf-8")).body]
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    found = list(_defined(tree))
    for node in shared:
        if isinstance(node, ast.FunctionDef) and node.name in called:
            found += _defined(node)
    return tuple(dict.fromkeys(found))


def _defined(tree: ast.AST) -> list[Flag]:
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func).rpartition(".")[2]
        if function == "define_seed":
            found.append(Flag("seed", "integer"))
            continue
        kind = _BOUNDED.get(function, function.partition("DEFINE_")[2])
        if kind and isinstance(node.args[0], ast.Constant):
            found.append(Flag(node.args[0].value, kind))
    return found


_BOUNDED = {"define_number": "float", "define_names": "list"}  # of `mmgen_jax.cli.bounds`


def for_flag(draw: random.Random, flag: Flag) -> str:
    """A value for a flag, as a person types it."""
    if draw.random() < 0.1:
        return draw.choice(WHOLE + REAL + TEXT)
    if flag.kind == "integer":
        return draw.choice(WHOLE)
    if flag.kind == "float":
        return draw.choice(REAL)
    if flag.kind in ("bool", "boolean"):
        return draw.choice(TRUTH)
    if flag.kind == "list":
        return draw.choice(
            ("", ",", "a,,b", "text+label", "text,text", "+", "fid", *TEXT[:20], *WHOLE)
        )
    return draw.choice(TEXT)


def launchers() -> list[str]:
    """The launchers, by the names of their files."""
    return sorted(path.name for path in Path(ROOT / "launch").glob("*.py"))
