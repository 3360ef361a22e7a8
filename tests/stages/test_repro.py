"""A real `dvc repro` in a temporary clone, on few and small scenes."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from html import escape
from pathlib import Path

import mlflow
import pytest
import yaml
from dvc.repo import Repo

from commands import command_environment, preloaded_python, start

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
STAGES = ["compose", "prepare", "train", "predict", "evaluate", "register"]
QUICK = {
    "trainer": {"max_epochs": 1, "log_every_n_steps": 1},
    "data": {"num_workers": 0},
    "tracking": {"system_metrics": False},
    "prepare": {"workers": 1},
}


def program_path():
    """The PATH on which `dvc` is that of this Python and `python` the one that starts quickly."""
    folders = [preloaded_python().parent, Path(sys.executable).parent]
    return os.pathsep.join([*map(str, folders), os.environ["PATH"]])


def run(*command, cwd, check=True):
    environment = command_environment(PATH=program_path())
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0 or not check, result.stdout[-3000:] + result.stderr[-3000:]
    return result


def repro(clone, *targets):
    """Run the pipeline; the stages that really ran, in order."""
    output = run("dvc", "repro", *targets, cwd=clone).stdout
    return [stage for stage in STAGES if f"Running stage '{stage}'" in output]


def set_params(clone, group=None, **values):
    merged = {key: QUICK.get(key, {}) | values.get(key, {}) for key in {**QUICK, **values}}
    content = {"group": {"experiment": "scenes_panoptic", **(group or {})}, "set": merged}
    (clone / "params.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A fresh clone of the working tree with a tiny data set, after its first `dvc repro`."""
    clone = tmp_path_factory.mktemp("clone") / "repository"
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in tracked.stdout.splitlines():
        if (REPOSITORY / name).is_file() and not name.startswith(("samples/", "tests/")):
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, clone / name)
    for command in (
        ["git", "init", "-q"],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t"],
    ):
        run(*command, cwd=clone)
    draw = ["draw.num_train=8", "draw.num_val=2", "draw.num_test=3", "draw.out=samples/scenes"]
    run("maskmill", "draw", *draw, cwd=clone)
    set_params(clone)
    assert repro(clone) == STAGES
    return clone


def test_the_pipeline_ends_with_a_registered_champion(clone):
    version = json.loads((clone / "out/register/version.json").read_text())
    assert (version["name"], version["version"], version["alias"]) == ("maskmill", 1, "champion")
    metrics = json.loads((clone / "out/evaluate/metrics.json").read_text())
    assert 0 <= metrics["PQ"] <= 1
    assert metrics["num_images"] == 3
    assert metrics["interval"]["PQ"][0] <= metrics["PQ"] <= metrics["interval"]["PQ"][1]
    assert (clone / "out/evaluate/report.html").stat().st_size > 10_000
    assert "the first version of this model" in (clone / "out/register/comparison.html").read_text()


def test_dvc_shows_the_headline_metrics_in_at_most_twelve_columns(clone):
    shown = run("dvc", "metrics", "show", "--md", cwd=clone).stdout
    header = [name.strip() for name in shown.splitlines()[0].strip("| ").split("|")]
    assert {"Path", "PQ", "mIoU", "AP"} <= set(header)
    assert len(header) <= 12


def test_a_second_model_is_compared_with_the_champion_number_by_number(clone):
    set_params(clone, optimizer={"lr": 0.0013})
    assert repro(clone) == ["compose", "train", "predict", "evaluate", "register"]
    version = json.loads((clone / "out/register/version.json").read_text())
    page = (clone / "out/register/comparison.html").read_text()
    set_params(clone)
    repro(clone)  # back: the first model is the champion still, or becomes it again
    assert version["version"] == 2
    assert "of champion version 1" in version["reason"]
    assert escape(version["reason"]) in page
    assert "Differences from the champion" in page
    assert re.search(r"<td>PQ</td>\s*<td>\d+\.\d</td>\s*<td>\d+\.\d</td>", page)


def test_nothing_changed_runs_nothing(clone):
    assert repro(clone) == []


def test_dvc_shows_the_plots_without_the_web(clone):
    run("dvc", "plots", "show", cwd=clone)
    page = (clone / "dvc_plots/index.html").read_text()
    assert page.count("<img") >= 3
    assert "https://" not in page


