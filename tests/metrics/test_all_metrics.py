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


def count_a_share(rank, world_size, number, path):
    """One of several processes: image i is that of rank i modulo their number."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{path}/meeting", rank=rank, world_size=world_size
    )
    metrics = {name: build(CATEGORIES) for name, build in ALL.items()}
    for metric in metrics.values():
        for place in range(rank, number, world_size):
            metric.update([PREDS[place]], [TARGETS[place]])
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
        metric.update(PREDS[:number], TARGETS[:number])
        expected = metric.compute()
        for rank in range(world_size):
            values = torch.load(tmp_path / f"{rank}.pt", weights_only=True)[name]
            for key, value in expected.items():  # float sums in another order
                assert torch.allclose(values[key], value, rtol=0, atol=1e-14, equal_nan=True), (
                    rank,
                    key,
                )
