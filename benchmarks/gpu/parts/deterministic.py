"""The steps of the part before with `trainer.deterministic=warn`, the default of trainer=gpu.
PyTorch then computes bilinear interpolation by gathers, whose backward pass sorts indices."""

OPTIONS = ("bf16", "channels_last", "deterministic")


def measure(part):
    from benchmarks.gpu.steps import NETWORKS, measure_step

    for name in NETWORKS:
        measure_step(part, name, OPTIONS, num_steps=part.size(6, 1))