def test_a_clone_pulls_everything_and_registers_with_the_run_and_commit_that_trained(
    clone, tmp_path
):
    for command in (
        ["dvc", "remote", "add", "-d", "team", str(tmp_path / "remote")],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "a model"],
        ["dvc", "push"],
        ["git", "clone", "-q", str(clone), str(tmp_path / "second")],
    ):
        run(*command, cwd=clone)
    second = tmp_path / "second"
    run("dvc", "pull", cwd=second)
    assert repro(second) == ["register"]
    assert run("git", "status", "--porcelain", cwd=second).stdout == ""
    fingerprint = json.loads((second / "out/register/version.json").read_text())["fingerprint"]
    origins = [origin_of_version(folder, fingerprint) for folder in (clone, second)]
    assert origins[0] == origins[1]
    assert len(origins[0]["git_commit"]) == 40  # without "+changes": only parameters were set


def origin_of_version(folder, fingerprint):
    """The run of a registered model, and what the version and the run say of their origin."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (version,) = client.search_model_versions(f"tags.`maskmill.model` = '{fingerprint}'")
    of_run = client.get_run(version.run_id).data.tags
    assert version.tags["trained_by_run"] == version.run_id
    assert version.tags["git_commit"] == of_run["git_commit"]
    return {"run": version.run_id, "git_commit": of_run["git_commit"]}


def test_an_evaluate_setting_reruns_evaluate_and_register_only(clone):
    set_params(clone, evaluate={"num_examples": 1})
    assert repro(clone) == ["compose", "evaluate", "register"]
    set_params(clone)
    assert "train" not in repro(clone)


def test_values_and_choices_can_be_given_on_the_line_of_an_experiment(clone):
    shutil.copy(REPOSITORY / "params.yaml", clone)
    line = ["-S", "set.optimizer.lr=3e-4", "-S", "group.scheduler=poly"]
    run("dvc", "exp", "run", *line, "compose", cwd=clone)
    composed = yaml.safe_load((clone / "out/conf/train.yaml").read_text())
    set_params(clone)
    run("dvc", "repro", "compose", cwd=clone)
    assert composed["optimizer"]["lr"] == 3e-4
    assert composed["scheduler"]["_target_"] == "maskmill.tasks.optimization.poly"


def test_two_processes_train_under_dvc_repro(clone):
    set_params(clone, group={"trainer": "ddp_cpu"})
    output = run("dvc", "repro", "train", cwd=clone)
    set_params(clone)
    run("dvc", "repro", "train", cwd=clone)  # back, from the run cache
    assert "MEMBER: 2/2" in output.stdout + output.stderr


def test_the_run_in_mlflow_carries_parameters_data_lineage_and_the_evaluation(clone):
    program = """
import json, mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
version = json.load(open("out/register/version.json"))
client = mlflow.MlflowClient()
run = client.get_run(client.get_model_version("maskmill", str(version["version"])).run_id)
files = []
evaluation = "evaluate/" + run.data.tags["maskmill.test"]
for folder in (evaluation, "register", "images"):
    files += [file.path for file in client.list_artifacts(run.info.run_id, folder)]
print(json.dumps({"params": run.data.params, "metrics": run.data.metrics, "tags": run.data.tags,
"files": files,
    "inputs": [entry.dataset.digest for entry in run.inputs.dataset_inputs]}))
"""
    run_data = json.loads(run(sys.executable, "-c", program, cwd=clone).stdout.splitlines()[-1])
    digest = json.loads((clone / "out/prepare/dataset.json").read_text())["digest"]
    assert run_data["params"]["epochs"] == "1"
    assert run_data["params"]["network"] == "panoptic_deeplab"
    assert len(run_data["params"]) < 30
    assert {
        "val/PQ",
        "val/mIoU",
        "train/loss",
        "test/PQ",
        "test/mIoU",
        "best_val/PQ",
        "train/lr",
    } <= set(run_data["metrics"])
    assert len(run_data["metrics"]) < 50
    assert run_data["tags"]["data_hash"] == digest
    assert len(run_data["tags"]["git_commit"].removesuffix("+changes")) == 40
    assert run_data["inputs"] == [digest[:36]]
    evaluation = f"evaluate/{run_data['tags']['maskmill.test']}"
    assert {
        f"{evaluation}/report.html",
        f"{evaluation}/counts.csv",
        f"{evaluation}/evidence.json",
        "register/comparison.html",
    } <= set(run_data["files"])
    assert any(path.startswith("images/example-0+step+") for path in run_data["files"])
    for words in ("**Test**: PQ ", "**Validation**: best_val/PQ ", "[maskmill version "):
        assert words in run_data["tags"]["mlflow.note.content"]


def test_the_champion_loads_without_this_repository_and_labels_a_size_never_trained_on(
    clone, tmp_path
):
    program = f"""
