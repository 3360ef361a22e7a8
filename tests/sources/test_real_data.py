"""Public data sets, converted by their shipped configurations.

Each pixel keeps its class and its instance. The expected labels are decoded from the raw files
without our readers.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from scipy import io

from maskmill.canonical.folder import PanopticFolder
from maskmill.sources.convert import Converter
from shipped_sources import shipped

pytestmark = pytest.mark.slow


def convert(name, root, out):
    """Name -> (class mask with -1 for void, segment ids) of all splits, and the dataset."""
    dataset = Converter(out, workers=1).convert(shipped(name, root))
    assert dataset["problems"] == []
    labels = {}
    for split in dataset["splits"]:
        folder = PanopticFolder(out / split)
        for record in folder.records:
            panoptic = folder.panoptic(record.id)
            name = Path(record.file_name).with_suffix("").as_posix()
            labels[name] = panoptic.category_map(), panoptic.ids
    return labels, dataset


def num_images(dataset):
    return {split: row["num_images"] for split, row in dataset["splits"].items()}


def is_same_partition(first, second):
    """Whether two id maps divide the pixels into the same segments, whatever their ids."""
    pairs = first.astype(np.int64) * 2**32 + second  # ids are below 2^32
    num_pairs = len(np.unique(pairs))
    return len(np.unique(first)) == len(np.unique(second)) == num_pairs


def read_png(path):
    return np.asarray(Image.open(path)).astype(np.int32)


def assert_no_problem(dataset):
    """Nothing was found but notes."""
    assert [row for row in dataset["findings"] if row["severity"] != "note"] == []


def test_camvid(third_party_data, tmp_path):
    root = third_party_data / "camvid"
    labels, dataset = convert("camvid", root, tmp_path / "out")
    assert_no_problem(dataset)
    counts = num_images(dataset)
    assert counts["test"] == 34
    assert counts["train"] + counts["val"] == 123
    assert 10 <= counts["val"] <= 30
    assert len(labels) == 157
    for name, (classes, _) in labels.items():
        path = root / "trainannot" / f"{name}.png"
        if not path.is_file():
            path = root / "valannot" / f"{name}.png"
        expected = read_png(path)
        assert np.array_equal(classes, np.where(expected == 11, -1, expected))


def test_ccp(third_party_data, tmp_path):
    root = third_party_data / "ccp"
    labels, dataset = convert("ccp", root, tmp_path / "out")
    assert_no_problem(dataset)
    assert len(labels) == 126
    names = [str(name[0]) for name in io.loadmat(root / "label_list.mat")["label_list"][0]]
    assert [row["name"] for row in dataset["categories"]] == ["background", *names[1:]]
    for name, (classes, _) in labels.items():
        path = root / "annotations" / "pixel-level" / f"{name}.mat"
        assert np.array_equal(classes, io.loadmat(path)["groundtruth"])


def test_dsb2018(third_party_data, tmp_path):
    root = third_party_data / "dsb2018" / "stage1_train"
    labels, dataset = convert("dsb2018", third_party_data / "dsb2018", tmp_path / "out")
    assert_no_problem(dataset)
    assert num_images(dataset) == {"train": 56, "val": 11, "test": 16}
    num_segments = 0
    num_lost_pixels = 0
    for name, (classes, ids) in labels.items():
        paths = sorted((root / name / "masks").glob("*.png"))
        expected = np.zeros(ids.shape, int)
        for number, path in reversed(list(enumerate(paths, start=1))):
            mask = np.asarray(Image.open(path)) > 0
            expected[mask] = number
            num_lost_pixels += np.count_nonzero(mask)
        assert np.array_equal(ids, expected)
        assert np.array_equal(classes, np.where(expected > 0, 1, -1))
        num_segments += len(paths)
        num_lost_pixels -= np.count_nonzero(ids)
    assert num_segments == 3701
    assert num_lost_pixels == 3  # pixels of two masks
    for statistics in dataset["statistics"].values():
        num_segments -= statistics["classes"][0]["segments"]
    assert num_segments == 0


def test_coco128_seg(third_party_data, tmp_path):
    root = third_party_data / "coco128-seg"
    labels, dataset = convert("coco128_seg", root, tmp_path / "out")
    assert_no_problem(dataset)
    assert len(labels) == 64
    for name, (classes, ids) in labels.items():
        height, width = ids.shape
        path = root / "labels" / "train2017" / f"{name}.txt"
        objects = []
        for line in path.read_text().splitlines() if path.is_file() else []:
            class_id, *values = line.split()
            points = np.array(values, float).reshape(-1, 2) * (width, height)
            runs = coco_mask.frPyObjects([points.reshape(-1).tolist()], height, width)
            mask = coco_mask.decode(coco_mask.merge(runs)).astype(bool)
            objects.append((mask.sum(), len(objects) + 1, int(class_id), mask))
        expected_ids = np.zeros(ids.shape, int)
        expected_classes = np.full(ids.shape, -1)
        for _, segment_id, class_id, mask in sorted(objects, key=lambda row: (-row[0], -row[1])):
            expected_ids[mask] = segment_id  # the smaller on top
            expected_classes[mask] = class_id
        assert np.array_equal(ids, expected_ids), name
        assert np.array_equal(classes, expected_classes), name


def test_cwfid(third_party_data, tmp_path):
    root = third_party_data / "cwfid"
    labels, _ = convert("cwfid", root, tmp_path / "out")
    assert len(labels) == 16
    for name, (classes, ids) in labels.items():
        colors = read_png(root / "annotations" / f"{name}_annotation.png")
        expected = np.where(colors[..., 1] > 0, 1, np.where(colors[..., 0] > 0, 2, 0))
        assert np.array_equal(classes, expected)
        text = (root / "annotations" / f"{name}_annotation.yaml").read_text()
        content = yaml.load(text, Loader=yaml.CSafeLoader)  # seconds faster than safe_load
        owner = np.zeros(ids.shape, int)
        num_owners = np.zeros(ids.shape, int)
        num_polygons = 0
        for row in content["annotation"]:
            x, y = row["points"]["x"], row["points"]["y"]
            if not isinstance(x, list):
                continue  # a single point
            canvas = Image.new("1", ids.shape[::-1])
            ImageDraw.Draw(canvas).polygon(list(zip(x, y, strict=True)), outline=1, fill=1)
            covered = np.asarray(canvas) & (expected == {"crop": 1, "weed": 2}[row["type"]])
            num_polygons += 1
            num_owners += covered
            owner[covered] = num_polygons
        assert len(np.unique(ids[classes > 0])) == num_polygons
        # A pixel in one polygon of its class belongs to it, whatever the rule for the others.
        is_clear = num_owners == 1
        assert is_same_partition(ids[is_clear], owner[is_clear])
        assert is_clear.sum() > 0.99 * (expected > 0).sum()


def test_ade20k(third_party_data, tmp_path):
    path = next((third_party_data / "ade20k").rglob("*_seg.png"))
    labels, dataset = convert("ade20k", third_party_data / "ade20k", tmp_path / "out")
    assert_no_problem(dataset)
    checked = Converter(tmp_path, workers=1).check(shipped("ade20k", third_party_data / "ade20k"))
    assert checked["findings"] == dataset["findings"]  # both examine an image with one function
    classes, ids = next(iter(labels.values()))
    colors = read_png(path)
    expected = colors[..., 0] // 10 * 256 + colors[..., 1]
    assert np.array_equal(classes, np.where(expected == 0, -1, expected))
    stuff = {row["name"] for row in dataset["categories"] if not row["isthing"]}
    assert stuff == {"building", "road", "sidewalk", "sky", "tree"}
    thing_ids = [row["id"] for row in dataset["categories"] if row["isthing"]]
    isthing = np.isin(expected, thing_ids)
    expected_ids = np.where(isthing, expected * 256 + colors[..., 2], expected)
    assert is_same_partition(np.where(isthing, ids, expected), expected_ids)


def test_coco_panoptic(third_party_data, tmp_path):
    sample = third_party_data / "coco_panoptic_sample"
    labels, dataset = convert("coco_panoptic_sample", sample, tmp_path / "out")
    assert [finding["severity"] for finding in dataset["findings"]] == ["note"]
    assert "expected every class in some image" in dataset["findings"][0]["what"]
    assert len(labels) == 2
    folder = PanopticFolder(tmp_path / "out" / "train")
    index = json.loads((sample / "panoptic_examples.json").read_text())
    for row in index["annotations"]:
        colors = read_png(sample / "panoptic_examples" / row["file_name"])
        panoptic = folder.panoptic(row["image_id"])
        assert np.array_equal(panoptic.ids, colors @ [1, 256, 256**2])
        expected = sorted(row["segments_info"], key=lambda info: info["id"])
        assert [segment.as_dict() for segment in panoptic.segments] == expected


def test_three_forms_of_labelme_have_the_same_labels(third_party_data, tmp_path):
    root = third_party_data / "labelme_example"
    own, _ = convert("labelme", root, tmp_path / "own")
    voc, _ = convert("labelme_voc", root, tmp_path / "voc")
    coco, _ = convert("labelme_coco", root, tmp_path / "coco")
    num_different = 0
    for name, (classes, ids) in own.items():
        voc_classes, voc_ids = voc[name]
        is_different = classes != voc_classes
        num_different += is_different.sum()
        assert is_same_partition(ids[~is_different], voc_ids[~is_different])
        # COCO's form has no "ignore".
        mask = read_png(root / "data_dataset_voc" / "SegmentationClass" / f"{name}.png")
        is_kept = mask != 255
        coco_classes, coco_ids = coco[f"JPEGImages/{name}"]
        assert np.array_equal(classes[is_kept], coco_classes[is_kept])
        assert is_same_partition(ids[is_kept], coco_ids[is_kept])
    assert num_different == 1  # an older Pillow, which drew the PNGs, fills one outline differently
