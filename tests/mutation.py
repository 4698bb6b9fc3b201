"""Mutation testing: `python -m tests.mutation [K/N] [FILE …]` changes one thing at a time and says which changes no test notices.
K/N makes the K-th of N shares of the changes.

A copy of the tree is changed, never the tree itself. The changed code is put into the functions of a fork of a process that has
loaded all tests; those run that run the changed line, quickest first. Source of the operators: Jia and Harman, https://doi.org/10.1109/TSE.2010.62
"""

from __future__ import annotations

import ast
import copy
import ctypes
import functools
import gc
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import IO

ROOT = Path(__file__).parents[1]
TESTS = {
    "stockrnn/runs/": ["vetting", "inference", "hostile", "survival", "storage", "unlike", "runs"],
    "stockrnn/runs/vetting.py": ["vetting", "hostile"],
    "stockrnn/runs/searches.py": ["runs", "tuning"],
    "stockrnn/features/": ["features", "windows", "splits", "anchors", "pipeline", "folds", "ahead", "own_columns", "embedding"],
    "stockrnn/features/agenda.py": ["agenda", "anchors"],
    "stockrnn/evaluation/folds.py": ["folds"],
    "stockrnn/training/checkpoint.py": ["checkpoint", "survival"],
}
"""The test files that may notice a change, by the longest name of a file or folder that fits."""
Covered = dict[str, dict[str, tuple[float, set[int]]]]
"""File → test → how long it takes, and the lines of that file that it runs."""
OPTIONS = ["-q", "-x", "-m", "not slow and not network"]
LONGEST_S = 1.5
"""A test that takes longer is not run for what runs when a file is loaded and has no name that a line reads, as every test runs that."""
ENOUGH = 0.9
"""The share of changes that tests must notice."""
DIE_WITH_PARENT = 1
"""prctl(2): the signal that a process gets when its parent dies."""
EXPLAINED = {
    ("folds.py", r"window: Literal", r"'expanding'  →"): "any other word than `rolling` expands",
    ("folds.py", r"spans = split_time\(", r" 0\.0  →"): "with the training share below 0 the same dates are counted from the end",
    ("checkpoint.py", r"_\w+: \w+ = field", r" False  →"): "the constructor takes one argument more, which no caller gives",
    ("checkpoint.py", r"_took: float = field", r" 0\.0  →"): "the first save is due in any case: the one before was at minus infinity",
    ("graphs.py", r"set\(domains\) <= DOMAINS", r"<= DOMAINS  →  set\(domains\) < DOMAINS"): "a record names one domain, never all three",
    ("graphs.py", r"^inputs, operation, domain", r" b''  →"): "neither is the name of an operation",
    ("graphs.py", r"depth \+ 1\)$", r" 1  →  2"): "all that is asked of a depth is whether it is 0",
    ("graphs.py", r"^raise AssertionError$", r"pass$"): "the line before always raises",
    ("inference.py", r"^LOOK_S = ", r""): "what takes too long is stopped a moment later",
    ("inference.py", r"^received = ", r" 200  →"): "how much of what came a message shows",
    ("parquet.py", r"^ROWS_A_GROUP = ", r""): "a table in groups of any size is read",
    ("parquet.py", r"strict=True", r" True  →"): "both are made of one schema",
    ("parquet.py", r"write_statistics=", r" False  →"): "statistics that nobody reads",
    ("parquet.py", r"BYTES_A_ROW <= len", r" < len\(data\)$"): "a file has a footer beside its rows",
    ("parquet.py", r"use_threads=", r" False  →"): "threads read the same",
    ("parquet.py", r"^raise$", r"pass$"): "the line before always raises",
    ("anchors.py", r"^prior = ", r" 0\.0  →"): "the intercept has no penalty: nothing is drawn to its prior",
    ("anchors.py", r"^w\[0\] = ", r""): "where Newton's method begins; the optimum is one",
    ("anchors.py", r"^break$", r"Break"): "a step from the optimum stays there",
    ("anchors.py", r"^for _ in range\(50\)", r"50  →  51"): "a step from the optimum stays there",
    ("anchors.py", r'^"\w+": -?0\.\d+,$', r"'\w+'  →"): "names of terms, which are read in order",
    ("ahead.py", r"np\.isnan\(self\.known\.at", r"all\("): "the values of a day are known together, or none is: reading refuses others",
    ("ahead.py", r"days <= self\.known", r"  →  days < "): "the last day that the file tells of has a row",
    ("ahead.py", r"learn\.groupby", r" False  →"): "a price table is sorted by its tickers",
    (
        "pipeline.py",
        r"beside = \{name: with_room",
        r" 0\.0  →",
    ): "no window ends in a row that is put before a ticker, and it has those of its end",
    ("indicators.py", r"sort=False", r" False  →"): "a transformation leaves each row where it is, whichever group comes first",
    ("targets.py", r'^"level"', r"→  (\w+ - 0\.0 \* base|0\.0 / base)$"): "no price is zero, so each of them adds nothing",
}
"""Changes that no test needs to notice: patterns of the file's name, of its line and of the change, with the reason."""
MESSAGES = {"hold": 2, "_damaged": 1, "storage_errors": 1}
"""Functions of which all arguments after so many only make the text of a message."""
OPERATORS: dict[type, list[type]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.Mult],
    ast.Pow: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.LShift: [ast.RShift],
    ast.RShift: [ast.LShift],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
    ast.Break: [ast.Continue],
    ast.Continue: [ast.Break],
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "maximum": "minimum", "minimum": "maximum"}


