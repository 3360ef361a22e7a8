"""`maskmill serve` against the bare predictor: throughput, latency under load, transport, memory.

    python benchmarks/server.py MODEL IMAGE [--seconds 60]

Bare and served runs alternate, so that both see the same load of the machine; only ratios count.
The client's share is included: it runs on the same cores.
"""

import argparse
import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from maskmill.assembly.model_loading import load_model
from maskmill.serving.server.answers import AnswerWriter
from maskmill.sources.finding import Findings
from maskmill.sources.images import decode_photo

PORT = 8199
LOAD = 0.7
NUM_CLIENTS = 8
BATCH = 8


class Client:
    """A connection that stays open."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def predict(self, data, query=""):
        self.connection.request("POST", f"/predict{query}", data)
        response = self.connection.getresponse()
        body = response.read()
        return response.status, body


def start_server(model, *, max_batch, threads, port=PORT):
    values = [f"serve.model={model}", f"serve.port={port}", f"serve.threads={threads}"]
    values += [f"serve.batching.max_batch={max_batch}", "serve.limits.max_queue=1000"]
    command = [sys.executable, "-m", "maskmill.stages.cli", "serve", *values]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        time.sleep(0.2)
        assert process.poll() is None, "the server ended"
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return process
        except OSError:
            continue


def stop(process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


def bare_seconds(predictor, image, num_images):
    """Seconds per image of the bare predictor, in batches."""
    start_s = time.perf_counter()
    for _ in predictor([image] * num_images, batch_size=BATCH):
        pass
    return (time.perf_counter() - start_s) / num_images


def served_seconds(port, data, num_images):
    """Seconds per image with clients that send the next image after each answer."""
    remaining = queue.Queue()
    for _ in range(num_images):
        remaining.put(data)

    def work():
        client = Client(port)
        while True:
            try:
                item = remaining.get_nowait()
            except queue.Empty:
                return
            assert client.predict(item)[0] == 200

    threads = [threading.Thread(target=work) for _ in range(2 * BATCH)]
    start_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - start_s) / num_images


def latencies(port, data, interval_s, num_requests, *, regular):
    """Seconds of requests at a fixed rate: regular, or at random times (Poisson)."""
    rng = np.random.default_rng(0)
    gaps = (
        np.full(num_requests, interval_s) if regular else rng.exponential(interval_s, num_requests)
    )
    due = time.perf_counter() + 0.2 + np.cumsum(gaps)
    seconds = [0.0] * num_requests
    waiting = queue.Queue()

    def work():
        client = Client(port)
        while (index := waiting.get()) is not None:
            assert client.predict(data)[0] == 200
            seconds[index] = time.perf_counter() - due[index]  # from when it was due: no omission

    threads = [threading.Thread(target=work) for _ in range(32)]
    for thread in threads:
        thread.start()
    for index in range(num_requests):
        time.sleep(max(0.0, due[index] - time.perf_counter()))
        waiting.put(index)
    for _ in threads:
        waiting.put(None)
    for thread in threads:
        thread.join()
    return np.array(seconds)


def memory_mb(process):
    """Of the front and its workers, proportional to sharing."""
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    return sum(item.memory_full_info().pss for item in tree) / 1e6


def measure_throughput(model, predictor, image, data, rounds):
    process = start_server(model, max_batch=BATCH, threads=1)
    served_seconds(PORT, data, 2 * BATCH)
    ratios = []
    for _ in range(rounds):
        bare = bare_seconds(predictor, image, 4 * BATCH)
        served = served_seconds(PORT, data, 4 * BATCH)
        ratios.append(bare / served)
        print(f"  bare {1 / bare:.1f}/s, served {1 / served:.1f}/s, ratio {ratios[-1]:.2f}")
    stop(process)
    print(f"throughput, served / bare: median {np.median(ratios):.2f}")


def measure_transport(model, predictor, image, data, rounds):
    """What HTTP and JSON add to decoding, predicting and encoding in this process."""
    process = start_server(model, max_batch=1, threads=1)
    client = Client(PORT)
    client.predict(data)
    loaded = load_model(model, device="cpu")
    writer = AnswerWriter(loaded.files.categories, {})
    extra_ms = []
    for _ in range(rounds):
        start_s = time.perf_counter()
        decoded = decode_photo(data, "image", Findings())
        (prediction,) = predictor([decoded])
        writer.write(prediction, "json")
        middle_s = time.perf_counter()
        client.predict(data)
        end_s = time.perf_counter()
        extra_ms.append(1000 * ((end_s - middle_s) - (middle_s - start_s)))
    stop(process)
    megapixels = image.shape[0] * image.shape[1] / 1e6
    median = float(np.median(extra_ms))
    print(
        f"transport: median {median:.2f} ms per request, {median / megapixels:.1f} ms per megapixel"
    )
    start_s = time.perf_counter()
    for _ in range(20):
        writer.write(prediction, "json")
    json_ms = 1000 * (time.perf_counter() - start_s) / 20
    print(
        f"JSON with run-length codes: {json_ms:.2f} ms, {json_ms / megapixels:.1f} ms per megapixel"
    )


def measure_latency(model, data, num_requests):
    process = start_server(model, max_batch=1, threads=1)
    client = Client(PORT)
    for regular in (True, False):
        single = []
        for _ in range(25):
            start_s = time.perf_counter()
            client.predict(data)
            single.append(time.perf_counter() - start_s)
        one_s = float(np.median(single))
        found = latencies(PORT, data, one_s / LOAD, num_requests, regular=regular)
        name = "regular arrivals" if regular else "random arrivals (Poisson)"
        p50, p99 = np.percentile(found, [50, 99]) / one_s
        worst = float(np.percentile(single, 96)) / one_s
        print(
            f"70 % load, {name}: one request {1000 * one_s:.0f} ms (its own p96 {worst:.2f} x), "
            f"p50 {p50:.2f} x, p99 {p99:.2f} x"
        )
    stop(process)


def measure_endurance(model, data, seconds):
    process = start_server(model, max_batch=BATCH, threads=1)
    served_seconds(PORT, data, 64)  # what the first batches allocate
    end_s = time.monotonic() + seconds
    statuses = []

    def work():
        client = Client(PORT)
        while time.monotonic() < end_s:
            statuses.append(client.predict(data)[0])

    threads = [threading.Thread(target=work) for _ in range(NUM_CLIENTS)]
    for thread in threads:
        thread.start()
    memory = []
    while time.monotonic() < end_s:
        memory.append(memory_mb(process))
        time.sleep(1)
    for thread in threads:
        thread.join()
    stop(process)
    third = len(memory) // 3
    print(
        f"{NUM_CLIENTS} clients for {seconds} s: {len(statuses)} answers, "
        f"statuses {set(statuses)}, "
        f"memory {np.mean(memory[:third]):.0f} MB in the first third, "
        f"{np.mean(memory[-third:]):.0f} MB in the last"
    )


def measure_refusals(model):
    """How soon each kind of body is refused."""
    process = start_server(model, max_batch=1, threads=1)
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (20_000).to_bytes(4, "big") * 2
    bodies = {
        "garbage": b"garbage",
        "bomb": header + b"\x08\x02\x00\x00\x00",
        "50 MB": bytes(50_000_000),
    }
    for name, body in bodies.items():
        milliseconds = []
        for _ in range(5):
            start_s = time.perf_counter()
            status, _ = Client(PORT).predict(body)
            milliseconds.append(1000 * (time.perf_counter() - start_s))
        print(f"{name}: {status} in {np.median(milliseconds):.1f} ms")
    stop(process)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("image", type=Path)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--only", default="throughput,transport,latency,endurance,refusals")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    data = arguments.image.read_bytes()
    image = decode_photo(data, "image", Findings())
    model = arguments.model
    predictor = load_model(model, device="cpu").predictor
    list(predictor([image] * BATCH, batch_size=BATCH))
    shape = f"{image.shape[1]} x {image.shape[0]} px, {len(data) / 1e3:.0f} kB"
    print(json.dumps({"model": model, "image": shape, "cores": os.cpu_count()}))
    only = arguments.only.split(",")
    if "throughput" in only:
        measure_throughput(model, predictor, image, data, arguments.rounds)
    if "transport" in only:
        measure_transport(model, predictor, image, data, 5 * arguments.rounds)
    if "latency" in only:
        measure_latency(model, data, arguments.requests)
    if "endurance" in only:
        measure_endurance(model, data, arguments.seconds)
    if "refusals" in only:
        measure_refusals(model)


if __name__ == "__main__":
    main()
