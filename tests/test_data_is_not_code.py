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
    "training/launching.py",  # the worker that our own callers name
}


def calls(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            yield (
                ast.unparse(node.func),
                {word.arg: ast.unparse(word.value) for word in node.keywords},
            )


def unsafe_calls(text):
    found = []
    for name, keywords in calls(text):
        keyword, value = REQUIRED.get(name, ("shell", "False"))
        is_safe = keywords.get(keyword, "False") == value
        if name in FORBIDDEN or not is_safe:
            found.append(name)
    return found


@pytest.fixture(scope="module")
def sources(repository):
    package = repository / "src/maskmill"
    return {
        path.relative_to(package).as_posix(): path.read_text() for path in package.rglob("*.py")
    }


def test_no_call_runs_what_data_says(sources):
    found = {name: unsafe_calls(text) for name, text in sources.items()}
    assert {name: unsafe for name, unsafe in found.items() if unsafe} == {}


def test_modules_are_imported_by_name_only_where_a_list_decides(sources):
    importers = {
        name
        for name, text in sources.items()
        if any(call == "importlib.import_module" for call, _ in calls(text))
    }
    assert importers == IMPORTS_BY_NAME


def test_the_check_sees_what_it_forbids():
    assert unsafe_calls("torch.load(path)") == ["torch.load"]
    assert unsafe_calls("torch.load(path, weights_only=False)") == ["torch.load"]
    assert unsafe_calls("torch.load(path, weights_only=True)") == []
    assert unsafe_calls("np.load(path, allow_pickle=True)") == ["np.load"]
    assert unsafe_calls("subprocess.run(x, shell=True)") == ["subprocess.run"]
    assert unsafe_calls("yaml.load(text, Loader=yaml.Loader)") == ["yaml.load"]
    assert unsafe_calls("eval(text)") == ["eval"]
