"""What a validation image costs after the network: the reduction of the logits on the device, the
copy to the CPU, and the grouping there, which must give the segments of a run on the CPU."""

import time
from statistics import median


def measure(part):
    import numpy as np
    import torch
    from benchmarks.grouping import (
        CATEGORIES,
        GROUPING,
        deeplab_outputs,
        draw_scene,
        query_outputs,
    )

    from maskmill.postprocess.mask_classification import PanopticMasks
    from maskmill.postprocess.panoptic import PanopticGrouping
    from maskmill.postprocess.torch_network import as_arrays

    size = part.size((1024, 2048), (128, 256))
    limits = {"threshold": 0.8, "overlap": 0.8, "min_area_px": 0, "stuff_area_px": 2048}
    cases = {
        "Panoptic-DeepLab": (deeplab_outputs, PanopticGrouping(**GROUPING, categories=CATEGORIES)),
        "mask classification": (query_outputs, PanopticMasks(**limits, categories=CATEGORIES)),
    }
    torch.manual_seed(0)
    for name, (draw_outputs, postprocess) in cases.items():
        on_cpu = draw_outputs(*draw_scene(size, num_things=40))
        expected = postprocess(as_arrays(on_cpu), [size])[0]
        outputs = {key: value.to(part.device) for key, value in on_cpu.items()}
        network_ms = []
        grouping_ms = []
        for _ in range(part.size(8, 2)):
            start = time.perf_counter()
            arrays = as_arrays(outputs)  # waits for the device
            middle = time.perf_counter()
            (prediction,) = postprocess(arrays, [size])
            network_ms.append(1000 * (middle - start))
            grouping_ms.append(1000 * (time.perf_counter() - middle))
        same = float(np.mean(prediction.panoptic.ids == expected.panoptic.ids))
        part.row(
            f"An image of {size[0]} x {size[1]}, {len(CATEGORIES)} classes",
            network=name,
            reduction_and_copy_ms=round(median(network_ms), 1),
            grouping_on_the_CPU_ms=round(median(grouping_ms), 1),
            segments=len(prediction.panoptic.segments),
            same_pixels=round(same, 6),
        )
        assert same > 0.999, f"{name}: {same:.4f} of the pixels have the id of the CPU's result"
