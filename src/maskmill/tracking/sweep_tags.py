"""The tags by which MLflow shows the run of a job below that of its sweep."""

SWEEP_TAG = "sweep"
JOB_TAG = "sweep_job"
PARENT_TAG = "mlflow.parentRunId"


def job_tags(sweep: str, job: int, parent: str) -> dict[str, str]:
    """The tags of a job's run.

    Args:
        sweep: name of the sweep.
        job: number of the job.
        parent: id of the run of the sweep.
    """
    return {SWEEP_TAG: sweep, JOB_TAG: str(job), PARENT_TAG: parent}
