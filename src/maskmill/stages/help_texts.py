"""What `maskmill COMMAND --help` prints: the settings that people change most, and examples."""

from dataclasses import dataclass

DATA = {
    "source=camvid": "the layout of the data: a file of conf/source/",
    "source.root=/path/to/data": "its folder or archive",
}
OUT = {"out=out/try": "parent of all output folders, also of the prepared data"}
TRAINING = {
    "network=unet": "a file of conf/network/; it brings its task and loss",
    "encoder=resnet18": "the backbone, a file of conf/encoder/",
    "augment=large_scale_jitter": "a file of conf/augment/",
    "data.batch_size=16": "images in a step, see `maskmill find_batch_size`",
    "data.crop_size=[256,256]": "height and width of the training crops in px",
    "optimizer.lr=1e-3": "learning rate, see `maskmill find_lr`",
}
REGISTERED = "a folder that `train` or `ensemble` wrote, or models:/NAME@ALIAS"


@dataclass(frozen=True)
class HelpText:
    """The help of a command.

    Args:
        settings: an override with an example of a value -> its meaning.
        examples: overrides of a whole command line.
    """

    settings: dict[str, str]
    examples: tuple[str, ...]


HELP = {
    "config": HelpText(
        {
            "config.group=network": "print this group alone",
            "config.params=params.yaml": "what `dvc repro` runs with",
        },
        ("network=unet config.group=network", "config.params=params.yaml"),
    ),
    "check": HelpText(
        DATA | {"check.out=out/check": "folder for check.json"},
        ("source=camvid source.root=/path/to/camvid",),
    ),
    "prepare": HelpText(
        DATA
        | {
            "prepare.on_problem=exclude": "leave broken images out, instead of stopping",
            "+prepare.classes.pavement=road": "rename or merge a class; null drops it",
            "prepare.fold=0": "make this fold of prepare.num_folds the val split",
            "prepare.workers=4": "processes; -1: one for each core",
            "prepare.backend=dask": "loky, threading, or dask or ray on a cluster",
        }
        | OUT,
        ("source=camvid source.root=/path/to/camvid", "source=scenes prepare.workers=1"),
    ),
    "shard": HelpText(
        {
            "shard.out=s3://bucket/street": "an empty folder, or s3://BUCKET/PREFIX",
            "shard.shard_mb=256": "size of a file",
            "shard.decoded=true": "store pixels: more space, less work for the processor",
        },
        ("shard.out=out/shards",),
    ),
    "preview": HelpText(
        {
            "preview.split=val": "train, val or test",
            "preview.num_images=24": "images, evenly spaced over the split",
            "preview.num_draws=0": "augmented versions of each; 0: the images as they are",
            "augment=copy_paste": "a file of conf/augment/",
        },
        ("augment=copy_paste preview.num_draws=5",),
    ),
    "plan": HelpText(
        {
            "plan.minutes=30": "of training on this machine, whose speed is measured",
            "plan.epochs=50": "instead of minutes: the same plan on every machine of its kind",
            "plan.task=semantic": "semantic, instance or panoptic; null: what the classes allow",
            "plan.device=gpu": "auto, cpu or gpu",
            "plan.weights=hub": "of the encoder: auto, package, hub or none",
            "plan.out=conf/experiment/mine.yaml": "the experiment to write",
        }
        | OUT,
        ("plan.minutes=30", "plan.epochs=50 plan.task=semantic"),
    ),
    "find_batch_size": HelpText(
        TRAINING
        | {
            "tune.batch_size.memory_share=0.7": "of the memory that a training may use",
            "trainer=gpu": "the device, a file of conf/trainer/",
        },
        ("network=unet trainer=gpu",),
    ),
    "find_lr": HelpText(
        TRAINING | {"tune.lr.num_steps=100": "steps, each with a higher learning rate"},
        ("network=unet data.batch_size=16",),
    ),
    "train": HelpText(
        TRAINING
        | {
            "trainer.max_epochs=50": "passes over the training images",
            "trainer=gpu": "the devices: cpu, gpu, ddp, fsdp, ddp_cpu",
            "callbacks=early_stopping": "a file of conf/callbacks/",
            "experiment=scenes_semantic": "a tested combination, a file of conf/experiment/",
            "seed=1": "of all random numbers",
        }
        | OUT,
        ("network=unet trainer.max_epochs=10", "-m optimizer.lr=1e-3,3e-4 trainer.max_epochs=1"),
    ),
    "ensemble": HelpText(
        {
            "ensemble.models=[A,B,C]": "folders that `train` wrote",
            "ensemble.out=out/ensemble": "folder for the model",
        },
        ("ensemble.models=[out/sweeps/folds/0/train,out/sweeps/folds/1/train]",),
    ),
    "predict": HelpText(
        {
            "predict.model=models:/maskmill@champion": REGISTERED,
            "predict.images=photos": "a folder, a pattern, a file, a list of files, or - for stdin",
            "predict.out=out/photos": "folder for the predictions",
            "output=coco": "canonical, coco, labels, geojson, label_studio, cvat",
            "predict.device=cuda": "cpu, cuda or cuda:N",
            "predict.batch_size=16": "images in a forward pass",
            "predict.processes=4": "processes, each with the model and the next GPU",
            "predict.overlays=true": "also write pictures",
            "predict.on_problem=exclude": "leave broken images out, instead of stopping",
            "inference=sliding_window": "windows of large images, a file of conf/inference/",
        },
        ("predict.model=models:/maskmill@champion predict.images=photos predict.out=out/photos",),
    ),
    "evaluate": HelpText(
        {
            "evaluate.prediction=pred.json": "a folder, or a COCO panoptic JSON file",
            "evaluate.target=gt.json": "the ground truth, in the same form",
            "evaluate.target=[A,B]": "several, with as many predictions: one data set",
            "evaluate.out=scores": "folder for the report",
            "evaluate.baseline=old.json": "another prediction, for a paired comparison",
            "evaluate.tags=tags.csv": "a table `image,weather,...` that slices the images",
            "evaluate.void=ignore": "unlabelled pixels: auto, ignore (COCO) or background",
            "evaluate.num_resamples=0": "bootstrap of the intervals; 0: none",
            "evaluate.workers=8": "processes",
        },
        ("evaluate.target=gt.json evaluate.prediction=pred.json evaluate.out=scores",),
    ),
    "register": HelpText(
        {
            "register.name=street": "name of the registered model",
            "register.metric=mIoU": "what decides: PQ, PQ/thing, mIoU; auto: that of the task",
            "register.margin=0.01": "lead over the champion that a new one needs",
            "register.confidence=0.95": "of that lead",
            "+register.floors.car=0.5": "the lowest score of a class",
            "register.max_latency_ms=200": "of one image",
            "register.max_size_mb=100": "of the model's files",
        },
        ("register.name=street register.margin=0.01",),
    ),
    "serve": HelpText(
        {
            "serve.model=models:/maskmill@champion": REGISTERED,
            "serve.host=0.0.0.0": "127.0.0.1: this machine alone",
            "serve.port=8000": "of the server",
            "serve.device=cuda": "cpu, cuda or cuda:N",
            "serve.batching.max_batch=16": "images in a forward pass",
            "serve.limits.max_bytes=50000000": "of an upload",
            "serve.log=observations.jsonl": "statistics of each image, for `maskmill monitor`",
        },
        ("serve.model=models:/maskmill@champion serve.port=8001",),
    ),
    "package": HelpText(
        {
            "package.model=models:/maskmill@champion": REGISTERED,
            "package.out=docker": "folder for the files",
            "package.port=8000": "of the server",
        },
        ("package.model=models:/maskmill@champion",),
    ),
    "promote": HelpText(
        {
            "promote.model=models:/maskmill/3": "the version",
            "promote.reason='approved by the clinic'": "is kept with it",
        },
        ("promote.model=models:/maskmill/3 promote.reason='approved by the clinic'",),
    ),
    "rollback": HelpText(
        {
            "rollback.name=maskmill": "name of the registered model",
            "rollback.reason='misses cyclists'": "is kept with the version",
        },
        ("rollback.reason='misses cyclists in rain'",),
    ),
    "reproduce": HelpText(
        {
            "reproduce.model=models:/maskmill/3": "the version",
            "reproduce.out=out/reproduce": "folder for the model",
        },
        ("reproduce.model=models:/maskmill/3",),
    ),
    "monitor": HelpText(
        {
            "monitor.log=observations.jsonl": "what `maskmill serve` wrote",
            "monitor.images=photos": "a folder, instead of a log",
            "monitor.model=models:/maskmill@champion": REGISTERED,
            "monitor.last=1000": "the latest images that count",
            "monitor.prometheus=maskmill.prom": "a file of gauges for node-exporter",
        },
        ("monitor.log=observations.jsonl", "monitor.images=photos"),
    ),
    "export": HelpText(
        {
            "export.model=models:/maskmill@champion": REGISTERED,
            "export.format=[onnx,openvino]": "onnx, openvino, program, or several",
            "export.images=out/prepare/val": "on which the export is compared with the model",
            "export.int8=true": "OpenVINO in 8 bits, calibrated on these images",
            "export.max_loss=0.005": "of the score that 8 bits may cost",
        },
        ("export.model=models:/maskmill@champion export.format=[onnx,openvino]",),
    ),
    "ui": HelpText(
        {"ui.port=5001": "of the pages", "ui.host=0.0.0.0": "127.0.0.1: this machine alone"},
        ("ui.port=5001",),
    ),
    "draw": HelpText(
        {
            "draw.out=data": "folder for the scenes",
            "draw.num_train=500": "images of the training split",
            "draw.num_val=50": "of the validation split",
            "draw.num_test=50": "of the test split",
            "draw.seed=1": "another seed draws other scenes",
        },
        ("draw.out=data draw.num_train=500",),
    ),
}


