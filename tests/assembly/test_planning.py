"""Plans of drawn data sets: what is written composes and builds, and edits of users are kept."""

import shutil
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from drawn_datasets import DATASETS
from maskmill.assembly import planning
from maskmill.assembly.build import build
from maskmill.assembly.conf_search_path import packaged_conf, register_search_path
from maskmill.assembly.plan_choice import Choice
from maskmill.assembly.plan_settings import PlanSettings
from maskmill.assembly.planned_file import is_planned, planned_text, write_planned
from maskmill.assembly.planning import make_plan
from maskmill.assembly.training_parts import build_datamodule
from maskmill.canonical.files import read_json, write_json
from maskmill.data.profile import read_profile
from maskmill.sources.convert import Converter
from maskmill.sources.source import Source

OUT = Path("conf/experiment/planned.yaml")
FREE = {"weights": "none", "device": "cpu"}  # random weights build fastest


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A function that prepares a drawn data set, once."""
    folder = tmp_path_factory.mktemp("drawn")

    def prepare(name):
        root = folder / name
        if not root.exists():
            DATASETS[name](root / "raw")
            with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
                node = compose("config", [f"source={name}", f"source.root={root / 'raw'}"]).source
            Converter(root / "prepared", workers=1).convert(build(node, Source))
        return root / "prepared"

    return prepare


def plan(data, *overrides, **settings):
    """Plan in the current folder, as the command does."""
    register_search_path()
    changes = {"minutes": 1.0, "epochs": 4, **FREE, **settings}
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        place = [f"prepare.out={data}", f"data.root={data}"]
        return make_plan(PlanSettings(data, OUT, **changes), [*place, *overrides])


TASKS = dict.fromkeys(DATASETS, "instance") | {
    "ade20k": "panoptic",
    "camvid": "semantic",
    "ccp": "semantic",
    "cityscapes": "panoptic",
    "coco_panoptic_sample": "panoptic",
    "cwfid": "panoptic",
    "voc": "panoptic",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_plan_of_every_drawn_data_set_composes_with_every_value_valid(prepared, project, name):
    data = prepared(name)
    choices = plan(data).choices  # it builds data, network, loss and task before it writes
    values = {choice.key: choice.value for choice in choices}
    assert values.get("task", "semantic") == TASKS[name]
    assert values["data.crop_size"] in ([96, 96], [96, 160])  # an object, or the whole image
    assert values["trainer.max_epochs"] == 4


@pytest.mark.slow
def test_a_plan_of_epochs_is_the_same_again_and_names_its_reasons(prepared, project):
    data = prepared("camvid")
    first = plan(data).path.read_bytes()
    assert plan(data).path.read_bytes() == first
    text = first.decode()
    assert text.startswith("# @package _global_\n# Written by `maskmill plan`")
    assert "  # 4 epochs: " in text
    assert "is in the image: only flipped" in text or "its place in the image" in text
    lines = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    assert max(map(len, lines)) <= 100


@pytest.mark.slow
def test_validations_of_a_plan_of_epochs_take_a_tenth_of_its_work_but_two_remain(prepared, project):
    # a validation image needs a third of the work of a training sample of the same size
    data = prepared("camvid")
    profile = read_profile(data)
    choices = {choice.key: choice.value for choice in plan(data, epochs=12).choices}
    height, width = choices["data.crop_size"]
    validation = profile.num_val * profile.height * profile.width / 3
    affordable = 0.1 * 12 * profile.num_images * height * width / validation
    num_validations = 12 / choices["trainer.check_val_every_n_epoch"]
    assert affordable < 10  # of a plan that does not look at the work
    assert 2 <= num_validations <= affordable


@pytest.mark.slow
@pytest.mark.parametrize("line", ["optimizer: {lr: 9}", "# a note"])
def test_an_edited_experiment_is_not_replaced(prepared, project, line):
    path = plan(prepared("camvid")).path
    path.write_text(f"{path.read_text()}{line}\n")
    edited = path.read_text()
    with pytest.raises(
        FileExistsError, match="planned.yaml: expected no file, or one as .* edited"
    ):
        plan(prepared("camvid"))
    assert path.read_text() == edited


def test_another_experiment_is_not_replaced(project):
    OUT.parent.mkdir(parents=True)
    OUT.write_text("# @package _global_\ndefaults: []\n")
    assert not is_planned(OUT)
    with pytest.raises(FileExistsError, match="move the file away"):
        write_planned(OUT, "x")


@pytest.mark.slow
def test_values_of_the_user_win_over_the_plan(prepared, project):
    data = prepared("camvid")
    plan(data, "encoder=resnet18")  # for the check alone
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        cfg = compose("config", ["experiment=planned", "network=unet", "optimizer.lr=0.5"])
    assert cfg.network.decoder._target_.endswith(".Unet")
    assert cfg.optimizer.lr == 0.5
    assert cfg.data.batch_size == 4  # of the plan
    cfg.data.update({"num_workers": 0, "root": str(data)})
    batch = next(iter(build_datamodule(cfg).train_dataloader()))
    assert batch["image"].shape == (4, 3, 96, 160)


@pytest.mark.slow
def test_minutes_become_epochs_by_the_measured_speed(prepared, project, monkeypatch):
    seen = []
    measure = planning._measure

    def watched(cfg, batch_size):
        seen.append(measure(cfg, batch_size))
        return seen[0]

    monkeypatch.setattr(planning, "_measure", watched)
    path = plan(prepared("camvid"), "data.num_workers=0", epochs=None, minutes=0.5).path
    assert seen[0].images_per_second > 0
    expected = f"0.5 minutes at {seen[0].images_per_second:.3g} crops/s here"
    assert expected in " ".join(path.read_text().replace("#", "").split())
    assert yaml.safe_load(path.read_text())["trainer"]["max_epochs"] >= 1


def without_images(dataset):
    dataset["splits"]["train"]["num_images"] = 0


def without_labels(dataset):
    for row in dataset["statistics"]["train"]["classes"]:
        row["pixels"] = 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_images, "expected images in the split train, .* prepare again"),
        (without_labels, "expected labels in the split train, .* `maskmill check`"),
    ],
)
def test_data_without_images_or_labels_are_refused(prepared, tmp_path, damage, message):
    shutil.copytree(prepared("camvid"), tmp_path / "copy")
    dataset = read_json(tmp_path / "copy" / "dataset.json")
    damage(dataset)
    write_json(tmp_path / "copy" / "dataset.json", dataset)
    with pytest.raises(ValueError, match=message):
        read_profile(tmp_path / "copy")


def test_data_that_are_not_prepared_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `maskmill prepare` first"):
        read_profile(tmp_path)


@pytest.mark.slow
def test_a_profile_counts_objects_and_finds_what_is_up(prepared):
    profile = read_profile(prepared("cityscapes"))
    assert (profile.num_images, profile.height, profile.width) == (6, 96, 160)
    assert profile.upright_class is not None
    assert profile.object_side.low <= profile.object_side.middle <= profile.object_side.high
    assert profile.objects_per_image >= 1
    assert sum(profile.shares.values()) == pytest.approx(1)
    nuclei = read_profile(prepared("dsb2018"))
    assert (nuclei.thing_names, nuclei.stuff_names) == (("nucleus",), ())


@pytest.mark.parametrize("out", ["planned.yaml", "conf/experiment/planned.txt"])
def test_an_output_where_hydra_finds_no_experiment_is_refused(out):
    with pytest.raises(ValueError, match=r"plan.out: expected a file conf/experiment/NAME.yaml"):
        PlanSettings(Path("out/prepare"), Path(out), 30)


def test_a_later_choice_of_a_key_replaces_an_earlier_one():
    text = planned_text([Choice("a.b", 1, "first"), Choice("a.b", 2, "second")], summary="Two.")
    assert yaml.safe_load(text)["a"] == {"b": 2}
    assert "first" not in text
