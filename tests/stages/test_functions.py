"""The functions of `import maskmill`: the results of the commands, in a process left unchanged."""

import ast
import asyncio
import doctest
import filecmp
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

import maskmill
from commands import SMALL_ENCODER, run
from maskmill.canonical.dataset_file import read_prediction_file
from maskmill.sources.scenes import SceneSet

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
OVERRIDES = ["trainer.max_epochs=1", "data.batch_size=2", "data.num_workers=0"]
QUICK = {
    "encoder/resnet10t.yaml": ("resnet10t", SMALL_ENCODER),
    "network/panoptic_deeplab.yaml": ("dual_decoder: true", "dual_decoder: false"),
    "prepare/default.yaml": ("workers: -1", "workers: 1"),
}
FUNCTIONS = ["check", "prepare", "train", "predict", "evaluate", "register", "load_model"]


def draw(folder):
    """A project with few scenes, whose default network is a small one, prepared in one process."""
    SceneSet(folder / "data", num_train=4, num_val=2, num_test=2, seed=0).write()
    for name, (old, new) in QUICK.items():
        text = (REPOSITORY / "conf" / name).read_text()
        assert old in text, name
        (folder / "conf" / name).parent.mkdir(parents=True)
        (folder / "conf" / name).write_text(text.replace(old, new))
    return folder


