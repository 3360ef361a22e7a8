"""Six networks, each trained for some steps on the embedded scenes and exported to every runtime.

The other scripts import it: untrained networks would leave most pixels undecided, and two runtimes
that round differently would disagree on those.
"""

import logging
import time
import warnings

import torch
from hydra import compose, initialize_config_dir
from lightning import Trainer, seed_everything
from omegaconf import OmegaConf

from maskmill.assembly.conf_search_path import packaged_conf
from maskmill.assembly.export_settings import ExportSettings
from maskmill.assembly.exporting import Exporting
from maskmill.assembly.network_loading import described_network
from maskmill.assembly.raw_data import opened_source
from maskmill.assembly.training_parts import build_task
from maskmill.canonical.folder import PanopticFolder
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.transforms import Augmentation
from maskmill.serving.model_files import write_model
from maskmill.training.callbacks import StepSeed

SEMANTIC = ["task=semantic", "loss=cross_entropy_dice"]
MASKS = ["task=panoptic_masks", "loss=mask_classification", "optimizer.lr=1e-3"]
NETWORKS = {
    "unet": SEMANTIC,
    "deeplabv3plus": SEMANTIC,
    "segformer": SEMANTIC,
    "panoptic_deeplab": ["task=panoptic", "loss=panoptic_deeplab"],
    "mask2former": MASKS,
    "eomt": [*MASKS, "encoder=vit_tiny", "optimizer.lr=3e-4"],
}
CROP = (96, 160)  # the size of the scenes
BATCH = 4


def configuration(*overrides):
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        return compose("config", overrides)


def prepared_scenes(work):
    """The prepared embedded scenes."""
    folder = work / "prepare"
    if not folder.exists():
        cfg = configuration(
            "source.root=samples/scenes", f"prepare.out={folder}", "prepare.workers=1"
        )
        with opened_source(cfg) as (converter, source, shown):
            converter.convert(source, shown=shown)
    return folder


def exported_model(name, work, *, steps, int8, max_loss=1.0):
    """The folder of one network's exports, made unless it is there.

    `max_loss`: what INT8 may lose; 1 reports the loss, whatever it is.
    """
    folder = work / f"{name}-export"
    if folder.exists():
        return folder
    scenes = prepared_scenes(work)
    trained = work / name
    if not trained.exists():
        train(name, scenes, trained, steps)
    start = time.process_time()
    settings = ExportSettings(
        model=str(trained),
        format=("program", "onnx", "openvino"),
        images=scenes / "val",
        out=folder,
        num_images=3,
        int8=int8,
        num_calibration=30,
        max_loss=max_loss,
    )
    Exporting(settings).run()
    print(f"{name}: exported in {time.process_time() - start:.0f} CPU s", flush=True)
    return folder


def train(name, scenes, folder, steps):
    cfg = configuration(f"network={name}", "scheduler=constant", *NETWORKS[name])
    split = PanopticFolder(scenes / "train")
    seed_everything(0, verbose=False)
    task = build_task(cfg, split.categories)
    data = SegmentationDataModule(
        scenes, Augmentation([], 0), crop_size=CROP, batch_size=BATCH, num_workers=0, seed=0
    )
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        limit_val_batches=0,
        callbacks=[StepSeed(0)],
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    start = time.process_time()
    trainer.fit(task, data)
    print(f"{name}: {steps} steps in {time.process_time() - start:.0f} CPU s", flush=True)
    network = OmegaConf.to_container(cfg.network, resolve=True)
    postprocess = OmegaConf.to_container(cfg.task.postprocess, resolve=True)
    config = {
        "network": described_network(network, task.network),
        "task": {"postprocess": postprocess},
    }
    write_model(folder, task.network.state_dict(), config, split.categories, "scenes")


def quiet(threads):
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("nncf").setLevel(logging.ERROR)
