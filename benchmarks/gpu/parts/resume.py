"""A training that receives SIGTERM and is started again has the weights of one that nothing
stopped, bit by bit. If two uninterrupted trainings differ, the device's own algorithms do."""

from lightning import Callback


def measure(part):
    import os
    import signal

    from benchmarks.gpu.trainings import train

    class TermAt(Callback):
        """Sends SIGTERM to this process, as a cluster does when it reclaims a machine."""

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if (trainer.current_epoch, batch_idx) == (1, 1):
                os.kill(os.getpid(), signal.SIGTERM)

    overrides = [f"trainer.max_epochs={part.size(4, 2)}", "data.num_workers=2"]
    overrides += ["train.calibrate=false"]
    first = train(part, "resume-1", *overrides)
    again = train(part, "resume-2", *overrides)
    try:
        train(part, "resume-3", *overrides, callbacks=[TermAt()])
    except InterruptedError as error:
        part.fact("stopped", str(error)[:60])
    resumed = train(part, "resume-3", *overrides)
    part.fact("two trainings have the same weights", first.digest == again.digest)
    part.fact("the resumed training has the same weights", first.digest == resumed.digest)
    part.fact("largest difference of two trainings", first.difference(again))
    part.fact("largest difference after a resume", first.difference(resumed))
