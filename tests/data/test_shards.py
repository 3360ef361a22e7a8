"""Sharded copies, in folders and on a real S3 server in this process: what training gets from them is what the files give."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

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
from maskmill.data.stores import S3Store, open_store
from maskmill.data.transforms import Augmentation
from s3_server import s3_server

FEW_BYTES = 12_000  # of a sample are about 4,000: three samples a shard


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A prepared data set of two splits."""
    root = tmp_path_factory.mktemp("files")
    write_split(
        root / "train",
        [scene(seed) for seed in range(7)],
        images=True,
        names=[f"street.{seed}/left.png" for seed in range(7)],
    )
    write_split(root / "val", [scene(seed, height=20 + seed) for seed in range(3)], images=True)
    write_json(root / "dataset.json", {"splits": {"train": {}, "val": {}}})
    return root


@pytest.fixture(scope="module", params=["bytes", "decoded"])
def shards(request, files, tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    write_shards(files, open_store(root), shard_bytes=FEW_BYTES, decoded=request.param == "decoded")
    return root


@pytest.fixture(scope="module")
def s3():
    with s3_server("data-sets") as address:
        yield address


@pytest.fixture(scope="module")
def remote(s3, files):
    write_shards(files, open_store(f"{s3}/street/v1"), shard_bytes=FEW_BYTES, decoded=False)
    return f"{s3}/street/v1"


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


def assert_equal(these, those):
    assert len(these) == len(those) == 3 + 2
    for one, other in zip(these, those, strict=True):
        assert one.keys() == other.keys()
        for key in ("image", "semantic", "instance"):
            assert torch.equal(one[key], other[key])
        for truth, same in zip(one.get("panoptic", []), other.get("panoptic", []), strict=True):
            assert np.array_equal(truth.ids, same.ids)
            assert truth.segments == same.segments


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_from_shards_are_those_from_files(files, shards, num_workers):
    assert_equal(batches(shards, num_workers), batches(files, 0))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_from_s3_are_those_from_files(files, remote, num_workers):
    assert_equal(batches(remote, num_workers), batches(files, 0))


def test_every_sample_comes_out_as_it_went_in_crowds_and_all(tmp_path):
    labels = [scene(seed) for seed in range(3)]
    crowd = max(labels[0].category_of)
    labels[0] = type(labels[0]).from_ids(labels[0].ids, labels[0].category_of, crowds={crowd})
    folder = PanopticFolder(write_split(tmp_path / "files" / "test", labels, images=True))
    write_json(tmp_path / "files" / "dataset.json", {"splits": {"test": {}}})
    write_shards(tmp_path / "files", open_store(tmp_path / "shards"), shard_bytes=1, decoded=False)
    split = open_split(tmp_path / "shards", "test")
    assert split.categories == folder.categories
    for place, record in enumerate(folder.records):
        assert np.array_equal(split[place].image, folder.image(record))
        assert split[place].panoptic().segments == folder.panoptic(record.id).segments
    assert split[0].crowds == {crowd}


def test_a_shard_is_a_tar_file_of_whole_samples_in_order(files, tmp_path):
    write_shards(files, open_store(tmp_path), shard_bytes=FEW_BYTES, decoded=False)
    names = []
    for path in sorted((tmp_path / "train").glob("*.tar")):
        with tarfile.open(path) as tar:
            names += tar.getnames()
            first = tar.getmember(tar.getnames()[1])
            place = int(first.name.split(".")[0])
            assert (
                tar.extractfile(first).read()
                == (files / "train" / "images" / f"street.{place}" / "left.png").read_bytes()
            )
    assert names == [
        f"{place:08}.{ending}" for place in range(7) for ending in ("json", "png", "panoptic.png")
    ]


def test_the_same_data_make_the_same_shards(files, tmp_path):
    for name in ("one", "other"):
        write_shards(files, open_store(tmp_path / name), shard_bytes=FEW_BYTES, decoded=False)
    for path in (tmp_path / "one").rglob("*.tar"):
        assert (
            path.read_bytes()
            == (tmp_path / "other" / path.relative_to(tmp_path / "one")).read_bytes()
        )


def test_a_copy_does_not_overwrite_a_data_set(files, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset.json").write_text("{}")
    with pytest.raises(ValueError, match=r"out: .*found other files \(dataset\.json\)"):
        write_shards(files, open_store(tmp_path / "out"), shard_bytes=FEW_BYTES, decoded=False)
    assert (tmp_path / "out" / "dataset.json").read_text() == "{}"


def test_an_interrupted_copy_is_no_data_set_and_can_be_started_again(files, tmp_path):
    broken = tmp_path / "files"
    shutil.copytree(files, broken)
    (broken / "val" / "images" / "002.png").rename(tmp_path / "002.png")
    with pytest.raises(FileNotFoundError, match=r"002\.png"):
        write_shards(broken, open_store(tmp_path / "shards"), shard_bytes=FEW_BYTES, decoded=False)
    assert not (tmp_path / "shards" / "dataset.json").exists()
    (tmp_path / "002.png").rename(broken / "val" / "images" / "002.png")
    assert (
        write_shards(broken, open_store(tmp_path / "shards"), shard_bytes=FEW_BYTES, decoded=False)
        == 10
    )


def test_a_missing_and_a_cut_shard_are_named_before_training(files, tmp_path):
    write_shards(files, open_store(tmp_path), shard_bytes=FEW_BYTES, decoded=False)
    path = tmp_path / "train" / "shard-000001.tar"
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    with pytest.raises(
        ValueError,
        match=rf"train: expected shard-000001\.tar of {len(data)} bytes, but it has {len(data) - 100} - copy",
    ):
        open_split(tmp_path, "train")
    path.unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"expected shard-000001\.tar as in the index, but it is missing - copy",
    ):
        open_split(tmp_path, "train")


def test_a_broken_index_says_to_write_the_shards_again(files, tmp_path):
    write_shards(files, open_store(tmp_path), shard_bytes=FEW_BYTES, decoded=False)
    index = tmp_path / "train" / "shards.json"
    index.write_text(index.read_text()[:50])
    with pytest.raises(
        ValueError, match=r"shards\.json: expected JSON, but found .* - write the file again"
    ):
        open_split(tmp_path, "train")
    index.write_text("{}")
    with pytest.raises(ValueError, match=r"it lacks \['categories', 'shards'\]"):
        open_split(tmp_path, "train")


def test_what_s3_refuses_is_said_with_the_address(s3, monkeypatch):
    with pytest.raises(
        FileNotFoundError,
        match=r"s3://data-sets/nothing/train/shards\.json: .*write it with `maskmill shard`",
    ):
        open_split(f"{s3}/nothing", "train")
    with pytest.raises(
        FileNotFoundError, match=r"s3://no-such-bucket/x/train/shards\.json: .*NoSuchBucket"
    ):
        open_split("s3://no-such-bucket/x", "train")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(
        OSError, match=r"expected an answer, but .*127\.0\.0\.1:9.* - check AWS_ENDPOINT_URL"
    ):
        open_split(f"{s3}/street/v1", "train")


class CutsTheFirstAnswer(BaseHTTPRequestHandler):
    """Promises ten bytes and breaks the connection after four; the second time it keeps its word."""

    answers = 0

    def do_GET(self):
        type(self).answers += 1
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"0123456789"[: 4 if self.answers == 1 else 10])

    def log_message(self, *_):
        pass


