"""Mutation testing: `python -m tests.mutation [K/N] [FILE …]` changes one thing at a time and says which changes no test notices.
K/N makes the K-th of N shares of the changes.

A copy of the tree is changed, never the tree itself. Tests run in forks of a process that has loaded the libraries, and only
those that run the changed line, quickest first. Source of the operators: https://doi.org/10.1109/TSE.2010.62 (Jia and Harman).
"""

from __future__ import annotations

import ast
import copy
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = {
    "stockrnn/runs/": ["hostile", "survival", "storage", "unlike", "runs"],
    "stockrnn/features/": ["features", "windows", "splits", "anchors", "pipeline", "folds"],
    "stockrnn/evaluation/folds.py": ["folds"],
    "stockrnn/training/checkpoint.py": ["checkpoint", "survival"],
}
"""The test files that may notice a change."""
LONGEST_S = 1.5
"""A test that takes longer is left to lines that no other one runs."""
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
    """What is run of a tree: no annotation, no docstring, no text of a message."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "type_params"} or isinstance(node, (ast.JoinedStr, ast.Import, ast.ImportFrom)):
            continue
        for child in value if isinstance(value, list) else [value]:
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
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name in NAMES:
            other = copy.deepcopy(node)
            setattr(other.func, "id" if isinstance(other.func, ast.Name) else "attr", NAMES[name])
            return [other]
    return []


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


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Each change of a source: its line, what it is, and the whole changed source."""
    tree = ast.parse(source)
    for node in list(parts(tree)):
        if not hasattr(node, "lineno"):
            continue
        for new in changes(node):
            changed = mutated(tree, node, new)
            before, after = (ast.unparse(ast.fix_missing_locations(each)).splitlines()[0] for each in (node, new))
            yield node.lineno, f"{type(node).__name__}: {before[:70]}  →  {after[:70]}", changed


def mutated(tree: ast.Module, old: ast.AST, new: ast.AST) -> str:
    """The source with one node changed; the tree stays as it is."""
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
                text = ast.unparse(ast.fix_missing_locations(tree))
                setattr(parent, name, old)
                return text
            if isinstance(value, list) and any(each is old for each in value):
                at = next(k for k, each in enumerate(value) if each is old)
                value[at] = new
                text = ast.unparse(ast.fix_missing_locations(tree))
                value[at] = old
                return text
    raise AssertionError(ast.dump(old))


# --- tests in forks ---------------------------------------------------------------------------------------------------------


def load_libraries() -> None:
    import hypothesis
    import matplotlib.figure
    import onnx
    import onnxruntime
    import pyarrow.parquet
    import rich.console
    import safetensors.numpy
    import scipy.stats
    import sklearn.preprocessing
    import typer  # noqa: F401

    del hypothesis, matplotlib, onnx, onnxruntime, pyarrow, rich, safetensors, scipy, sklearn


