"""The metrics as others use them: tensors in, any device, several processes, collections, checkpoints."""

import copy
import pickle

import numpy as np
import pytest
import torch
import torch.multiprocessing
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torchmetrics import MetricCollection

from drawn_folders import BALL, BOX, GROUND, SKY, moved, scene
from maskmill.canonical.panoptic import VOID_CATEGORY, Panoptic
from maskmill.canonical.runs import overlaps
from maskmill.metrics import BoundaryIoU, CalibrationError, ConfusionMatrix, MaskAP, PanopticQuality
from maskmill.metrics.functional.confusion_matrix import confusion_matrix
from maskmill.metrics.functional.tensor_overlaps import device_overlaps, tensor_confusion
from strategies import CATEGORIES, panoptic_pairs

TRUTHS = [scene(seed) for seed in range(5)]
PREDS = [moved(truth) for truth in TRUTHS]
ALL = {
    "panoptic": PanopticQuality,
    "union": lambda table: PanopticQuality(table, void_in_union=True),
    "semantic": ConfusionMatrix,
    "boundary": BoundaryIoU,
    "ap": MaskAP,
    "boundary_ap": lambda table: MaskAP(table, boundary=True),
    "calibration": CalibrationError,
}


def pixels(panoptic, *, void=VOID_CATEGORY, dtype=torch.int64):
    """[category, instance] of each pixel; a stuff segment's instance number is noise."""
    classes = panoptic.category_map()
    noise = np.arange(panoptic.ids.size).reshape(panoptic.size) % 3
    instances = np.where(np.isin(classes, [GROUND, SKY]), noise, panoptic.ids)
    return torch.from_numpy(
        np.stack([np.where(classes < 0, void, classes), instances], axis=-1)
    ).to(dtype)


def same_values(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name].nan_to_num(-1), second[name].nan_to_num(-1)), name
    return True


@given(
    panoptic_pairs(crowds=False),
    st.sampled_from([VOID_CATEGORY, 255]),
    st.sampled_from([torch.int64, torch.int32]),
    st.booleans(),
)
def test_tensors_are_counted_as_segments(pair, void, dtype, void_in_union):
    for panoptic in pair:  # to tensors the segments of a stuff class are one
        stuff = [
            segment.category_id
            for segment in panoptic.segments
            if segment.category_id in (GROUND, SKY)
        ]
        assume(len(stuff) == len(set(stuff)))
    segments, tensors = (PanopticQuality(CATEGORIES, void_in_union=void_in_union) for _ in range(2))
    segments.update(*([panoptic] for panoptic in pair))
    tensors.update(*(pixels(panoptic, void=void, dtype=dtype)[None] for panoptic in pair))
    assert torch.equal(tensors.counts[:, 1:], segments.counts[:, 1:])
    assert torch.allclose(
        tensors.counts[:, 0], segments.counts[:, 0], rtol=0, atol=1e-14
    )  # segments are numbered in another order


@given(panoptic_pairs())
def test_the_device_counts_what_numpy_counts(pair):
    pred, target = pair
    first, second = (
        overlaps(target.ids, pred.ids),
        device_overlaps(torch.from_numpy(target.ids), torch.from_numpy(pred.ids)),
    )
    for name, column in vars(first).items():
        assert np.array_equal(column, getattr(second, name)), name


class Elsewhere(torch.Tensor):
    """A tensor that says it is on another device: what runs on a GPU runs here."""

    is_cpu = False


def elsewhere(tensor):
    return torch.Tensor._make_subclass(Elsewhere, tensor)