# --- mutants ----------------------------------------------------------------------------------------------------------------


def parts(node: ast.AST) -> Iterator[ast.AST]:
    """What is run of a tree: no annotation, no docstring, no text of a message, and not `frozen`, which only forbids."""
    yield node
    called = name_of(node.func) if isinstance(node, ast.Call) else ""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "type_params"} or isinstance(node, (ast.JoinedStr, ast.Import, ast.ImportFrom)):
            continue
        if name == "keywords" and called == "dataclass":
            continue
        for child in value[: MESSAGES.get(called) if name == "args" else None] if isinstance(value, list) else [value]:
            documents = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            typing = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            if isinstance(child, ast.AST) and not documents and not typing:
                yield from parts(child)


def changes(node: ast.AST) -> list[ast.AST]:
    """What a node may be changed to."""
    if isinstance(node, ast.Constant):
        return [ast.Constant(value) for value in other_constants(node.value)]
    if isinstance(node, ast.Compare):
        found = [(k, new) for k, operator in enumerate(node.ops) for new in OPERATORS[type(operator)]]
        return [ast.Compare(node.left, [*node.ops[:k], new(), *node.ops[k + 1 :]], node.comparators) for k, new in found]
    if isinstance(node, ast.BinOp):
        return [ast.BinOp(node.left, new(), node.right) for new in OPERATORS.get(type(node.op), [])]
    if isinstance(node, ast.AugAssign):
        return [ast.Pass(), *(ast.AugAssign(node.target, new(), node.value) for new in OPERATORS.get(type(node.op), []))]
    if isinstance(node, ast.BoolOp):
        return [ast.BoolOp(new(), node.values) for new in OPERATORS[type(node.op)]]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
        return [node.operand]
    if isinstance(node, (ast.Break, ast.Continue)):
        return [OPERATORS[type(node)][0]()]
    if isinstance(node, (ast.If, ast.While, ast.IfExp)) and isinstance(node.test, (ast.Name, ast.Call, ast.Attribute)):
        other = copy.copy(node)
        other.test = ast.UnaryOp(ast.Not(), node.test)
        return [other]
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        return [ast.Return(ast.Constant(None))]
    if isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return [ast.Pass()]
    if isinstance(node, ast.Call) and name_of(node.func) in NAMES:
        other = copy.deepcopy(node)
        setattr(other.func, "id" if isinstance(other.func, ast.Name) else "attr", NAMES[name_of(node.func)])
        return [other]
    return []


