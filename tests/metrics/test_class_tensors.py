"""ConfusionMatrix and BoundaryIoU from tensors of category ids, on the CPU and on a GPU."""

import pytest
import torch

from maskmill.canonical.panoptic import VOID_CATEGORY
from maskmill.metrics import BoundaryIoU, ConfusionMatrix, PanopticQuality
from metric_cases import PREDS, TARGETS, pixels, same_values
from strategies import CATEGORIES


@pytest.mark.parametrize("build", [ConfusionMatrix, BoundaryIoU])
@pytest.mark.parametrize("void", [VOID_CATEGORY, 255])
def test_class_tensors_are_counted_as_class_maps(build, void):
    maps, tensors = build(CATEGORIES), build(CATEGORIES)
    maps.update(*([one.category_map() for one in side] for side in (PREDS, TARGETS)))
    dtype = torch.int16 if void < 0 else torch.uint8
    tensors.update(
        *(
            torch.stack([pixels(one, void=void, dtype=dtype)[..., 0] for one in side])
            for side in (PREDS, TARGETS)
        )
    )
    assert same_values(maps.compute(), tensors.compute())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tensors_on_a_gpu_are_counted_alike():
    tensors = [torch.stack([pixels(one) for one in side]) for side in (PREDS, TARGETS)]
    for build, cut in ((PanopticQuality, slice(None)), (ConfusionMatrix, 0), (BoundaryIoU, 0)):
        here, there = build(CATEGORIES), build(CATEGORIES).to("cuda")
        here.update(*(side[..., cut] for side in tensors))
        there.update(*(side[..., cut].to("cuda") for side in tensors))
        same_values(here.compute(), {name: value.cpu() for name, value in there.compute().items()})
