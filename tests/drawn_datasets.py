"""Miniature data sets in the layouts of public ones, drawn by our own scene painter.

Each function draws one data set into an empty folder, the same on every run, and free of findings.
The names of the images are chosen so that the shipped configuration fills every split.
"""

from functools import cache

import cv2
import numpy as np
import yaml
from PIL import Image
from pycocotools import mask as coco_mask
from scipy import io

from maskmill.canonical.files import write_json
from maskmill.canonical.folder import ImageRecord, write_index, write_panoptic
from maskmill.canonical.png import write_labels, write_rgb
from maskmill.sources import scene_painter
from maskmill.sources.box_mask import BoxMask
from maskmill.sources.class_maps import panoptic_from_instances
from maskmill.sources.polygons import polygon_mask
from maskmill.sources.scene_painter import (
    BUILDING,
    CAR,
    CATEGORIES,
    GRASS,
    HEIGHT,
    PERSON,
    ROAD,
    SIZE,
    SKY,
    TREE,
    VOID,
    WIDTH,
)

SEED = 11
VOC_IDS = {CAR: 7, PERSON: 15, TREE: 16}  # VOC has no tree, so it becomes a potted plant
VOC_NAMES = {CAR: "car", PERSON: "person", TREE: "potted plant"}


@cache
def scene(index):
    return scene_painter.paint(SEED, 0, index)


def things(index):
    """The things of a scene: (category id, mask (H, W) bool), in the order of their numbers."""
    drawn = scene(index)
    found = []
    for instance_id in range(1, int(drawn.instances.max()) + 1):
        mask = drawn.instances == instance_id
        found.append((int(drawn.classes[mask][0]), mask))
    return found


def outline(mask):
    """The largest outer contour of a mask, (N, 2) points x, y."""
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    return max(contours, key=cv2.contourArea)[:, 0, :].astype(np.float64)


def write_jpeg(path, index):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene(index).image).save(path, quality=95)


def mapped(index, table, default):
    """The class mask of a scene with the ids of another table, (H, W) int."""
    classes = np.full(SIZE, default)
    for ours, theirs in table.items():
        classes[scene(index).classes == ours] = theirs
    return classes


def voc_masks(index, *, background):
    """VOC's class mask and instance-id mask of a scene, (H, W) int; the hood of the car is void."""
    classes = mapped(index, VOC_IDS | {VOID: 255}, background)
    instances = scene(index).instances.astype(int)
    instances[classes == 255] = 255
    return classes, instances


def draw_camvid(root):
    """Class PNGs, and two lists that name images and labels under a foreign prefix."""
    table = {SKY: 0, BUILDING: 1, ROAD: 3, GRASS: 4, TREE: 5, CAR: 8, PERSON: 9}
    stems = {"train": [f"drive{group:02}_{frame:03}" for group in range(6) for frame in (1, 2)]}
    stems["val"] = [f"held{group:02}_001" for group in range(8)]
    index = 0
    for split, names in stems.items():
        lines = []
        for name in names:
            write_rgb(root / split / f"{name}.png", scene(index).image)
            write_labels(root / f"{split}annot" / f"{name}.png", mapped(index, table, 11))
            prefix = f"/SegNet/CamVid/{split}"
            lines.append(f"{prefix}/{name}.png {prefix}annot/{name}.png")
            index += 1
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")


def draw_ccp(root):
    """JPEG photographs and a MATLAB matrix of classes for each."""
    (root / "annotations" / "pixel-level").mkdir(parents=True)
    for index in range(12):
        write_jpeg(root / "photos" / f"{index:04}.jpg", index)
        classes = mapped(index, {SKY: 0, ROAD: 2, CAR: 14, PERSON: 19}, 0).astype(np.uint8)
        path = root / "annotations" / "pixel-level" / f"{index:04}.mat"
        io.savemat(path, {"groundtruth": classes})


def draw_dsb2018(root):
    """A folder per image: an RGBA image, and a mask per object."""
    for index in range(9):
        folder = root / "stage1_train" / f"nuclei{index:02}"
        (folder / "images").mkdir(parents=True)
        image = Image.fromarray(scene(index).image).convert("RGBA")
        image.save(folder / "images" / f"{folder.name}.png")
        for position, (_, mask) in enumerate(things(index)):
            write_labels(folder / "masks" / f"mask{position}.png", mask * 255)


def draw_coco128_seg(root):
    """JPEG images, and a text file with a polygon per line for each."""
    class_ids = {PERSON: 0, CAR: 2, TREE: 58}
    (root / "labels" / "train2017").mkdir(parents=True)
    for index in range(12):
        write_jpeg(root / "images" / "train2017" / f"{index:012}.jpg", index)
        lines = []
        for category_id, mask in things(index):
            shares = outline(mask) / (WIDTH, HEIGHT)
            numbers = " ".join(f"{value:.6f}" for value in shares.reshape(-1))
            lines.append(f"{class_ids[category_id]} {numbers}\n")
        (root / "labels" / "train2017" / f"{index:012}.txt").write_text("".join(lines))


