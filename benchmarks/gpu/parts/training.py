"""`maskmill train` with its defaults and trainer=gpu (bf16): the embedded scenes, with MLflow,
checkpoints, calibration and the model written. On two CPU cores it takes two minutes and reaches
a PQ of about 0.78 on the validation scenes."""

import time


def measure(part):
    from benchmarks.gpu.trainings import train

    epochs = part.size(30, 1)
    overrides = [f"trainer.max_epochs={epochs}", f"data.num_workers={part.size(8, 0)}"]
    start = time.perf_counter()
    result = train(part, "training", *overrides)
    part.fact("epochs", epochs)
    part.fact("seconds, with calibration and model", round(time.perf_counter() - start, 1))
    part.fact("PQ on the validation scenes", round(result.score, 4))
    part.fact("weights", result.digest[:12])
    for row in result.history:
        part.row("Learning curve", **row)
