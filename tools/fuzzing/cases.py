"""What a case is, and how its end is judged."""

import contextlib
import io
import logging
import os
import random
import runpy
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mmgen_jax.errors import Failure, InputError

ROOT = Path(__file__).parents[2]
LONGEST_LINE = 8_000  # of a message, which may quote a value of thousands of letters
# Flags that name what a launcher writes.
OUTPUTS = ("out", "workdir", "references", "profile")
# What launchers write where no flag says.
USUAL_OUTPUTS = (".cache", "runs", "data", "samples")
# What is kept of a folder's check beside its data (data/folder_check.py), as README says.
INDEX = ".mmgen_index.json"


class Case(NamedTuple):
    """One thing to try.

    Attributes:
      title: what a person would type, or an account of it.
      run: returns if it worked, and raises otherwise; runs in the case's own folder.
      outputs: paths, absolute or from that folder, under which (or beside which, with another
        suffix) the case may write.
      keeps: whether files that were there before must stay as they are.
    """

    title: str
    run: Callable[[], object]
    outputs: tuple[str, ...] = ()
    keeps: bool = True


class Kind(NamedTuple):
    """A kind of case.

    Attributes:
      name: in `--case=NAME:NUMBER`.
      modules: what a worker imports before it forks.
      prepare: called once with the folder that all cases may read.
      make: a case from its source of randomness, that folder and the case's number; called in the
        case's own folder.
      seconds: that a case may take.
      cut: whether a case ends, as worked, where jax is imported or a process is started.
      memory: bytes that a case's process may hold.
    """

    name: str
    modules: tuple[str, ...]
    prepare: Callable[[Path], None]
    make: Callable[[random.Random, Path, int], Case]
    seconds: float
    cut: bool = False
    memory: int = 4 * 2**30


class Outcome(NamedTuple):
    """How a case ended.

    Attributes:
      verdict: worked, refused or fault.
      group: of a fault: what others of its kind have in common.
      detail: the message, or the traceback.
    """

    verdict: str
    group: str = ""
    detail: str = ""


class Reached(BaseException):
    """A launcher has validated its flags: what comes next is not this case's to try."""


class Refused(Exception):
    """A launcher has refused with one clear line."""


class Fault(Exception):
    """What a case itself found to be wrong; its first argument is the group."""


def judged(run: Callable[[], object]) -> Outcome:
    """Runs a case, and says how it ended."""
    try:
        run()
    except Reached:
        return Outcome("worked")
    except Refused as error:
        return Outcome("refused", detail=str(error))
    except Fault as error:
        return Outcome("fault", error.args[0], str(error.args[-1]))
    except (InputError, Failure) as error:
        if complaint := unclear(str(error)):
            return Outcome("fault", f"{complaint}: {where(error)}", str(error))
        return Outcome("refused", detail=str(error))
    except BaseException as error:  # KeyboardInterrupt and SystemExit are faults here, too
        text = "".join(traceback.format_exception(error))
        return Outcome("fault", f"{type(error).__name__}: {where(error)}", text[-6_000:])
    return Outcome("worked")


def unclear(message: str) -> str:
    """What is wrong with a message that ought to be one line; empty if nothing is."""
    if len(message.splitlines()) != 1:
        return "not one line"
    return "line too long" if len(message) > LONGEST_LINE else ""


