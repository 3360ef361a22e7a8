"""`maskmill plan` as users start it: a plan, its training, and an edit that it leaves alone."""

import pytest

from commands import QUICK, prepare, run
from maskmill.canonical.files import read_json

pytestmark = pytest.mark.slow


def test_a_planned_experiment_trains_and_keeps_edits(tmp_path):
    prepare(tmp_path, num_train=6, num_val=1)
    line = ["plan.epochs=2", "plan.weights=none", "plan.device=cpu"]
    output = run("plan", *line, cwd=tmp_path)
    assert "6 training images, 96 x 160 px, 7 classes -> panoptic task" in output
    assert "the budget pays for 3 steps only" in output
    assert "train it: maskmill train experiment=planned" in output
    path = tmp_path / "conf/experiment/planned.yaml"
    run("train", "experiment=planned", *QUICK, cwd=tmp_path)
    config = read_json(tmp_path / "out/train/model.json")["config"]
    assert config["task"]["postprocess"]["min_area_px"] > 0
    assert config["trainer"]["max_epochs"] == 2
    path.write_text(path.read_text() + "seed: 1\n")
    refused = run("plan", *line, cwd=tmp_path, status=1)
    assert "conf/experiment/planned.yaml: expected no file, or one as `maskmill plan`" in refused
    assert path.read_text().endswith("seed: 1\n")
