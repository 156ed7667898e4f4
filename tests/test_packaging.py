"""Tests of the repository: its dependencies, layers and locks, and what no file may hold."""

import ast
import graphlib
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mmgen_jax

ROOT = Path(__file__).parents[1]
LOCKS = [ROOT / "requirements" / name for name in ("py311.txt", "py312.txt")]
# Opened by no path of a text file: `open` of a module or of a data source.
NO_TEXT = {"Image.open", "os.open", "wave.open", "tarfile.open", "gzip.open", "webbrowser.open"}
OURS = {"mmgen_jax", "launch", "configs", "tests", "tools"}

# The rooms of the package, from what stands on nothing to what users type: a file imports files of
# its own room and of rooms above it in this list. Every file is in one of them.
ROOMS: list[tuple[str, ...]] = [
    ("", "storage"),
    ("errors",),
    ("registry", "schema"),
    ("media", "media.*"),
    ("data", "data.*"),
    ("nn", "nn.*"),
    ("pretrained", "pretrained.*"),
    ("modalities", "modalities.*"),
    ("conditioning", "conditioning.*"),
    ("generators", "generators.*"),
    ("config", "config.*"),
    ("model",),
    ("objective",),
    ("training", "training.*", "sampling", "sampling.*"),
    ("evaluation", "evaluation.*", "performance", "performance.*"),
    ("cli", "cli.*"),
]


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def text_files() -> Iterator[Path]:
    """Yields what a person wrote: no environments, runs, data, caches or pictures."""
    for entry in ROOT.iterdir():
        if entry.name in OURS | {".ci", "requirements"}:
            yield from (path for path in entry.rglob("*") if path.is_file())
        elif entry.is_file():
            yield entry


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> set[str]:
    """Returns the full names of the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            found |= {submodule(node.module, alias.name) for alias in node.names}
    return found


def submodule(package: str, name: str) -> str:
    """Returns what `from package import name` loads: a module of ours, or the package."""
    base = ROOT.joinpath(*package.split("."), name)
    return f"{package}.{name}" if base.is_dir() or base.with_suffix(".py").exists() else package


def module_name(path: Path) -> str:
    """Returns the dotted name inside the package: "nn.attention", and "nn" for its __init__."""
    parts = path.relative_to(ROOT / "mmgen_jax").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def room_of(module: str) -> int:
    """Returns the index of a module's room; a full name goes before a pattern."""
    return next(
        index
        for matches in (str.__eq__, fnmatch)
        for index, room in enumerate(ROOMS)
        if any(matches(module, pattern) for pattern in room)
    )


def declared() -> dict[str, list[Requirement]]:
    """Returns the requirements in setup.py: the core's and each extra's."""
    assigned = {
        node.targets[0].id: node.value for node in tree(ROOT / "setup.py").body if is_assign(node)
    }
    groups = {"core": ast.literal_eval(assigned["CORE"]), **ast.literal_eval(assigned["EXTRAS"])}
    return {group: [Requirement(line) for line in lines] for group, lines in groups.items()}


def is_assign(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)


def names(*groups: str) -> set[str]:
    return {canonicalize_name(each.name) for group in groups for each in declared()[group]}


def pins(lock: Path) -> dict[str, str]:
    lines = [
        line for line in lock.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    pairs = [re.fullmatch(r"([\w-]+)==([\w.]+)(?: ; .+)?", line) for line in lines]
    assert all(pairs), [line for line, pair in zip(lines, pairs, strict=True) if not pair]
    return {canonicalize_name(pair[1]): pair[2] for pair in pairs}


def test_installed_version_is_the_one_in_the_source():
    assert importlib.metadata.version("mmgen_jax") == mmgen_jax.__version__


def test_version_stands_in_one_place():
    sources = python_files("mmgen_jax", "launch", "tools")
    for path in (ROOT / "setup.py", ROOT / "pyproject.toml", *sources):
        if path != ROOT / "mmgen_jax" / "__init__.py":
            assert f'"{mmgen_jax.__version__}"' not in path.read_text(encoding="utf-8"), path


def test_changelog_knows_the_version():
    assert f"## [{mmgen_jax.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("folders", "groups"),
    [
        (("mmgen_jax", "configs"), ("core", "data", "words")),
        (("launch",), ("core", "data", "words", "demo", "reference")),
        (("tools",), ("core", "data", "words", "reference")),
        (("tests",), ("core", "data", "words", "demo", "test", "reference")),
    ],
)
def test_every_import_is_declared(folders, groups):
    distributions = importlib.metadata.packages_distributions()
    allowed = names(*groups)
    for path in python_files(*folders):
        for module in {name.partition(".")[0] for name in imports(path)}:
            if module in sys.stdlib_module_names | OURS:
                continue
            candidates = {canonicalize_name(name) for name in distributions.get(module, [module])}
            assert candidates & allowed, f"{path}: {module} is in none of setup.py's {groups}"


def test_only_builders_need_the_data_extra():
    distributions = importlib.metadata.packages_distributions()
    extra = names("data") - names("core")
    for path in python_files("mmgen_jax"):
        if "builders" in path.parts:
            continue
        for module in imports(path):
            owners = distributions.get(module.partition(".")[0], [])
            assert not {canonicalize_name(name) for name in owners} & extra, f"{path}: {module}"


