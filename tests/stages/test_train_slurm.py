"""A training that SLURM starts: `srun` gives each task these variables, here as two nodes of one
task on the loopback address.
"""

import signal
import socket

import psutil
import pytest

from commands import QUICK, prepare, run, start

pytestmark = pytest.mark.slow

TRAINING = [
    *QUICK,
    "trainer=ddp_cpu",
    "trainer.num_nodes=2",
    "trainer.devices=1",
    "data.root=out/prepare",
    "callbacks.resume.every_n_seconds=null",  # a checkpoint each epoch
]


def job_of_a_free_port():
    """A job id of which Lightning makes a port that is free: 15000 and its last four digits."""
    for number in range(1000, 9999):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", 15000 + number)) != 0:
                return f"12{number}"
    raise AssertionError("no port is free")


def srun(*overrides, cwd):
    """Start the two tasks of a job, as `srun --nodes=2 --ntasks-per-node=1 maskmill train ...`
    would.
    """
    job = {
        "SLURM_JOB_ID": job_of_a_free_port(),
        "SLURM_JOB_NAME": "maskmill",
        "SLURM_NNODES": "2",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NODELIST": "localhost,localhost",
        "SLURM_JOB_NODELIST": "localhost,localhost",
    }
    return [
        start(
            "train",
            *overrides,
            cwd=cwd,
            **job,
            SLURM_PROCID=str(node),
            SLURM_NODEID=str(node),
            SLURM_LOCALID="0",
        )
        for node in range(2)
    ]


def ended(tasks):
    """The outputs and exit statuses of all tasks."""
    outputs = [task.communicate(timeout=600)[0] for task in tasks]
    return outputs, [task.returncode for task in tasks]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("slurm"), num_train=8)


def test_two_nodes_under_slurm_are_one_training(prepared):
    outputs, statuses = ended(
        srun(*TRAINING, "trainer.max_epochs=1", "out=out/nodes", cwd=prepared)
    )
    assert statuses == [0, 0], outputs
    assert "MEMBER: 1/2" in outputs[0]
    assert "MEMBER: 2/2" in outputs[1]
    assert "weights" in outputs[0]
    assert "weights" not in outputs[1]  # the second task writes nothing
    assert (prepared / "out/nodes/train/model.safetensors").is_file()
    run(
        "train",
        *QUICK,
        "trainer=ddp_cpu",
        "trainer.max_epochs=1",
        "out=out/one",
        "data.root=out/prepare",
        cwd=prepared,
    )
    model = "train/model.safetensors"
    assert (prepared / "out/nodes" / model).read_bytes() == (
        prepared / "out/one" / model
    ).read_bytes()


def test_a_job_that_slurm_ends_saves_once_and_the_same_job_resumes(prepared):
    line = [*TRAINING, "trainer.max_epochs=60", "out=out/ended", "data.num_workers=1"]
    tasks = srun(*line, cwd=prepared)
    for text in tasks[0].stdout:
        if "epoch 1/" in text:
            break
    # scancel, preemption and `--signal=TERM@120` send it to every process of a job.
    folder = str(prepared.resolve())
    processes = [job for job in psutil.process_iter(["cwd"]) if job.info["cwd"] == folder]
    assert len(processes) >= 4  # two tasks, each with a loader for the training images
    for process in processes:
        process.send_signal(signal.SIGTERM)
    outputs, statuses = ended(tasks)
    assert statuses == [143, 143], outputs
    assert outputs[0].count("received SIGTERM at step") == 1
    assert "SIGTERM" not in outputs[1]  # the first task speaks for all
    assert "Bypassing SIGTERM" not in "".join(outputs)
    (state,) = (prepared / "out/ended/state").iterdir()
    assert (state / "last.ckpt").is_file()
    assert not list(
        prepared.glob("out/**/hpc_ckpt*")
    )  # Lightning's own, which it would go on from in place of ours
    tasks = srun(*line, cwd=prepared)
    for text in tasks[0].stdout:
        if "resuming from" in text:
            break
    else:
        raise AssertionError("it did not go on")
    for task in tasks:
        task.kill()
    outputs, _ = ended(tasks)
    assert "resuming from" not in outputs[1]
