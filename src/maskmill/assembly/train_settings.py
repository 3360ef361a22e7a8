"""What `maskmill train` reads, and where it writes."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrainSettings:
    """Input and output of a training run.

    Args:
        data: what `prepare` or `shard` wrote; a folder or s3://BUCKET/PREFIX.
        out: folder for the model.
        state: parent of the folders from which killed runs resume.
        calibrate: fit confidences and scores to the validation images when training ends.
        tune_thresholds: before that, fit the thresholds of post-processing to these images too;
            only with `calibrate`.
        once: reuse the model of a finished run with the same fingerprint; set for the jobs of a
            sweep.

    Raises:
        ValueError: thresholds are to be fitted without a calibration.
    """

    data: str
    out: Path
    state: Path
    calibrate: bool = True
    tune_thresholds: bool = False
    once: bool = False

    def __post_init__(self) -> None:
        if self.tune_thresholds and not self.calibrate:
            raise ValueError(
                "train.tune_thresholds: expected a calibration too, but got train.calibrate=false "
                "- either set train.calibrate=true or leave train.tune_thresholds=false"
            )
