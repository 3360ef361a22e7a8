"""The params.yaml of a pipeline that runs in seconds, and changes of it and of its project."""

import yaml

from commands import SMALL_ENCODER

CODE = "\nADDED = 1\n"  # appended to a module
QUICK = {
    "encoder": {"name": SMALL_ENCODER},
    "trainer": {"max_epochs": 1, "log_every_n_steps": 1},
    "data": {"num_workers": 0},
    "tracking": {"system_metrics": False},
    "prepare": {"workers": 1},
}


def set_params(folder, group=None, **values):
    """Write the params.yaml of a project: choices, and values beside those of a quick run."""
    merged = {key: QUICK.get(key, {}) | values.get(key, {}) for key in {**QUICK, **values}}
    content = {"group": {"experiment": "scenes_panoptic", **(group or {})}, "set": merged}
    (folder / "params.yaml").write_text(yaml.safe_dump(content))


def make_change(folder, edited, change):
    """Append text to files, as `edited` does, and set `group` and `set` of params.yaml."""
    for name, text in change.items():
        if "/" in name:
            edited(name, text)
    set_params(folder, change.get("group"), **change.get("set", {}))


def editor(folder):
    """Yields a function that appends text to a file of the folder; undone afterwards."""
    originals = {}

    def edit(name, text):
        path = folder / name
        originals[path] = path.read_text()
        path.write_text(originals[path] + text)

    try:
        yield edit
    finally:
        for path, text in originals.items():
            path.write_text(text)
