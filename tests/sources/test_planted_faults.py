"""Faults planted one by one into drawn data sets: `check` names the file and the fix of each.

It finds nothing in the data sets as they were drawn.
"""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from drawn_datasets import DATASETS
from maskmill.sources.convert import Converter
from shipped_sources import shipped

HEIGHT, WIDTH = 96, 160


def findings_of(name, root):
    dataset = Converter(root / "unused", workers=1).check(shipped(name, root))
    return [finding for finding in dataset["findings"] if finding["severity"] != "note"]


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    """Folder of all drawn data sets, each drawn once; tests copy what they change."""
    folder = tmp_path_factory.mktemp("originals")
    for name, draw in DATASETS.items():
        (folder / name).mkdir()
        draw(folder / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", DATASETS)
def test_nothing_is_found_in_a_sound_data_set(originals, name):
    assert findings_of(name, originals / name) == []


# Each function plants one fault and returns what the finding must name.


def first(root, pattern):
    return sorted(root.rglob(pattern))[0]


def halve(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def append_line(path, line):
    path.write_text(path.read_text().rstrip("\n") + f"\n{line}\n")
    return path


def truncate_png(root):
    return halve(first(root, "train/*.png"))


def truncate_jpeg(root):
    return halve(first(root, "*.jpg"))


def truncate_mask(root):
    return halve(first(root, "trainannot/*.png"))


def truncate_matrix(root):
    return halve(first(root, "*.mat"))


def empty_file(root):
    path = first(root, "train/*.png")
    path.write_bytes(b"")
    return path


def replace_image_by_html(root):
    path = first(root, "train/*.png")
    path.write_text("<html>404 not found</html>")
    return path


def resize_mask(root):
    path = first(root, "trainannot/*.png")
    mask = Image.open(path)
    mask.resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.NEAREST).save(path)
    return path


def write_unknown_id(root):
    path = first(root, "trainannot/*.png")
    classes = np.array(Image.open(path))
    classes[30:50, 30:60] = 77
    Image.fromarray(classes).save(path)
    return path


def smooth_mask(root):
    """Give borders between classes a gray level in between, as anti-aliasing does."""
    path = first(root, "trainannot/*.png")
    classes = np.array(Image.open(path))
    border = np.zeros(classes.shape, bool)
    border[1:] = classes[1:] != classes[:-1]
    every_fourth = np.arange(WIDTH) % 4 == 0
    classes[border & every_fourth] = 128
    Image.fromarray(classes).save(path)
    return path


def smooth_object(root):
    path = first(root, "masks/*.png")
    mask = Image.open(path).convert("L")
    small = mask.resize((mask.width // 2, mask.height // 2))
    small.resize(mask.size, Image.Resampling.BILINEAR).save(path)
    return path


def copy_object(root):
    path = first(root, "masks/*.png")
    copy = path.with_name("zz_copy.png")
    shutil.copyfile(path, copy)
    return copy


def erase_object(root):
    path = first(root, "masks/*.png")
    Image.new("L", Image.open(path).size, 0).save(path)
    return path


def repeat_line(root):
    path = first(root, "labels/*/*.txt")
    return append_line(path, path.read_text().splitlines()[0])


def add_polygon_of_two_points(root):
    return append_line(first(root, "labels/*/*.txt"), "0 0.1 0.1 0.3 0.3 0.1 0.1")


def add_polygon_leaving_the_image(root):
    path = first(root, "labels/*/*.txt")
    return append_line(path, "0 0.9 0.9 1.4 0.9 1.4 0.99 0.9 0.99")


def add_polygon_on_a_line(root):
    def change(content):
        points = [[10, 10], [50, 50], [90, 90]]
        content["shapes"].append(content["shapes"][0] | {"points": points})

    return edit_json(first(root, "data_annotated/*.json"), change)


def edit_coco(root, change):
    return edit_json(root / "data_dataset_coco" / "annotations.json", change)


def repeat_annotation(root):
    def change(index):
        index["annotations"].append(index["annotations"][0] | {"id": 99})

    return edit_coco(root, change)


def add_polygon_outside(root):
    def change(index):
        polygon = [[900, 900, 950, 900, 950, 950]]
        row = {"id": 99, "segmentation": polygon, "area": 1250}
        del index["annotations"][0]["bbox"]
        index["annotations"].append(index["annotations"][0] | row)

    return edit_coco(root, change)


def move_bbox(root):
    def change(index):
        index["annotations"][0]["bbox"][0] += 30

    return edit_coco(root, change)


def shorten_runs(root):
    def change(index):
        index["annotations"][-1]["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": [5]}

    return edit_json(root / "annotations" / "instances_val2017.json", change)


def make_everything_void(root):
    path = first(root, "trainannot/*.png")
    Image.new("L", (WIDTH, HEIGHT), 11).save(path)
    return path


def make_nearly_everything_void(root):
    path = first(root, "trainannot/*.png")
    classes = np.full((HEIGHT, WIDTH), 11, np.uint8)
    classes[:3] = 0
    Image.fromarray(classes).save(path)
    return path


def remove_mask(root):
    path = first(root, "trainannot/*.png")
    path.unlink()
    return path


def remove_labelled_image(root):
    path = first(root, "labels/*/*.txt")
    (root / "images" / "train2017" / f"{path.stem}.jpg").unlink()
    return path


def remove_json(root):
    path = first(root, "data_annotated/*.json")
    path.unlink()
    return path.with_suffix(".jpg")


def drop_first_image(root):
    def change(index):
        index["images"] = index["images"][1:]

    return edit_json(root / "panoptic_examples.json", change)


def list_name_twice(root):
    path = root / "train.txt"
    line = path.read_text().splitlines()[0]
    append_line(path, line)
    return line.split()[0].removeprefix("/SegNet/CamVid/")


def save_with_two_endings(root):
    path = first(root, "images/*/*.jpg")
    Image.open(path).save(path.with_suffix(".png"))
    return path.with_suffix(".png")


def change_area(root):
    path = root / "panoptic_examples.json"
    index = json.loads(path.read_text())
    index["annotations"][0]["segments_info"][0]["area"] += 1
    path.write_text(json.dumps(index))
    return index["annotations"][0]["file_name"]


def set_orientation(root, orientation):
    path = first(root, "*.jpg")
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(path).save(path, exif=exif, quality=95)
    return path


def rotate_by_exif(root):
    return set_orientation(root, 6).with_suffix("")


def rotate_half_by_exif(root):
    return set_orientation(root, 3)


def convert_to_cmyk(root):
    path = first(root, "*.jpg")
    Image.open(path).convert("CMYK").save(path)
    return path


def save_16_bits(root):
    path = first(root, "train/*.png")
    levels = np.array(Image.open(path).convert("L")).astype(np.uint16) * 256
    Image.fromarray(levels).save(path)
    return path


def make_transparent(root):
    path = first(root, "train/*.png")
    image = Image.open(path).convert("RGBA")
    alpha = np.linspace(0, 255, WIDTH).astype(np.uint8)
    image.putalpha(Image.fromarray(np.tile(alpha, (HEIGHT, 1))))
    image.save(path)
    return path


def remove_class_from_test(root):
    for path in (root / "valannot").glob("*.png"):
        classes = np.array(Image.open(path))
        classes[classes == 3] = 11  # road, which every image has
        Image.fromarray(classes).save(path)
    return "test"


def make_test_void(root):
    for path in (root / "valannot").glob("*.png"):
        classes = np.array(Image.open(path))
        classes[:, : int(0.6 * WIDTH)] = 11
        Image.fromarray(classes).save(path)
    return "test"


def rename_plant(root):
    path = first(root, "*.yaml")
    path.write_text(path.read_text().replace("type: crop", "type: tulip"))
    return path


def remove_polygons(root):
    path = first(root, "*.yaml")
    path.write_text("annotation: []\n")
    return path


def remove_object_from_json(root):
    path = first(root, "*_seg.png")
    json_path = path.with_name(path.name.replace("_seg.png", ".json"))
    content = json.loads(json_path.read_text(encoding="latin-1"))
    content["annotation"]["object"].pop()
    json_path.write_text(json.dumps(content))
    return path


def remove_ade20k_image(root):
    path = first(root, "*.jpg")
    path.unlink()
    return path.with_name(f"{path.stem}_seg.png")


def erase_instance_ids(root):
    path = first(root, "SegmentationObject/*.png")
    Image.new("L", (WIDTH, HEIGHT), 0).save(path)
    return path


def give_two_classes_one_instance(root):
    path = first(root, "*_instanceIds.png")
    instances = np.array(Image.open(path))
    instances[instances >= 1000] = 26_001
    Image.fromarray(instances).save(path)
    return path


def leak(root, change):
    """Save a changed test image as a training image."""
    train_path = first(root, "train/*.png")
    test_image = Image.open(first(root, "val/*.png")).convert("RGB")
    change(test_image).save(train_path)
    return train_path


def leak_unchanged(root):
    return leak(root, lambda image: image)


def leak_recompressed(root):
    def recompress(image):
        jpeg = io.BytesIO()
        image.save(jpeg, "jpeg", quality=60)
        return Image.open(jpeg)

    return leak(root, recompress)


def leak_rescaled(root):
    return leak(root, lambda image: image.resize((107, 64)).resize((WIDTH, HEIGHT)))


def leak_brightened(root):
    return leak(root, lambda image: image.point(lambda level: min(255, level * 1.2 + 10)))


FAULTS = [
    ("ade20k", remove_object_from_json, "expected classes of the objects"),
    ("ade20k", remove_ade20k_image, "expected the image ADE_train_00000000.jpg"),
    ("camvid", empty_file, "of no known format"),
    ("camvid", leak_brightened, "looks the same"),
    ("camvid", leak_recompressed, "looks the same"),
    ("camvid", leak_rescaled, "looks the same"),
    ("camvid", leak_unchanged, "looks the same"),
    ("camvid", list_name_twice, "expected each name once"),
    ("camvid", make_everything_void, "every pixel is void"),
    ("camvid", make_nearly_everything_void, "96.9% are void"),
    ("camvid", make_test_void, "of the split are void"),
    ("camvid", make_transparent, "pixels are transparent"),
    ("camvid", remove_class_from_test, "road (id 3)"),
    ("camvid", remove_mask, "there is no such file"),
    ("camvid", replace_image_by_html, "of no known format"),
    ("camvid", resize_mask, "expected labels of 96 x 160"),
    ("camvid", save_16_bits, "expected 8 bits per channel"),
    ("camvid", smooth_mask, "stray values along borders"),
    ("camvid", truncate_mask, "truncated"),
    ("camvid", truncate_png, "truncated"),
    ("camvid", write_unknown_id, "got [77]"),
    ("ccp", truncate_matrix, "truncated"),
    ("cityscapes", give_two_classes_one_instance, "expected one class per instance"),
    ("coco128_seg", add_polygon_leaving_the_image, "but a polygon extends from"),
    ("coco128_seg", add_polygon_of_two_points, "encloses no area"),
    ("coco128_seg", convert_to_cmyk, "got CMYK"),
    ("coco128_seg", remove_labelled_image, "but there is none"),
    ("coco128_seg", repeat_line, "overlap with an IoU of 1.00"),
    ("coco128_seg", save_with_two_endings, "expected each name once"),
    ("coco128_seg", truncate_jpeg, "truncated"),
    ("coco_instances", shorten_runs, "in all, but got 5"),
    ("coco_panoptic_sample", change_area, "expected the area"),
    ("coco_panoptic_sample", drop_first_image, "there is no image"),
    ("cwfid", remove_polygons, "expected a polygon for every class"),
    ("cwfid", rename_plant, "expected `type` of plant 2 to be 'crop' or 'weed', but got 'tulip'"),
    ("dsb2018", copy_object, "lie in earlier masks"),
    ("dsb2018", erase_object, "no pixel is set"),
    ("dsb2018", smooth_object, "got more values"),
    ("labelme", add_polygon_on_a_line, "encloses no area"),
    ("labelme", remove_json, "none names it"),
    ("labelme", rotate_by_exif, "its EXIF tag rotates it"),
    ("labelme", rotate_half_by_exif, "orientation 3"),
    ("labelme_coco", add_polygon_outside, "lies outside the image"),
    ("labelme_coco", move_bbox, "expected the bbox"),
    ("labelme_coco", repeat_annotation, "overlap with an IoU of 1.00"),
    ("voc", erase_instance_ids, "has instance id 0"),
]
IDS = [f"{name}-{plant.__name__}" for name, plant, _ in FAULTS]


@pytest.fixture
def copied(originals, tmp_path):
    def copy(name):
        return shutil.copytree(originals / name, tmp_path / name)

    return copy


@pytest.mark.parametrize(("name", "plant", "message"), FAULTS, ids=IDS)
def test_a_planted_fault_is_named_with_its_file_and_its_fix(copied, name, plant, message):
    root = copied(name)
    file = str(plant(root))
    findings = findings_of(name, root)
    matches = [finding for finding in findings if message in finding["what"]]
    assert matches, findings
    assert file in matches[0]["file"]
    assert len(matches[0]["fix"].split()) >= 2


def test_a_listed_name_outside_every_group_is_refused_with_its_list(copied):
    path = copied("camvid") / "train.txt"
    path.write_text(path.read_text().replace("_001.png", ".png", 1))
    message = r"train\.txt: .*drive00\.png: expected a name that matches .*, but got 'drive00'"
    with pytest.raises(ValueError, match=message):
        findings_of("camvid", path.parent)


def test_gray_images_among_colour_images_are_a_note(copied):
    root = copied("camvid")
    path = first(root, "train/*.png")
    Image.open(path).convert("L").save(path)
    dataset = Converter(root / "unused", workers=1).check(shipped("camvid", root))
    findings = [row for row in dataset["findings"] if row["file"] != "all splits"]
    assert [(row["severity"], row["file"]) for row in findings] == [("note", str(path))]
    assert "converted to RGB" in findings[0]["fix"]


def test_excluded_images_are_counted_and_listed(copied, tmp_path):
    root = copied("camvid")
    broken = truncate_png(root)
    converter = Converter(tmp_path / "out", workers=1, on_problem="exclude")
    dataset = converter.convert(shipped("camvid", root))
    assert [row["name"] for row in dataset["problems"]] == [broken.stem]
    assert sum(row["num_images"] for row in dataset["splits"].values()) == 19
