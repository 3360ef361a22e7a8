from functools import partial

import pytest
import segmentation_models_pytorch as smp
import torch
from lightning import LightningDataModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from maskmill.canonical.categories import Categories
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.losses.overlap import Dice
from maskmill.losses.panoptic_deeplab import PanopticDeepLabLoss
from maskmill.losses.semantic import CrossEntropy, Sum
from maskmill.networks.decoders import EncoderDecoder
from maskmill.networks.encoders import TimmEncoder
from maskmill.networks.panoptic_deeplab import PanopticDeepLab
from maskmill.postprocess.panoptic import PanopticGrouping
from maskmill.postprocess.semantic import SemanticSegments
from maskmill.tasks.optimization import constant
from maskmill.tasks.segmentation import InstanceTask, PanopticTask, SemanticTask
from strategies import CATEGORIES

THINGS = Categories([category for category in CATEGORIES if category.isthing])
ENCODER = "mobilenetv3_small_050"
adamw = partial(torch.optim.AdamW, lr=3e-3)


class DrawnData(LightningDataModule):
    """Two loaders; as in maskmill.data, only tensors of a batch move to the device."""

    transfer_batch_to_device = SegmentationDataModule.transfer_batch_to_device

    def __init__(self, train, val):
        super().__init__()
        self.train_dataloader = lambda: train
        if val is not None:
            self.val_dataloader = lambda: val


