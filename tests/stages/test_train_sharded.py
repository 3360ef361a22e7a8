"""Sharded training of two real processes on the CPU: the weights of unsharded training, whole
files, and a resume within the epoch.
"""

import pytest
import torch
from safetensors.torch import load_file

import commands
from commands import prepare, run, start

pytestmark = pytest.mark.slow

# bf16 and GPUs are the only parts of conf/trainer/fsdp.yaml that are not run here.
QUICK = [
    *commands.QUICK_PANOPTIC,
    "trainer.max_epochs=2",
    "~callbacks.channels_last",  # sharded weights keep their format, and the other one rounds apart
]
SHARDED = [
    "trainer=fsdp",
    "trainer.accelerator=cpu",
    "trainer.devices=2",
    "trainer.precision=32-true",
    "trainer.deterministic=true",
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("sharded"), num_train=12)


@pytest.fixture(scope="module")
def sharded(prepared):
    """The model file of an undisturbed sharded training."""
    output = run(
        "train", *QUICK, *SHARDED, "out=out/sharded", "data.root=out/prepare", cwd=prepared
    )
    assert "MEMBER: 2/2" in output
    assert "Warning" not in output
    return prepared / "out/sharded/train/model.safetensors"


def test_the_model_is_whole_and_that_of_unsharded_training(prepared, sharded):
    run("train", *QUICK, "trainer=ddp_cpu", "out=out/ddp", "data.root=out/prepare", cwd=prepared)
    ours = load_file(sharded)
    plain = load_file(prepared / "out/ddp/train/model.safetensors")
    assert {key: (value.shape, value.dtype) for key, value in ours.items()} == {
        key: (value.shape, value.dtype) for key, value in plain.items()
    }
    # Sums of shards are rounded in another order, and Adam's first steps magnify that where a
    # gradient is 0.
    for key, value in plain.items():
        assert torch.allclose(ours[key].float(), value.float(), rtol=0.01, atol=0.01), key


def test_a_sharded_training_resumes_within_the_epoch_after_sigterm_with_the_same_bytes(
    prepared, sharded
):
    overrides = [
        *QUICK,
        *SHARDED,
        "out=out/left",
        "data.root=out/prepare",
        "callbacks.resume.every_n_steps=1",
    ]
    process = start("train", *overrides, cwd=prepared)
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 1/" in line:
            break
    process.terminate()
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 143, output
    assert "resuming from" in run("train", *overrides, cwd=prepared)
    assert (prepared / "out/left/train/model.safetensors").read_bytes() == sharded.read_bytes()


def test_averages_of_sharded_weights_are_refused_with_one_message(prepared):
    output = run(
        "train",
        *QUICK,
        *SHARDED,
        "callbacks=ema",
        "out=out/ema",
        "data.root=out/prepare",
        cwd=prepared,
        status=1,
    )
    assert "Expected whole weights to average, but trainer=fsdp distributes them" in output
    assert "Traceback" not in output


def test_channels_last_trains_sharded_too(prepared):
    fast = [
        "+callbacks.channels_last._target_=maskmill.training.speed.ChannelsLast",
        "trainer.max_epochs=1",
        "+trainer.limit_train_batches=1",
        "+trainer.limit_val_batches=1",
    ]
    run("train", *QUICK, *SHARDED, *fast, "out=out/fast", "data.root=out/prepare", cwd=prepared)
    assert (prepared / "out/fast/train/model.safetensors").is_file()
