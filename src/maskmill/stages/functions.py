"""The functions of `import maskmill`: commands with plain arguments, inside the caller's process.

A function composes the configuration that its command has, runs the same stage, and returns what
the stage wrote. Relative paths are relative to the project, as for a command that runs there.
"""

import math
import os
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path

from omegaconf import DictConfig

from maskmill.assembly.command_line import quote_text
from maskmill.assembly.suggestions import known_choices
from maskmill.canonical.files import read_json
from maskmill.evaluation.deciding import find_task
from maskmill.evaluation.learning_curves import HISTORY, read_history
from maskmill.reporting.results import Checked, Predicted, Prepared, Registered, Scored, Trained
from maskmill.serving.model_files import read_model
from maskmill.stages.in_process import configured, function_of

PathLike = str | os.PathLike[str]


def check(
    source: PathLike | None = None,
    *,
    project: PathLike | None = None,
    overrides: Sequence[str] = (),
) -> Checked:
    """Check raw data, as `maskmill check` does; nothing is converted.

    Args:
        source: a folder or an archive with the data, or the name of a file in conf/source/; None:
            that of the configuration.
        project: the folder of the project; None: the current folder.
        overrides: as on the command line, `group=choice` and `group.key=value`.

    Raises:
        FileNotFoundError: there is no such data or project.
        ValueError: an override is wrong, or the data cannot be read at all.

    Example:
        >>> import maskmill
        >>> checked = maskmill.check("data")
        >>> checked.num_errors, checked.path.name
        (0, 'check.json')
    """
    with configured(overrides, project, given=_source(source, project)) as cfg:
        from maskmill.stages.check import check_source

        findings = check_source(cfg)
        return Checked(tuple(findings), Path(cfg.check.out, "check.json").absolute())


def prepare(
    source: PathLike | None = None,
    *,
    project: PathLike | None = None,
    overrides: Sequence[str] = (),
) -> Prepared:
    """Convert raw data to the canonical format, as `maskmill prepare` does.

    A second call converts only files that changed.

    Args:
        source: a folder or an archive with the data, or the name of a file in conf/source/; None:
            that of the configuration.
        project: the folder of the project; None: the current folder.
        overrides: as on the command line.

    Raises:
        FileNotFoundError: there is no such data or project.
        ValueError: an override is wrong, or the data has errors.

    Example:
        >>> import maskmill
        >>> prepared = maskmill.prepare("data", overrides=["prepare.workers=1"])
        >>> prepared.num_images["train"], prepared.folder.name
        (4, 'prepare')
    """
    with configured(overrides, project, given=_source(source, project)) as cfg:
        from maskmill.stages import prepare as command

        function_of(command.main)(cfg)
        folder = Path(cfg.prepare.out).absolute()
    dataset = read_json(folder / "dataset.json")
    num_images = {}
    for split, row in dataset["splits"].items():
        num_images[split] = row["num_images"]
    classes = tuple(map(itemgetter("name"), dataset["categories"]))
    return Prepared(folder, num_images, classes, len(dataset["problems"]))


def train(
    source: PathLike | None = None,
    *,
    minutes: float | None = None,
    project: PathLike | None = None,
    overrides: Sequence[str] = (),
) -> Trained:
    """Train a model, as `maskmill train` does; a call that was killed resumes if it is repeated.

    Args:
        source: is prepared first, see `prepare`; None: the data set that is prepared already.
        minutes: the training ends after this time, if not before (`trainer.max_time`); None: after
            `trainer.max_epochs`.
        project: the folder of the project; None: the current folder.
        overrides: as on the command line.

    Raises:
        FileNotFoundError: there is no such data or project, or no prepared data set.
        ValueError: an override is wrong, the parts do not go together, or training failed.
        InterruptedError: SIGTERM was received; the checkpoint is written.

    Example:
        >>> import maskmill
        >>> quick = ["trainer.max_epochs=1", "data.batch_size=2", "data.num_workers=0"]
        >>> trained = maskmill.train(minutes=30, overrides=quick)
        >>> trained.metric, trained.folder.name, len(trained.weights)
        ('PQ', 'train', 64)
    """
    if source is not None:
        prepare(source, project=project, overrides=overrides)
    given = [*_source(source, project), *_time_limit(minutes)]
    with configured(overrides, project, given=given) as cfg:
        from maskmill.stages import train as command

        score = function_of(command.main)(cfg)
        folder = Path(cfg.train.out).absolute()
        files = read_model(folder)
    task_class = str(files.config["task"]["_target_"]).rpartition(".")[2]
    metric = find_task(files.categories, task_class).metric
    history = tuple(read_history(folder / HISTORY))
    return Trained(folder, metric, score, files.weights_digest(), history)


