"""trainer=fsdp (FSDP2) on one device, beside the same training without it, both in fp32: the
weights agree up to rounding."""

import time


def measure(part):
    from benchmarks.gpu.trainings import train

    overrides = [
        "trainer.devices=1",
        "trainer.max_epochs=1",
        "data.num_workers=2",
        "train.calibrate=false",
    ]
    overrides += ["trainer.precision=32-true", "trainer.deterministic=false"]
    results = []
    for trainer in ("gpu", "fsdp"):
        start = time.perf_counter()
        results.append(
            train(part, f"fsdp-{trainer}", "trainer.devices=1", *overrides, trainer=trainer)
        )
        seconds = round(time.perf_counter() - start, 1)
        part.row("Trainings", trainer=trainer, seconds=seconds, validation_PQ=results[-1].score)
    plain, sharded = results
    part.fact("largest difference of the weights", plain.difference(sharded))
