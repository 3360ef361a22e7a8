"""The same network validated by one, two and three processes over gloo: bit-identical scores."""

import json
import os
from pathlib import Path

import pytest

from commands import start_module
from drawn_folders import scene, write_split

# Importing Lightning takes longer than validating, so one start of the processes scores all cases.
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

folder, num_processes = pathlib.Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
scores = {}
for name, overrides in json.loads((folder / "cases.json").read_text()).items():
    seed_everything(0, verbose=False)
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        task = build_task(compose("config", overrides), CATEGORIES)
    data = SegmentationDataModule(
        folder / name, Augmentation([]), crop_size=(24, 32), batch_size=2, num_workers=0, seed=0
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=num_processes,
        strategy="ddp" if num_processes > 1 else "auto",
        use_distributed_sampler=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.validate(task, data, verbose=False)
    scores[name] = {key: value.item() for key, value in trainer.callback_metrics.items()}
if trainer.is_global_zero:
    (folder / f"{num_processes}.json").write_text(json.dumps(scores))
"""
TESTS = Path(__file__).parents[1]
MASKS = ["network=mask2former", "task=panoptic_masks", "loss=mask_classification"]
# Overrides of the configuration, and by how much each image is wider than the one before it.
CASES = {
    "panoptic-deeplab": (["network.width=16"], 0),
    "loss-at-random-points": (MASKS, 0),
    "images-of-several-sizes": (["network.width=16"], 5),
}


def validate(folder, num_processes):
    """The scores of every case."""
    (folder / "validate.py").write_text(PROGRAM)
    python_path = os.pathsep.join([str(folder), str(TESTS), os.environ.get("PYTHONPATH", "")])
    arguments = [str(folder), str(num_processes)]
    process = start_module("validate", *arguments, cwd=folder, PYTHONPATH=python_path)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert ("MEMBER: 3/3" in output) == (num_processes == 3)
    return json.loads((folder / f"{num_processes}.json").read_text())


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """The scores of every case with one, two and three processes."""
    folder = tmp_path_factory.mktemp("validation")
    for name, (_, extra_width) in CASES.items():
        labels = [scene(seed, width=32 + extra_width * seed) for seed in range(5)]
        write_split(folder / name / "val", labels, images=True)
    overrides = {name: case[0] for name, case in CASES.items()}
    (folder / "cases.json").write_text(json.dumps(overrides))
    return [validate(folder, num_processes) for num_processes in (1, 2, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_one_two_and_three_processes_give_the_same_scores(scores, case):
    by_processes = [dict(all_scores[case]) for all_scores in scores]
    assert {"val/loss", "val/mIoU", "val/PQ"} <= by_processes[0].keys()
    # On some processors a kernel rounds by the size of the batch, which is smaller on more
    # processes: the last bit of the loss may differ. float32 has 2^-23 = 1.2e-7 there.
    losses = [case_scores.pop("val/loss") for case_scores in by_processes]
    assert losses == pytest.approx([losses[0]] * 3, rel=2e-7)
    assert by_processes[0] == by_processes[1] == by_processes[2]