def predict(
    images: PathLike | None = None,
    *,
    model: PathLike | None = None,
    out: PathLike | None = None,
    project: PathLike | None = None,
    overrides: Sequence[str] = (),
) -> Predicted:
    """Write the predictions of images as files, as `maskmill predict` does.

    `load_model` predicts arrays in memory.

    Args:
        images: a folder, a pattern, a file or a list of files; None: the test split.
        model: a folder that `train` or `ensemble` wrote, or models:/NAME@ALIAS; None: the model
            just trained.
        out: folder for the predictions; None: that of the configuration.
        project: the folder of the project; None: the current folder.
        overrides: as on the command line.

    Raises:
        FileNotFoundError: there is no such image, model or project.
        ValueError: an override is wrong, or an image cannot be read.

    Example:
        >>> import maskmill
        >>> predicted = maskmill.predict()
        >>> predicted.num_images, predicted.folder.name
        (2, 'predict')
    """
    given = _given({"predict.images": images, "predict.model": model, "predict.out": out})
    with configured(overrides, project, given=given) as cfg:
        from maskmill.stages import predict as command

        num_images = function_of(command.main)(cfg)
        return Predicted(Path(cfg.predict.out).absolute(), num_images, _absolute(cfg))


def evaluate(
    prediction: PathLike | list[PathLike] | None = None,
    target: PathLike | list[PathLike] | None = None,
    *,
    out: PathLike | None = None,
    project: PathLike | None = None,
    overrides: Sequence[str] = (),
) -> Scored:
    """Score predictions against ground truth, as `maskmill evaluate` does.

    Args:
        prediction: a folder or a COCO panoptic JSON file; None: what `predict` wrote.
        target: a folder or a COCO panoptic JSON file; None: the test split. Lists of both are
            scored as one data set.
        out: folder for the report; None: that of the configuration.
        project: the folder of the project; None: the current folder.
        overrides: as on the command line.

    Raises:
        FileNotFoundError: there are no such predictions, ground truth or project.
        ValueError: an override is wrong, or the predictions do not fit the ground truth.

    Example:
        >>> import maskmill
        >>> scored = maskmill.evaluate()
        >>> list(scored.scores)[0], 0 <= scored.scores["PQ"] <= 1, scored.report.name
        ('PQ', True, 'report.html')
    """
    paths = {"evaluate.prediction": prediction, "evaluate.target": target, "evaluate.out": out}
    with configured(overrides, project, given=_given(paths)) as cfg:
        from maskmill.stages import evaluate as command

        evaluated = function_of(command.main)(cfg)
        folder = Path(cfg.evaluate.out).absolute()
    return Scored(folder, evaluated.scores, evaluated.bounds)


def register(
    name: str | None = None,
    *,
    project: PathLike | None = None,
    overrides: Sequence[str] = (),
) -> Registered:
    """Register the evaluated model, as `maskmill register` does, and decide its alias.

    Args:
        name: of the registered model; None: that of the configuration.
        project: the folder of the project; None: the current folder.
        overrides: as on the command line.

    Raises:
        FileNotFoundError: there is no such project, no model or no evaluation.
        ValueError: an override is wrong, or the evaluation is not of this model.

    Example:
        >>> import maskmill
        >>> registered = maskmill.register("street")
        >>> registered.uri, registered.alias
        ('models:/street/1', 'champion')
    """
    with configured(overrides, project, given=_given({"register.name": name})) as cfg:
        from maskmill.stages import register as command

        function_of(command.main)(cfg)
        folder = Path(cfg.register.out).absolute()
    row = read_json(folder / "version.json")
    return Registered(row["name"], row["version"], row["alias"], row["reason"], folder)


def _given(values: Mapping[str, PathLike | list[PathLike] | None]) -> list[str]:
    """The overrides of the arguments that are not None."""
    overrides = []
    for key, value in values.items():
        if isinstance(value, list):
            overrides.append(f"{key}=[{','.join(map(_quoted, value))}]")
        elif value is not None:
            overrides.append(f"{key}={_quoted(value)}")
    return overrides


def _quoted(path: PathLike) -> str:
    return quote_text(os.fspath(path))


def _source(source: PathLike | None, project: PathLike | None) -> list[str]:
    """`source=NAME` for a file of conf/source/, `source.root=PATH` for anything else."""
    if source is None:
        return []
    name = os.fspath(source)
    own = Path(project or ".", "conf", "source", f"{name}.yaml")
    is_name = isinstance(source, str) and os.sep not in name
    if is_name and (own.is_file() or name in known_choices()["source"]):
        return [f"source={name}"]
    if not Path(project or ".", name).exists():
        raise FileNotFoundError(
            f"{name}: expected a folder or an archive of data, or the name of a file in "
            "conf/source/, but there is neither - correct `source`, or `project`"
        )
    return _given({"source.root": name})


def _time_limit(minutes: float | None) -> list[str]:
    if minutes is None:
        return []
    if not (minutes > 0 and math.isfinite(minutes)):
        raise ValueError(f"minutes: expected a time above 0, but got {minutes} - correct it")
    return [f"++trainer.max_time={{seconds: {math.ceil(60 * minutes)}}}"]


def _absolute(cfg: DictConfig) -> str:
    """The images, such that they are found from any folder."""
    path = Path(cfg.predict.images).absolute()
    return str(path if path.exists() else cfg.predict.images)
