"""Time to read samples from files, from shards, by LitData and by WebDataset.

Run by hand on CamVid or any folder with its layout:

    pip install litdata webdataset    # not dependencies of maskmill
    python benchmarks/shards.py CAMVID_FOLDER [--rounds 5]

Only bytes are read, not decoded, since decoding takes the same time everywhere. Files, shards and
LitData are read in a random order, WebDataset in sequence through a shuffle buffer. `cold` removes
the files from the page cache before each round. S3 is a moto server in another process. It takes
most of the time, so only the number of requests can be transferred to a real server.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["LITDATA_DISABLE_VERSION_CHECK"] = "1"  # it asks PyPI otherwise

import numpy as np

from maskmill.canonical.categories import Categories, Category, color_of
from maskmill.canonical.files import write_json
from maskmill.canonical.folder import ImageRecord, PanopticFolder, write_index, write_panoptic
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import read_labels
from maskmill.data.sharding import write_shards
from maskmill.data.shards import ShardReader
from maskmill.data.stores import open_store

SHARD = 16_000_000


def prepare(camvid, root):
    folder = root / "train"
    records = []
    rows = []
    for index, path in enumerate(sorted((camvid / "train").glob("*.png"))):
        classes = read_labels(camvid / "trainannot" / path.name)
        record = ImageRecord(index, path.name, *classes.shape)
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "images" / path.name).write_bytes(path.read_bytes())
        rows.append(
            write_panoptic(
                folder,
                record,
                Panoptic.from_ids(
                    np.where(classes == 11, 0, classes + 1), {k + 1: k for k in range(11)}
                ),
            )
        )
        records.append(record)
    write_index(
        folder,
        Categories([Category(key, str(key), False, color_of(key)) for key in range(11)]),
        records,
        rows,
    )
    write_json(root / "dataset.json", {"splits": {"train": {}}})


def pairs(folder):
    return [(folder.image_path(record), folder.png_path(record.id)) for record in folder.records]


def write_litdata(folder, out):
    from litdata.streaming.cache import Cache

    cache = Cache(str(out), chunk_bytes=SHARD)
    for place, (image, labels) in enumerate(pairs(folder)):
        cache[place] = (image.read_bytes(), labels.read_bytes())
    cache.done()
    cache.merge()


def evict(root):
    for path in root.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def random_files(folder, order):
    files = pairs(folder)
    for place in order:
        for path in files[place]:
            path.read_bytes()


def random_items(items, order):
    for place in order:
        items(int(place))


def in_sequence(root):
    import webdataset

    urls = sorted(str(path) for path in (root / "train").glob("*.tar"))
    return sum(
        1
        for _ in webdataset.WebDataset(urls, shardshuffle=False)
        .shuffle(1000)
        .to_tuple("png", "panoptic.png")
    )


def milliseconds(work, number, rounds, before):
    times = []
    for _ in range(rounds):
        before()
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start) / number)
    return statistics.median(times)


def megabytes(paths):
    return sum(path.stat().st_blocks * 512 for path in paths) / 1e6


def serve_s3():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_MAX_ATTEMPTS": "10",
    }
    import boto3

    boto3.client("s3").create_bucket(Bucket="benchmark")  # boto3 tries again until the server is up
    return server


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    import litdata

    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        prepare(options.camvid, root / "files")
        folder = PanopticFolder(root / "files" / "train")
        number = len(folder)
        order = np.random.default_rng(0).permutation(number)
        for name, write in (
            (
                "shards",
                lambda: write_shards(
                    root / "files", open_store(root / "shards"), shard_bytes=SHARD, decoded=False
                ),
            ),
            ("litdata", lambda: write_litdata(folder, root / "litdata")),
        ):
            start = time.perf_counter()
            write()
            print(f"write {name:<10}{1e3 * (time.perf_counter() - start) / number:8.3f} ms/sample")
        for name in ("files", "shards", "litdata"):
            paths = [path for path in (root / name).rglob("*") if path.is_file()]
            print(f"on disk {name:<10}{megabytes(paths):8.1f} MB in {len(paths)} files")
        works = {
            "files, random": lambda: random_files(folder, order),
            "shards, random": lambda: random_items(
                ShardReader(open_store(root / "shards"), "train").members, order
            ),
            "LitData, random": lambda: random_items(
                litdata.StreamingDataset(str(root / "litdata")).__getitem__, order
            ),
            "WebDataset, sequence": lambda: in_sequence(root / "shards"),
        }
        for state, before in (("warm", lambda: None), ("cold", lambda: evict(root))):
            for name, work in works.items():
                print(
                    f"{state} {name:<22}"
                    f"{milliseconds(work, number, options.rounds, before):8.3f} ms/sample",
                    flush=True,
                )
        server = serve_s3()
        try:
            write_shards(
                root / "files",
                open_store("s3://benchmark/shards"),
                shard_bytes=SHARD,
                decoded=False,
            )
            store = open_store("s3://benchmark/litdata")
            for path in (root / "litdata").iterdir():
                store.upload(path.name, path)
            remote = {
                "shards, 1 request": ShardReader(
                    open_store("s3://benchmark/shards"), "train"
                ).members,
                "LitData, 2 requests": litdata.StreamingDataset(
                    "s3://benchmark/litdata", cache_dir=str(root / "cache")
                ).__getitem__,
            }
            for name, items in remote.items():
                time_ms = milliseconds(lambda: random_items(items, order), number, 3, lambda: None)
                print(f"S3 {name:<22}{time_ms:8.3f} ms/sample")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
