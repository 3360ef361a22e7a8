"""Training steps (loss, matching, clipping, AdamW) of six networks at about the sizes of their
papers, on squares in memory: images per second, peak memory of tensors, and how often a step makes
the CPU wait for the device."""

OPTIONS = (("bf16", "channels_last"), ("bf16",), ("channels_last",), ())


def measure(part):
    from benchmarks.gpu.steps import NETWORKS, measure_step

    for options in OPTIONS[: part.size(4, 1)]:
        for name in NETWORKS:
            measure_step(part, name, options)