class Losses(Callback):
    """The training losses, in order."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.values.append(float(outputs["loss"]))


def semantic_task(schedule):
    decoder = partial(smp.Unet, decoder_channels=[32, 16, 16, 8, 8])
    return SemanticTask(
        EncoderDecoder(TimmEncoder(ENCODER), decoder, num_classes=4),
        Sum([CrossEntropy(), Dice()]),
        postprocess=SemanticSegments(categories=CATEGORIES),
        categories=CATEGORIES,
        optimizer=adamw,
        scheduler=schedule,
    )


def grouping_task(kind, schedule, categories=CATEGORIES, encoder=ENCODER, **settings):
    """A task with Panoptic-DeepLab."""
    network = PanopticDeepLab(
        TimmEncoder(encoder), width=32, atrous_rates=[1, 2, 3], num_classes=categories.num_outputs
    )
    postprocess = PanopticGrouping(
        threshold=0.1,
        nms_kernel=7,
        top_k=50,
        min_area_px=4,
        stuff_area_px=16,
        categories=categories,
        **settings,
    )
    return kind(
        network,
        PanopticDeepLabLoss(CrossEntropy(), offset_weight=0.05, sigma_px=3.0),
        postprocess=postprocess,
        categories=categories,
        optimizer=adamw,
        scheduler=schedule,
    )


class StopAt(Callback):
    """Stops a training once each of these scores is higher than its value."""

    def __init__(self, scores):
        self.scores = scores

    def on_validation_end(self, trainer, pl_module):
        reached = [trainer.callback_metrics[key] > value for key, value in self.scores.items()]
        trainer.should_stop = all(reached)


def fit(task, train, val, folder, steps=10, callbacks=(), **settings):
    losses = Losses()
    best = ModelCheckpoint(folder, filename="best", monitor=task.monitor, mode="max")
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        default_root_dir=folder,
        callbacks=[losses, best, *callbacks],
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        deterministic=True,
        **settings,
    )
    trainer.fit(task, datamodule=DrawnData(train, val))
    return trainer, losses.values


@pytest.fixture(scope="module")
def trained(loader, schedule, tmp_path_factory):
    """Ten steps of a task: the Trainer and its losses. Each task is trained once per module."""
    makers = {
        "semantic": semantic_task,
        "panoptic": partial(grouping_task, PanopticTask),
        "instance": partial(grouping_task, InstanceTask, keep_stuff=False),
        "instance-on-background": partial(
            grouping_task, InstanceTask, categories=THINGS, keep_stuff=False
        ),
    }
    results = {}

    def run(name, *, again=False):
        if again or name not in results:
            seed_everything(0)
            task = makers[name](schedule)
            train = loader(8, task.categories)
            val = loader(3, task.categories, batch_size=2)
            result = fit(task, train, val, tmp_path_factory.mktemp(name))
            results.setdefault(name, result)
            return result
        return results[name]

    return run


TASKS = [
    pytest.param("semantic", {"val/loss", "val/mIoU", "val/IoU/ball"}, id="semantic"),
    pytest.param(
        "panoptic",
        {"val/loss", "val/mIoU", "val/PQ", "val/PQ/thing", "val/PQ/stuff", "val/IoU/ball"},
        id="panoptic",
    ),
    pytest.param("instance", {"val/loss", "val/mIoU", "val/PQ/thing"}, id="instance"),
    pytest.param(
        "instance-on-background",
        {"val/loss", "val/mIoU", "val/PQ/thing"},
        id="instance-on-background",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "keys"), TASKS)
def test_a_real_training_lowers_the_loss_and_reports_its_scores(name, keys, trained):
    trainer, losses = trained(name)
    assert sum(losses[-2:]) < 0.8 * sum(losses[:2])  # each pair sees all eight scenes
    assert keys <= trainer.callback_metrics.keys()
    assert trainer.lightning_module.monitor in trainer.callback_metrics
    for key, value in trainer.callback_metrics.items():
        if "PQ" in key or "IoU" in key:
            assert 0 <= value <= 1


@pytest.mark.slow
def test_a_checkpoint_loads_without_unpickling_and_gives_the_same_outputs(
    trained, loader, schedule, tmp_path
):
    trainer, _ = trained("panoptic")
    trainer.save_checkpoint(tmp_path / "saved.ckpt")
    checkpoint = torch.load(tmp_path / "saved.ckpt", weights_only=True)
    loaded_task = grouping_task(PanopticTask, schedule)
    loaded_task.load_state_dict(checkpoint["state_dict"])
    images = next(iter(loader(2)))["image"]
    with torch.no_grad():
        expected = trainer.lightning_module.eval().network(images)
        outputs = loaded_task.eval().network(images)
    for key in expected:
        assert torch.equal(outputs[key], expected[key])


@pytest.mark.slow
def test_two_trainings_with_one_seed_are_bit_identical(trained):
    _, losses = trained("panoptic")
    _, losses_again = trained("panoptic", again=True)
    assert losses == losses_again


@pytest.mark.slow
def test_a_training_in_bfloat16_lowers_the_loss(loader, schedule, tmp_path):
    seed_everything(0)
    task = grouping_task(PanopticTask, schedule)
    trainer, losses = fit(task, loader(8), loader(2), tmp_path, precision="bf16-mixed")
    assert sum(losses[-2:]) < 0.8 * sum(losses[:2])
    assert trainer.callback_metrics["val/loss"].isfinite()


@pytest.mark.slow
def test_panoptic_deeplab_overfits_a_drawn_batch(loader, tmp_path):
    seed_everything(0)
    task = grouping_task(PanopticTask, constant, encoder="resnet10t")
    batches = loader(2, batch_size=2)
    goals = {"val/PQ": 0.9, "val/PQ/thing": 0.85}
    settings = {"steps": 120, "check_val_every_n_epoch": 20, "callbacks": [StopAt(goals)]}
    trainer, _ = fit(task, batches, batches, tmp_path, **settings)
    for key, value in goals.items():
        assert trainer.callback_metrics[key] > value


@pytest.mark.slow
def test_the_validation_scores_do_not_depend_on_the_batch_size(loader, schedule):
    task = semantic_task(schedule).eval()
    scores = []
    for batch_size in (1, 2, 3):
        for batch in loader(3, batch_size=batch_size):
            with torch.no_grad():
                task.validation_step(batch, 0)
        scores.append(task.scores.compute())
    # On some processors a kernel rounds by the size of the batch: the last bit of the loss differed
    # for 6 of 40 seeds on one with AVX-512. float32 has 2^-23 = 1.2e-7 there.
    for other in scores[1:]:
        assert float(other.pop("val/loss")) == pytest.approx(float(scores[0]["val/loss"]), rel=2e-7)
    del scores[0]["val/loss"]
    assert scores[0] == scores[1] == scores[2]


@pytest.mark.slow
# The message of Lightning is about the missing validation data, which this test does not need.
@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
def test_an_endless_training_is_refused(loader, schedule, tmp_path):
    with pytest.raises(ValueError, match=r"Expected a training of finite length.*`trainer`"):
        fit(semantic_task(schedule), loader(2), None, tmp_path, steps=-1, max_epochs=-1)
