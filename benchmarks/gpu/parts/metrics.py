"""Metrics of tensors are counted on their device, and equal those of the CPU exactly."""

import time


def measure(part):
    import torch
    from benchmarks.grouping import CATEGORIES, draw_scene

    from maskmill.metrics import BoundaryIoU, ConfusionMatrix, PanopticQuality

    size = part.size((1024, 2048), (128, 256))
    num_images = part.size(8, 2)
    sides = []
    for shift in (0, 5):
        images = []
        for seed in range(num_images):
            semantic, instance = draw_scene(size, num_things=40, seed=seed)
            pixels = torch.stack([semantic[0].long(), instance[0].long()], dim=-1)  # (H, W, 2)
            images.append(pixels.roll(shift, dims=1))
        sides.append(torch.stack(images))  # (B, H, W, 2)
    pred, target = sides
    for build, cut in ((PanopticQuality, slice(None)), (ConfusionMatrix, 0), (BoundaryIoU, 0)):
        values = {}
        for device in ("cpu", part.device):
            metric = build(CATEGORIES).to(device)
            arguments = (pred[..., cut].to(device), target[..., cut].to(device))
            metric.update(*arguments)  # warms up
            metric.reset()
            start = time.perf_counter()
            metric.update(*arguments)
            scores = metric.compute()  # waits for the device
            ms = 1000 * (time.perf_counter() - start) / num_images
            values[device] = {name: float(value) for name, value in scores.items()}
            row = {"metric": build.__name__, "device": device, "ms_per_image": round(ms, 2)}
            part.row(f"{num_images} images of {size[0]} x {size[1]}", **row)
        equal = str(values["cpu"]) == str(values[part.device])  # as text, since NaN != NaN
        part.fact(f"{build.__name__} is equal", equal)
        assert equal, (build.__name__, values)
