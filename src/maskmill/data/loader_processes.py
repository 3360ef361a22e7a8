"""What a loader process sets up before it reads its first image."""

import os
import signal
import sys
import threading

import cv2


def set_up_loader_process(_: int) -> None:
    """Use one thread, and leave SIGTERM to the training; a `worker_init_fn` of torch's loader."""
    # The processes already use all cores; OpenCV's own threads would compete with them.
    cv2.setNumThreads(0)
    if sys.platform == "linux":
        _obey_only_the_training()


def _obey_only_the_training() -> None:
    """End at a SIGTERM of the training, and ignore that of others.

    SLURM sends SIGTERM to every process of a job. The training saves a checkpoint after the present
    step, for which it may still need a batch.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_wait_for_sigterm, args=(os.getppid(),), daemon=True).start()


def _wait_for_sigterm(training: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != training:
        pass
    os._exit(0)  # as torch's own handler does