def name_of(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""


def other_constants(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1] if value != 1 else [2, 0]
    if isinstance(value, float):
        return [value * 2 if value else 1.0]
    if isinstance(value, str) and value and " " not in value:  # a sentence is for people
        return [f"{value}x"]
    return [value + b"x"] if isinstance(value, bytes) else []


@dataclass(frozen=True)
class Mutant:
    """A changed source: its tree, the line that is changed with its text, and what it was and is."""

    line: int
    text: str
    what: str
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """Each change of a source."""
    first = ast.parse(source)
    for number, node in enumerate(parts(first)):
        for choice, new in enumerate(changes(node)) if hasattr(node, "lineno") else ():
            tree = ast.parse(source)
            old = next(itertools.islice(parts(tree), number, None))
            replace_node(tree, old, ast.copy_location(changes(old)[choice], old))
            before, after = (ast.unparse(ast.fix_missing_locations(each)).splitlines()[0][:70] for each in (node, new))
            text = source.splitlines()[node.lineno - 1].strip()
            yield Mutant(node.lineno, text, f"{type(node).__name__}: {before}  →  {after}", ast.fix_missing_locations(tree))


def replace_node(tree: ast.Module, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
                return
            for k, each in enumerate(value if isinstance(value, list) else []):
                if each is old:
                    value[k] = new
                    return
    raise AssertionError(ast.dump(old))


# --- trials -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """A mutant of a file, and the tests that may notice it, quickest first, with the seconds that each took."""

    name: str
    number: int
    mutant: Mutant
    tests: dict[str, float]

    @property
    def most_s(self) -> float:
        """How long all may wait; what one may compute is bounded by its own time."""
        return 20 + 10 * sum(self.tests.values())

    def __str__(self) -> str:
        return f"{self.name}:{self.mutant.line}  {self.mutant.text}  {self.mutant.what}"

    @property
    def reason(self) -> str:
        """Why no test needs to notice it."""
        parts = Path(self.name).name, self.mutant.text, self.mutant.what
        known = (why for key, why in EXPLAINED.items() if all(map(re.search, key, parts)))
        return next(known, "NOT EXPLAINED")


def trials_of(tree: Path, names: list[str], share: tuple[int, int], covered: Covered) -> list[Trial]:
    """Every trial of some files."""
    found = []
    for name in names:
        seen, source = covered[name], (tree / name).read_text()
        touching = sorted((took, test) for test, (took, lines) in seen.items() if lines and took < LONGEST_S)
        for number, mutant in enumerate(mutants(source)):
            if number % share[1] != share[0]:
                continue
            concerned = {mutant.line} | readers(ast.parse(source), mutant.line)
            chosen = sorted((took, test) for test, (took, lines) in seen.items() if concerned & lines) or touching
            found.append(Trial(name, number, mutant, {test: took for took, test in chosen}))
    return found


def readers(tree: ast.Module, line: int) -> set[int]:
    """The lines that read what a file's statement on a line gives a name to, or what is made of that."""
    names: set[str] = set()
    for statement in tree.body:
        made = [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
        here = statement.lineno <= line <= (statement.end_lineno or 0)
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and (here or names & loaded_names(statement)):
            names |= set(made)
    return {node.lineno for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names}


class Session:
    """A pytest plugin that runs, instead of the tests once, those of every trial in a fork of its own."""

    def __init__(self, tree: Path, names: list[str], share: tuple[int, int], log: IO[str]) -> None:
        self.tree, self.names, self.share, self.log = tree, names, share, log
        self.alive: list[str] = []
        self.count = 0
        self.failed = False

    def pytest_runtest_logreport(self, report):
        self.failed |= report.failed

    def pytest_runtestloop(self, session):
        self.items = {item.nodeid: item for item in session.items}
        for name in self.names:
            loaded_functions(str((self.tree / name).resolve()))
        gc.collect()
        gc.freeze()  # the forks then share the memory
        trials = trials_of(self.tree, self.names, self.share, self._covered())
        for trial in {trial.name: trial for trial in trials}.values():  # else every change would count as noticed
            assert in_fork(lambda trial=trial: self._fails(trial), trial.most_s) == 0, f"the tests of {trial.name} must pass in a fork"
        for trial in trials:
            started = time.monotonic()
            file = self.tree / trial.name
            swap = swapping(file, trial.mutant.tree)
            rebind = None if swap else rebinding(file, trial.mutant)
            if change := swap or rebind:
                code = in_fork(lambda trial=trial, change=change: self._changed(trial, change), trial.most_s)
            else:
                code = self._anew(trial)
            took, said = time.monotonic() - started, "ALIVE" if code == 0 else f"{code}"
            print(f"{trial} {said} {took:.1f}s{'' if swap or rebind else ' anew'}", file=self.log, flush=True)
            self.alive += [f"{trial}  # {trial.reason}"] if code == 0 else []
        self.count = len(trials)
        (self.tree / "alive.json").write_text(json.dumps([self.count, self.alive]))
        return True

    def _covered(self) -> Covered:
        """File → test → how long it takes, and the lines of that file that it runs."""
        out = self.tree / "coverage.json"
        files = {str((self.tree / name).resolve()): name for name in self.names}
        assert in_fork(lambda: self._traced(files, out), 1800) == 0, f"the tests must pass unchanged: {self.tree}/tests.log"
        found = json.loads(out.read_text())
        return {name: {test: (took, set(lines.get(name, []))) for test, (took, lines) in found.items()} for name in self.names}

    def _traced(self, files: dict[str, str], out: Path) -> int:
        found = {}
        for nodeid, item in self.items.items():
            lines: dict[str, set[int]] = {}

            def note(frame, event, argument, lines=lines):
                name = files.get(frame.f_code.co_filename)
                if name is None:
                    return None
                lines.setdefault(name, set()).add(frame.f_lineno)
                return note

            started = time.monotonic()
            sys.settrace(note)
            self._run(item)
            sys.settrace(None)
            found[nodeid] = time.monotonic() - started, {name: sorted(each) for name, each in lines.items()}
            if self.failed:
                print(nodeid, "fails", flush=True)
                return 1
        out.write_text(json.dumps(found))
        return 0

    def _changed(self, trial: Trial, change) -> int:
        change()
        return self._fails(trial)

    def _anew(self, trial: Trial) -> int | None:
        """The trial of what runs when a file is loaded: in a process that has not loaded it."""
        file = self.tree / trial.name
        source = file.read_text()
        file.write_text(ast.unparse(trial.mutant.tree))
        os.utime(file, (trial.number, trial.number))  # so that no compiled file is taken for it
        command = [sys.executable, "-B", "-m", "pytest", *OPTIONS, *trial.tests]
        try:
            return subprocess.run(command, cwd=self.tree, capture_output=True, timeout=60 + trial.most_s, check=False).returncode
        except subprocess.TimeoutExpired:
            return None
        finally:
            file.write_text(source)

    def _fails(self, trial: Trial) -> int:
        for test, took in trial.tests.items():
            signal.setitimer(signal.ITIMER_PROF, 2 + 5 * took)  # a loop without an end
            self._run(self.items[test])
            if self.failed:
                return 1
        return 0

    @staticmethod
    def _run(item) -> None:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)


def swapping(file: Path, tree: ast.Module):
    """What puts the code of a changed tree into the functions that are loaded; None where the change lies outside of them."""
    before, after = (compile(each, str(file), "exec", dont_inherit=True) for each in (ast.parse(file.read_text()), tree))
    if shells(before) != shells(after):
        return None
    old, new = functions(before), functions(after)
    changed = [key for key in old if old[key] != new.get(key)]
    pairs = [
        (function, new[key]) for function in loaded_functions(str(file.resolve())) for key in changed if key == key_of(function.__code__)
    ]
    if not changed or len(pairs) < len(changed) or any(function.__code__.co_freevars != code.co_freevars for function, code in pairs):
        return None

    def swap() -> None:
        for function, code in pairs:
            function.__code__ = code

    return swap


@functools.cache
def loaded_functions(file: str) -> list[FunctionType]:
    return [each for each in gc.get_objects() if isinstance(each, FunctionType) and each.__code__.co_filename == file]


def rebinding(file: Path, mutant: Mutant):
    """What gives changed constants of a file to all modules that have them; None where more follows when the package is loaded."""
    statement = next((each for each in mutant.tree.body if each.lineno <= mutant.line <= (each.end_lineno or 0)), None)
    module = next((each for each in sys.modules.values() if getattr(each, "__file__", None) == str(file.resolve())), None)
    if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or module is None:
        return None
    made = {"__name__": module.__name__, "__file__": str(file)}
    try:
        exec(compile(mutant.tree, str(file), "exec", dont_inherit=True), made)
    except Exception:
        return None
    old = vars(module)
    changed = {name for name, value in made.items() if is_plain(value) and name in old and is_plain(old[name]) and value != old[name]}
    own = set().union(*(loaded_names(each) for each in mutant.tree.body if isinstance(each, (ast.FunctionDef, ast.ClassDef))))
    if not changed or changed & (own | loaded_elsewhere(file)):
        return None

    def rebind() -> None:
        for name in changed:
            before = old[name]
            for place, each in list(sys.modules.items()):
                if place.startswith(("stockrnn", "test")) and vars(each).get(name) is before:
                    setattr(each, name, made[name])

    return rebind


@functools.cache
def loaded_elsewhere(file: Path) -> set[str]:
    """The names that the package's other files need when they are loaded."""
    package = next(parent for parent in file.parents if parent.name == "stockrnn")
    trees = (ast.parse(path.read_text()) for path in package.rglob("*.py") if path != file)
    kinds = (ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.ClassDef)
    return set().union(*(loaded_names(each) for tree in trees for each in tree.body if isinstance(each, kinds)))


def is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return is_plain([*value, *value.values()])
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str, bytes, re.Pattern))