def draw_cwfid(root):
    """RGB images, class masks in colours, and a polygon per plant in YAML."""
    kinds = {PERSON: ("crop", (0, 255, 0)), TREE: ("weed", (255, 0, 0))}
    for index in range(8):
        name = f"{index:03}"
        colors = np.zeros((*SIZE, 3), np.uint8)
        rows = []
        for category_id, mask in things(index):
            if category_id not in kinds:
                continue
            kind, color = kinds[category_id]
            colors[mask] = color
            x, y = outline(mask).T.tolist()
            rows.append({"type": kind, "points": {"x": x, "y": y}})
        write_rgb(root / "images" / f"{name}_image.png", scene(index).image)
        write_rgb(root / "annotations" / f"{name}_annotation.png", colors)
        path = root / "annotations" / f"{name}_annotation.yaml"
        path.write_text(yaml.safe_dump({"filename": f"{name}_image.png", "annotation": rows}))


def draw_coco_panoptic(root):
    """Two JPEG images, their id PNGs, and the JSON file that describes the segments."""
    records = []
    annotations = []
    for index in range(2):
        record = ImageRecord(100 + index, f"{index:012}.jpg", *SIZE)
        write_jpeg(root / "input_images" / record.file_name, index)
        labels = panoptic_from_instances(
            scene(index).classes.astype(np.int32),
            scene(index).instances.astype(np.int32),
            CATEGORIES,
            void_ids=[VOID],
        )
        records.append(record)
        annotations.append(write_panoptic(root, record, labels))
    write_index(root, CATEGORIES, records, annotations)
    (root / "panoptic").rename(root / "panoptic_examples")
    (root / "panoptic.json").rename(root / "panoptic_examples.json")


def coco_annotation(annotation_id, image_id, category_id, points, mask):
    """An annotation with a polygon, and with the area and box of the pixels it covers."""
    left, top, right, bottom = mask.box
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "iscrowd": 0,
        "segmentation": [points.reshape(-1).tolist()],
        "area": mask.area,
        "bbox": [left, top, right - left, bottom - top],
    }


def coco_json(file_names, category_ids, categories, rasterizer):
    """COCO instances JSON of images {scene: file name}."""
    images = []
    annotations = []
    for index, file_name in file_names.items():
        images.append({"id": index, "file_name": file_name, "height": HEIGHT, "width": WIDTH})
        for category_id, mask in things(index):
            points = outline(mask)
            filled = polygon_mask([points], SIZE, rasterizer)
            number = len(annotations) + 1
            row = coco_annotation(number, index, category_ids[category_id], points, filled)
            annotations.append(row)
    return {"images": images, "annotations": annotations, "categories": categories}


def draw_coco_instances(root):
    """COCO 2017's folders: polygons, and a crowd as run lengths."""
    categories = [{"id": 3, "name": "car"}, {"id": 1, "name": "person"}, {"id": 64, "name": "tree"}]
    category_ids = {CAR: 3, PERSON: 1, TREE: 64}
    numbers = {"train": (0, 1, 2, 3, 4, 8), "val": (5, 6)}  # 8 is a validation image by its hash
    for split, indices in numbers.items():
        file_names = {index: f"{index:012}.jpg" for index in indices}
        for index, file_name in file_names.items():
            write_jpeg(root / f"{split}2017" / file_name, index)
        content = coco_json(file_names, category_ids, categories, "coco")
        crowd = np.asfortranarray(np.zeros(SIZE, np.uint8))
        crowd[:12] = 1
        runs = coco_mask.encode(crowd)
        row = coco_annotation(900, indices[0], 1, np.zeros((0, 2)), BoxMask.cropped(crowd > 0))
        row["iscrowd"] = 1
        row["segmentation"] = {"size": list(SIZE), "counts": runs["counts"].decode()}
        content["annotations"].append(row)
        write_json(root / "annotations" / f"instances_{split}2017.json", content)


def draw_labelme(root):
    """labelme's JSON files, with their images beside them."""
    for index in range(3):
        write_jpeg(root / "data_annotated" / f"{index:04}.jpg", index)
        shapes = []
        for category_id, mask in things(index):
            shape = {"label": VOC_NAMES[category_id], "points": outline(mask).tolist()}
            shapes.append(shape | {"shape_type": "polygon", "group_id": None, "flags": {}})
        content = {"version": "5.5.0", "imagePath": f"{index:04}.jpg", "shapes": shapes}
        content |= {"imageHeight": HEIGHT, "imageWidth": WIDTH}
        write_json(root / "data_annotated" / f"{index:04}.json", content)


