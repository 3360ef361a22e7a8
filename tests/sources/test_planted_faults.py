"""Faults planted one by one into copies of real data sets: `check` names the file and the mend of each, and is silent on the original."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from maskmill.sources.convert import Converter
from shipped_sources import shipped

pytestmark = pytest.mark.slow


def findings_of(name, root):
    dataset = Converter(root / "unused", workers=1).check(shipped(name, root))
    return [finding for finding in dataset["findings"] if finding["severity"] != "note"]


@pytest.fixture(scope="session")
def originals(third_party_data, tmp_path_factory):
    """Copies small enough to copy again for every fault."""
    top = tmp_path_factory.mktemp("originals")
    camvid = top / "camvid"
    for split, stop in (("train", 123), ("val", 34)):
        lines = (third_party_data / "camvid" / f"{split}.txt").read_text().splitlines()[:stop:4]
        for line in lines:
            for word in line.split():
                name = word.removeprefix("/SegNet/CamVid/")
                (camvid / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(third_party_data / "camvid" / name, camvid / name)
        (camvid / f"{split}.txt").write_text("\n".join(lines) + "\n")
    dsb = top / "dsb2018" / "stage1_train"
    for folder in sorted((third_party_data / "dsb2018" / "stage1_train").iterdir())[:20]:
        shutil.copytree(folder, dsb / folder.name)
    yolo = top / "coco128_seg"
    for path in sorted((third_party_data / "coco128-seg" / "labels" / "train2017").iterdir())[:40]:
        image = third_party_data / "coco128-seg" / "images" / "train2017" / f"{path.stem}.jpg"
        for file in (path, image):
            target = yolo / file.relative_to(third_party_data / "coco128-seg")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    shutil.copytree(third_party_data / "coco_panoptic_sample", top / "coco_panoptic_sample")
    for name in ("labelme", "labelme_coco", "labelme_voc"):
        shutil.copytree(third_party_data / "labelme_example", top / name)
    ccp = top / "ccp"
    for path in sorted((third_party_data / "ccp" / "annotations" / "pixel-level").iterdir())[:30]:
        for file in (path, third_party_data / "ccp" / "photos" / f"{path.stem}.jpg"):
            target = ccp / file.relative_to(third_party_data / "ccp")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    return top


@pytest.mark.parametrize(
    "name",
    [
        "camvid",
        "dsb2018",
        "coco128_seg",
        "coco_panoptic_sample",
        "labelme",
        "labelme_coco",
        "labelme_voc",
        "ccp",
    ],
)
def test_nothing_is_found_on_the_original(originals, name):
    assert findings_of(name, originals / name) == []


@pytest.mark.parametrize("name", ["camvid", "ccp", "dsb2018", "coco128_seg", "ade20k"])
def test_nothing_is_found_on_the_whole_original(third_party_data, name):
    assert findings_of(name, third_party_data / name.replace("coco128_seg", "coco128-seg")) == []


def first(root, pattern):
    return sorted(root.rglob(pattern))[0]


def truncated_image(root):
    path = first(root, "train/*.png")
    path.write_bytes(path.read_bytes()[:-20_000])
    return path


def truncated_jpeg(root):
    path = first(root, "*.jpg")
    path.write_bytes(path.read_bytes()[:-5_000])
    return path


def empty_file(root):
    path = first(root, "train/*.png")
    path.write_bytes(b"")
    return path


def no_image_at_all(root):
    path = first(root, "train/*.png")
    path.write_text("<html>404 not found</html>")
    return path


def truncated_mask(root):
    path = first(root, "trainannot/*.png")
    path.write_bytes(path.read_bytes()[:1000])
    return path


def truncated_matrix(root):
    path = first(root, "*.mat")
    path.write_bytes(path.read_bytes()[:300])
    return path


def mask_of_other_size(root):
    path = first(root, "trainannot/*.png")
    Image.open(path).resize((240, 180), Image.Resampling.NEAREST).save(path)
    return path


def unknown_id(root):
    path = first(root, "trainannot/*.png")
    classes = np.array(Image.open(path))
    classes[100:140, 100:160] = 77
    Image.fromarray(classes).save(path)
    return path


def smoothed_mask(root):
    path = first(root, "trainannot/*.png")
    classes = (
        np.array(Image.open(path)).astype(np.uint8) * 20
    )  # colours far apart, as a drawing tool would use
    small = Image.fromarray(classes).resize((240, 180), Image.Resampling.NEAREST)
    levels = np.array(small.resize((480, 360), Image.Resampling.BILINEAR))
    back = np.where(levels % 20 == 0, levels // 20, levels)  # seams keep their mixed levels
    seam = (back != np.array(Image.open(path))) & (back > 11)
    truth = np.array(Image.open(path))
    truth[seam & (np.indices(seam.shape)[1] % 4 == 0)] = 128
    Image.fromarray(truth).save(path)
    return path


def smoothed_object(root):
    path = first(root, "masks/*.png")
    mask = Image.open(path).convert("L")
    mask.resize((mask.width // 2, mask.height // 2)).resize(
        mask.size, Image.Resampling.BILINEAR
    ).save(path)
    return path


def overlapping_objects(root):
    folder = next(
        folder
        for folder in sorted((root / "stage1_train").iterdir())
        if len(list((folder / "masks").glob("*.png"))) > 1
    )
    path = sorted((folder / "masks").glob("*.png"))[0]
    copy = path.with_name("zz_copy.png")
    shutil.copyfile(path, copy)
    return copy


def object_labelled_twice(root):
    path = first(root, "labels/*/*.txt")
    line = path.read_text().splitlines()[0]
    path.write_text(path.read_text().rstrip("\n") + f"\n{line}\n")
    return path


def annotation_twice(root):
    path = root / "data_dataset_coco" / "annotations.json"
    index = json.loads(path.read_text())
    index["annotations"].append(index["annotations"][0] | {"id": 99})
    path.write_text(json.dumps(index))
    return path


def two_points(root):
    path = first(root, "labels/*/*.txt")
    path.write_text(path.read_text().rstrip("\n") + "\n0 0.1 0.1 0.3 0.3 0.1 0.1\n")
    return path


def polygon_of_no_area(root):
    path = first(root, "data_annotated/*.json")
    content = json.loads(path.read_text())
    content["shapes"].append(
        content["shapes"][0] | {"points": [[10, 10], [50, 50], [90, 90]], "group_id": None}
    )
    path.write_text(json.dumps(content))
    return path


def polygon_outside(root):
    path = root / "data_dataset_coco" / "annotations.json"
    index = json.loads(path.read_text())
    index["annotations"].append(
        {
            "id": 99,
            "image_id": 0,
            "category_id": 3,
            "iscrowd": 0,
            "segmentation": [[900, 900, 950, 900, 950, 950]],
            "area": 1250,
        }
    )
    path.write_text(json.dumps(index))
    return path


def polygon_leaving(root):
    path = first(root, "labels/*/*.txt")
    path.write_text(path.read_text().rstrip("\n") + "\n0 0.9 0.9 1.4 0.9 1.4 0.99 0.9 0.99\n")
    return path


def empty_object(root):
    path = first(root, "masks/*.png")
    Image.new("L", Image.open(path).size, 0).save(path)
    return path


def void_mask(root):
    path = first(root, "trainannot/*.png")
    Image.new("L", (480, 360), 11).save(path)
    return path


def nearly_void_mask(root):
    path = first(root, "trainannot/*.png")
    classes = np.full((360, 480), 11, np.uint8)
    classes[:10] = 0
    Image.fromarray(classes).save(path)
    return path


def image_without_annotation(root):
    path = first(root, "trainannot/*.png")
    path.unlink()
    return path


def annotation_without_image(root):
    path = first(root, "labels/*/*.txt")
    (root / "images" / "train2017" / f"{path.stem}.jpg").unlink()
    return path


def photo_without_json(root):
    path = first(root, "data_annotated/*.json")
    path.unlink()
    return path.with_suffix(".jpg")


def image_not_in_the_json(root):
    path = root / "panoptic_examples.json"
    index = json.loads(path.read_text())
    index["images"] = index["images"][1:]
    path.write_text(json.dumps(index))
    return path


def name_twice(root):
    path = root / "train.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[0]]) + "\n")
    return lines[0].split()[0].removeprefix("/SegNet/CamVid/")


def name_twice_with_two_endings(root):
    path = first(root, "images/*/*.jpg")
    Image.open(path).save(path.with_suffix(".png"))
    return path.with_suffix(".png")


def wrong_area(root):
    path = root / "panoptic_examples.json"
    index = json.loads(path.read_text())
    index["annotations"][0]["segments_info"][0]["area"] += 1
    path.write_text(json.dumps(index))
    return index["annotations"][0]["file_name"]


def wrong_bbox(root):
    path = root / "data_dataset_coco" / "annotations.json"
    index = json.loads(path.read_text())
    index["annotations"][0]["bbox"][0] += 30
    path.write_text(json.dumps(index))
    return path


def turned_by_exif(root):
    path = first(root, "*.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif, quality=95)
    return path.with_suffix("")


def half_turned_by_exif(root):
    path = first(root, "*.jpg")
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(path).save(path, exif=exif, quality=95)
    return path


def cmyk(root):
    path = first(root, "*.jpg")
    Image.open(path).convert("CMYK").save(path)
    return path


def sixteen_bits(root):
    path = first(root, "train/*.png")
    Image.fromarray(np.array(Image.open(path).convert("L")).astype(np.uint16) * 256).save(path)
    return path


def transparent(root):
    path = first(root, "train/*.png")
    image = Image.open(path).convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 480).astype(np.uint8), (360, 1))))
    image.save(path)
    return path


def class_missing_from_a_split(root):
    for path in (root / "valannot").glob("*.png"):
        classes = np.array(Image.open(path))
        classes[classes == 3] = 11  # road, which every image has
        Image.fromarray(classes).save(path)
    return "test"


def void_split(root):
    for path in (root / "valannot").glob("*.png"):
        classes = np.array(Image.open(path))
        classes[:, : int(0.6 * 480)] = 11
        Image.fromarray(classes).save(path)
    return "test"


def leak(root, *, change):
    train, test = first(root, "train/*.png"), first(root, "val/*.png")
    change(Image.open(test).convert("RGB")).save(train)
    return train


def recompressed(image):
    jpeg = io.BytesIO()
    image.save(jpeg, "jpeg", quality=60)
    return Image.open(jpeg)


FAULTS = [
    pytest.param("camvid", truncated_image, "cut short", id="truncated-png"),
    pytest.param("coco128_seg", truncated_jpeg, "cut short", id="truncated-jpeg"),
    pytest.param("camvid", empty_file, "of no known format", id="empty-file"),
    pytest.param("camvid", no_image_at_all, "of no known format", id="no-image-at-all"),
    pytest.param("camvid", truncated_mask, "cut short", id="truncated-mask"),
    pytest.param("ccp", truncated_matrix, "cut short", id="truncated-matrix"),
    pytest.param("camvid", mask_of_other_size, "expected labels of 360 x 480", id="other-size"),
    pytest.param("camvid", unknown_id, "got [77]", id="unknown-id"),
    pytest.param("camvid", smoothed_mask, "stray values along borders", id="anti-aliased-classes"),
    pytest.param("dsb2018", smoothed_object, "got more values", id="anti-aliased-object"),
    pytest.param("dsb2018", overlapping_objects, "lie in earlier masks", id="overlapping-masks"),
    pytest.param("coco128_seg", object_labelled_twice, "overlap with an IoU of 1.00", id="labelled-twice"),
    pytest.param("labelme_coco", annotation_twice, "overlap with an IoU of 1.00", id="annotation-twice"),
    pytest.param("coco128_seg", two_points, "encloses nothing", id="polygon-of-two-points"),
    pytest.param("labelme", polygon_of_no_area, "encloses nothing", id="polygon-on-a-line"),
    pytest.param("labelme_coco", polygon_outside, "lies outside the image", id="polygon-outside"),
    pytest.param("coco128_seg", polygon_leaving, "but a polygon reaches from", id="polygon-leaving"),
    pytest.param("dsb2018", empty_object, "no pixel is set", id="empty-object"),
    pytest.param("camvid", void_mask, "every pixel is void", id="void-mask"),
    pytest.param("camvid", nearly_void_mask, "97.2% are void", id="nearly-void-mask"),
    pytest.param("camvid", image_without_annotation, "there is no such file", id="image-without-annotation"),
    pytest.param("coco128_seg", annotation_without_image, "but there is none", id="annotation-without-image"),
    pytest.param("labelme", photo_without_json, "none names it", id="photo-without-json"),
    pytest.param("coco_panoptic_sample", image_not_in_the_json, "there is no image", id="annotation-of-no-image"),
    pytest.param("camvid", name_twice, "expected each name once", id="name-twice"),
    pytest.param("coco128_seg", name_twice_with_two_endings, "expected each name once", id="name-twice-two-endings"),
    pytest.param("coco_panoptic_sample", wrong_area, "expected the area", id="wrong-area"),
    pytest.param("labelme_coco", wrong_bbox, "expected the bbox", id="wrong-bbox"),
    pytest.param("labelme", turned_by_exif, "its EXIF tag turns it", id="turned-by-exif"),
    pytest.param("labelme", half_turned_by_exif, "orientation 3", id="half-turned-by-exif"),
    pytest.param("coco128_seg", cmyk, "got CMYK", id="cmyk"),
    pytest.param("camvid", sixteen_bits, "expected 8 bits a channel", id="16-bit"),
    pytest.param("camvid", transparent, "pixels are transparent", id="alpha"),
    pytest.param("camvid", class_missing_from_a_split, "road (id 3)", id="class-missing-from-a-split"),
    pytest.param("camvid", void_split, "of the split are void", id="void-split"),
    pytest.param("camvid", lambda root: leak(root, change=lambda image: image), "looks the same", id="same-image-in-two-splits"),
    pytest.param("camvid", lambda root: leak(root, change=recompressed), "looks the same", id="saved-again-in-two-splits"),
    pytest.param(
        "camvid",
        lambda root: leak(root, change=lambda image: image.resize((320, 240)).resize((480, 360))),
        "looks the same",
        id="scaled-in-two-splits",
    ),
    pytest.param(
        "camvid", lambda root: leak(root, change=lambda image: image.point(lambda level: min(255, level * 1.2 + 10))), "looks the same",
        id="brightened-in-two-splits",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "plant", "what"), FAULTS)
def test_a_planted_fault_is_named_with_its_file_and_its_mend(
    originals, tmp_path, name, plant, what
):
    root = shutil.copytree(originals / name, tmp_path / name)
    file = str(plant(root))
    found = [one for one in findings_of(name, root) if what in one["what"]]
    assert found, findings_of(name, root)
    assert file in found[0]["file"]
    assert len(found[0]["fix"].split()) >= 2


def test_gray_among_colours_is_a_note(originals, tmp_path):
    root = shutil.copytree(originals / "camvid", tmp_path / "camvid")
    path = first(root, "train/*.png")
    Image.open(path).convert("L").save(path)
    found = Converter(root / "unused", workers=1).check(shipped("camvid", root))["findings"]
    assert [(one["severity"], one["file"]) for one in found] == [("note", str(path))]
    assert "becomes RGB" in found[0]["fix"]


def test_excluded_images_are_counted_and_listed(originals, tmp_path):
    root = shutil.copytree(originals / "camvid", tmp_path / "camvid")
    broken = truncated_image(root)
    dataset = Converter(tmp_path / "out", workers=1, on_problem="exclude").convert(
        shipped("camvid", root)
    )
    assert [row["name"] for row in dataset["problems"]] == [broken.stem]
    assert sum(row["num_images"] for row in dataset["splits"].values()) == 39