def loaded_names(node: ast.AST) -> set[str]:
    """The names that a function or class needs when it is defined, those in its functions' bodies left out."""
    if isinstance(node, ast.FunctionDef):
        parts_of = [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
    else:
        parts_of = list(ast.iter_child_nodes(node))
    inside = [loaded_names(part) for part in parts_of]
    return {node.id for node in [node] if isinstance(node, ast.Name)}.union(*inside)


def shells(code: CodeType) -> list[object]:
    """What a file and its classes run when they are loaded."""
    inside = [part for part in code.co_consts if isinstance(part, CodeType) and is_class(part)]
    plain = [part for part in code.co_consts if not isinstance(part, CodeType)]
    return [code.co_qualname, code.co_code, repr(plain), *(shells(part) for part in inside)]


def functions(code: CodeType) -> dict[tuple[str, int], CodeType]:
    """The functions of a file and of its classes, those in another function left out."""
    parts_of = [part for part in code.co_consts if isinstance(part, CodeType)]
    inside = [functions(part) for part in parts_of if is_class(part)]
    return {key_of(part): part for part in parts_of if not is_class(part)} | {key: each for some in inside for key, each in some.items()}


def key_of(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno if "<" in code.co_name else 0


def is_class(code: CodeType) -> bool:
    return "__qualname__" in code.co_names


def in_fork(work, seconds: float) -> int | None:
    """The exit code of a function in a fork; None where it took longer."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        code = 70
        try:
            code = int(work())
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def trial_of(tree: Path, prefix: str, names: list[str], share: tuple[int, int], log: IO[str]) -> int:
    import pytest

    gc.disable()
    sys.path[:] = [str(tree), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]
    for module in [each for each in sys.modules if each.partition(".")[0] in {"tests", "stockrnn"}]:
        del sys.modules[module]
    quiet = os.open("tests.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    tests = [test for test in (f"tests/test_{each}.py" for each in TESTS[prefix]) if (tree / test).is_file()]
    return pytest.main(["-s", *OPTIONS, *tests], plugins=[Session(tree, names, share, log)])


def targets(prefix: str) -> list[str]:
    paths = [ROOT / prefix] if prefix.endswith(".py") else sorted((ROOT / prefix).glob("*.py"))
    names = [str(path.relative_to(ROOT)) for path in paths if path.name != "__init__.py"]
    return [name for name in names if max(filter(name.startswith, TESTS), key=len) == prefix]


def main(words: list[str]) -> float:
    shares = [word for word in words if word.replace("/", "").isdigit()]
    names = [word for word in words if word not in shares]
    first, of = map(int, (shares or ["1/1"])[0].split("/"))
    tree = Path(tempfile.mkdtemp(prefix="mutation"))
    for part in ("stockrnn", "tests", "configs", "data", "pyproject.toml", "README.md"):
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, tree / part)
    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree)
    total = left = 0
    with (tree / "mutation.log").open("w") as log:
        print(f"log: {log.name}", flush=True)
        for prefix in TESTS:
            chosen = [name for name in targets(prefix) if not names or name in names]
            if chosen:
                code = in_fork(lambda prefix=prefix, chosen=chosen: trial_of(tree, prefix, chosen, (first - 1, of), log), 86_400)
                assert code in (0, 5), f"{tree}/tests.log"
                count, alive = json.loads((tree / "alive.json").read_text())
                total, left = total + count, left + len(alive)
                print("\n".join([*alive, f"{prefix}: {count - len(alive)} of {count} killed"]), flush=True)
    print(f"{total - left} of {total} killed, {1 - left / total:.1%}")
    return 1 - left / total


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) < ENOUGH)
