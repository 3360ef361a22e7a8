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


class Drawn(LightningDataModule):
    """Two loaders, whose batches go to the device as those of maskmill.data do: tensors only, the truth stays as it is."""

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


def semantic(schedule):
    network = EncoderDecoder(
        TimmEncoder(ENCODER), partial(smp.Unet, decoder_channels=[32, 16, 16, 8, 8]), num_classes=4
    )
    postprocess = SemanticSegments(categories=CATEGORIES)
    loss = Sum([CrossEntropy(), Dice()])
    return SemanticTask(
        network,
        loss,
        postprocess=postprocess,
        categories=CATEGORIES,
        optimizer=adamw,
        scheduler=schedule,
    )


def grouped(kind, schedule, categories=CATEGORIES, encoder=ENCODER, **changes):
    network = PanopticDeepLab(
        TimmEncoder(encoder), width=32, atrous_rates=[1, 2, 3], num_classes=categories.num_outputs
    )
    settings = {
        "threshold": 0.1,
        "nms_kernel": 7,
        "top_k": 50,
        "min_area_px": 4,
        "stuff_area_px": 16,
    } | changes
    postprocess = PanopticGrouping(**settings, categories=categories)
    loss = PanopticDeepLabLoss(CrossEntropy(), offset_weight=0.05, sigma_px=3.0)
    return kind(
        network,
        loss,
        postprocess=postprocess,
        categories=categories,
        optimizer=adamw,
        scheduler=schedule,
    )


def fit(task, train, val, folder, steps=10, **settings):
    losses = Losses()
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        default_root_dir=folder,
        callbacks=[
            losses,
            ModelCheckpoint(folder, filename="best", monitor=task.monitor, mode="max"),
        ],
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        deterministic=True,
        **settings,
    )
    trainer.fit(task, datamodule=Drawn(train, val))
    return trainer, losses.values


TASKS = [
    pytest.param(
        semantic,
        CATEGORIES,
        {"val/loss", "val/mIoU", "val/IoU/ball"},
        id="semantic",
    ),
    pytest.param(
        partial(grouped, PanopticTask),
        CATEGORIES,
        {"val/loss", "val/mIoU", "val/PQ", "val/PQ/thing", "val/PQ/stuff", "val/IoU/ball"},
        id="panoptic",
    ),
    pytest.param(
        partial(grouped, InstanceTask, keep_stuff=False),
        CATEGORIES,
        {"val/loss", "val/mIoU", "val/PQ/thing"},
        id="instance",
    ),
    pytest.param(
        partial(grouped, InstanceTask, categories=THINGS, keep_stuff=False),
        THINGS,
        {"val/loss", "val/mIoU", "val/PQ/thing"},
        id="instance-on-background",
    ),
]


@pytest.mark.parametrize(("make", "categories", "keys"), TASKS)
def test_a_real_training_lowers_the_loss_and_reports_its_scores(
    make, categories, keys, loader, schedule, tmp_path
):
    seed_everything(0)
    task = make(schedule)
    trainer, losses = fit(
        task, loader(8, categories), loader(3, categories, batch_size=2), tmp_path
    )
    assert sum(losses[-2:]) < 0.8 * sum(losses[:2])  # each pair sees all eight scenes
    assert keys <= trainer.callback_metrics.keys()
    assert task.monitor in trainer.callback_metrics
    assert all(
        0 <= value <= 1
        for key, value in trainer.callback_metrics.items()
        if "PQ" in key or "IoU" in key
    )


def test_a_checkpoint_loads_without_unpickling_and_gives_the_same_outputs(
    loader, schedule, tmp_path
):
    seed_everything(0)
    task = grouped(PanopticTask, schedule)
    trainer, _ = fit(task, loader(4), loader(2), tmp_path, steps=1)
    checkpoint = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)
    again = grouped(PanopticTask, schedule)
    again.load_state_dict(checkpoint["state_dict"])
    images = next(iter(loader(2)))["image"]
    with torch.no_grad():
        ours, theirs = task.eval().network(images), again.eval().network(images)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_two_trainings_of_one_seed_are_the_same_to_the_last_bit(loader, schedule, tmp_path):
    runs = []
    for name in ("one", "two"):
        seed_everything(3)
        runs.append(
            fit(grouped(PanopticTask, schedule), loader(8), loader(1), tmp_path / name, steps=3)[1]
        )
    assert runs[0] == runs[1]


def test_a_training_in_bfloat16_learns_too(loader, schedule, tmp_path):
    seed_everything(0)
    trainer, losses = fit(
        grouped(PanopticTask, schedule), loader(8), loader(2), tmp_path, precision="bf16-mixed"
    )
    assert sum(losses[-2:]) < 0.8 * sum(losses[:2])
    assert trainer.callback_metrics["val/loss"].isfinite()


@pytest.mark.slow
def test_panoptic_deeplab_learns_a_drawn_batch_by_heart(loader, tmp_path):
    seed_everything(0)
    task = grouped(PanopticTask, constant, encoder="resnet10t")
    trainer, _ = fit(
        task,
        loader(2, batch_size=2),
        loader(2, batch_size=2),
        tmp_path,
        steps=120,
        check_val_every_n_epoch=120,
    )
    assert trainer.callback_metrics["val/PQ"] > 0.9
    assert trainer.callback_metrics["val/PQ/thing"] > 0.85


def test_the_validation_score_is_that_of_the_whole_set_whatever_the_batches(loader, schedule):
    task = semantic(schedule).eval()
    seen = []
    for batch_size in (1, 2, 3):
        for batch in loader(3, batch_size=batch_size):
            with torch.no_grad():
                task.validation_step(batch, 0)
        seen.append(task.scores.compute())
    for values in seen[1:]:
        assert values == seen[0]


def test_an_endless_training_is_refused_where_the_schedule_needs_its_length(
    loader, schedule, tmp_path
):
    with pytest.raises(ValueError, match=r"Expected .*max_epochs.*mend trainer"):
        fit(semantic(schedule), loader(2), None, tmp_path, steps=-1, max_epochs=-1)
