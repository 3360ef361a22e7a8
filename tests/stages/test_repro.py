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

from commands import command_environment, preloaded_python
from pipeline_params import CODE, editor, make_change, set_params

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
STAGES = ["compose", "prepare", "train", "predict", "evaluate", "register"]


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


def maskmill(command, *overrides, cwd):
    """Run a command; returns its output."""
    module = f"maskmill.stages.{command}"
    return run(preloaded_python(), "-m", module, *overrides, cwd=cwd).stdout


def repro(clone):
    """Run the pipeline; the stages that really ran, in order."""
    return stages_run(run("dvc", "repro", cwd=clone))


def stages_run(repro):
    return [stage for stage in STAGES if f"Running stage '{stage}'" in repro.stdout]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A fresh clone of the working tree with a tiny data set, after its first `dvc repro`.

    tests/test_package.py runs the pipeline with the network as it is.
    """
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
    network = clone / "conf/network/panoptic_deeplab.yaml"  # half of the decoders to export
    network.write_text(network.read_text().replace("dual_decoder: true", "dual_decoder: false"))
    for command in (
        ["git", "init", "-q"],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t"],
    ):
        run(*command, cwd=clone)
    draw = ["draw.num_train=8", "draw.num_val=2", "draw.num_test=3", "draw.out=samples/scenes"]
    maskmill("draw", *draw, cwd=clone)
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


def test_nothing_changed_runs_nothing(clone):
    assert repro(clone) == []


def test_dvc_shows_the_plots_without_the_web(clone):
    run("dvc", "plots", "show", cwd=clone)
    page = (clone / "dvc_plots/index.html").read_text()
    assert page.count("<img") >= 3
    assert "https://" not in page


def test_an_evaluate_setting_reruns_evaluate_and_register_only(clone):
    set_params(clone, evaluate={"num_examples": 1})
    assert repro(clone) == ["compose", "evaluate", "register"]


def test_a_second_model_of_two_processes_is_compared_with_the_champion_number_by_number(clone):
    set_params(clone, group={"trainer": "ddp_cpu"}, optimizer={"lr": 0.0013})
    done = run("dvc", "repro", cwd=clone)
    version = json.loads((clone / "out/register/version.json").read_text())
    page = (clone / "out/register/comparison.html").read_text()
    set_params(clone)
    back = repro(clone)  # the first model is the champion still, or becomes it again
    assert stages_run(done) == ["compose", "train", "predict", "evaluate", "register"]
    assert "MEMBER: 2/2" in done.stdout + done.stderr
    assert "train" not in back
    assert version["version"] == 2
    assert "of champion version 1" in version["reason"]
    assert escape(version["reason"]) in page
    assert "Differences from the champion" in page
    assert re.search(r"<td>PQ</td>\s*<td>\d+\.\d</td>\s*<td>\d+\.\d</td>", page)


def test_a_clone_pulls_everything_and_registers_with_the_run_and_commit_that_trained(
    clone, tmp_path
):
    second = tmp_path / "second"
    with Repo(str(clone)) as repo, repo.config.edit() as config:
        config["remote"]["team"] = {"url": str(tmp_path / "remote")}
        config["core"]["remote"] = "team"
    for command in (
        ["git", "add", "-A"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "a model"],
        ["git", "clone", "-q", str(clone), str(second)],
    ):
        run(*command, cwd=clone)
    with Repo(str(clone)) as repo:
        assert repo.push() > 0
    with Repo(str(second)) as repo:
        repo.pull()
    assert repro(second) == ["register"]
    assert run("git", "status", "--porcelain", cwd=second).stdout == ""
    fingerprint = json.loads((second / "out/register/version.json").read_text())["fingerprint"]
    origins = [origin_of_version(folder, fingerprint) for folder in (clone, second)]
    assert origins[0] == origins[1]
    assert origins[0]["params"]["network"] == "panoptic_deeplab"
    assert len(origins[0]["git_commit"]) == 40  # without "+changes": only parameters were set


def origin_of_version(folder, fingerprint):
    """The run of a registered model, what the version and the run say of it, its parameters."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (version,) = client.search_model_versions(f"tags.`maskmill.model` = '{fingerprint}'")
    run = client.get_run(version.run_id).data
    assert version.tags["trained_by_run"] == version.run_id
    assert version.tags["git_commit"] == run.tags["git_commit"]
    return {"run": version.run_id, "git_commit": run.tags["git_commit"], "params": run.params}


