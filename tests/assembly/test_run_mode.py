"""Hydra composes a configuration for `hydra.mode` alone only where something may set it."""

import pytest
from hydra._internal.hydra import Hydra

from maskmill.assembly.run_mode import COMPOSED_MODE, may_set_mode, prepare_mode

OWN = {
    "conf/experiment/mine.yaml": "# @package _global_\nhydra:\n  mode: MULTIRUN\n",
    "conf/experiment/derived.yaml": "defaults: [sweep_lr]\n",
    "conf/optimizer/mine.yaml": "lr: 0.1\n",
    "out/conf/train.yaml": "hydra: {run: {dir: .}}\n",
    "elsewhere/sweep.yaml": "hydra: {mode: Multirun}\n",
}


@pytest.mark.parametrize(
    ("files", "arguments", "expected"),
    [
        ([], ["trainer.max_epochs=1"], False),
        ([], ["--multirun", "seed=1,2"], False),  # the flag alone decides
        ([], ["hydra.mode=MULTIRUN", "seed=1,2"], True),
        ([], ["+experiment=sweep_lr"], True),  # a packaged file that sets it
        (["conf/optimizer/mine.yaml"], ["optimizer=mine"], False),
        (["conf/experiment/mine.yaml"], ["experiment=mine"], True),
        (["conf/experiment/derived.yaml"], ["experiment=derived"], True),
        (["out/conf/train.yaml"], ["--config-dir", "out/conf", "--config-name", "train"], False),
        (["elsewhere/sweep.yaml"], ["--config-dir=elsewhere", "-cn", "sweep"], True),
    ],
)
def test_the_mode_may_be_set_by_what_names_it(tmp_path, monkeypatch, files, arguments, expected):
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(OWN[name])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Hydra, "get_mode", Hydra.get_mode)  # as it is, restored after the test
    assert may_set_mode(arguments) == expected
    prepare_mode(arguments)
    assert (Hydra.get_mode is COMPOSED_MODE) == expected