import sys
sys.path = [path for path in sys.path if "src" not in path.split("/")]  # no editable install
import mlflow, numpy as np
mlflow.set_tracking_uri("sqlite:///{clone}/mlflow.db")
model = mlflow.pyfunc.load_model("models:/maskmill@champion")
maps = model.predict(np.random.default_rng(0).integers(0, 255, (2, 97, 131, 3), np.uint8))
import maskmill
assert {str(REPOSITORY)!r} not in maskmill.__file__, maskmill.__file__
assert {str(clone)!r} + "/src" not in maskmill.__file__, maskmill.__file__
assert not {{"torch", "lightning", "hydra", "timm"}} & set(sys.modules)
try:
    model.predict(np.zeros((1, 97, 131, 3), np.float32))
except mlflow.exceptions.MlflowException as error:
    print("refused")
print({{key: (value.shape, value.dtype.name, int(value.min())) for key, value in maps.items()}})
"""
    printed = run(sys.executable, "-c", program, cwd=tmp_path).stdout
    assert "refused" in printed
    assert "'category': ((2, 97, 131), 'int32'" in printed
    assert "'instance': ((2, 97, 131), 'int32'" in printed


def test_a_registered_version_is_reproduced_bit_by_bit(clone):
    done = run("maskmill", "reproduce", "reproduce.model=models:/maskmill/1", cwd=clone)
    assert "models:/maskmill/1 has the same weights again: " in done.stdout
    digest = done.stdout.split("has the same weights again: ")[1].split()[0]
    weights = (clone / "out" / "reproduce" / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == digest
    shown = run("maskmill", "models", "maskmill", cwd=clone).stdout
    assert "champion" in shown


ALL = {"prepare", "train", "predict", "evaluate", "register"}
CODE = "\nADDED = 1\n"
# What is changed and the stages whose own configuration or code it changes; stages after them rerun
# where their input changes.
CHANGES = [
    pytest.param({"set": {"prepare": {"max_pixels": 70_000_000}}}, {"prepare"}, id="prepare"),
    pytest.param({"group": {"source": "camvid"}}, {"prepare"}, id="source"),
    pytest.param({"set": {"data": {"batch_size": 4}}}, {"train"}, id="data"),
    pytest.param({"group": {"augment": "none"}}, {"train"}, id="augment"),
    pytest.param({"group": {"encoder": "resnet18"}}, {"train"}, id="encoder"),
    pytest.param({"set": {"network": {"width": 32}}}, {"train"}, id="network value"),
    pytest.param({"set": {"loss": {"offset_weight": 0.02}}}, {"train"}, id="loss"),
    pytest.param({"set": {"task": {"postprocess": {"top_k": 100}}}}, {"train"}, id="task"),
    pytest.param({"group": {"optimizer": "sgd"}}, {"train"}, id="optimizer"),
    pytest.param({"group": {"scheduler": "poly"}}, {"train"}, id="scheduler"),
    pytest.param({"set": {"trainer": {"max_epochs": 2}}}, {"train"}, id="trainer"),
    pytest.param({"group": {"callbacks": "ema"}}, {"train"}, id="callbacks"),
    pytest.param({"set": {"tracking": {"run_name": "other"}}}, {"train"}, id="tracking"),
    pytest.param({"group": {"inference": "tta"}}, {"predict"}, id="inference"),
    pytest.param({"set": {"predict": {"batch_size": 2}}}, {"predict"}, id="predict"),
    pytest.param({"set": {"evaluate": {"num_examples": 1}}}, {"evaluate"}, id="evaluate"),
    pytest.param({"set": {"register": {"margin": 0.1}}}, {"register"}, id="register"),
    pytest.param({"set": {"shard": {"shard_mb": 7}}}, set(), id="a group of no stage"),
    pytest.param(
        {"conf/scheduler/poly.yaml": "\nwarmup_steps: 3\n"}, set(), id="a choice not made"
    ),
    pytest.param({"conf/optimizer/adamw.yaml": "\n# a comment\n"}, set(), id="a comment in conf"),
    pytest.param({"src/maskmill/losses/boundary.py": CODE}, set(), id="code of a part not chosen"),
    pytest.param({"src/maskmill/networks/eomt.py": CODE}, set(), id="a network not chosen"),
    pytest.param({"src/maskmill/losses/panoptic_deeplab.py": CODE}, {"train"}, id="chosen loss"),
    pytest.param({"src/maskmill/losses/panoptic_deeplab.py": "\n# why\n"}, set(), id="a comment"),
    pytest.param({"src/maskmill/sources/scenes.py": CODE}, {"prepare"}, id="chosen source"),
    pytest.param({"src/maskmill/sources/labelme.py": CODE}, set(), id="a source not chosen"),
    # register evaluates the champion on new test images
    pytest.param({"src/maskmill/reporting/report.py": CODE}, {"evaluate", "register"}, id="report"),
    pytest.param({"src/maskmill/serving/packaging.py": CODE}, {"register"}, id="packaging"),
    pytest.param(
        {"src/maskmill/networks/panoptic_deeplab.py": CODE},
        {"train", "predict", "register"},
        id="chosen network",
    ),
    pytest.param({"src/maskmill/canonical/files.py": CODE}, ALL, id="code of all"),
]


@pytest.fixture(scope="module")
def before(clone):
    """Stage -> what `compose` wrote for it before any change."""
    set_params(clone)
    return composed_stages(clone)


def composed_stages(clone):
    """Stage -> what `compose` writes for it: what DVC compares to decide whether it reruns."""
    process = start("compose", cwd=clone, PYTHONPATH=str(clone / "src"))
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return {path.stem: path.read_text() for path in (clone / "out/conf").glob("*.yaml")}


def changed_stages(clone, composed):
    """The stages that DVC would run, after `composed`, since their configuration or code changed.

    It calls DVC as a library: a process for each call would take most of the time in its imports.
    """
    with Repo(str(clone)) as repo:
        composed(repo)
    with Repo(str(clone)) as repo:
        status = repo.status()
    return {stage for stage, changes in status.items() if f"out/conf/{stage}.yaml" in str(changes)}


@pytest.fixture
def edited(clone):
    """A function that appends text to a file of the clone; undone after the test."""
    originals = {}

    def edit(name, text):
        path = clone / name
        originals[path] = path.read_text()
        path.write_text(originals[path] + text)

    yield edit
    for path, text in originals.items():
        path.write_text(text)


@pytest.fixture
def inside_clone(clone, monkeypatch):
    """The working directory and variables with which `run` starts DVC's commands."""
    monkeypatch.chdir(clone)
    monkeypatch.setenv("PATH", program_path())
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("change", "stages"), CHANGES)
def test_a_change_reaches_exactly_the_stages_whose_result_it_can_change(
    clone, edited, before, change, stages
):
    make_change(clone, edited, change)
    after = composed_stages(clone)
    assert {stage for stage in before if after[stage] != before[stage]} == stages