def test_an_answer_of_s3_that_breaks_off_is_asked_for_again(s3, monkeypatch):
    server = HTTPServer(("127.0.0.1", 0), CutsTheFirstAnswer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    assert open_store(s3).read("shard-000000.tar") == b"0123456789"
    assert CutsTheFirstAnswer.answers == 2
    server.shutdown()
    server.server_close()


def test_addresses_are_checked_when_they_are_given():
    with pytest.raises(ValueError, match=r"Expected s3://BUCKET/PREFIX, but got 's3://'"):
        open_store("s3://")
    with pytest.raises(
        ValueError,
        match=r"Expected a folder or s3://BUCKET/PREFIX, but got 'gs://bucket/x' - mend data\.root",
    ):
        open_store("gs://bucket/x")


def test_without_boto3_the_extra_is_named(tmp_path):
    (tmp_path / "boto3.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'boto3'\", name='boto3')"
    )
    program = "from maskmill.data.stores import open_store; open_store('s3://bucket')"
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (
        "Expected the package boto3 for s3://bucket, but it is missing - pip install 'maskmill[s3]'"
        in result.stderr
    )


def test_nothing_pickled_is_read_from_a_shard(files, tmp_path):
    write_shards(files, open_store(tmp_path), shard_bytes=FEW_BYTES, decoded=True)
    index = json.loads((tmp_path / "val" / "shards.json").read_text())
    start, row, image, _ = index["shards"][0]["samples"][0]
    path = tmp_path / "val" / "shard-000000.tar"
    data = bytearray(path.read_bytes())
    place = data.index(b"|u1", start + row)
    data[place : place + 3] = b"|O8"  # the header of the image now promises pickled objects
    path.write_bytes(data)
    assert image > 0
    with pytest.raises(ValueError, match="allow_pickle=False"):
        open_split(tmp_path, "val")[0]


def test_an_s3_store_reaches_spawned_loader_processes(remote):
    import pickle

    store = open_store(remote)
    assert store.has("dataset.json")
    copy = pickle.loads(pickle.dumps(store))
    assert isinstance(copy, S3Store)
    assert copy.read("dataset.json") == store.read("dataset.json")