@given(panoptic_pairs(crowds=False))
@settings(max_examples=25)
def test_tensors_of_another_device_are_counted_alike(pair):
    here, there = PanopticQuality(CATEGORIES), PanopticQuality(CATEGORIES)
    tensors = [pixels(panoptic)[None] for panoptic in pair]
    here.update(*tensors)
    there.update(*(elsewhere(tensor) for tensor in tensors))
    assert torch.equal(here.counts, there.counts)
    maps = [tensor[..., 0] for tensor in tensors]
    expected = torch.from_numpy(
        confusion_matrix(*(panoptic.category_map() for panoptic in pair), CATEGORIES)
    )
    assert torch.equal(tensor_confusion(*maps, CATEGORIES), expected)
    assert torch.equal(tensor_confusion(*(elsewhere(one) for one in maps), CATEGORIES), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tensors_on_a_gpu_are_counted_alike():
    tensors = [torch.stack([pixels(one) for one in side]) for side in (PREDS, TRUTHS)]
    for build, cut in ((PanopticQuality, slice(None)), (ConfusionMatrix, 0), (BoundaryIoU, 0)):
        here, there = build(CATEGORIES), build(CATEGORIES).to("cuda")
        here.update(*(side[..., cut] for side in tensors))
        there.update(*(side[..., cut].to("cuda") for side in tensors))
        same_values(here.compute(), {name: value.cpu() for name, value in there.compute().items()})


@pytest.mark.parametrize("build", [ConfusionMatrix, BoundaryIoU])
@pytest.mark.parametrize("void", [VOID_CATEGORY, 255])
def test_class_tensors_are_counted_as_class_maps(build, void):
    maps, tensors = build(CATEGORIES), build(CATEGORIES)
    maps.update(*([one.category_map() for one in side] for side in (PREDS, TRUTHS)))
    dtype = torch.int16 if void < 0 else torch.uint8
    tensors.update(
        *(
            torch.stack([pixels(one, void=void, dtype=dtype)[..., 0] for one in side])
            for side in (PREDS, TRUTHS)
        )
    )
    assert same_values(maps.compute(), tensors.compute())


def test_a_batch_may_have_any_size():
    def scored(size):
        metric = PanopticQuality(CATEGORIES)
        for start in range(0, len(PREDS), size):
            metric.update(
                *(
                    torch.stack([pixels(one) for one in side[start : start + size]])
                    for side in (PREDS, TRUTHS)
                )
            )
        return metric.compute()

    assert same_values(scored(1), scored(2))
    assert same_values(scored(1), scored(5))


def test_wrong_tensors_are_refused():
    metric, good = PanopticQuality(CATEGORIES), pixels(TRUTHS[0])[None]
    with pytest.raises(ValueError, match=r"one shape \(B, H, W, 2\), but got \(1, 24, 32\)"):
        metric.update(good[..., 0], good[..., 0])
    with pytest.raises(ValueError, match=r"category ids of the table .* got the category \[77\]"):
        metric.update(torch.where(good == BALL, 77, good), good)
    with pytest.raises(ValueError, match="both as tensors or neither"):
        metric.update(good, [TRUTHS[0]])
    with pytest.raises(ValueError, match=r"category ids of the table, but got \[77\]"):
        ConfusionMatrix(CATEGORIES).update(torch.full((1, 4, 4), 77), torch.full((1, 4, 4), BALL))


def objects(panoptic, *, scores=False):
    """The things of an image as torchmetrics' MeanAveragePrecision takes them."""
    things = [segment for segment in panoptic.segments if segment.category_id in (BALL, BOX)]
    masks = torch.from_numpy(np.stack([panoptic.ids == segment.id for segment in things]))
    rows = {"masks": masks, "labels": torch.tensor([segment.category_id for segment in things])}
    return rows | (
        {"scores": torch.tensor([segment.score for segment in things], dtype=torch.float64)}
        if scores
        else {}
    )


def test_objects_of_torchmetrics_give_the_ap_of_segments():
    segments, tensors = MaskAP(CATEGORIES), MaskAP(CATEGORIES)
    segments.update(PREDS, TRUTHS)
    tensors.update(
        [objects(pred, scores=True) for pred in PREDS], [objects(truth) for truth in TRUTHS]
    )
    assert same_values(segments.compute(), tensors.compute())


def test_objects_of_a_class_that_is_no_thing_are_refused():
    rows = objects(TRUTHS[0])
    with pytest.raises(ValueError, match=r"category ids of things, \[3, 21\], but got \[0\]"):
        MaskAP(CATEGORIES).update([rows | {"labels": torch.zeros_like(rows["labels"])}], [rows])


def test_all_metrics_work_in_one_collection_and_after_pickling():
    collection = MetricCollection(
        {name: build(CATEGORIES) for name, build in ALL.items() if name != "union"}, prefix="val/"
    )
    for pred, truth in zip(
        PREDS, TRUTHS, strict=True
    ):  # torchmetrics looks for metrics of equal states and updates these once
        collection.update([pred], [truth])
    values = collection.compute()
    assert {
        "val/PQ",
        "val/mIoU",
        "val/boundary_mIoU",
        "val/AP",
        "val/boundary_AP",
        "val/ECE",
    } <= values.keys()
    for twin in (
        pickle.loads(pickle.dumps(collection)),
        copy.deepcopy(collection),
        collection.clone(),
    ):
        assert same_values(twin.compute(), values)
    for name, build in ALL.items():
        if name != "union":
            alone = build(CATEGORIES)
            alone.update(PREDS, TRUTHS)
            for key, value in alone.compute().items():
                assert torch.allclose(
                    values[f"val/{key}"], value, rtol=0, atol=1e-14, equal_nan=True
                ), key  # order of additions


@pytest.mark.parametrize("name", ALL)
def test_a_checkpoint_keeps_what_was_counted(name, tmp_path):
    metric, restored = (ALL[name](CATEGORIES) for _ in range(2))
    for one in (metric, restored):
        one.persistent(True)
    metric.update(PREDS, TRUTHS)
    torch.save(torch.nn.ModuleDict({"metric": metric}).state_dict(), tmp_path / "state.pt")
    torch.nn.ModuleDict({"metric": restored}).load_state_dict(
        torch.load(tmp_path / "state.pt", weights_only=True)
    )
    assert same_values(restored.compute(), metric.compute())


@pytest.mark.parametrize("name", ALL)
def test_a_model_cast_to_low_precision_does_not_touch_what_was_counted(name):
    metric = ALL[name](CATEGORIES)
    metric.update(PREDS, TRUTHS)
    expected = metric.compute()
    cast = torch.nn.ModuleDict({"metric": metric}).to(torch.bfloat16)["metric"]
    cast._computed = None
    assert same_values(cast.compute(), expected)


def count_a_share(rank, world_size, number, path):
    """One of several processes: image i is that of rank i modulo their number."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{path}/meeting", rank=rank, world_size=world_size
    )
    metrics = {name: build(CATEGORIES) for name, build in ALL.items()}
    for metric in metrics.values():
        for place in range(rank, number, world_size):
            metric.update([PREDS[place]], [TRUTHS[place]])
    values = {name: metric.compute() for name, metric in metrics.items()}
    torch.save(values, path / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world_size", "number"), [(2, 5), (3, 2)], ids=["unequal shares", "a process without an image"]
)
def test_real_processes_that_saw_a_part_each_give_the_numbers_of_all(world_size, number, tmp_path):
    torch.multiprocessing.spawn(count_a_share, (world_size, number, tmp_path), nprocs=world_size)
    for name, build in ALL.items():
        metric = build(CATEGORIES)
        metric.update(PREDS[:number], TRUTHS[:number])
        expected = metric.compute()
        for rank in range(world_size):
            values = torch.load(tmp_path / f"{rank}.pt", weights_only=True)[name]
            for key, value in expected.items():  # float sums in another order
                assert torch.allclose(values[key], value, rtol=0, atol=1e-14, equal_nan=True), (
                    rank,
                    key,
                )


def test_without_scores_there_is_no_calibration():
    metric = CalibrationError(CATEGORIES)
    metric.update(TRUTHS, TRUTHS)
    assert metric.compute()["ECE"].isnan()


def test_segments_are_calibrated_where_score_and_share_agree():
    ids = np.array([[1, 1, 2, 2]])
    target = Panoptic.from_ids(ids, {1: BALL, 2: BOX})
    metric = CalibrationError(CATEGORIES)
    metric.update(
        [Panoptic.from_ids(ids, {1: BALL, 2: BALL}, scores={1: 0.5, 2: 0.5})], [target]
    )  # half of them right
    assert metric.compute()["ECE"] == 0
