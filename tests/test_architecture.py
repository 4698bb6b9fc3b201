"""The house of the design: who may import whom, what loads when, and what is never called."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "stockrnn"
LADDER = ["ground", "prices", "features", "models", "training", "evaluation", "runs", "reports", "recipes", "commands", "cli", "__main__"]
GROUND = {
    "dataconfig",
    "engines",
    "garbage",
    "places",
    "wear",
    "workers",
    "beside",
    "cluster",
    "errors",
    "types",
    "interrupts",
    "config",
    "configfile",
    "searchspace",
    "strictyaml",
    "storage",
    "streams",
    "__init__",
    "__version__",
}
FILES = sorted(PACKAGE.rglob("*.py"))
KERAS_FILES = {"models/backend.py", "models/cells.py", "models/heads.py", "models/networks.py"}
HEAVY = {
    "tensorflow",
    "keras",
    "sklearn",
    "matplotlib",
    "scipy",
    "onnxruntime",
    "onnx",
    "exchange_calendars",
    "arch",
    "statsforecast",
    "rich",
    "joblib",
    "ray",
    "optuna",
    "threadpoolctl",
    "multiprocessing",
}
BANNED = {
    "load_model",
    "eval",
    "exec",
    "compile_command",
    "from_config",
    "model_from_json",
    "read_pickle",
    "to_pickle",
    "__import__",
}
BANNED_OF = {
    "yaml": {"load", "load_all", "unsafe_load", "full_load"},
    "joblib": {"load", "dump"},
    "torch": {"load"},
    "os": {"system", "popen"},
    "np": {"load", "save"},
}
BANNED_MODULES = {"pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve", "runpy", "subprocess"}
LENT = {"workers.py": {"joblib"}, "cluster.py": {"socket"}}
"""The files that may use a banned module: one that of worker processes, the other the address of a cluster."""
NETWORK = {"socket", "urllib", "http", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "yfinance", "ssl"}


def stage(module):
    parts = module.split(".")[1:]
    return "ground" if not parts or parts[0] in GROUND else parts[0]


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path, top_only=False):
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ([f"{node.module}.{alias.name}" for alias in node.names] if node.module == "stockrnn" else [node.module])
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_from_stages_above_it(path):
    own = stage(module_of(path))
    for name in imports(path):
        if name.startswith("stockrnn"):
            assert LADDER.index(stage(name)) <= LADDER.index(own), f"{path} imports {name}"


def test_no_two_files_import_each_other():
    graph = {module_of(p): {n for n in imports(p) if n.startswith("stockrnn.")} for p in FILES}

    def reaches(start, goal, seen):
        return any(n == goal or (n not in seen and reaches(n, goal, seen | {n})) for n in graph.get(start, ()))

    assert [name for name in graph if reaches(name, name, {name})] == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_libraries_load_on_use(path):
    place = path.relative_to(PACKAGE).as_posix()
    if place in KERAS_FILES or place.startswith("training/"):
        return
    assert {name.split(".")[0] for name in imports(path, top_only=True)} & HEAVY == set()


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_executes_what_a_file_says_and_only_storage_writes(path):
    tree = ast.parse(path.read_text())
    assert not (BANNED_MODULES | NETWORK) & ({name.split(".")[0] for name in imports(path)} - LENT.get(path.name, set()))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            assert name not in BANNED, f"{path}:{node.lineno}"
            owner = getattr(getattr(node.func, "value", None), "id", "")
            assert name not in BANNED_OF.get(owner, ()), f"{path}:{node.lineno}"
            assert not any(k.arg == "allow_pickle" for k in node.keywords), f"{path}:{node.lineno}"
            if path.name != "storage.py":
                assert name not in {"write_text", "write_bytes"} or isinstance(node.func, ast.Name), (
                    f"{path}:{node.lineno} writes past storage"
                )
                mode = [a.value for a in node.args[1:2] if isinstance(a, ast.Constant)]
                assert not (name == "open" and mode and set(str(mode[0])) & set("wax+")), f"{path}:{node.lineno} writes past storage"


def loaded_after(code):
    done = subprocess.run([sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize(("library", "file"), [("joblib", "workers.py"), ("ray", "cluster.py"), ("optuna", "search.py")])
def test_one_file_knows_each_library(library, file):
    assert {path.name for path in FILES if library in {name.split(".")[0] for name in imports(path)}} == {file}


def test_the_command_line_starts_without_heavy_libraries():
    assert loaded_after("import stockrnn.cli") & (HEAVY | {"pandas", "numpy", "pydantic"}) == set()


def test_help_loads_nothing_heavy():
    code = "import sys, contextlib\nsys.argv=['stockrnn','train','--help']\nfrom stockrnn.cli import main\n"
    code += "with contextlib.suppress(SystemExit): main()"
    assert loaded_after(code) & {"tensorflow", "keras", "pandas", "matplotlib", "sklearn"} == set()


def test_the_api_loads_no_tensorflow():
    assert loaded_after("import stockrnn.recipes") & HEAVY == set()


def test_a_forecast_waits_for_nothing_it_does_not_use():
    loaded = loaded_after("from stockrnn import commands, recipes\nrecipes.predict")
    assert loaded & (HEAVY | {"matplotlib", "exchange_calendars", "onnxruntime", "jaxtyping", "rich"}) == set()
