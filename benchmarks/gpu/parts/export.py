"""torch.export of the default networks, and the program beside the network on the device: the same
classes, and how long each takes for an image."""

import time
from statistics import median

NETWORKS = ("panoptic_deeplab", "unet")


def measure(part):
    import torch
    from benchmarks.exported_networks import configuration
    from benchmarks.zoo_speed import CLASSES
    from benchmarks.zoo_speed import NETWORKS as OVERRIDES

    from maskmill.assembly.training_parts import build_task
    from maskmill.postprocess.torch_network import TorchNetwork
    from maskmill.serving.program import export_program, load_program

    size = part.size((512, 1024), (64, 128))
    images = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8).numpy()
    for name in NETWORKS[: part.size(2, 1)]:
        torch.manual_seed(0)
        task = build_task(configuration(*OVERRIDES[name], "scheduler=constant"), CLASSES)
        network = task.network.eval()
        start = time.perf_counter()
        export_program(network, part.work / f"export-{name}")
        part.fact(f"{name}: torch.export, s", round(time.perf_counter() - start, 1))
        start = time.perf_counter()
        program = load_program(part.work / f"export-{name}", device=part.device)
        part.fact(f"{name}: the program is loaded in, s", round(time.perf_counter() - start, 1))
        network.to(part.device)
        classes = {}
        for runtime, forward in (
            ("torch", network),
            ("torch, bf16", in_bf16(torch, network, part.device)),
            ("program", program),
        ):
            run = TorchNetwork(forward, device=part.device)
            ms = []
            for _ in range(part.size(20, 3)):
                start = time.perf_counter()
                classes[runtime] = run(images)["classes"]  # waits for the device
                ms.append(1000 * (time.perf_counter() - start))
            same = float((classes[runtime] == classes["torch"]).mean())
            cells = {"network": name, "runtime": runtime, "ms": round(median(ms), 2)}
            part.row(f"An image of {size[0]} x {size[1]}", **cells, same_classes=round(same, 5))
        agree = float((classes["program"] == classes["torch"]).mean())
        assert agree > 0.999, f"{name}: the program gives {agree:.4f} of the pixels their class"


def in_bf16(torch, network, device):
    def forward(images):
        with torch.autocast(device, torch.bfloat16):
            return network(images)

    return forward
