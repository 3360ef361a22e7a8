"""Several pairs of ground truth and predictions as one, for example those of folds."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maskmill.canonical.files import inside, link_file, read_json, write_json_list
from maskmill.canonical.folder import (
    ImageRecord,
    IndexWriter,
    PanopticFolder,
    png_name,
)
from maskmill.canonical.output_folder import replaced_folder
from maskmill.canonical.schema import RESULTS, require_schema
from maskmill.evaluation.folders import find_class_masks, read_pair

INSTANCES = "instances.json"


@dataclass(frozen=True)
class _Pair:
    """Ground truth and predictions of the same images.

    Args:
        target: ground truth.
        pred: predictions.
        new_ids: image id of the ground truth -> image id among those of all pairs.
    """

    target: PanopticFolder
    pred: PanopticFolder
    new_ids: Mapping[int, int]

    def records(self) -> Iterator[tuple[int, ImageRecord]]:
        """The id that an image has here, and its record among those of all pairs."""
        for record in self.target.records:
            yield record.id, replace(record, id=self.new_ids[record.id])


def join_pairs(
    targets: Sequence[Path],
    predictions: Sequence[Path],
    out: Path,
    *,
    inputs: Sequence[Path] = (),
) -> tuple[Path, Path]:
    """Write one folder of ground truth and one of predictions with the images of several.

    The images get new ids, 1 to N in the order of the folders. Files are hard links if the file
    system has them.

    Args:
        targets: ground truth, folders or COCO panoptic JSON files.
        predictions: those of the images of each.
        out: folder to write; replaced if `evaluate` wrote it.
        inputs: what is read afterwards, which `out` must not contain either.

    Returns:
        the folders target/ and prediction/ in `out`.

    Raises:
        FileNotFoundError: a folder or file does not exist.
        ValueError: a pair is invalid, see `read_pair`, or its predictions name other images; the
            ground truths differ in their classes or have images of the same name; only some
            predictions have class masks or instances; or `out` has files of somebody else.
    """
    pairs = _read_pairs(targets, predictions)
    inputs = [*targets, *predictions, *inputs]
    with replaced_folder(out, written_by="evaluate", inputs=inputs) as folder:
        _write_targets(pairs, folder / "target")
        _write_predictions(pairs, folder / "prediction")
    return out / "target", out / "prediction"


def _read_pairs(targets: Sequence[Path], predictions: Sequence[Path]) -> list[_Pair]:
    pairs: list[_Pair] = []
    num_images = 0
    for target_path, prediction in zip(targets, predictions, strict=True):
        target, pred = read_pair(target_path, prediction)
        if pairs and target.categories != pairs[0].target.categories:
            found = ", ".join(category.name for category in target.categories)
            raise ValueError(
                f"{target.json_path}: expected the classes of {pairs[0].target.json_path}, but got "
                f"{found} - evaluate data sets of the same classes together"
            )
        _require_same_names(target, pred)
        ids = [record.id for record in target.records]
        first = num_images + 1
        num_images += len(ids)
        pairs.append(_Pair(target, pred, dict(zip(ids, range(first, num_images + 1), strict=True))))
    _require_distinct_names(pairs)
    return pairs


def _require_same_names(target: PanopticFolder, pred: PanopticFolder) -> None:
    """Image ids alone would pair the folders of a list in the wrong order."""
    names: dict[int, str] = {}
    with suppress(ValueError):  # predictions may lack the names of their images
        names = {record.id: record.file_name for record in pred.records}
    for record in target.records:
        name = names.get(record.id, record.file_name)
        if name != record.file_name:
            raise ValueError(
                f"{pred.json_path}: expected the predictions of {target.json_path}, but image "
                f"{record.id} is {name} here and {record.file_name} there - list both in the same "
                "order"
            )


def _require_distinct_names(pairs: Sequence[_Pair]) -> None:
    found: dict[str, tuple[Path, str]] = {}
    for pair in pairs:
        for record in pair.target.records:
            name = png_name(record)
            if name in found:
                path, other = found[name]
                raise ValueError(
                    f"{pair.target.json_path}: expected images with other names than those of "
                    f"{path}, but {record.file_name} and {other} would have the same label file - "
                    "either list each data set once or rename the image"
                )
            found[name] = pair.target.json_path, record.file_name


def _write_targets(pairs: Sequence[_Pair], out: Path) -> None:
    writer = IndexWriter(out, pairs[0].target.categories)
    for pair in pairs:
        for old_id, record in pair.records():
            _add(writer, out, pair.target, old_id, record)
            image = pair.target.image_path(record)
            if image.is_file():
                _link(image, inside(out / "images", record.file_name))
    writer.close()


def _write_predictions(pairs: Sequence[_Pair], out: Path) -> None:
    masks = [find_class_masks(pair.pred.path) for pair in pairs]
    _require_all_or_none([folder is not None for folder in masks], pairs, "semantic/")
    writer = IndexWriter(out, pairs[0].target.categories)
    for pair, folder in zip(pairs, masks, strict=True):
        for old_id, record in pair.records():
            _add(writer, out, pair.pred, old_id, record)
            if folder is not None:
                name = png_name(record)
                _link(inside(folder, name), inside(out / "semantic", name))
    writer.close()
    paths = [pair.pred.path / INSTANCES for pair in pairs]
    has_instances = [path.is_file() for path in paths]
    _require_all_or_none(has_instances, pairs, INSTANCES)
    if all(has_instances):
        write_json_list(out / INSTANCES, _instances(pairs, paths))


def _add(
    writer: IndexWriter, out: Path, folder: PanopticFolder, old_id: int, record: ImageRecord
) -> None:
    """Add an image and its labels to a folder, under its new id."""
    name = png_name(record)
    _link(folder.png_path(old_id), inside(out / "panoptic", name))
    segments = folder.annotation(old_id)["segments_info"]
    row = {"image_id": record.id, "file_name": name, "segments_info": segments}
    writer.add(record, row)


def _link(source: Path, target: Path) -> None:
    if not source.is_file():
        raise FileNotFoundError(
            f"{source}: expected the file of an image, but there is none - either restore it or "
            "run the stage that writes this folder again"
        )
    link_file(source, target)


def _instances(pairs: Sequence[_Pair], paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The rows of all files; those of images that the ground truth lacks are left out."""
    for pair, path in zip(pairs, paths, strict=True):
        rows = read_json(path)
        require_schema(RESULTS, rows, path, name="results")
        for row in rows:
            if row["image_id"] in pair.new_ids:
                yield {**row, "image_id": pair.new_ids[row["image_id"]]}


def _require_all_or_none(present: Sequence[bool], pairs: Sequence[_Pair], name: str) -> None:
    if all(present) or not any(present):
        return
    lacking = pairs[present.index(False)].pred.path
    raise ValueError(
        f"{lacking}: expected {name}, as another of the predictions has it, but there is none - "
        "predict all of them in the same way"
    )
