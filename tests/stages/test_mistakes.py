"""Mistakes that users make, each with what its message says: the cause, and the fix."""

import json
import shutil
import sqlite3
from contextlib import suppress

import pytest

import commands

pytestmark = pytest.mark.slow  # a process for each

FAST = ["data.num_workers=0", "data.batch_size=2", "trainer.max_epochs=1"]
TEST = "evaluate.prediction=out/prepare/test"  # the ground truth as its own prediction


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A project with drawn data, prepared, and an empty tracking store."""
    return commands.prepare(tmp_path_factory.mktemp("project"), num_train=2, num_val=1)


def writes(name, text):
    def plant(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return plant


def latin_1(name, text):
    def plant(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="latin-1")

    return plant


def params(text):
    return writes("params.yaml", text)


def deletes(name):
    return lambda folder: shutil.rmtree(folder / name)


def deletes_an_image(folder):
    (folder / "out/prepare/train/images/train_0001.png").unlink()


def renames_a_category(folder):
    shutil.copytree(folder / "out/prepare/test", folder / "other")
    path = folder / "other/panoptic.json"
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = "heaven"
    path.write_text(json.dumps(content))


def makes_an_empty_folder(folder):
    (folder / "empty").mkdir()


# id: (command, overrides, what is planted, the cause, the fix)
MISTAKES = {
    # the command line
    "unknown-key": (
        *("train", ["optimizer.speed=3"], None),
        *("Could not override 'optimizer.speed'. Key 'speed' is not in", "correct the name"),
    ),
    "misspelt-key": (
        *("train", ["optimizer.lrr=3"], None),
        *("Could not override 'optimizer.lrr'", "correct the name (perhaps optimizer.lr)"),
    ),
    "misspelt-group": (
        *("train", ["netwrok=unet"], None),
        *("Could not override 'netwrok'", "correct the name (perhaps network=unet)"),
    ),
    "misspelt-choice": (
        *("train", ["network=unett"], None),
        *("Could not find 'network/unett' - choose one of deeplabv3", "upernet (perhaps unet)"),
    ),
    "misspelt-experiment": (
        *("train", ["experiment=scenes_sematic"], None),
        *("Could not find 'experiment/scenes_sematic'", "(perhaps scenes_semantic)"),
    ),
    "flag-for-a-value": (
        *("train", ["--max-epochs", "3"], None),
        *("--max-epochs: expected overrides like", "(perhaps trainer.max_epochs); --help lists"),
    ),
    "bracket-not-closed": (
        *("train", ["data.crop_size=[96,160"], None),
        *("no viable alternative at input '[96,160'", "close every bracket"),
    ),
    "blanks-around-the-equals-sign": (
        *("train", ["optimizer.lr", "=3"], None),
        *("missing EQUAL", "write key=value, without blanks around the ="),
    ),
    "plus-for-a-key-that-exists": (
        *("train", ["+optimizer.lr=3"], None),
        *("An item is already at 'optimizer.lr'", "remove the + or write ++"),
    ),
    "several-values-without-sweep": (
        *("train", ["optimizer.lr=1e-3,1e-4"], None),
        *("Ambiguous value for argument 'optimizer.lr=1e-3,1e-4'", "add -m to run a sweep"),
    ),
    "interpolation-of-a-misspelt-key": (
        *("train", ["data.batch_size=${data.batchsize}"], None),
        *("Interpolation key 'data.batchsize' not found", "(perhaps data.batch_size)"),
    ),
    "missing-configuration-folder": (
        *("train", ["--config-dir", "nowhere"], None),
        *("nowhere' not found", "correct --config-dir"),
    ),
    "misspelt-configuration-file": (
        *("train", ["--config-dir", "out", "--config-name", "trian"], None),
        *("Cannot find primary config 'trian'", "correct --config-name"),
    ),
    "overrides-of-compose": (
        *("compose", ["network=unet"], None),
        *("compose takes no overrides, but got ['network=unet']", "put them into params.yaml"),
    ),
    "experiment-with-an-open-bracket": (
        *("check", ["experiment=mine"], writes("conf/experiment/mine.yaml", "a: [\n")),
        *("conf/experiment/mine.yaml: expected YAML, but got: while parsing", "correct the file"),
    ),
    "experiment-in-another-encoding": (
        *("check", ["experiment=mine"], latin_1("conf/experiment/mine.yaml", "a: Z\xfcrich\n")),
        *("conf/experiment/mine.yaml: expected a YAML file in UTF-8", "save it as UTF-8"),
    ),
    # params.yaml
    "params-missing": (
        *("compose", [], None),
        *("params.yaml: expected the overrides of the pipeline", "run in the project's root"),
    ),
    "params-with-a-tab": (
        *("compose", [], params("group:\n\tnetwork: unet\n")),
        *("found character '\\t'", "indent with blanks, not tabs"),
    ),
    "params-badly-indented": (
        *("compose", [], params("set:\n  optimizer:\n lr: 3\n")),
        *("line 3, column 2", "by the same number within a block"),
    ),
    "params-values-at-the-top": (
        *("compose", [], params("optimizer: {lr: 3}\n")),
        *("expected only `group:` and `set:` at the top", "move values under `set:`"),
    ),
    "params-choice-under-set": (
        *("compose", [], params("set: {network: unet}\n")),
        *("values under `set: network:`, but got 'unet'", "write `group: {network: unet}`"),
    ),
    "params-unknown-key": (
        *("compose", [], params("set: {optimizer: {lrr: 3}}\n")),
        *("there is no 'optimizer.lrr'", "correct it (perhaps 'optimizer.lr')"),
    ),
    "params-unknown-group": (
        *("compose", [], params("group: {netwrok: unet}\n")),
        *("params.yaml: Could not override 'netwrok'", "(perhaps network=unet)"),
    ),
    "params-unknown-choice": (
        *("compose", [], params("group: {network: unett}\n")),
        *("params.yaml: In 'config': Could not find 'network/unett'", "(perhaps unet)"),
    ),
    "params-text-for-a-mapping": (
        *("compose", [], params("set: lr=3\n")),
        *("expected a mapping under `set:`, but got 'lr=3'", "write `set: {name: value}`"),
    ),
    "params-dotted-key": (
        *("compose", [], params("set: {optimizer.lr: 3}\n")),
        *("there is no 'optimizer.lr'", "write `optimizer: {lr: ...}`"),
    ),
    # types and bounds
    "text-for-a-number": (
        *("train", ["optimizer.lr=fast"], None),
        *("optimizer.lr: expected float", "set another value"),
    ),
    "batch-of-zero": (
        *("train", ["data.batch_size=0"], None),
        *("data.batch_size: expected int, but got 0", "greater than or equal to 1"),
    ),
    "one-number-for-the-crop": (
        *("train", [*FAST, "data.crop_size=96"], None),
        *(
            "size: expected a value that albumentations.RandomResizedCrop accepts",
            "set another value",
        ),
    ),
    "augmentation-of-another-size": (
        *("train", [*FAST, "data.crop_size=[64,64]", "augment=none"], None),
        *("an augmentation that produces data.crop_size (64, 64)", "set both to the same size"),
    ),
    "crop-larger-than-memory": (
        *("train", [*FAST, "data.crop_size=[100000,100000]"], None),
        *("data.crop_size: expected tuple[int, int]", "less than or equal to 16384"),
    ),
    "fractional-batch": (
        *("train", ["data.batch_size=2.5"], None),
        *("data.batch_size: expected int, but got 2.5", "set another value"),
    ),
    "negative-workers": (
        *("train", ["data.num_workers=-1"], None),
        *("data.num_workers: expected int, but got -1", "greater than or equal to 0"),
    ),
    "epochs-in-words": (
        *("train", [*FAST, "trainer.max_epochs=many"], None),
        *("trainer.max_epochs: expected", "Input should be a valid integer"),
    ),
    "unknown-precision": (
        *("train", [*FAST, "trainer.precision=8"], None),
        *("trainer.precision: expected", "Input should be 64, 32 or 16"),
    ),
    "shards-of-zero-megabytes": (
        *("shard", ["shard.shard_mb=0"], None),
        *("shard.shard_mb: expected int, but got 0", "greater than or equal to 1"),
    ),
    "too-few-steps-of-find-lr": (
        *("find_lr", ["tune.lr.num_steps=1"], None),
        *("tune.lr.num_steps: expected int, but got 1", "greater than or equal to 20"),
    ),
    "negative-number-of-scenes": (
        *("draw", ["draw.num_train=-1"], None),
        *("draw.num_train: expected int, but got -1", "greater than or equal to 1"),
    ),
    "unknown-metric-of-evaluate": (
        *("evaluate", ["evaluate.metrics=[PQ,mAP]", TEST], None),
        *("evaluate.metrics", "'PQ', 'mIoU', 'AP', 'boundary', 'calibration' or 'brightness'"),
    ),
    "slices-without-a-score": (
        *("evaluate", ["evaluate.metrics=[brightness]", TEST], None),
        *("Expected `evaluate.metrics` to have a family with scores", "add PQ, mIoU, AP"),
    ),
    "unknown-void-rule": (
        *("evaluate", ["evaluate.void=ignored", TEST], None),
        *("evaluate.void: expected", "Input should be 'auto', 'ignore' or 'background'"),
    ),
    "unknown-metric-of-register": (
        *("register", ["register.metric=accuracy"], None),
        *("register.metric: expected", "Input should be 'auto', 'PQ', 'PQ/thing' or 'mIoU'"),
    ),
    "unknown-reaction-to-problems": (
        *("prepare", ["prepare.on_problem=skip"], None),
        *("prepare.on_problem: expected", "Input should be 'stop' or 'exclude'"),
    ),
    # data and folders
    "not-prepared": (
        *("train", ["data.root=nowhere"], None),
        *("nowhere: expected a prepared data set", "run `maskmill prepare` first"),
    ),
    "raw-data-for-prepared": (
        *("train", ["data.root=data"], None),
        *("data: expected a prepared data set (dataset.json)", "run `maskmill prepare` first"),
    ),
    "a-split-for-the-data-set": (
        *("train", ["data.root=out/prepare/train"], None),
        *("out/prepare/train: expected a prepared data set", "run `maskmill prepare` first"),
    ),
    "missing-split": (
        *("train", FAST, deletes("out/prepare/val")),
        *("out/prepare/val: expected a folder with panoptic.json", "run the previous stage"),
    ),
    "deleted-image": (
        *("train", FAST, deletes_an_image),
        *("train_0001.png: expected an image here", "run `dvc repro prepare`"),
    ),
    "missing-source": (
        *("prepare", ["source.root=nowhere"], None),
        *("nowhere: expected a folder of the data set", "check `source.root`"),
    ),
    "source-of-another-layout": (
        *("prepare", ["source=camvid"], None),
        *("data/train.txt: expected a list of images and labels", "check the path"),
    ),
    "file-for-the-source": (
        *("prepare", ["source.root=data.zip"], writes("data.zip", "not an archive")),
        *("data.zip: expected a folder, or a zip or tar file", "check data.dvc or `source.root`"),
    ),
    "output-folder-of-the-user": (
        *("prepare", ["prepare.out=mine"], writes("mine/thesis.txt", "x")),
        *("found other files (thesis.txt)", "set `prepare.out` to a new folder"),
    ),
    "output-in-the-raw-data": (
        *("prepare", ["prepare.out=data"], None),
        *("data: expected a folder that `prepare` may replace", "set `prepare.out` to a new"),
    ),
    "output-of-another-stage": (
        *("draw", ["draw.out=out/prepare"], None),
        *("but `maskmill prepare` wrote it", "set `draw.out` to a new folder"),
    ),
    "class-that-the-source-lacks": (
        *("prepare", ["+prepare.classes.nosuch=road"], None),
        *("classes of the source, but got ['nosuch']", "choose from sky, building"),
    ),
    "unknown-backend": (
        *("prepare", ["prepare.backend=spark"], None),
        *("prepare.backend to be one of loky", "but got 'spark' - check conf/prepare"),
    ),
    "unprepared-data-to-shard": (
        *("shard", ["shard.data=data"], None),
        *("data: expected a prepared data set", "run `maskmill prepare` first"),
    ),
    "split-that-is-not-there": (
        *("preview", ["preview.split=valid"], None),
        *("out/prepare/valid: expected a split", "check `preview.split`"),
    ),
    "project-over-files": (
        *("new", ["out"], None),
        *("out: expected a new or empty folder", "choose another name"),
    ),
    # the training
    "no-gpu": (
        *("train", [*FAST, "trainer=gpu"], None),
        *("expected a GPU for 'gpu', but PyTorch sees none", "either choose trainer=cpu"),
    ),
    "network-of-another-task": (
        *("train", [*FAST, "network=unet", "task=panoptic"], None),
        *("needs only what network=unet gives (semantic)", "choose task=semantic, or network="),
    ),
    "loss-that-leaves-heads-untrained": (
        *("find_lr", ["loss=dice"], None),
        *("no term of it reads center, offset", "choose loss=panoptic_deeplab | "),
    ),
    "params-task-of-another-network": (
        *("compose", [], params("group: {network: mask2former, task: semantic}\n")),
        *("params.yaml: task=semantic: expected a task", "choose task=instance_masks | "),
    ),
    "unknown-encoder": (
        *("train", [*FAST, "encoder.name=resnet1000"], None),
        *("a timm model, but got 'resnet1000'", "did you mean one of ['resnet200'"),
    ),
    "batch-of-one": (
        *("train", [*FAST, "data.batch_size=1"], None),
        *("at least two images per batch in training, but got one", "raise data.batch_size"),
    ),
    "damaged-store": (
        *("train", FAST, writes("mlflow.db", "not a database")),
        *("mlflow.db: expected MLflow's database, but it is damaged", "restore a copy, or move"),
    ),
    # models and predictions
    "no-model": (
        *("predict", [], None),
        *("out/train: expected a model (model.json and model", "run `maskmill train` first"),
    ),
    "no-gpu-to-predict": (
        *("predict", ["predict.device=cuda"], None),
        *("predict.device: expected a GPU for 'cuda'", "either set predict.device=cpu"),
    ),
    "no-images": (
        *("predict", ["predict.images=nowhere"], None),
        *("nowhere: expected a prepared split, a folder of images", "check this path"),
    ),
    "empty-folder-of-images": (
        *("predict", ["predict.images=empty"], makes_an_empty_folder),
        *("empty: expected a prepared split, a folder of images", "check this path"),
    ),
    "predictions-over-the-images": (
        *("predict", ["predict.images=a", "predict.out=a"], writes("a/a.jpg", "x")),
        *("it contains the input a", "set `predict.out` to a new folder"),
    ),
    "unknown-alias": (
        *("predict", ["predict.model=models:/maskmill@champio"], None),
        *("models:/maskmill@champio: expected a registered model", "either register one or"),
    ),
    "broken-description-of-a-model": (
        *("predict", ["predict.model=m"], writes("m/model.json", "{")),
        *("m/model.json: expected JSON", "either correct the file or write it again"),
    ),
    # the evaluation
    "no-predictions": (
        *("evaluate", ["evaluate.prediction=nowhere"], None),
        *("nowhere: expected a folder with panoptic.json", "check the path"),
    ),
    "raw-data-for-ground-truth": (
        *("evaluate", ["evaluate.target=data", TEST], None),
        *("data: expected a folder with panoptic.json", "check the path"),
    ),
    "data-set-for-a-split": (
        *("evaluate", ["evaluate.target=out/prepare", TEST], None),
        *("out/prepare: expected a folder with panoptic.json", "check the path"),
    ),
    "predictions-with-other-categories": (
        *("evaluate", ["evaluate.prediction=other"], renames_a_category),
        *("got id 1 'heaven' (stuff) instead of 'sky'", "either correct the table or"),
    ),
    "missing-table-of-tags": (
        *("evaluate", ["evaluate.tags=tags.csv", TEST], None),
        *("tags.csv: expected a CSV file of tags", "check `evaluate.tags`"),
    ),
    "table-of-tags-with-semicolons": (
        *("evaluate", ["evaluate.tags=tags.csv", TEST], writes("tags.csv", "file;weather\na;b\n")),
        *("got 'file;weather'", "correct the first line"),
    ),
    "table-of-tags-in-another-encoding": (
        *(
            "evaluate",
            ["evaluate.tags=tags.csv", TEST],
            latin_1("tags.csv", "image,a\na,Z\xfcrich\n"),
        ),
        *("tags.csv: expected a CSV file of tags in UTF-8", "save it as UTF-8"),
    ),
    "missing-folder-of-images": (
        *("evaluate", ["evaluate.images=nowhere", TEST], None),
        *("nowhere: expected the folder of the images", "check `evaluate.images`"),
    ),
    "register-without-evaluation": (
        *("register", [], None),
        *("out/evaluate/metrics.json: expected", "run `maskmill evaluate` first"),
    ),
}


def test_there_are_at_least_sixty():
    assert len(MISTAKES) >= 60


# Only reading images, or counting their batches, shows these: a run exists by then, and fails.
FOUND_BY_THE_TRAINER = {
    "augmentation-of-another-size",
    "deleted-image",
    "missing-split",
    "validation-that-never-runs",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message_names_cause_and_fix(template, tmp_path, mistake):
    command, overrides, plant, cause, fix = MISTAKES[mistake]
    folder = tmp_path / "project"
    shutil.copytree(template, folder)
    if plant is not None:
        plant(folder)
    result = commands.result(command, *overrides, cwd=folder)
    assert result.returncode in {1, 2}, result.stdout
    assert "Traceback" not in result.stdout
    message = result.stdout.splitlines()[-1]
    assert cause in message
    assert fix in message
    assert not (folder / "out/train").exists()
    assert num_runs(folder) == (mistake in FOUND_BY_THE_TRAINER)


def num_runs(folder):
    """The MLflow runs that a mistake left behind; all of them have failed."""
    with suppress(sqlite3.DatabaseError), sqlite3.connect(folder / "mlflow.db") as database:
        statuses = database.execute("select status from runs").fetchall()
        assert set(statuses) <= {("FAILED",)}
        return len(statuses)
    return 0
