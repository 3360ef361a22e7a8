"""Every metric in collections, checkpoints, low precision and several processes."""

import copy
import pickle

import pytest
import torch
import torch.multiprocessing
from torchmetrics import MetricCollection

from metric_cases import ALL, PREDS, TARGETS, same_values
from strategies import CATEGORIES


def test_all_metrics_work_in_one_collection_and_after_pickling():
    collection = MetricCollection(
        {name: build(CATEGORIES) for name, build in ALL.items() if name != "union"}, prefix="val/"
    )
    for pred, target in zip(
        PREDS, TARGETS, strict=True
    ):  # torchmetrics looks for metrics of equal states and updates these once
        collection.update([pred], [target])
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
            alone.update(PREDS, TARGETS)
            for key, value in alone.compute().items():
                assert torch.allclose(
                    values[f"val/{key}"], value, rtol=0, atol=1e-14, equal_nan=True
                ), key  # order of additions


@pytest.mark.parametrize("name", ALL)
def test_a_checkpoint_keeps_what_was_counted(name, tmp_path):
    metric, restored = (ALL[name](CATEGORIES) for _ in range(2))
    for one in (metric, restored):
        one.persistent(True)
    metric.update(PREDS, TARGETS)
    torch.save(torch.nn.ModuleDict({"metric": metric}).state_dict(), tmp_path / "state.pt")
    torch.nn.ModuleDict({"metric": restored}).load_state_dict(
        torch.load(tmp_path / "state.pt", weights_only=True)
    )
    assert same_values(restored.compute(), metric.compute())


@pytest.mark.parametrize("name", ALL)
def test_a_model_cast_to_low_precision_does_not_touch_what_was_counted(name):
    metric = ALL[name](CATEGORIES)
    metric.update(PREDS, TARGETS)
    expected = metric.compute()
    cast = torch.nn.ModuleDict({"metric": metric}).to(torch.bfloat16)["metric"]
    cast._computed = None
    assert same_values(cast.compute(), expected)


# Images for three processes: shares of two, two and one image, and a process without an image.
NUM_IMAGES = (5, 2)
NUM_PROCESSES = 3


def count_shares(rank, path):
    """One of several processes: image i is that of rank i modulo their number."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{path}/meeting", rank=rank, world_size=NUM_PROCESSES
    )
    values = {}
    for num_images in NUM_IMAGES:
        for name, build in ALL.items():
            metric = build(CATEGORIES)
            for index in range(rank, num_images, NUM_PROCESSES):
                metric.update([PREDS[index]], [TARGETS[index]])
            values[num_images, name] = metric.compute()
    torch.save(values, path / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_real_processes_that_saw_a_part_each_give_the_numbers_of_all(tmp_path):
    torch.multiprocessing.start_processes(
        count_shares, (tmp_path,), nprocs=NUM_PROCESSES, start_method="fork"
    )
    for rank in range(NUM_PROCESSES):
        values = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for num_images in NUM_IMAGES:
            for name, build in ALL.items():
                metric = build(CATEGORIES)
                metric.update(PREDS[:num_images], TARGETS[:num_images])
                for key, value in metric.compute().items():  # float sums in another order
                    counted = values[num_images, name][key]
                    assert torch.allclose(counted, value, rtol=0, atol=1e-14, equal_nan=True), (
                        rank,
                        key,
                    )