def draw_labelme_coco(root):
    """The COCO form that labelme exports."""
    file_names = {index: f"JPEGImages/{index:04}.jpg" for index in range(3)}
    for index, file_name in file_names.items():
        write_jpeg(root / "data_dataset_voc" / file_name, index)
    categories = [{"id": 0, "name": "_background_"}]
    for key, category_id in VOC_IDS.items():
        categories.append({"id": category_id, "name": VOC_NAMES[key]})
    content = coco_json(file_names, VOC_IDS, categories, "pillow")
    write_json(root / "data_dataset_coco" / "annotations.json", content)


def draw_labelme_voc(root):
    """The VOC form that labelme exports: VOC's folders, without lists."""
    folder = root / "data_dataset_voc"
    for index in range(3):
        classes, instances = voc_masks(index, background=0)
        write_jpeg(folder / "JPEGImages" / f"{index:04}.jpg", index)
        write_labels(folder / "SegmentationClass" / f"{index:04}.png", classes)
        write_labels(folder / "SegmentationObject" / f"{index:04}.png", instances)


def draw_voc(root):
    """PASCAL VOC 2012: class masks, instance-id masks, and lists of names."""
    lists = {"train": [*range(7), 10], "val": [7, 8]}  # 10 is a validation image by its hash
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    for split, indices in lists.items():
        for index in indices:
            classes, instances = voc_masks(index, background=0)
            write_jpeg(root / "JPEGImages" / f"2012_{index:06}.jpg", index)
            write_labels(root / "SegmentationClass" / f"2012_{index:06}.png", classes)
            write_labels(root / "SegmentationObject" / f"2012_{index:06}.png", instances)
        text = "".join(f"2012_{index:06}\n" for index in indices)
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(text)


def draw_cityscapes(root):
    """Cityscapes: a folder per city; the instance-id mask has 1000 x class + number on things."""
    table = {ROAD: 7, BUILDING: 11, GRASS: 22, SKY: 23, TREE: 24, PERSON: 25, CAR: 26, VOID: 1}
    cities = ["train/aachen", "train/bochum", "train/cologne", "val/lindau"]  # cologne validates
    for index, city in enumerate(np.repeat(cities, 3).tolist()):
        stem = f"{city}/{city.split('/')[1]}_{index:06}_000019"
        classes = mapped(index, table, 0)
        instances = np.where(scene(index).instances > 0, 1000 * classes, classes)
        instances += scene(index).instances
        write_rgb(root / "leftImg8bit" / f"{stem}_leftImg8bit.png", scene(index).image)
        write_labels(root / "gtFine" / f"{stem}_gtFine_labelIds.png", classes)
        write_labels(root / "gtFine" / f"{stem}_gtFine_instanceIds.png", instances)


def draw_ade20k(root):
    """ADE20K's native layout: class and instance in the colours of one PNG, names in JSON."""
    table = {SKY: 2420, BUILDING: 312, GRASS: 1125, ROAD: 2131, CAR: 401, PERSON: 1831, TREE: 2855}
    names = {category.id: category.name for category in CATEGORIES}
    names[BUILDING] = "building, edifice"
    folder = root / "ADE20K_2021_17_01" / "images" / "ADE" / "training" / "street"
    for index in range(4):
        stem = f"ADE_train_{index:08}"
        write_jpeg(folder / f"{stem}.jpg", index)
        classes = mapped(index, table, 0)
        colors = np.zeros((*SIZE, 3), np.uint8)
        colors[..., 0] = classes // 256 * 10
        colors[..., 1] = classes % 256
        colors[..., 2] = scene(index).instances
        write_rgb(folder / f"{stem}_seg.png", colors)
        objects = []
        for category_id in np.unique(scene(index).classes).tolist():
            if category_id != VOID:
                row = {"name_ndx": table[category_id], "name": names[category_id]}
                objects.append(row | {"parts": {"part_level": 0}})
        text = f'{{"annotation": {{"scene": ["Z\xfcrich"], "object": {objects}}}}}'
        (folder / f"{stem}.json").write_text(text.replace("'", '"'), encoding="latin-1")


DATASETS = {
    "ade20k": draw_ade20k,
    "camvid": draw_camvid,
    "ccp": draw_ccp,
    "cityscapes": draw_cityscapes,
    "coco128_seg": draw_coco128_seg,
    "coco_instances": draw_coco_instances,
    "coco_panoptic_sample": draw_coco_panoptic,
    "cwfid": draw_cwfid,
    "dsb2018": draw_dsb2018,
    "labelme": draw_labelme,
    "labelme_coco": draw_labelme_coco,
    "labelme_voc": draw_labelme_voc,
    "voc": draw_voc,
}
