"""The same network validated by one, two and three processes over gloo: the same numbers to the last bit."""

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
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.transforms import Augmentation
from maskmill.assembly.configuration import packaged_conf
from maskmill.assembly.training_job import build_task
from strategies import CATEGORIES

root, processes, written, *overrides = sys.argv[1:]
torch.set_num_threads(1)
seed_everything(0, verbose=False)
with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
    task = build_task(compose("config", overrides), CATEGORIES)
data = SegmentationDataModule(root, Augmentation([]), crop_size=(24, 32), batch_size=2, num_workers=0, seed=0)
trainer = Trainer(
    accelerator="cpu", devices=int(processes), strategy="ddp" if processes != "1" else "auto", use_distributed_sampler=False,
    logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
)
trainer.validate(task, data, verbose=False)
if trainer.is_global_zero:
    pathlib.Path(written).write_text(json.dumps({key: value.item() for key, value in trainer.callback_metrics.items()}))
"""


MASKS = ["network=mask2former", "task=panoptic_masks", "loss=mask_classification"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "wider"),
    [
        pytest.param(["network.width=16"], 0, id="panoptic-deeplab"),
        pytest.param(MASKS, 0, id="points-drawn-for-the-loss"),
        pytest.param(["network.width=16"], 5, id="images-of-several-sizes"),
    ],
)
def test_one_two_and_three_processes_find_the_same_numbers(tmp_path, overrides, wider):
    write_split(
        tmp_path / "val", [scene(seed, width=32 + wider * seed) for seed in range(5)], images=True
    )
    program = tmp_path / "validate.py"
    program.write_text(PROGRAM)
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    found = []
    for processes in (1, 2, 3):  # of five images
        written = tmp_path / f"{processes}.json"
        line = [
            sys.executable,
            str(program),
            str(tmp_path),
            str(processes),
            str(written),
            *overrides,
        ]
        done = subprocess.run(
            line,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": path},
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("MEMBER: 3/3" in done.stderr) == (processes == 3)
        found.append(json.loads(written.read_text()))
    assert {"val/loss", "val/mIoU", "val/PQ"} <= found[0].keys()
    assert found[0] == found[1] == found[2]