def make_change(clone, edited, change):
    for name, text in change.items():
        if "/" in name:
            edited(name, text)
    set_params(clone, change.get("group"), **change.get("set", {}))


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        pytest.param({"set": {"evaluate": {"num_examples": 1}}}, {"evaluate"}, id="value"),
        pytest.param({"group": {"inference": "tta"}}, {"predict"}, id="choice"),
        pytest.param({"conf/optimizer/adamw.yaml": "\namsgrad: true\n"}, {"train"}, id="conf"),
        pytest.param({"src/maskmill/serving/packaging.py": CODE}, {"register"}, id="code"),
    ],
)
def test_dvc_reruns_the_stages_that_a_change_reaches(clone, edited, inside_clone, change, stages):
    make_change(clone, edited, change)
    assert changed_stages(clone, lambda repo: repo.reproduce("compose")) == stages


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("++group.network=unet", {"train", "predict", "register"}),
        ("++set.evaluate.num_examples=1", {"evaluate"}),
    ],
)
def test_a_change_on_the_line_of_an_experiment_reruns_the_same_stages(
    clone, inside_clone, override, stages
):
    set_params(clone)

    def run_experiment(repo):
        repo.experiments.run(targets="compose", params=[override])

    assert changed_stages(clone, run_experiment) == stages
