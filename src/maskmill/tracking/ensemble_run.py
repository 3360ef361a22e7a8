"""The MLflow run of an ensemble, which was not trained itself."""

from collections.abc import Sequence

from mlflow.entities import Run

from maskmill.tracking.descriptions import NOTE
from maskmill.tracking.lineage import MODEL_TAG, WEIGHTS_TAG, find_run
from maskmill.tracking.restored import EXPERIMENT
from maskmill.tracking.runs import code_tags
from maskmill.tracking.store import connect, experiment_id

RUN_NAME = "ensemble"
MEMBERS_TAG = "maskmill.members"  # fingerprints of the models, separated by spaces


def add_ensemble_run(model: str, *, members: Sequence[str], weights: str, data: str) -> Run:
    """The run of an ensemble, to which evaluations and versions refer; a finished one is added.

    It is in the experiment of its first member that has a run; its description links to the runs
    of all members. An ensemble that has a run gets no second one.

    Args:
        model: fingerprint of the ensemble.
        members: fingerprints of its models.
        weights: digest of its weights.
        data: digest of the data set of its members.
    """
    present = find_run(model)
    if present is not None:
        return present
    client = connect()
    runs = list(map(find_run, members))
    experiments = [run.info.experiment_id for run in runs if run is not None]
    lines = [f"The mean outputs of {len(members)} models.", ""]
    for member, run in zip(members, runs, strict=True):
        link = f"model {member[:12]}"
        if run is not None:
            where = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
            link = f"[{run.info.run_name}]({where}), {link}"
        lines.append(f"- {link}")
    tags = {
        **code_tags(),
        MODEL_TAG: model,
        WEIGHTS_TAG: weights,
        MEMBERS_TAG: " ".join(members),
        "data_hash": data,
        NOTE: "\n".join(lines),
    }
    experiment = experiments[0] if experiments else experiment_id(EXPERIMENT)
    run = client.create_run(experiment, run_name=RUN_NAME, tags=tags)
    client.set_terminated(run.info.run_id, "FINISHED")
    return client.get_run(run.info.run_id)
