"""No call of the package lets data run: pickle, YAML with objects, `eval`, a shell."""

import ast

import pytest

# Calls that run what a file or a text says, whatever their arguments
FORBIDDEN = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "cloudpickle.load",
    "dill.load",
    "joblib.load",
    "marshal.loads",
    "shelve.open",
    "torch.hub.load",
    "torch.jit.load",
    "yaml.full_load",
    "yaml.unsafe_load",
    "pandas.read_pickle",
    "instantiate",
    "hydra.utils.instantiate",
    "get_object",
}
# Calls that are safe with this argument alone: name -> keyword and its source text
REQUIRED = {
    "torch.load": ("weights_only", "True"),
    "yaml.load": ("Loader", "LOADER"),
    "yaml.compose": ("Loader", "LOADER"),
    "np.load": ("allow_pickle", "False"),
    "trainer.fit": ("weights_only", "True"),
}
# Files in which a name that data might choose is imported, after it was compared with a list
IMPORTS_BY_NAME = {
    "assembly/targets.py",
    "networks/weights.py",
    "serving/description.py",
    "sources/backends.py",
    "stages/cli.py",
    "training/fork_server.py",  # the module that our own callers name
}


def calls(text):
    """The dotted name of each function that is called, and the keywords of the call."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            yield dotted_name(node.func), node.keywords


def dotted_name(node):
    """`np.load` of the expression that reads it; what is not a name has no dotted name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted_name(node.value)}.{node.attr}"
    return ""


def unsafe_calls(calls):
    found = []
    for name, keywords in calls:
        keyword, value = REQUIRED.get(name, ("shell", "False"))
        given = "False"
        for word in keywords:
            if word.arg == keyword:
                given = ast.unparse(word.value)
        if name in FORBIDDEN or given != value:
            found.append(name)
    return found


@pytest.fixture(scope="module")
def calls_of(repository):
    """Path of a source in the package -> its calls."""
    package = repository / "src/maskmill"
    found = {}
    for path in package.rglob("*.py"):
        found[path.relative_to(package).as_posix()] = list(calls(path.read_text()))
    return found


@pytest.mark.slow
def test_no_call_runs_what_data_says(calls_of):
    found = {name: unsafe_calls(calls) for name, calls in calls_of.items()}
    assert {name: unsafe for name, unsafe in found.items() if unsafe} == {}


def test_modules_are_imported_by_name_only_where_a_list_decides(calls_of):
    importers = set()
    for name, calls in calls_of.items():
        if any(function == "importlib.import_module" for function, _ in calls):
            importers.add(name)
    assert importers == IMPORTS_BY_NAME


@pytest.mark.parametrize(
    ("text", "unsafe"),
    [
        ("torch.load(path)", ["torch.load"]),
        ("torch.load(path, weights_only=False)", ["torch.load"]),
        ("torch.load(path, weights_only=True)", []),
        ("np.load(path, allow_pickle=True)", ["np.load"]),
        ("np.load(path)", []),
        ("subprocess.run(x, shell=True)", ["subprocess.run"]),
        ("program().run(x, shell=True)", [".run"]),
        ("yaml.load(text, Loader=yaml.Loader)", ["yaml.load"]),
        ("eval(text)", ["eval"]),
    ],
)
def test_the_check_sees_what_it_forbids(text, unsafe):
    assert unsafe_calls(calls(text)) == unsafe
