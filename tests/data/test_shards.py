"""Sharded copies in folders, in memory, on an HTTP server and on an S3 server.

All servers run in this process. Training must get the same batches from every copy as from the
files.
"""

import json
import shutil
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
import torch

from drawn_folders import scene, write_split
from maskmill.canonical.files import write_json
from maskmill.canonical.folder import PanopticFolder
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.sharding import write_shards
from maskmill.data.splits import open_split
from maskmill.data.stores import open_store
from maskmill.data.transforms import Augmentation
from s3_server import s3_server

FEW_BYTES = 12_000  # a sample has about 4,000 bytes: three samples per shard


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A prepared data set of two splits."""
    root = tmp_path_factory.mktemp("files")
    names = [f"street.{seed}/left.png" for seed in range(7)]
    train = [scene(seed) for seed in range(7)]
    val = [scene(seed, height=20 + seed) for seed in range(3)]
    write_split(root / "train", train, images=True, names=names)
    write_split(root / "val", val, images=True)
    write_json(
        root / "dataset.json", {"splits": {"train": {"num_images": 7}, "val": {"num_images": 3}}}
    )
    return root


@pytest.fixture(scope="module", params=["bytes", "decoded"])
def shards(request, files, tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    write_shards(files, open_store(root), shard_bytes=FEW_BYTES, decoded=request.param == "decoded")
    return root


@pytest.fixture(scope="module")
def s3():
    with s3_server("data-sets") as url:
        yield url


@pytest.fixture(scope="module")
def on_s3(s3, files):
    write_shards(files, open_store(f"{s3}/street/v1"), shard_bytes=FEW_BYTES, decoded=False)
    return f"{s3}/street/v1"


class RangeHandler(SimpleHTTPRequestHandler):
    """Serves a folder and, unlike its base class, ranges of bytes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        requested = self.headers.get("Range")
        if requested is None:
            super().do_GET()
            return
        first, last = requested.removeprefix("bytes=").split("-")
        with Path(self.translate_path(self.path)).open("rb") as file:
            file.seek(int(first))
            data = file.read(int(last) - int(first) + 1)
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def on_http(files, tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    write_shards(files, open_store(root), shard_bytes=FEW_BYTES, decoded=False)
    handler = partial(RangeHandler, directory=str(root))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def batches(root, num_workers):
    augmentation = Augmentation(
        [
            A.RandomResizedCrop((16, 24), scale=(0.3, 1), mask_interpolation=0),
            A.HorizontalFlip(),
            A.ColorJitter(),
        ]
    )
    module = SegmentationDataModule(
        str(root), augmentation, crop_size=(16, 24), batch_size=2, num_workers=num_workers, seed=4
    )
    return [*module.train_dataloader(), *module.val_dataloader()]


def assert_equal(actual, expected):
    assert len(actual) == len(expected) == 3 + 2
    for batch, expected_batch in zip(actual, expected, strict=True):
        assert batch.keys() == expected_batch.keys()
        for key in ("image", "semantic", "instance"):
            assert torch.equal(batch[key], expected_batch[key])
        targets = batch.get("panoptic", [])
        expected_targets = expected_batch.get("panoptic", [])
        for target, expected_target in zip(targets, expected_targets, strict=True):
            assert np.array_equal(target.ids, expected_target.ids)
            assert target.segments == expected_target.segments


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_from_shards_equal_those_from_files(files, shards, num_workers):
    assert_equal(batches(shards, num_workers), batches(files, 0))


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_from_s3_equal_those_from_files(files, on_s3, num_workers):
    assert_equal(batches(on_s3, num_workers), batches(files, 0))


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_from_http_equal_those_from_files(files, on_http, num_workers):
    assert_equal(batches(on_http, num_workers), batches(files, 0))


def test_batches_from_memory_equal_those_from_files(files):
    write_shards(files, open_store("memory://street"), shard_bytes=FEW_BYTES, decoded=True)
    assert_equal(batches("memory://street", 0), batches(files, 0))


@pytest.mark.slow
def test_a_store_opened_before_a_fork_is_opened_again_in_the_worker(files, on_http):
    split = open_split(on_http, "train")
    loader = torch.utils.data.DataLoader(
        range(len(split)), num_workers=2, collate_fn=lambda indices: split[indices[0]].ids
    )
    expected = open_split(files, "train")
    for index, ids in enumerate(loader):
        assert np.array_equal(ids, expected[index].ids)


def test_a_sharded_sample_equals_the_original_including_crowds(tmp_path):
    labels = [scene(seed) for seed in range(3)]
    crowd = max(labels[0].category_of)
    labels[0] = type(labels[0]).from_ids(labels[0].ids, labels[0].category_of, crowds={crowd})
    folder = PanopticFolder(write_split(tmp_path / "files" / "test", labels, images=True))
    write_json(tmp_path / "files" / "dataset.json", {"splits": {"test": {"num_images": 1}}})
    write_shards(tmp_path / "files", open_store(tmp_path / "shards"), shard_bytes=1, decoded=False)
    split = open_split(tmp_path / "shards", "test")
    assert split.categories == folder.categories
    for index, record in enumerate(folder.records):
        assert np.array_equal(split[index].image, folder.image(record))
        assert split[index].panoptic().segments == folder.panoptic(record.id).segments
    assert split[0].crowds == {crowd}


def test_a_shard_is_a_tar_file_of_complete_samples_in_order(files, tmp_path):
    write_shards(files, open_store(tmp_path), shard_bytes=FEW_BYTES, decoded=False)
    names = []
    for path in sorted((tmp_path / "train").glob("*.tar")):
        with tarfile.open(path) as tar:
            names += tar.getnames()
            first_image = tar.getmember(tar.getnames()[1])
            index = int(first_image.name.split(".")[0])
            original = files / "train" / "images" / f"street.{index}" / "left.png"
            assert tar.extractfile(first_image).read() == original.read_bytes()
    expected = []
    for index in range(7):
        expected += [f"{index:08}.json", f"{index:08}.png", f"{index:08}.panoptic.png"]
    assert names == expected


def test_the_same_data_give_the_same_shards(files, tmp_path):
    for name in ("first", "second"):
        write_shards(files, open_store(tmp_path / name), shard_bytes=FEW_BYTES, decoded=False)
    for path in (tmp_path / "first").rglob("*.tar"):
        copy = tmp_path / "second" / path.relative_to(tmp_path / "first")
        assert path.read_bytes() == copy.read_bytes()


def test_a_copy_does_not_overwrite_a_data_set(files, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset.json").write_text("{}")
    with pytest.raises(ValueError, match=r"out: .*found other files \(dataset\.json\)"):
        write_shards(files, open_store(tmp_path / "out"), shard_bytes=FEW_BYTES, decoded=False)
    assert (tmp_path / "out" / "dataset.json").read_text() == "{}"


def test_an_interrupted_copy_is_not_a_data_set_and_can_be_repeated(files, tmp_path):
    broken = tmp_path / "files"
    shutil.copytree(files, broken)
    (broken / "val" / "images" / "002.png").rename(tmp_path / "002.png")
    store = open_store(tmp_path / "shards")
    with pytest.raises(FileNotFoundError, match=r"002\.png"):
        write_shards(broken, store, shard_bytes=FEW_BYTES, decoded=False)
    assert not store.has("dataset.json")
    (tmp_path / "002.png").rename(broken / "val" / "images" / "002.png")
    assert write_shards(broken, store, shard_bytes=FEW_BYTES, decoded=False) == 10


def test_a_truncated_shard_is_named_before_training(files, tmp_path):
    write_shards(files, open_store(tmp_path), shard_bytes=FEW_BYTES, decoded=False)
    path = tmp_path / "train" / "shard-000001.tar"
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    sizes = rf"of {len(data)} bytes, but it has {len(data) - 100}"
    with pytest.raises(ValueError, match=rf"train: expected shard-000001\.tar {sizes} - copy"):
        open_split(tmp_path, "train")


def test_a_missing_shard_is_named_before_training(files, tmp_path):
    write_shards(files, open_store(tmp_path), shard_bytes=FEW_BYTES, decoded=False)
    (tmp_path / "train" / "shard-000001.tar").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"expected every shard of the index, but .*shard-000001\.tar.* - copy",
    ):
        open_split(tmp_path, "train")


def test_a_missing_shard_on_a_server_is_named_before_training(files, tmp_path):
    store = open_store("memory://incomplete")
    write_shards(files, store, shard_bytes=FEW_BYTES, decoded=False)
    index = json.loads(store.read("train/shards.json"))
    index["shards"][1]["file"] = "shard-000009.tar"
    store.write("train/shards.json", json.dumps(index).encode())
    with pytest.raises(FileNotFoundError, match=r"one is missing .*shard-000009\.tar.* - copy"):
        open_split("memory://incomplete", "train")


def test_an_index_that_is_not_json_must_be_written_again(files, tmp_path):
    write_shards(files, open_store(tmp_path), shard_bytes=FEW_BYTES, decoded=False)
    index = tmp_path / "train" / "shards.json"
    index.write_text(index.read_text()[:50])
    with pytest.raises(
        ValueError, match=r"shards\.json: expected JSON, but found .* or write it again"
    ):
        open_split(tmp_path, "train")


def test_an_index_without_its_keys_must_be_written_again(files, tmp_path):
    write_shards(files, open_store(tmp_path), shard_bytes=FEW_BYTES, decoded=False)
    (tmp_path / "train" / "shards.json").write_text("{}")
    message = r"shards\.json: expected a value at categories, but got none; a value at shards"
    with pytest.raises(ValueError, match=message):
        open_split(tmp_path, "train")


LEAVING = ["../../secret.tar", "..\\secret.tar", "deep/../../secret.tar"]


@pytest.mark.parametrize("name", LEAVING)
@pytest.mark.parametrize("url", ["{tmp_path}", "memory://hostile"])
def test_a_shard_outside_its_folder_is_refused(files, tmp_path, name, url):
    address = url.format(tmp_path=tmp_path / "copy")
    store = open_store(address)
    if not store.has("dataset.json"):
        write_shards(files, store, shard_bytes=FEW_BYTES, decoded=False)
    index = json.loads(store.read("train/shards.json"))
    index["shards"][0]["file"] = name
    store.write("train/shards.json", json.dumps(index).encode())
    with pytest.raises(ValueError, match="leaves the data folder - use names relative to it"):
        open_split(address, "train")


BAD_VALUES = [
    ("bytes", "12000", "valid integer at shards[0].bytes, but got '12000'"),
    ("bytes", -1, "a number greater than or equal to 0 at shards[0].bytes"),
    ("file", None, "a valid string at shards[0].file"),
    (
        "samples",
        [[512, -5, 1, 1]],
        "a number greater than or equal to 0 at shards[0].samples[0][1]",
    ),
    (
        "samples",
        [[512, 5, 1]],
        "4 items after validation, not 3 at shards[0].samples[0], but got [512, 5, 1]",
    ),
    ("samples", [[2**70, 1, 1, 1]], "less than or equal to 1125899906842624 at shards[0].samples"),
    # 512 + (1 padded to 512) + 512 + (2**40) + 512 + 1: after the end of any shard drawn here
    (
        "samples",
        [[512, 1, 2**40, 1]],
        "but sample 0 ends at byte 1099511629825 of a shard of",
    ),
]


@pytest.mark.parametrize(("key", "value", "words"), BAD_VALUES)
def test_an_index_with_a_wrong_value_names_it(files, tmp_path, key, value, words):
    write_shards(files, open_store(tmp_path), shard_bytes=FEW_BYTES, decoded=False)
    path = tmp_path / "train" / "shards.json"
    index = json.loads(path.read_text())
    index["shards"][0][key] = value
    path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match="shards.json: expected ") as caught:
        open_split(tmp_path, "train")
    assert words in str(caught.value)