def dependencies() -> dict[str, set[str]]:
    """Returns each module of the package, and the modules of the package that it imports."""
    return {
        module_name(path): {
            name.partition(".")[2]
            for name in imports(path)
            if name.partition(".")[0] == "mmgen_jax"
        }
        for path in python_files("mmgen_jax")
    }


def test_imports_run_one_way():
    up = {
        f"{module} imports {other}"
        for module, others in dependencies().items()
        for other in others
        if room_of(other) > room_of(module)
    }
    assert up == set()


def test_no_two_files_import_each_other():
    graphlib.TopologicalSorter(dependencies()).prepare()


def test_the_package_imports_nothing_around_it():
    for path in python_files("mmgen_jax"):
        assert not {name.partition(".")[0] for name in imports(path)} & (OURS - {"mmgen_jax"}), path


def test_few_files_lie_outside_the_rooms():
    assert len(list((ROOT / "mmgen_jax").glob("*.py"))) <= 7


@pytest.mark.parametrize(
    ("upper", "lower"),
    [
        ("cli.flags", "evaluation.report"),
        ("training.step", "objective"),
        ("objective", "model"),
        ("model", "generators.flow.family"),
        ("generators.flow.networks", "conditioning.fusion"),
        ("modalities.text.modality", "pretrained.t5"),
        ("pretrained.dit", "nn.attention"),
        ("config", "schema"),
        ("modalities", "data.pipeline"),
    ],
)
def test_rooms_are_in_the_order_in_which_one_reads_them(upper, lower):
    assert room_of(upper) > room_of(lower)


@pytest.mark.parametrize(
    "module",
    ["config", "config.recipes", "modalities", "generators", "data", "cli"],
)
def test_config_is_checked_before_jax_is_imported(module):
    if importlib.util.find_spec(f"mmgen_jax.{module}") is None:
        pytest.skip(f"there is no mmgen_jax.{module}")
    check = f"import sys, mmgen_jax.{module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "error", "-c", check], cwd=ROOT).returncode == 0


def test_no_file_names_a_place_on_one_machine():
    place = re.compile(r"(?<![\w.:/}-])/(home|root|work|mnt|opt|tmp|Users|scratch)/\w")
    for path in text_files():
        if path.suffix in {".pyc", ".png", ".wav", ".npz"}:
            continue
        found = place.search(path.read_text(encoding="utf-8"))
        assert not found, f"{path}: {found and found[0]}"


def test_images_are_opened_by_a_list_of_formats():
    """Pillow runs Ghostscript on what looks like PostScript, whatever its name."""
    for path in python_files("mmgen_jax", "launch", "configs"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open":
                named = {keyword.arg for keyword in node.keywords}
                assert "formats" in named, f"{path}:{node.lineno}: Image.open without formats"


def test_nothing_is_unpickled():
    readers = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for path in python_files("mmgen_jax", "launch", "configs", "tools"):
        assert not {name.partition(".")[0] for name in imports(path)} & readers, path
        for node in ast.walk(tree(path)):
            assert not (isinstance(node, ast.keyword) and node.arg == "allow_pickle"), path


def test_no_file_is_longer_than_400_lines():
    for path in python_files("mmgen_jax", "launch", "configs", "tools"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_lock_pins_what_setup_asks_for(lock):
    pinned = pins(lock)
    declarations = declared()
    for group in ("core", "data", "words", "demo", "test"):
        for requirement in declarations[group]:
            name = canonicalize_name(requirement.name)
            assert name in pinned, f"{name} is not locked; run `make lock`"
            assert requirement.specifier.contains(pinned[name]), f"{requirement}: {pinned[name]}"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_lock_names_no_index_and_no_torch(lock):
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert "--" not in text
    assert "torch" not in pins(lock)


def test_text_files_name_their_encoding():
    """This sees every call; ruff's own rule only those on what is plainly a path."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in [*python_files(*OURS), ROOT / "setup.py"]
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and opens_text(node) and not names_encoding(node)
    ]
    assert found == []


def opens_text(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in {"read_text", "write_text", "makefile"}:
        # `storage`'s own functions, which have an encoding.
        return not (isinstance(call.func, ast.Name) or ast.unparse(call.func.value) == "storage")
    if name != "open" or ast.unparse(call.func) in NO_TEXT:
        return False
    builtin = isinstance(call.func, ast.Name)
    mode = [*call.args[builtin:], *(k.value for k in call.keywords if k.arg == "mode")]
    if not mode:
        return True
    return isinstance(mode[0], ast.Constant) and re.fullmatch("[rwaxt+]+", str(mode[0].value))


def names_encoding(call: ast.Call) -> bool:
    if ast.unparse(call.func).endswith("read_text") and call.args:
        return True  # path.read_text("utf-8")
    if ast.unparse(call.func).endswith("write_text") and len(call.args) > 1:
        return True
    return any(keyword.arg == "encoding" for keyword in call.keywords)