def test_the_run_in_mlflow_carries_parameters_data_lineage_and_the_evaluation(clone):
    version = json.loads((clone / "out/register/version.json").read_text())["version"]
    page_folder = f"register/maskmill_{version}"
    client = mlflow.MlflowClient(f"sqlite:///{clone}/mlflow.db")
    run = client.get_run(client.get_model_version("maskmill", str(version)).run_id)
    params, metrics, tags = run.data.params, run.data.metrics, run.data.tags
    evaluation = f"evaluate/{tags['maskmill.test']}"
    files = set()
    for folder in (evaluation, page_folder, "images"):
        files |= {file.path for file in client.list_artifacts(run.info.run_id, folder)}
    digest = json.loads((clone / "out/prepare/dataset.json").read_text())["digest"]
    assert params["epochs"] == "1"
    assert params["network"] == "panoptic_deeplab"
    assert len(params) < 30
    assert {
        "val/PQ",
        "val/mIoU",
        "train/loss",
        "test/PQ",
        "test/mIoU",
        "best_val/PQ",
        "train/lr",
    } <= set(metrics)
    assert len(metrics) < 50
    assert tags["data_hash"] == digest
    assert len(tags["git_commit"].removesuffix("+changes")) == 40
    inputs = [entry.dataset.digest for entry in run.inputs.dataset_inputs]
    assert inputs == [digest[:36]]
    assert {
        f"{evaluation}/report.html",
        f"{evaluation}/counts.csv",
        f"{evaluation}/evidence.json",
        f"{page_folder}/comparison.html",
    } <= files
    assert any(path.startswith("images/example-0+step+") for path in files)
    for words in ("**Test**: PQ ", "**Validation**: best_val/PQ ", "[maskmill version "):
        assert words in tags["mlflow.note.content"]


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
    done = maskmill("reproduce", "reproduce.model=models:/maskmill/1", cwd=clone)
    assert "models:/maskmill/1 has the same weights again: " in done
    digest = done.split("has the same weights again: ")[1].split()[0]
    weights = (clone / "out" / "reproduce" / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == digest
    assert "champion" in maskmill("models", "maskmill", cwd=clone)


def test_values_and_choices_can_be_given_on_the_line_of_an_experiment(clone):
    shutil.copy(REPOSITORY / "params.yaml", clone)
    line = ["-S", "set.optimizer.lr=3e-4", "-S", "group.scheduler=poly"]
    run("dvc", "exp", "run", *line, "compose", cwd=clone)
    composed = yaml.safe_load((clone / "out/conf/train.yaml").read_text())
    assert composed["optimizer"]["lr"] == 3e-4
    assert composed["scheduler"]["_target_"] == "maskmill.tasks.optimization.poly"


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
    yield from editor(clone)


@pytest.fixture
def inside_clone(clone, monkeypatch):
    """The working directory and variables with which `run` starts DVC's commands."""
    monkeypatch.chdir(clone)
    monkeypatch.setenv("PATH", program_path())
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        pytest.param(
            {
                "set": {"evaluate": {"num_examples": 1}},
                "src/maskmill/serving/packaging.py": CODE,
            },
            {"evaluate", "register"},
            id="value and code",
        ),
        pytest.param(
            {
                "group": {"inference": "tta"},
                "conf/optimizer/adamw.yaml": "\namsgrad: true\n",
            },
            {"predict", "train"},
            id="choice and conf",
        ),
    ],
)
def test_dvc_reruns_the_stages_that_a_change_reaches(clone, edited, inside_clone, change, stages):
    """Each of the four kinds of changes alone: tests/stages/test_changes.py."""
    make_change(clone, edited, change)
    assert changed_stages(clone, lambda repo: repo.reproduce("compose")) == stages


def test_changes_on_the_line_of_an_experiment_rerun_the_same_stages(clone, inside_clone):
    set_params(clone)
    line = ["++group.network=unet", "++set.evaluate.num_examples=1"]

    def run_experiment(repo):
        repo.experiments.run(targets="compose", params=line)

    stages = {"train", "predict", "register", "evaluate"}
    assert changed_stages(clone, run_experiment) == stages