def test_an_index_with_one_category_twice_names_it(files, tmp_path):
    write_shards(files, open_store(tmp_path), shard_bytes=FEW_BYTES, decoded=False)
    path = tmp_path / "train" / "shards.json"
    index = json.loads(path.read_text())
    index["categories"] *= 2
    path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match="shards.json: Expected each category id once"):
        open_split(tmp_path, "train")


def test_a_split_outside_the_data_set_is_refused(files, tmp_path):
    shutil.copytree(files, tmp_path / "set")
    write_json(
        tmp_path / "set" / "dataset.json", {"splits": {"../../elsewhere": {"num_images": 1}}}
    )
    with pytest.raises(ValueError, match="'../../elsewhere' leaves the data folder"):
        write_shards(
            tmp_path / "set", open_store(tmp_path / "out"), shard_bytes=FEW_BYTES, decoded=False
        )
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.slow
def test_a_missing_split_on_s3_says_how_to_write_it(s3):
    with pytest.raises(
        FileNotFoundError,
        match=r"s3://data-sets/nothing/train/shards\.json: .*write it with `maskmill shard`",
    ):
        open_split(f"{s3}/nothing", "train")


def test_pickled_objects_in_a_shard_are_refused(files, tmp_path):
    write_shards(files, open_store(tmp_path), shard_bytes=FEW_BYTES, decoded=True)
    index = json.loads((tmp_path / "val" / "shards.json").read_text())
    start, row_size, image_size, _ = index["shards"][0]["samples"][0]
    assert image_size > 0
    path = tmp_path / "val" / "shard-000000.tar"
    data = bytearray(path.read_bytes())
    type_position = data.index(b"|u1", start + row_size)
    data[type_position : type_position + 3] = b"|O8"  # the image's header now announces objects
    path.write_bytes(data)
    with pytest.raises(ValueError, match="expected a NumPy array, but found Python objects"):
        open_split(tmp_path, "val")[0]


WRONG_HEADERS = [
    pytest.param(b"(20, 32, 3)", b"(20, 999,3)", "bytes for an array", id="more-than-the-file"),
    pytest.param(b"(20, 32, 3)", b"(32, 20, 3)", r"pixels, but got \(32, 20\)", id="another-size"),
    pytest.param(b"(20, 32, 3)", b"(60, 32, 1)", r"an image \(H, W, 3\) uint8", id="no-colors"),
    pytest.param(b"'shape'", b"'snape'", "expected a NumPy array", id="no-shape"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG_HEADERS)
def test_an_array_whose_header_was_changed_is_refused(files, tmp_path, old, new, message):
    write_shards(files, open_store(tmp_path), shard_bytes=FEW_BYTES, decoded=True)
    path = tmp_path / "val" / "shard-000000.tar"
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        open_split(tmp_path, "val")[0]