def state():
    """What belongs to the whole process."""
    return {
        "folder": Path.cwd(),
        "environment": dict(os.environ),
        "handlers": [logging.root.handlers[:], logging.getLogger("maskmill").handlers[:]],
        "levels": [logging.root.level, logging.getLogger("maskmill").level],
        "signals": [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
        "random": [random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()],
        "deterministic": torch.get_deterministic_debug_mode(),
        "fills": torch.utils.deterministic.fill_uninitialized_memory,
        "mlflow": mlflow.get_tracking_uri(),
        "hydra": [GlobalHydra.instance().hydra, HydraConfig.instance().cfg],
        "plugins": list(Plugins.instance().discover(SearchPathPlugin)),
        "arguments": sys.argv[:],
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project in which the code of docs/python.md ran, and the state before and after it."""
    folder = draw(tmp_path_factory.mktemp("functions"))
    maskmill.check  # noqa: B018 - OpenCV changes a variable when it is imported
    before = state()
    names = {}
    home, threads = Path.cwd(), torch.get_num_threads()
    os.chdir(folder)
    torch.set_num_threads(1)  # those of a command here: sums depend on their number
    try:
        for block in BLOCKS:
            exec(compile(block, "docs/python.md", "exec"), names)
    finally:
        torch.set_num_threads(threads)
        os.chdir(home)
    return folder, names, before, state()


@pytest.mark.slow
def test_a_command_with_the_same_overrides_writes_the_same_bytes(project, tmp_path):
    folder, _, _, _ = project
    draw(tmp_path)
    run("prepare", "source.root=data", cwd=tmp_path)
    limit = "++trainer.max_time={seconds: 1800}"
    run("train", "source.root=data", limit, *OVERRIDES, cwd=tmp_path)
    run("predict", cwd=tmp_path)
    run("evaluate", "evaluate.num_resamples=0", cwd=tmp_path)
    differing = []
    stages = ["prepare", "train", "predict", "evaluate"]
    paths = [path for stage in stages for path in (tmp_path / "out" / stage).rglob("*")]
    files = [path.relative_to(tmp_path) for path in paths if path.is_file()]
    for file in files:
        if not filecmp.cmp(tmp_path / file, folder / file, shallow=False):
            differing.append(str(file))
    assert differing == []
    assert {"model.safetensors", "metrics.json", "panoptic.json"} <= {file.name for file in files}


@pytest.mark.slow
def test_the_results_say_what_was_written(project):
    folder, names, _, _ = project
    trained, scored = names["trained"], names["scored"]
    assert trained.folder == folder / "out/train"
    assert trained.metric == "PQ"
    assert trained.history[-1]["score"] == pytest.approx(trained.score, abs=1e-6)
    assert read_prediction_file(folder / "out/predict/prediction.json")["images"].keys() == {
        "test_0000.png",
        "test_0001.png",
    }
    assert names["predicted"].num_images == 2
    assert scored.report.is_file()
    assert names["registered"].uri == "models:/street/1"
    assert names["registered"].reason == "the first version of this model"
    assert names["model"].categories[11].name == "car"


@pytest.mark.slow
def test_a_training_and_a_registration_leave_the_process_as_it_was(project):
    _, _, before, after = project
    assert after == before


@pytest.mark.slow
def test_the_examples_of_the_functions_run_in_a_project(project, monkeypatch):
    folder, _, _, _ = project
    monkeypatch.chdir(folder)
    runner = doctest.DocTestRunner()
    for name in FUNCTIONS:
        (example,) = doctest.DocTestFinder(recurse=False).find(getattr(maskmill, name), name)
        assert runner.run(example).attempted > 1
    assert runner.summarize().failed == 0


@pytest.mark.slow
def test_a_notebook_shows_the_first_predictions_and_scores(project):
    _, names, _, _ = project
    page = names["predicted"]._repr_html_()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "test_0001.png" in page
    assert "<td>PQ</td><td>0.0 %</td>" in names["scored"]._repr_html_()


@pytest.mark.slow
def test_a_call_in_a_thread_beside_the_loop_of_a_notebook(project, tmp_path):
    folder, _, _, _ = project
    before = state()
    call = asyncio.to_thread(maskmill.predict, out=tmp_path / "predict", project=folder)
    predicted = asyncio.run(call)
    assert predicted.num_images == 2
    assert filecmp.cmp(tmp_path / "predict/panoptic.json", folder / "out/predict/panoptic.json")
    assert state() == before


@pytest.mark.slow
def test_calls_in_two_threads_have_their_own_projects(tmp_path):
    found = {}
    broken = {"left": "train_0000.png", "right": "train_0001.png"}

    def check(name):
        folder = draw(tmp_path / name)
        (folder / "data/images" / broken[name]).write_bytes(b"x")
        found[name] = maskmill.check(project=folder)

    threads = [threading.Thread(target=check, args=[name]) for name in broken]
    before = state()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, file in broken.items():
        assert found[name].path == tmp_path / name / "out/check/check.json"
        assert found[name].path.is_file()
        assert [finding.file for finding in found[name].findings] == [f"data/images/{file}"]
    assert state() == before


@pytest.mark.slow
def test_two_calls_inside_another_hydra_program_leave_it_as_it_was(tmp_path):
    draw(tmp_path / "project")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "main.yaml").write_text("mine: 1\n")
    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.2"):
        before = state()
        prepared = maskmill.prepare(
            project=tmp_path / "project", overrides=["prepare.workers=1", "prepare.out=converted"]
        )
        checked = maskmill.check(project=tmp_path / "project")
        after = state()
        assert compose("main") == {"mine": 1}
    assert prepared.folder == tmp_path / "project" / "converted"
    assert prepared.num_images == {"train": 4, "val": 2, "test": 2}
    assert checked.num_errors == 0
    assert after == before


@pytest.mark.slow
def test_findings_are_returned_and_escaped_in_a_notebook(tmp_path):
    draw(tmp_path)
    shutil.move(tmp_path / "data", tmp_path / "<b>data, '#2'")
    (tmp_path / "<b>data, '#2'/images/train_0000.png").write_bytes(b"x")
    checked = maskmill.check("<b>data, '#2'", project=tmp_path)
    assert (checked.num_errors, checked.num_warnings) == (1, 0)
    assert checked.findings[0].file == "<b>data, '#2'/images/train_0000.png"
    page = checked._repr_html_()
    assert "&lt;b&gt;data, &#39;#2&#39;/images/train_0000.png" in page
    assert "<b>data" not in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            {"overrides": ["optim.lr=1"]},
            ValueError,
            r"Could not override 'optim\.lr'.* \(perhaps optimizer\.lr\)",
        ),
        ({"overrides": ["optimizer.lr=1,2"]}, ValueError, "add -m to run a sweep"),
        ({"overrides": ["experiment=sweep_lr"]}, ValueError, "is a sweep - run it on the command"),
        ({"overrides": "network=unet"}, ValueError, r"expected a list.* write \['network=unet'\]"),
        ({"overrides": ["--lr=1"]}, ValueError, "got a flag that no command has"),
        ({"minutes": 0}, ValueError, "minutes: expected a time above 0, but got 0"),
        ({"source": "photos"}, FileNotFoundError, "photos: expected a folder or an archive"),
        ({"project": "street"}, FileNotFoundError, "street: expected the folder of a project"),
        ({}, FileNotFoundError, "run `maskmill prepare` first"),
    ],
)
def test_an_error_is_an_exception_with_the_message_of_the_command(
    call, kind, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = state()
    with pytest.raises(kind, match=message):
        maskmill.train(**call)
    assert state() == before


@pytest.mark.slow
def test_the_machine_s_errors_say_what_to_do(tmp_path):
    draw(tmp_path)
    with pytest.raises(OSError, match="shorten the names of the folders and files") as error:
        maskmill.check(project=tmp_path, overrides=[f"check.out={'long' * 100}"])
    assert error.value.errno == 36


class Interrupt(logging.Handler):
    """Ctrl+C at the end of the first epoch."""

    def emit(self, record):
        if record.getMessage().startswith("epoch 1/"):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_ctrl_c_ends_a_training_and_not_the_notebook(project, caplog):
    folder, _, _, _ = project
    before = state()
    handler = Interrupt()
    caplog.set_level(logging.INFO)
    log = logging.getLogger("maskmill")
    log.addHandler(handler)
    overrides = ["trainer.max_epochs=9", *OVERRIDES[1:], "train.out=out/interrupted"]
    try:
        with pytest.raises(KeyboardInterrupt, match="training was interrupted; the same command"):
            maskmill.train(project=folder, overrides=overrides)
    finally:
        log.removeHandler(handler)
    assert state() == {**before, "levels": [logging.INFO, logging.NOTSET]}
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    assert client.search_runs(["1"], max_results=1)[0].info.status == "KILLED"


@pytest.mark.slow
def test_a_training_refuses_the_open_run_of_a_notebook(project):
    folder, _, _, _ = project
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    try:
        with (
            mlflow.start_run() as run,
            pytest.raises(ValueError, match=rf"{run.info.run_id} is open in this process"),
        ):
            maskmill.train(project=folder, overrides=[*OVERRIDES, "seed=1"])
        assert mlflow.get_tracking_uri() == uri
    finally:
        mlflow.set_tracking_uri(None)


# --- the names


def test_every_public_name_is_documented_with_an_example():
    assert len(maskmill.__all__) <= 60
    undocumented = [
        name
        for name in maskmill.__all__
        if name != "__version__" and "Example:\n" not in str(getattr(maskmill, name).__doc__)
    ]
    assert undocumented == []


def test_type_checkers_see_the_names_that_are_imported_on_first_use():
    tree = ast.parse(Path(maskmill.__file__).read_text())
    (declared,) = [node for node in tree.body if isinstance(node, ast.If)]
    names = {alias.name: node.module for node in declared.body for alias in node.names}
    assert {*names, "__version__"} == set(maskmill.__all__)
    assert {name: f"maskmill.{module}" for name, module in maskmill.MODULES.items()} == names
    assert set(maskmill.__all__) <= set(dir(maskmill))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'maskmill' has no attribute 'fit'"):
        maskmill.fit  # noqa: B018


def test_importing_maskmill_takes_less_than_200_milliseconds():
    program = """
import sys, time
start = time.process_time()
import maskmill
heavy = {"numpy", "hydra", "torch", "lightning", "mlflow"} & set(sys.modules)
print(time.process_time() - start, sorted(heavy))
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, _, heavy = result.stdout.partition(" ")
    assert float(seconds) <= 0.2
    assert heavy == "[]\n"
