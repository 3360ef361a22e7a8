"""The same network validated by one, two and three processes over gloo: bit-identical scores."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from drawn_folders import scene, write_split

PROGRAM = """
import json, pathlib, sys
import torch
from hydra import compose, initialize_config_dir
from lightning import Trainer, seed_everything
from maskmill.assembly.training_parts import build_task
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.transforms import Augmentation
from maskmill.assembly.conf_search_path import packaged_conf
from strategies import CATEGORIES

root, num_processes, output, *overrides = sys.argv[1:]
torch.set_num_threads(1)
seed_everything(0, verbose=False)
with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
    task = build_task(compose("config", overrides), CATEGORIES)
data = SegmentationDataModule(
    root, Augmentation([]), crop_size=(24, 32), batch_size=2, num_workers=0, seed=0
)
trainer = Trainer(
    accelerator="cpu",
    devices=int(num_processes),
    strategy="ddp" if num_processes != "1" else "auto",
    use_distributed_sampler=False,
    logger=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    enable_checkpointing=False,
)
trainer.validate(task, data, verbose=False)
if trainer.is_global_zero:
    scores = {key: value.item() for key, value in trainer.callback_metrics.items()}
    pathlib.Path(output).write_text(json.dumps(scores))
"""
TESTS = Path(__file__).parents[1]
MASKS = ["network=mask2former", "task=panoptic_masks", "loss=mask_classification"]


def validate(folder, num_processes, overrides):
    """The scores of the split in `folder`."""
    program = folder / "validate.py"
    program.write_text(PROGRAM)
    output = folder / f"{num_processes}.json"
    python_path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, program, folder, str(num_processes), output, *overrides],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": python_path},
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert ("MEMBER: 3/3" in result.stderr) == (num_processes == 3)
    return json.loads(output.read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "extra_width"),
    [
        pytest.param(["network.width=16"], 0, id="panoptic-deeplab"),
        pytest.param(MASKS, 0, id="loss-at-random-points"),
        pytest.param(["network.width=16"], 5, id="images-of-several-sizes"),
    ],
)
def test_one_two_and_three_processes_give_the_same_scores(tmp_path, overrides, extra_width):
    labels = [scene(seed, width=32 + extra_width * seed) for seed in range(5)]
    write_split(tmp_path / "val", labels, images=True)
    scores = [validate(tmp_path, num_processes, overrides) for num_processes in (1, 2, 3)]
    assert {"val/loss", "val/mIoU", "val/PQ"} <= scores[0].keys()
    # On some processors a kernel rounds by the size of the batch, which is smaller on more
    # processes: the last bit of the loss may differ. float32 has 2^-23 = 1.2e-7 there.
    losses = [score.pop("val/loss") for score in scores]
    assert losses == pytest.approx([losses[0]] * 3, rel=2e-7)
    assert scores[0] == scores[1] == scores[2]
