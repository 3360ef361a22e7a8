"""Every data set at hand, converted by its shipped configuration: each pixel keeps its class and its instance.

The truth is decoded here a second time, from the raw files and without our readers.
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


def converted(name, root, out):
    """Name -> (class map with -1 for void, segment ids), over all splits."""
    dataset = Converter(out, workers=2).convert(shipped(name, root))
    assert dataset["problems"] == []
    maps = {}
    for split in dataset["splits"]:
        folder = PanopticFolder(out / split)
        for record in folder.records:
            panoptic = folder.panoptic(record.id)
            maps[Path(record.file_name).with_suffix("").as_posix()] = (
                panoptic.category_map(),
                panoptic.ids,
            )
    return maps, dataset


def same_partition(ids, others):
    """Whether two maps part the pixels alike, whatever the numbers."""
    pairs = np.unique(np.stack([ids.reshape(-1), others.reshape(-1)]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def index_png(path):
    return np.asarray(Image.open(path)).astype(np.int64)


def test_camvid(third_party_data, tmp_path):
    root = third_party_data / "camvid"
    maps, _ = converted("camvid", root, tmp_path / "out")
    assert len(maps) == 157
    for name, (classes, _) in maps.items():
        path = next(
            path
            for path in (root / "trainannot" / f"{name}.png", root / "valannot" / f"{name}.png")
            if path.is_file()
        )
        truth = index_png(path)
        assert np.array_equal(classes, np.where(truth == 11, -1, truth))


def test_ccp(third_party_data, tmp_path):
    root = third_party_data / "ccp"
    maps, dataset = converted("ccp", root, tmp_path / "out")
    assert len(maps) == 126
    names = [str(name[0]) for name in io.loadmat(root / "label_list.mat")["label_list"][0]]
    assert [row["name"] for row in dataset["categories"]] == ["background", *names[1:]]
    for name, (classes, _) in maps.items():
        assert np.array_equal(
            classes, io.loadmat(root / "annotations" / "pixel-level" / f"{name}.mat")["groundtruth"]
        )


def test_dsb2018(third_party_data, tmp_path):
    root = third_party_data / "dsb2018" / "stage1_train"
    maps, _ = converted("dsb2018", third_party_data / "dsb2018", tmp_path / "out")
    assert len(maps) == 83
    for name, (classes, ids) in maps.items():
        masks = [index_png(path) > 0 for path in sorted((root / name / "masks").glob("*.png"))]
        truth = np.zeros(ids.shape, int)
        for number, mask in reversed(list(enumerate(masks, start=1))):
            truth[mask] = number
        assert np.array_equal(ids, truth)
        assert np.array_equal(classes, np.where(truth > 0, 1, -1))


def test_coco128_seg(third_party_data, tmp_path):
    root = third_party_data / "coco128-seg"
    maps, _ = converted("coco128_seg", root, tmp_path / "out")
    assert len(maps) == 64
    for name, (classes, ids) in maps.items():
        height, width = ids.shape
        path = root / "labels" / "train2017" / f"{name}.txt"
        objects = []
        for line in path.read_text().splitlines() if path.is_file() else []:
            key, *values = line.split()
            points = np.array(values, float).reshape(-1, 2) * (width, height)
            runs = coco_mask.merge(
                coco_mask.frPyObjects([points.reshape(-1).tolist()], height, width)
            )
            objects.append((int(key), coco_mask.decode(runs).astype(bool)))
        truth, kinds = np.zeros(ids.shape, int), np.full(ids.shape, -1)
        order = sorted(
            range(len(objects)), key=lambda place: (-objects[place][1].sum(), -place)
        )  # the smaller on top
        for place in order:
            truth[objects[place][1]] = place + 1
            kinds[objects[place][1]] = objects[place][0]
        assert np.array_equal(ids, truth), name
        assert np.array_equal(classes, kinds), name


def test_cwfid(third_party_data, tmp_path):
    root = third_party_data / "cwfid"
    maps, _ = converted("cwfid", root, tmp_path / "out")
    assert len(maps) == 16
    for name, (classes, ids) in maps.items():
        colors = np.asarray(Image.open(root / "annotations" / f"{name}_annotation.png"))
        truth = np.where(colors[..., 1] > 0, 1, np.where(colors[..., 0] > 0, 2, 0))
        assert np.array_equal(classes, truth)
        rows = yaml.safe_load((root / "annotations" / f"{name}_annotation.yaml").read_text())[
            "annotation"
        ]
        polygons = [
            (row["type"], row["points"]) for row in rows if isinstance(row["points"]["x"], list)
        ]
        assert len(np.unique(ids[classes > 0])) == len(polygons)
        covered = np.zeros((len(polygons), *ids.shape), bool)
        for place, (kind, points) in enumerate(polygons):
            canvas = Image.new("1", ids.shape[::-1])
            ImageDraw.Draw(canvas).polygon(
                list(zip(points["x"], points["y"], strict=True)), outline=1, fill=1
            )
            covered[place] = np.asarray(canvas) & (truth == {"crop": 1, "weed": 2}[kind])
        clear = (
            covered.sum(0) == 1
        )  # in one polygon of its class: that is its plant, whatever the rule for the rest
        assert same_partition(ids[clear], covered.argmax(0)[clear])
        assert clear.sum() > 0.99 * (truth > 0).sum()


def test_ade20k(third_party_data, tmp_path):
    place = next((third_party_data / "ade20k").rglob("*_seg.png"))
    maps, dataset = converted("ade20k", third_party_data / "ade20k", tmp_path / "out")
    (classes, ids), *_ = maps.values()
    red, green, blue = (index_png(place)[..., channel] for channel in range(3))
    truth = red // 10 * 256 + green
    assert np.array_equal(classes, np.where(truth == 0, -1, truth))
    isthing = {row["id"]: row["isthing"] for row in dataset["categories"]}
    assert {row["name"] for row in dataset["categories"] if not row["isthing"]} == {
        "building",
        "road",
        "sidewalk",
        "sky",
        "tree",
    }
    things = np.isin(truth, [key for key, thing in isthing.items() if thing])
    assert same_partition(np.where(things, ids, truth), np.where(things, truth * 256 + blue, truth))


def test_coco_panoptic(third_party_data, tmp_path):
    sample = third_party_data / "coco_panoptic_sample"
    _, dataset = converted("coco_panoptic_sample", sample, tmp_path / "out")
    assert dataset["findings"] == []
    folder = PanopticFolder(tmp_path / "out" / "train")
    index = json.loads((sample / "panoptic_examples.json").read_text())
    for row in index["annotations"]:
        colors = np.asarray(Image.open(sample / "panoptic_examples" / row["file_name"])).astype(
            np.int64
        )
        truth = colors[..., 0] + 256 * colors[..., 1] + 256**2 * colors[..., 2]
        panoptic = folder.panoptic(row["image_id"])
        assert np.array_equal(panoptic.ids, truth)
        assert [segment.as_dict() for segment in panoptic.segments] == sorted(
            (
                {key: info[key] for key in ("id", "category_id", "area", "bbox", "iscrowd")}
                for info in row["segments_info"]
            ),
            key=lambda info: info["id"],
        )


def test_three_forms_of_labelme_are_one_truth(third_party_data, tmp_path):
    root = third_party_data / "labelme_example"
    own, _ = converted("labelme", root, tmp_path / "own")
    voc, _ = converted("labelme_voc", root, tmp_path / "voc")
    coco, _ = converted("labelme_coco", root, tmp_path / "coco")
    other = 0
    for name, (classes, ids) in own.items():
        voc_classes, voc_ids = voc[name]
        differ = classes != voc_classes
        other += (
            differ.sum()
        )  # the PNGs were drawn by an older Pillow, which fills one outline by another rule
        assert same_partition(ids[~differ], voc_ids[~differ])
        ignored = index_png(root / "data_dataset_voc" / "SegmentationClass" / f"{name}.png") == 255
        coco_classes, coco_ids = coco[f"JPEGImages/{name}"]
        assert np.array_equal(
            classes[~ignored], coco_classes[~ignored]
        )  # COCO's form cannot say "ignore"
        assert same_partition(ids[~ignored], coco_ids[~ignored])
    assert other == 1