def help_of(command: str, purpose: str) -> str | None:
    """What `--help` prints; None for a command with a parser of its own.

    Args:
        command: its name.
        purpose: in one line.

    Example:
        >>> print(help_of("ui", "tracking store -> MLflow's pages"))
        maskmill ui: tracking store -> MLflow's pages
        <BLANKLINE>
        usage: maskmill ui [group=choice] [group.key=value] ...
        <BLANKLINE>
        settings, with examples of values:
          ui.port=5001     of the pages
          ui.host=0.0.0.0  127.0.0.1: this machine alone
        <BLANKLINE>
        examples:
          maskmill ui ui.port=5001
        <BLANKLINE>
        maskmill ui --cfg job prints all settings with their values, and maskmill config the file
        that each comes from. Exit status: 0 done, 1 an error, which is printed, 2 no such command,
        130 ended by Ctrl+C, 143 by SIGTERM.
        <BLANKLINE>
    """
    if command not in HELP:
        return None
    text = HELP[command]
    width = max(map(len, text.settings))
    lines = [f"maskmill {command}: {purpose}", ""]
    lines += [f"usage: maskmill {command} [group=choice] [group.key=value] ...", ""]
    lines.append("settings, with examples of values:")
    for override, meaning in text.settings.items():
        lines.append(f"  {override:<{width}}  {meaning}")
    lines += ["", "examples:"]
    for example in text.examples:
        lines.append(f"  maskmill {command} {example}")
    lines += [
        "",
        f"maskmill {command} --cfg job prints all settings with their values, and maskmill config "
        "the file",
        "that each comes from. Exit status: 0 done, 1 an error, which is printed, 2 no such "
        "command,",
        "130 ended by Ctrl+C, 143 by SIGTERM.",
        "",
    ]
    return "\n".join(lines)
