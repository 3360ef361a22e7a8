"""What MLflow's page of an experiment starts with: a description, and a view with the scores."""

import json

# The page of the experiment has runs and curves in place of traces of language models.
KIND = {"mlflow.experimentKind": "custom_model_development"}
VIEW = "scores"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"  # a saved view, as MLflow's own pages write it
COLUMNS = (
    *("metrics.`test/PQ`", "metrics.`test/mIoU`", "metrics.`test/AP`"),
    *("metrics.`best_val/PQ`", "metrics.`best_val/mIoU`", "metrics.`best_val/PQ/thing`"),
    *("params.`network`", "params.`encoder`", "params.`loss`", "params.`lr`"),
    *("params.`batch_size`", "params.`epochs`", "attributes.`Models`"),
)
CREATED_MS = 1_764_000_000_000  # MLflow requires a time; that of the view does not matter
ABOUT = """Trainings of maskmill, a run each. The view "Scores" lists scores and settings.

- `best_val/...`: score of the kept weights on the validation images; `val/...` has its curve.
- `test/...`: scores on the test images. The description of a run has the intervals and a link to
  the report.
- The artifact `config/train.yaml` is the whole configuration, `images/` has predictions by step.
"""


def page_state() -> str:
    """The columns of the list of runs, as MLflow's pages keep them."""
    return json.dumps({"selectedColumns": COLUMNS, "columnOrder": COLUMNS})


def experiment_tags() -> dict[str, str]:
    """The tags of a new experiment."""
    times = {"createdAt": CREATED_MS, "updatedAt": CREATED_MS}
    view = {"name": "Scores", **times, "state": page_state()}
    return {**KIND, "mlflow.note.content": ABOUT, VIEW_TAG: json.dumps(view)}


def name_of_best(score: str) -> str:
    """The metric with the best value of a score, beside the curve of that score.

    Example:
        >>> name_of_best("val/PQ")
        'best_val/PQ'
    """
    return f"best_{score}"
