"""The steps with `callbacks=fast` (torch.compile); the first steps, which compile, are apart."""

OPTIONS = (("bf16", "channels_last", "compile"), ("bf16", "compile"))


def measure(part):
    from benchmarks.gpu.steps import NETWORKS, measure_step

    names = list(NETWORKS)[: part.size(None, 1)]
    for options in OPTIONS[: part.size(2, 1)]:
        for name in names:
            measure_step(part, name, options)