def in_fork(work, seconds: float) -> int | None:
    """The exit code of a function in a fork; None where it took longer."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        code = 70
        try:
            code = int(work())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def run_tests(arguments: list[str], plugins=()) -> int:
    import pytest

    quiet = os.open("tests.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.dont_write_bytecode = not plugins
    options = ["-q", "-x", "-m", "not slow and not network", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return pytest.main([*options, *arguments], plugins=list(plugins))


Covered = dict[str, tuple[float, set[int]]]


class Recorder:
    """A pytest plugin that notes which lines of some files each test runs, and how long it takes."""

    def __init__(self, paths: list[Path], out: Path) -> None:
        self.paths, self.out, self.found = set(map(str, paths)), out, {}

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            self.found.setdefault(report.nodeid, [0.0, []])[0] = report.duration

    def pytest_runtest_protocol(self, item, nextitem):
        self.lines = set()
        sys.settrace(self._call)

    def pytest_runtest_teardown(self, item):
        sys.settrace(None)
        self.found.setdefault(item.nodeid, [0.0, []])[1] = sorted(self.lines)

    def pytest_sessionfinish(self):
        self.out.write_text(json.dumps(self.found))

    def _call(self, frame, event, argument):
        return self._line if frame.f_code.co_filename in self.paths else None

    def _line(self, frame, event, argument):
        self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line


def coverage(tree: Path, prefix: str, names: list[str]) -> dict[str, Covered]:
    """File → test → how long it takes, and the lines of that file that it runs."""
    out, files = tree / "coverage.json", {name: str((tree / name).resolve()) for name in names}
    tests = [test for test in (f"tests/test_{each}.py" for each in TESTS[prefix]) if (tree / test).is_file()]
    code = in_fork(lambda: run_tests(tests, [Recorder(list(map(Path, files.values())), out)]), 1800)
    assert code == 0, f"the tests of {prefix} must pass unchanged: {code}, {tree}/tests.log"
    found = json.loads(out.read_text())
    return {
        name: {test: (took, {line for of, line in lines if of == path}) for test, (took, lines) in found.items()}
        for name, path in files.items()
    }


def survivors(tree: Path, name: str, covered: Covered, share: tuple[int, int], log) -> tuple[int, list[str]]:
    """How many mutants a file has, and those that no test notices."""
    file = tree / name
    source = file.read_text()
    quick = {test: (took, lines) for test, (took, lines) in covered.items() if took < LONGEST_S}
    touching = sorted((took, test) for test, (took, lines) in quick.items() if lines)
    count, alive = 0, []
    for line, what, changed in itertools.islice(mutants(source), share[0], None, share[1]):
        count += 1
        chosen = [sorted((took, test) for test, (took, lines) in each.items() if line in lines) for each in (quick, covered)]
        chosen = chosen[0] or chosen[1] or touching
        file.write_text(changed)
        os.utime(file, (count, count))  # so that no compiled file is taken for it
        most = 60 + 5 * sum(took for took, _ in chosen)
        started = time.monotonic()
        code = in_fork(lambda chosen=chosen: run_tests([test for _, test in chosen]), most)
        if code == 0:
            alive.append(f"{name}:{line} {what}")
        print(f"{name}:{line} {'ALIVE' if code == 0 else code} {time.monotonic() - started:.1f}s {what}", file=log, flush=True)
    file.write_text(source)
    return count, alive


def targets(prefix: str) -> list[str]:
    found = [ROOT / prefix] if prefix.endswith(".py") else sorted((ROOT / prefix).glob("*.py"))
    return [str(path.relative_to(ROOT)) for path in found if path.name != "__init__.py"]


def main(names: list[str]) -> None:
    shares = [name for name in names if "/" in name and name.replace("/", "").isdigit()]
    names = [name for name in names if name not in shares]
    first, of = map(int, (shares or ["1/1"])[0].split("/"))
    share = (first - 1, of)
    load_libraries()
    tree = Path(tempfile.mkdtemp(prefix="mutation"))
    for part in ("stockrnn", "tests", "configs", "data", "pyproject.toml", "README.md"):
        copy_of = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy_of(ROOT / part, tree / part)
    os.chdir(tree)
    sys.path[:] = [str(tree), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]
    for module in [each for each in sys.modules if each.partition(".")[0] in {"tests", "stockrnn"}]:
        del sys.modules[module]
    os.environ["PYTHONPATH"] = str(tree)
    total = left = 0
    with (Path.cwd() / "mutation.log").open("w") as log:
        print(f"log: {log.name}", flush=True)
        for prefix in TESTS:
            chosen = [name for name in targets(prefix) if not names or name in names]
            covered = coverage(tree, prefix, chosen) if chosen else {}
            for name in chosen:
                count, alive = survivors(tree, name, covered[name], share, log)
                total, left = total + count, left + len(alive)
                print("\n".join([*alive, f"{name}: {count - len(alive)} of {count} killed"]), flush=True)
    print(f"{total - left} of {total} killed, {1 - left / total:.1%}")


if __name__ == "__main__":
    main(sys.argv[1:])