def where(error: BaseException) -> str:
    """The last place of this project that an exception passed, and the last one of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/mmgen_jax/" in f.filename or "/launch/" in f.filename]
    ours = [f for f in ours if f.filename.startswith(str(ROOT)) and "/.venv" not in f.filename]
    name = lambda f: f"{f.filename.removeprefix(str(ROOT) + '/')}:{f.name}"  # noqa: E731
    if not ours:
        return name(frames[-1]) if frames else "nowhere"
    last = frames[-1]
    library = "/".join(Path(last.filename).parts[-2:])
    return name(ours[-1]) + ("" if last == ours[-1] else f" (in {library}:{last.name})")


def launched(script: str, arguments: list[str]) -> None:
    """Runs a launcher in this process, as a person would.

    Raises:
      Refused: if it said in one line what is wrong.
      Fault: if it ended otherwise than with 0 or so.
    """
    from absl import app, flags

    import mmgen_jax.cli  # noqa: F401, it and absl define flags that stay

    app.define_help_flags()
    before, argv, handlers = set(flags.FLAGS), sys.argv, list(logging.root.handlers)
    path = str(ROOT / "launch" / script)
    sys.argv = [path, *arguments]
    code, out, err = 0, io.StringIO(), io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            # ml_collections loads a recipe in a way that Python deprecates.
            warnings.filterwarnings("ignore", ".*load_module", DeprecationWarning)
            runpy.run_path(path, run_name="__main__")
    except SystemExit as exit_:
        code = exit_.code or 0
    finally:
        sys.argv, logging.root.handlers = argv, handlers
        for name in set(flags.FLAGS) - before:
            with contextlib.suppress(AttributeError):
                delattr(flags.FLAGS, name)
    judge_exit(code, err.getvalue())


def judge_exit(code: object, err: str) -> None:
    """Raises what a command's exit code and its stderr come to; nothing if it worked."""
    if code == 0:
        return
    lines = [line for line in err.splitlines() if line]
    errors = [line for line in lines if line.startswith(("error: ", "... and "))]
    if code not in (1, 2):
        raise Fault(f"exit code {code}", err[-4_000:])
    if not errors:
        raise Fault(f"exit code {code} without a line that says why", err[-4_000:])
    if len(errors) != len(lines):
        raise Fault("other lines beside the one that says what is wrong", err[-4_000:])
    if complaint := unclear(errors[-1]):
        raise Fault(complaint, err[-4_000:])
    raise Refused(err)


def launcher_case(script: str, arguments: list[str], place: Path) -> Case:
    """A launcher with these arguments, run in `place`."""
    named = [a.partition("=") for a in arguments if "=" in a]
    outputs = [value for flag, _, value in named if flag.lstrip("-") in OUTPUTS]
    if script == "train_judge.py":  # beside the data
        outputs += [str(place)]
    title = f"launch/{script} " + " ".join(map(repr, arguments))
    made = (*outputs, *USUAL_OUTPUTS)
    return Case(title, lambda: launched(script, arguments), made, script != "train.py")


@contextlib.contextmanager
def own_folder(place: Path) -> Iterator[None]:
    """Within, the process lives in `place`: its working directory, its home and its temporary."""
    for name in ("work", "home", "tmp"):
        (place / name).mkdir(parents=True, exist_ok=True)
    os.environ |= {"HOME": str(place / "home"), "TMPDIR": str(place / "tmp")}
    os.chdir(place / "work")
    try:
        yield
    finally:
        os.chdir(ROOT)


def listing(place: Path) -> dict[str, tuple[int, int]]:
    """Every file of a folder but of its tmp/, with size and time of change; follows no link."""
    found = {}
    for folder, _, files in os.walk(place):
        if Path(folder).is_relative_to(place / "tmp"):
            continue
        for name in files:
            path = os.path.join(folder, name)  # noqa: PTH118, names may be no UTF-8
            with contextlib.suppress(OSError):
                stat = os.lstat(path)
                found[path] = (stat.st_size, stat.st_mtime_ns)
    return found


def strays(before: dict, after: dict, case: Case, place: Path) -> list[str]:
    """Files that a case made where it may not, or that it changed or removed."""
    work = place / "work"
    roots = [os.path.normpath(work / output) for output in case.outputs if output]
    prefixes = tuple(str(Path(root).with_suffix("")) if Path(root).name else root for root in roots)
    new = [path for path in after.keys() - before.keys() if Path(path).name != INDEX]
    made = [path for path in new if not path.startswith(prefixes)]
    if case.keeps:
        made += [path for path in before if after.get(path) != before[path]]
    else:
        made += [p for p in before if after.get(p) != before[p] and not p.startswith(prefixes)]
    return sorted(path.removeprefix(str(place)) for path in made)
