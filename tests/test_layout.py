"""Proves that imports point one way, that nothing unsafe is read, that the library stays small, and that every
experiment file makes a graph."""

import ast
from pathlib import Path

import pytest

from rocl.experiment import Scale, graph, load

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "rocl").rglob("*.py"))
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.py"))
LIMIT = 6_350  # lines of code


def imports(file: Path) -> set[str]:
    """Every rocl or experiments module that a file names, as dotted paths."""
    found = set()
    for part in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(part, ast.Import):
            found |= {alias.name for alias in part.names}
        elif isinstance(part, ast.ImportFrom):
            assert part.level == 0, f"{file}: relative import"
            found |= {f"{part.module}.{alias.name}" for alias in part.names}
    return {name for name in found if name.split(".")[0] in ("rocl", "experiments")}


def calls(file: Path) -> list[ast.Call]:
    return [part for part in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(part, ast.Call)]


@pytest.mark.parametrize("leaf", ["models", "losses", "data"])
def test_a_leaf_imports_only_itself_and_the_ground(leaf):
    files = sorted((ROOT / "rocl" / leaf).rglob("*.py"))
    assert len(files) > 2
    wrong = [
        (file.name, name)
        for file in files
        for name in imports(file)
        if not name.startswith((f"rocl.{leaf}.", "rocl.download", "rocl.disk", "rocl.errors"))
    ]
    assert not wrong


def test_experiments_import_the_surface_alone():
    surface = tuple(f"rocl.{name}." for name in "experiment data models losses metrics baselines probes errors".split())
    wrong = [
        (file.name, name)
        for file in EXPERIMENTS
        for name in imports(file)
        if name != "rocl" and not f"{name}.".startswith((*surface, "experiments."))  # rocl: for the folder it lies in
    ]
    assert EXPERIMENTS and not wrong


def test_the_library_knows_no_experiment():
    assert not [(file, name) for file in LIBRARY for name in imports(file) if name.startswith("experiments")]


@pytest.mark.parametrize("option", ["strict", "weights_only", "allow_pickle"])
def test_nothing_is_loaded_by_halves_or_unpickled(option):
    """zip(strict=False) would be another matter; what loads must be complete and safe."""
    wanted = {"strict": True, "weights_only": True, "allow_pickle": False}[option]
    wrong = [
        f"{file}:{call.lineno}"
        for file in LIBRARY
        for call in calls(file)
        for keyword in call.keywords
        if keyword.arg == option and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is wanted)
    ]
    assert not wrong


def test_torch_load_says_weights_only_and_pickle_is_not_imported():
    for file in LIBRARY:
        tree = ast.parse(file.read_text("utf-8"))
        for part in ast.walk(tree):
            if isinstance(part, ast.Call) and ast.unparse(part.func) == "torch.load":
                assert "weights_only" in {keyword.arg for keyword in part.keywords}, file
            if isinstance(part, ast.Import):
                assert not {alias.name for alias in part.names} & {"pickle", "dill", "joblib", "shelve"}, file
            if isinstance(part, ast.ImportFrom) and part.module == "pickle":
                assert {alias.name for alias in part.names} == {"UnpicklingError"}, file


def lines_of_code(file: Path) -> int:
    """Lines that are not empty, comments or docstrings."""
    text = file.read_text("utf-8")
    told = set()
    for part in ast.walk(ast.parse(text)):
        if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) and isinstance(part.value.value, str):
            told |= set(range(part.lineno, part.end_lineno + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(number not in told and bool(line.strip()) and line.strip()[0] != "#" for number, line in lines)


def test_the_library_is_small():
    lines = sum(lines_of_code(file) for file in LIBRARY if file.parent.name != "corpora")
    assert lines < LIMIT, f"{lines} lines: take something out"


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_an_experiment_makes_a_graph_of_distinct_runs(file, tmp_path):
    if "def experiment(" not in file.read_text("utf-8"):
        pytest.skip("no experiment: others import it")
    nodes = graph(load(file, Scale.SAMPLE), Scale.SAMPLE, 1, tmp_path, file)
    titles = {node.experiment.name: node.title for node in nodes}
    assert nodes and len(set(titles.values())) == len(titles), "two experiments share a folder"
    for node in nodes:  # two of one name would share a line of the table
        assert titles[node.experiment.name] == node.title, f"two experiments are called {node.experiment.name}"
