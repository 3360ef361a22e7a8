"""What the campaign reads: for each format, a small valid data set and the call that reads it."""

import hashlib
import itertools
import json
import pickle
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY / "tests")]

import numpy as np  # noqa: E402 - the modules of the tests need the path above
from PIL import Image  # noqa: E402
from pycocotools import mask as coco_mask  # noqa: E402

from drawn_datasets import DATASETS, scene  # noqa: E402
from maskmill.canonical.files import write_json  # noqa: E402
from maskmill.canonical.rle import decode_rle  # noqa: E402
from maskmill.evaluation.folders import (  # noqa: E402
    FolderScorer,
    find_class_masks,
    read_pair,
    read_results,
)
from maskmill.sources.convert import Converter  # noqa: E402
from maskmill.sources.examine import examine, keep_unique  # noqa: E402
from maskmill.sources.finding import Findings  # noqa: E402
from maskmill.sources.images import read_image  # noqa: E402
from maskmill.sources.source import Sample, Source  # noqa: E402
from shipped_sources import shipped  # noqa: E402

MAX_SAMPLES = 2  # read for each input, beside those whose own file was changed


@dataclass(frozen=True)
class Outcome:
    """What an input led to: a word for the table, and a digest of all that was read."""

    kind: str
    digest: bytes


@dataclass(frozen=True)
class Reader:
    """A format under test.

    Args:
        draw: writes the valid data set to an empty folder.
        files: those of its files that are changed, relative to the folder.
        read: reads the data set after a file was changed; ValueError and OSError are documented.
    """

    draw: Callable[[Path], None]
    files: Callable[[Path], list[Path]]
    read: Callable[[Path, Path], Outcome]


def source_reader(name: str) -> Reader:
    """A source as `check` and `prepare` read it: listed, then sample by sample."""
    sources: dict[Path, bytes] = {}

    def read(root: Path, changed: Path) -> Outcome:
        if root not in sources:
            sources[root] = pickle.dumps(shipped(name, root))
        source = pickle.loads(sources[root])  # a new one each time: a source keeps what it has read
        findings = Findings()
        samples = keep_unique(source.samples(findings), findings)
        digest = hashlib.sha256()
        for sample in _affected(source, samples, changed):
            examined = examine(source, sample, max_pixels=None)
            findings += examined.findings
            if examined.panoptic is not None:
                digest.update(examined.panoptic.ids.tobytes())
                digest.update(str(examined.panoptic.category_of).encode())
        for finding in findings:
            text = str(finding).replace(str(root), "ROOT")
            digest.update(text.encode("utf-8", "backslashreplace"))
        is_clean = all(finding.severity == "note" for finding in findings)
        return Outcome("read" if is_clean else "finding", digest.digest())

    def draw(root: Path) -> None:
        DATASETS[name](root)
        source = shipped(name, root)
        _keep_first_of_each_split(root, source, source.samples(Findings()))

    return Reader(draw, _all_files, read)


def _keep_first_of_each_split(root: Path, source: Source, samples: list[Sample]) -> None:
    """Remove the other samples, which only take time: one file at a time is damaged."""
    first_of: dict[str, Sample] = {}
    for sample in samples:
        first_of.setdefault(sample.split, sample)
    kept: set[Path] = set()
    for sample in first_of.values():
        kept.update(source.files(sample))
    names = {sample.image.stem for sample in first_of.values()}
    owned = set(itertools.chain.from_iterable(map(source.files, samples)))
    for path in [path for path in sorted(root.rglob("*")) if path.is_file()]:
        if not _belongs(path, owned):
            _keep_rows(path, names)
        elif not _belongs(path, kept):
            path.unlink()


def _keep_rows(path: Path, names: set[str]) -> None:
    """Keep the rows of a list that name one of the images."""
    if path.suffix == ".txt":
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if _names(line) & names))
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        images = [row for row in content["images"] if Path(row["file_name"]).stem in names]
        ids = {row["id"] for row in images}
        rows = [row for row in content["annotations"] if row["image_id"] in ids]
        write_json(path, content | {"images": images, "annotations": rows})


def _names(line: str) -> set[str]:
    """The names of files in a line of a list, without their endings."""
    return {Path(word).stem for word in line.split()}


def _affected(source: Source, samples: list[Sample], changed: Path) -> Iterable[Sample]:
    own = [sample for sample in samples if _belongs(changed, source.files(sample))]
    return own[:MAX_SAMPLES] or samples[:MAX_SAMPLES]


def _belongs(changed: Path, files: Iterable[Path]) -> bool:
    path = f"{changed}/"
    return any(path.startswith(f"{file}/") for file in files)  # a file, or one in a folder


def _all_files(root: Path) -> list[Path]:
    """Files of the first samples and the lists, by kind: one image for ten label files."""
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    labels = [path for path in files if path.suffix not in {".jpg"}]
    return labels * 10 + [path for path in files if path.suffix == ".jpg"]


# --- the canonical form: what `evaluate` and `train` read


