"""Which stages a change reaches: `compose` writes what DVC compares to decide whether it reruns."""

import shutil

import pytest

from maskmill.assembly import code_digests
from maskmill.assembly.composition import OUT, PARAMS, compose_stages
from pipeline_params import CODE, editor, make_change, set_params

pytestmark = pytest.mark.slow  # together

ALL = {"prepare", "train", "predict", "evaluate", "register"}
# What is changed and the stages whose own configuration or code it changes; stages after them rerun
# where their input changes.
CHANGES = [
    pytest.param({"set": {"prepare": {"max_pixels": 70_000_000}}}, {"prepare"}, id="prepare"),
    pytest.param({"group": {"source": "camvid"}}, {"prepare"}, id="source"),
    pytest.param({"set": {"data": {"batch_size": 4}}}, {"train"}, id="data"),
    pytest.param({"group": {"augment": "none"}}, {"train"}, id="augment"),
    pytest.param(
        {"group": {"encoder": "resnet18"}, "set": {"encoder": {"name": "resnet18"}}},
        {"train"},
        id="encoder",
    ),
    pytest.param({"set": {"network": {"width": 32}}}, {"train"}, id="network value"),
    pytest.param({"set": {"loss": {"offset_weight": 0.02}}}, {"train"}, id="loss"),
    pytest.param({"set": {"task": {"postprocess": {"top_k": 100}}}}, {"train"}, id="task"),
    pytest.param({"group": {"optimizer": "sgd"}}, {"train"}, id="optimizer"),
    pytest.param({"group": {"scheduler": "poly"}}, {"train"}, id="scheduler"),
    pytest.param({"set": {"trainer": {"max_epochs": 2}}}, {"train"}, id="trainer"),
    pytest.param({"group": {"callbacks": "ema"}}, {"train"}, id="callbacks"),
    pytest.param({"set": {"tracking": {"run_name": "other"}}}, {"train"}, id="tracking"),
    pytest.param({"group": {"inference": "tta"}}, {"predict"}, id="inference"),
    pytest.param({"set": {"predict": {"batch_size": 2}}}, {"predict"}, id="predict"),
    pytest.param({"set": {"evaluate": {"num_examples": 1}}}, {"evaluate"}, id="evaluate"),
    pytest.param({"set": {"register": {"margin": 0.1}}}, {"register"}, id="register"),
    pytest.param({"set": {"shard": {"shard_mb": 7}}}, set(), id="a group of no stage"),
    pytest.param(
        {"conf/scheduler/poly.yaml": "\nwarmup_steps: 3\n"}, set(), id="a choice not made"
    ),
    pytest.param(
        {"group": {"network": "unet"}}, {"train", "predict", "register"}, id="another network"
    ),
    pytest.param({"conf/optimizer/adamw.yaml": "\namsgrad: true\n"}, {"train"}, id="chosen conf"),
    pytest.param({"conf/optimizer/adamw.yaml": "\n# a comment\n"}, set(), id="a comment in conf"),
    pytest.param({"src/maskmill/losses/boundary.py": CODE}, set(), id="code of a part not chosen"),
    pytest.param({"src/maskmill/networks/eomt.py": CODE}, set(), id="a network not chosen"),
    pytest.param({"src/maskmill/losses/panoptic_deeplab.py": CODE}, {"train"}, id="chosen loss"),
    pytest.param({"src/maskmill/losses/panoptic_deeplab.py": "\n# why\n"}, set(), id="a comment"),
    pytest.param({"src/maskmill/sources/scenes.py": CODE}, {"prepare"}, id="chosen source"),
    pytest.param({"src/maskmill/sources/labelme.py": CODE}, set(), id="a source not chosen"),
    # register evaluates the champion on new test images
    pytest.param({"src/maskmill/reporting/report.py": CODE}, {"evaluate", "register"}, id="report"),
    pytest.param({"src/maskmill/serving/packaging.py": CODE}, {"register"}, id="packaging"),
    pytest.param(
        {"src/maskmill/networks/panoptic_deeplab.py": CODE},
        {"train", "predict", "register"},
        id="chosen network",
    ),
    pytest.param({"src/maskmill/canonical/files.py": CODE}, ALL, id="code of all"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory, repository):
    """A copy of the sources and the configuration, which a test may edit; none is imported."""
    folder = tmp_path_factory.mktemp("changes")
    for name in ("conf", "src/maskmill"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / name, folder / name, ignore=ignored)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_digests, "ROOT", folder / "src/maskmill")
        code_digests._read.cache_clear()
        patch.chdir(folder)
        yield folder
    code_digests._read.cache_clear()


@pytest.fixture(scope="module")
def before(project):
    """Stage -> what `compose` writes for it before any change."""
    set_params(project)
    return composed_stages()


def composed_stages():
    return {path.stem: path.read_text() for path in compose_stages(PARAMS, OUT)}


@pytest.fixture
def edited(project, monkeypatch):
    """A function that appends text to a file; what other modules say is not read again."""
    read = code_digests._read
    edit = editor(project)
    append = next(edit)
    modules = set()

    def append_and_forget(name, text):
        append(name, text)
        modules.add(name.removeprefix("src/").removesuffix(".py").replace("/", "."))

    def read_anew(module):
        return read.__wrapped__(module) if module in modules else read(module)

    monkeypatch.setattr(code_digests, "_read", read_anew)
    yield append_and_forget
    edit.close()


@pytest.mark.parametrize(("change", "stages"), CHANGES)
def test_a_change_reaches_exactly_the_stages_whose_result_it_can_change(
    project, edited, before, change, stages
):
    make_change(project, edited, change)
    after = composed_stages()
    assert {stage for stage in before if after[stage] != before[stage]} == stages
