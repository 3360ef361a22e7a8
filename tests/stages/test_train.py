"""The train stage as users start it: alone, killed and resumed, on two processes."""

import hashlib
import json
import os
import signal
import socket
import sqlite3
import time

import pytest

import commands
from commands import prepare, run, start, start_module
from maskmill.evaluation.learning_curves import read_history
from s3_server import s3_server

pytestmark = pytest.mark.slow

EACH_EPOCH = "callbacks.resume.every_n_seconds=null"  # a checkpoint
QUICK = [*commands.QUICK_PANOPTIC, "trainer.max_epochs=2", "train.calibrate=true", EACH_EPOCH]
UNCALIBRATED = "train.calibrate=false"  # where weights alone are compared


def weights(folder):
    names = ("model.safetensors", "model.json", "history.csv")
    return tuple((folder / name).read_bytes() for name in names)


def runs(cwd):
    if not (cwd / "mlflow.db").is_file():
        return {}
    with sqlite3.connect(cwd / "mlflow.db") as database:
        return dict(database.execute("select run_uuid, status from runs").fetchall())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("train"), num_train=7)


@pytest.fixture(scope="module")
def undisturbed(prepared):
    """The output of a training that nothing disturbed, and the bytes of its model."""
    output = run("train", *QUICK, "out=out/whole", "data.root=out/prepare", cwd=prepared)
    assert not any((prepared / "out/whole/state").iterdir())  # finished: nothing to resume
    return output, weights(prepared / "out/whole/train")


@pytest.fixture(scope="module")
def whole(undisturbed):
    return undisturbed[1]


def test_the_number_of_workers_does_not_change_the_weights(prepared, whole):
    workers = ["out=out/workers", "data.num_workers=2", UNCALIBRATED]
    run("train", *QUICK, *workers, "data.root=out/prepare", cwd=prepared)
    assert weights(prepared / "out/workers/train")[0] == whole[0]


def test_the_weights_hash_is_printed_and_a_tag_of_the_run(prepared, undisturbed):
    output, (weight_bytes, *_) = undisturbed
    digest = hashlib.sha256(weight_bytes).hexdigest()
    assert f"weights {digest}, model" in output
    query = "select value from tags where key = 'maskmill.weights'"
    with sqlite3.connect(prepared / "mlflow.db") as database:
        tags = database.execute(query).fetchall()
    assert (digest,) in tags


def test_the_scenes_get_no_warning_of_the_size_of_their_crops(undisturbed):
    assert "crops have" not in undisturbed[0]


def test_fitted_thresholds_are_in_the_model_and_change_no_weight(prepared, whole):
    tuned = ["out=out/tuned", "data.root=out/prepare", "train.tune_thresholds=true"]
    output = run("train", *QUICK, *tuned, cwd=prepared)
    assert "thresholds on 3 validation images: " in output
    assert weights(prepared / "out/tuned/train")[0] == whole[0]
    model = json.loads((prepared / "out/tuned/train/model.json").read_text())
    fitted = model["calibration"]["thresholds"]
    assert fitted["after"] >= fitted["before"]
    assert fitted["values"].items() <= model["config"]["task"]["postprocess"].items()


def test_training_from_s3_gives_the_weights_of_training_from_files(prepared, whole):
    with s3_server("data-sets") as bucket:
        run("shard", f"shard.out={bucket}/scenes/v1", "shard.shard_mb=1", cwd=prepared)
        shards = ["out=out/from_s3", f"data.root={bucket}/scenes/v1", "data.num_workers=2"]
        run("train", *QUICK, *shards, UNCALIBRATED, cwd=prepared)
        assert weights(prepared / "out/from_s3/train")[0] == whole[0]
        assert "nothing: expected a prepared data set" in run(
            "train", *QUICK, f"data.root={bucket}/nothing", cwd=prepared, status=1
        )


def test_the_stage_shard_replaces_its_own_shards(prepared):
    for _ in range(2):
        assert "images, train with" in run("shard", "shard.shard_mb=1", cwd=prepared)


def test_a_killed_training_resumes_and_ends_with_the_same_bytes(prepared, whole):
    before = set(runs(prepared))
    overrides = [*QUICK, "out=out/killed", "data.root=out/prepare"]
    process = start("train", *overrides, cwd=prepared)
    while not list(prepared.glob("out/killed/state/*/last.ckpt")) and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (prepared / "out/killed/train").exists()
    assert "resuming from" in run("train", *overrides, cwd=prepared)
    assert weights(prepared / "out/killed/train") == whole
    added = {run_id: status for run_id, status in runs(prepared).items() if run_id not in before}
    assert list(added.values()) == ["FINISHED"]


@pytest.mark.parametrize("trainer", ["cpu", "ddp_cpu"])
def test_sigterm_saves_and_stops_and_the_same_command_resumes(prepared, whole, trainer):
    out = f"out/term-{trainer}"
    overrides = [*QUICK, f"out={out}", "data.root=out/prepare", f"trainer={trainer}"]
    process = start("train", *overrides, "trainer.max_epochs=60", cwd=prepared)
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 1/" in line:
            break
    process.terminate()
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 143, output
    assert "SIGTERM at step" in output
    assert "the same command resumes from it" in output
    (state,) = (prepared / out / "state").iterdir()
    assert (state / "last.ckpt").is_file()
    output = run("train", *overrides, cwd=prepared)  # another number of epochs is another training
    assert (
        f"{state.name} does not match, so this one starts from scratch: trainer.max_epochs was 60, "
        "is 2" in output
    )
    if trainer == "cpu":
        assert weights(prepared / out / "train") == whole
    else:  # batches of two processes give other weights
        assert "MEMBER: 2/2" in output
        assert (prepared / out / "train/model.safetensors").is_file()
        rows = read_history(prepared / out / "train/history.csv")
        assert [row["epoch"] for row in rows] == [1, 2]


def test_two_nodes_under_torchrun_are_one_training(prepared):
    """Two launchers on the loopback address, as on two machines, each with its own command line."""
    before = set(runs(prepared))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    training = [
        *QUICK,
        UNCALIBRATED,
        "out=out/nodes",
        "data.root=out/prepare",
        "trainer=ddp_cpu",
        "trainer.num_nodes=2",
        "trainer.devices=1",
        "trainer.max_epochs=1",
    ]
    nodes = []
    for rank in range(2):
        launcher = [
            "--nnodes=2",
            f"--node-rank={rank}",
            "--nproc-per-node=1",
            "--master-addr=127.0.0.1",
            f"--master-port={port}",
            *("-m", "maskmill.stages.train"),
        ]
        nodes.append(start_module("torch.distributed.run", *launcher, *training, cwd=prepared))
    outputs = [node.communicate(timeout=600)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    assert "weights" in outputs[0]
    assert (prepared / "out/nodes/train/model.safetensors").is_file()
    added = {run_id: status for run_id, status in runs(prepared).items() if run_id not in before}
    assert list(added.values()) == ["FINISHED"]