def draw_prepared(root: Path) -> None:
    """A prepared split of two scenes, and predictions for it: the ground truth again."""
    DATASETS["coco_panoptic_sample"](root / "raw")
    Converter(root / "prepared", workers=1).convert(shipped("coco_panoptic_sample", root / "raw"))
    shutil.rmtree(root / "raw")
    shutil.copytree(root / "prepared" / "train", root / "prediction")
    index = json.loads((root / "prediction" / "panoptic.json").read_text())
    things = {row["id"] for row in index["categories"] if row["isthing"]}
    rows = []
    for image in index["annotations"]:
        for segment in image["segments_info"]:
            if segment["category_id"] not in things:
                continue
            box = np.zeros(scene(0).classes.shape, np.uint8)
            x, y, width, height = segment["bbox"]
            box[y : y + height, x : x + width] = 1
            rle = coco_mask.encode(np.asfortranarray(box))
            row = {"image_id": image["image_id"], "category_id": segment["category_id"]}
            row["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}
            rows.append(row | {"score": 0.5})
    write_json(root / "prediction" / "instances.json", rows)


def read_evaluation(root: Path, changed: Path) -> Outcome:
    """Score the predictions of every image, as `evaluate` does."""
    target, prediction = root / "prepared" / "train", root / "prediction"
    target_folder, pred_folder = read_pair(target, prediction)
    results = read_results(prediction, target_folder)
    scorer = FolderScorer(
        target_folder,
        pred_folder,
        find_class_masks(prediction),
        background=False,
        void_in_union=False,
    )
    scores = scorer.score(target_folder.records, results)
    return Outcome("read", hashlib.sha256(pickle.dumps(scores)).digest())


def draw_shards(root: Path) -> None:
    from maskmill.data.sharding import write_shards
    from maskmill.data.stores import LocalStore

    draw_prepared(root)
    write_shards(root / "prepared", LocalStore(root / "shards"), shard_bytes=10_000, decoded=False)
    shutil.rmtree(root / "prepared")
    shutil.rmtree(root / "prediction")


def read_shards(root: Path, changed: Path) -> Outcome:
    """Read every sample of a sharded split, as training does."""
    from maskmill.data.splits import open_split

    split = open_split(root / "shards", "train")
    digest = hashlib.sha256()
    for index in range(len(split)):
        sample = split[index]
        digest.update(str(sample.category_of).encode() + sample.image.tobytes())
        digest.update(sample.panoptic().ids.tobytes())
    return Outcome("read", digest.digest())


# --- single files


def draw_images(root: Path) -> None:
    """One image in each format that `prepare` and `predict` accept."""
    image = Image.fromarray(scene(0).image).resize((32, 20))
    deep = np.asarray(image.convert("L"), np.uint16) * 257
    image.save(root / "a.jpg")
    image.convert("CMYK").save(root / "cmyk.jpg")
    image.save(root / "a.png")
    image.convert("P").save(root / "palette.png")
    image.convert("RGBA").save(root / "alpha.png")
    Image.fromarray(deep).save(root / "deep.png")
    image.save(root / "a.tif", compression="tiff_lzw")
    image.save(root / "pages.tif", save_all=True, append_images=[image])
    image.save(root / "a.webp")
    image.save(root / "a.bmp")
    image.save(root / "a.gif")


def read_one_image(root: Path, changed: Path) -> Outcome:
    findings = Findings()
    image = read_image(changed, findings)
    digest = hashlib.sha256(image.rgb.tobytes()).digest()
    return Outcome("finding" if findings else "read", digest)


def draw_run_lengths(root: Path) -> None:
    """A mask of 20 x 30 px as COCO's compressed run lengths, in a file of its own for each of 5."""
    for index in range(5):
        mask = np.random.default_rng(index).random((20, 30)) < 0.2 * index
        rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        (root / f"{index}.rle").write_bytes(rle["counts"])


def read_run_lengths(root: Path, changed: Path) -> Outcome:
    rle = {"size": [20, 30], "counts": changed.read_bytes()}
    try:
        mask = decode_rle(rle, (20, 30))
    except ValueError as error:  # the caller knows the file
        raise ValueError(f"{changed}: {error}") from error
    return Outcome("read", hashlib.sha256(mask.tobytes()).digest())


def draw_model(root: Path) -> None:
    """A model as `train` writes it, with weights of one small tensor, and as it is registered."""
    import torch

    from maskmill.canonical.categories import Categories
    from maskmill.canonical.files import write_json
    from maskmill.serving.model_files import describe, write_model
    from maskmill.serving.prediction_settings import WHOLE, PredictionSettings

    categories = Categories.from_list([{"id": 1, "name": "road", "isthing": 0}])
    postprocess = {"_target_": "maskmill.postprocess.semantic.SemanticSegments"}
    config = {"network": {"_target_": "x"}, "task": {"postprocess": postprocess}}
    files = write_model(root / "model", {"weight": torch.ones(3)}, config, categories, "digest")
    views = {"_target_": "maskmill.postprocess.views.Views", "vertical": True}
    tested = PredictionSettings({**WHOLE, "views": views}, {})
    copy = root / "registered"
    copy.mkdir()
    write_json(copy / "model.json", describe(replace(files, prediction=tested), copy))


def read_model_folder(root: Path, changed: Path) -> Outcome:
    from maskmill.serving.model_files import read_model

    files = read_model(root / "model")
    weights = files.weights()
    files.postprocess()
    registered = read_model(root / "registered")
    registered.postprocess()
    registered.prediction.make_inference()
    digest = hashlib.sha256(f"{weights}{registered.prediction}".encode())
    return Outcome("read", digest.digest())


READERS: dict[str, Reader] = {name: source_reader(name) for name in DATASETS}
READERS |= {
    "evaluation": Reader(draw_prepared, _all_files, read_evaluation),
    "shards": Reader(draw_shards, _all_files, read_shards),
    "images": Reader(draw_images, _all_files, read_one_image),
    "run_lengths": Reader(draw_run_lengths, _all_files, read_run_lengths),
    "model": Reader(draw_model, _all_files, read_model_folder),
}
