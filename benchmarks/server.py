"""`maskmill serve` against the bare predictor and other servers: throughput, latency, transport.

    python benchmarks/server.py MODEL IMAGE [--seconds 60]
    pip install --target LITSERVE --no-deps litserve pyzmq
    python benchmarks/server.py MODEL IMAGE --only peers [--litserve LITSERVE]

Bare and served runs alternate, so that both see the same load of the machine. CPU seconds of the
server's processes are given beside the times: other work on the machine changes them less.

`peers` registers the model and serves that version, one image at a time, by `maskmill serve`, by
`mlflow models serve` (the image as JSON, the segments as its answer) and by LitServe (a form with
the file; decoding, prediction and segments are ours). Each server has one core to itself and its
children, so that none gains by threads.
"""

import argparse
import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import psutil

from maskmill.assembly.model_loading import load_model
from maskmill.serving.server.answers import AnswerWriter
from maskmill.sources.finding import Findings
from maskmill.sources.images import decode_photo

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import brightness_server  # noqa: E402

PORT = 8211
LOAD = 0.7
NUM_CLIENTS = 8
BATCH = 8
NUM_PER_ROUND = 3  # requests to each server before the next one's turn
BLOCK = 10  # requests between two measurements of transport
PEER = "models:/peer/1"


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


def cpu_seconds(process):
    """Of the front and its workers, so far."""
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    return sum(sum(item.cpu_times()[:2]) for item in tree)


def measure_throughput(model, predictor, image, data, rounds):
    process = start_server(model, max_batch=BATCH, threads=1)
    served_seconds(PORT, data, 2 * BATCH)
    ratios = []
    cpu_ratios = []
    num_images = 2 * BATCH
    for _ in range(rounds):
        bare_cpu = time.process_time()
        bare = bare_seconds(predictor, image, num_images)
        bare_cpu = (time.process_time() - bare_cpu) / num_images
        cpu = cpu_seconds(process)
        served = served_seconds(PORT, data, num_images)
        cpu = (cpu_seconds(process) - cpu) / num_images
        ratios.append(bare / served)
        cpu_ratios.append(bare_cpu / cpu)
        print(
            f"  bare {1 / bare:.1f}/s, {bare_cpu:.3f} CPU s each; "
            f"served {1 / served:.1f}/s, {cpu:.3f} CPU s each",
            flush=True,
        )
    stop(process)
    print(f"throughput, served / bare: {np.median(ratios):.2f}, in CPU {np.median(cpu_ratios):.2f}")


def photograph(side):
    """A smooth image with noise, as a JPEG file."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (16, 16, 3), np.uint8)
    image = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    image += rng.integers(-6, 7, image.shape, np.int16)
    return cv2.imencode(".jpg", np.clip(image, 0, 255).astype(np.uint8))[1].tobytes()


def measure_transport(rounds):
    """CPU time that HTTP, queue and pipes add to decoding, predicting and encoding one megapixel.

    The model of tests/brightness_server.py predicts in a few milliseconds, so that the difference
    is not lost in the network's own variation. Blocks of requests alternate with the same steps in
    this process.
    """
    data = photograph(1000)
    writer = AnswerWriter(brightness_server.CATEGORIES, {})
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        brightness_server.running(Path(folder), follow_s=0) as server,
    ):
        client = Client(server.port)
        front = psutil.Process(server.process.pid)
        for number in range(rounds + 1):
            before = (cpu_seconds(server.process), sum(front.cpu_times()[:2]))
            for _ in range(BLOCK):
                _, body = client.predict(data)
            after = (cpu_seconds(server.process), sum(front.cpu_times()[:2]))
            served = np.subtract(after, before)
            if number > 0:  # the first block warms up
                rows.append([*(1000 * served / BLOCK), *own_steps_ms(data, writer)])
    rows = np.array(rows)  # (rounds, 5): server, front, decode, predict, encode
    transport = rows[:, 0] - rows[:, 2:].sum(axis=1)
    low, middle, high = np.percentile(transport, [25, 50, 75])
    server_ms, front_ms, decode, predict, encode = np.median(rows, axis=0)
    print(
        f"1 megapixel, {len(data) / 1e3:.0f} kB in, {len(body) / 1e3:.0f} kB out; CPU ms: decode "
        f"{decode:.1f}, predict {predict:.1f}, encode {encode:.1f}, all in the server "
        f"{server_ms:.1f} (front process {front_ms:.1f}), so transport {middle:.1f} "
        f"({low:.1f} to {high:.1f})"
    )


def own_steps_ms(data, writer):
    """CPU ms per image of decoding, predicting and encoding in this process."""
    times = []
    for _ in range(BLOCK):
        times.append(time.process_time())
        decoded = decode_photo(data, "image", Findings())
        times.append(time.process_time())
        (prediction,) = brightness_server.predict([decoded])
        times.append(time.process_time())
        writer.write(prediction, "json")
        times.append(time.process_time())
    steps = np.diff(np.reshape(times, (BLOCK, 4)), axis=1)  # (BLOCK, 3)
    return 1000 * steps.mean(axis=0)


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
    served_seconds(PORT, data, 32)  # what the first batches allocate
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


def register(model, image, folder):
    """Register a model as version 1 of `peer`, in a store of its own that servers find too."""
    import mlflow

    from maskmill.assembly.network_loading import load_network
    from maskmill.assembly.registration import runtime_sources
    from maskmill.serving.model_files import read_model
    from maskmill.serving.packaging import log_model
    from maskmill.tracking.models import create_version

    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    mlflow.create_experiment("peer", artifact_location=str(folder / "artifacts"))
    mlflow.set_experiment("peer")
    files = read_model(Path(model))
    with mlflow.start_run():
        uri = log_model(files, load_network(files), image, sources=runtime_sources(files))
    create_version("peer", uri, {})


def start_peer(command, environment):
    """A server that has one core."""
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | environment,
        start_new_session=True,
        preexec_fn=lambda: os.sched_setaffinity(0, [0]),
    )


def wait_until_healthy(process, port, path):
    while True:
        assert process.poll() is None, f"{process.args} ended"
        try:
            if post(port, path, None)[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.5)


def post(port, path, body, content_type="application/octet-stream"):
    """Status and body of the answer; without a body, it is a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    method = "GET" if body is None else "POST"
    connection.request(method, path, body, {"Content-Type": content_type})
    response = connection.getresponse()
    return response.status, response.read()


def measure_peers(model, image, data, rounds, litserve):
    """Latency, CPU time and bytes of one request, for each server in turn."""
    form = b'--x\r\nContent-Disposition: form-data; name="image"; filename="i"\r\n\r\n'
    form += data + b"\r\n--x--\r\n"
    inputs = {"inputs": image[None].tolist(), "params": {"output": "segments"}}
    values = [f"serve.model={PEER}", f"serve.port={PORT}", "serve.batching.max_batch=1"]
    mlflow_options = [*("--env-manager", "local"), *("--port", str(PORT + 1))]
    # name: command, path of the health check, path, body, type
    servers = {
        "maskmill serve": (
            *(["-m", "maskmill.stages.cli", "serve", *values], "/ready"),
            *("/predict", data, "application/octet-stream"),
        ),
        "mlflow models serve": (
            *(["-m", "mlflow", "models", "serve", "-m", PEER, *mlflow_options], "/ping"),
            *("/invocations", json.dumps(inputs).encode(), "application/json"),
        ),
        "LitServe": (
            *(
                [str(Path(__file__).with_name("litserve_server.py")), PEER, str(PORT + 2)],
                "/health",
            ),
            *("/predict", form, "multipart/form-data; boundary=x"),
        ),
    }
    if litserve is None:
        del servers["LitServe"]
    paths = [] if litserve is None else [str(litserve)]
    environment = {"PYTHONPATH": os.pathsep.join([*paths, *sys.path])}
    processes = {}
    figures = {name: [] for name in servers}  # milliseconds and CPU milliseconds
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        register(model, image, Path(folder))
        try:
            for port, (name, (command, health, *_)) in enumerate(servers.items(), PORT):
                processes[name] = start_peer(command, environment)
                wait_until_healthy(processes[name], port, health)
            for number in range(rounds + 1):
                for port, (name, (_, _, path, body, kind)) in enumerate(servers.items(), PORT):
                    cpu_s = cpu_seconds(processes[name])
                    start_s = time.perf_counter()
                    for _ in range(NUM_PER_ROUND):
                        status, answer = post(port, path, body, kind)
                        assert status == 200, answer
                    seconds = np.array([time.perf_counter() - start_s, 0])
                    seconds[1] = cpu_seconds(processes[name]) - cpu_s
                    sizes[name] = (len(body), len(answer), answer.count(b"counts"))
                    if number > 0:  # the first round warms up
                        figures[name].append(1000 * seconds / NUM_PER_ROUND)
        finally:
            for process in processes.values():
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(timeout=60)
    print("| server | ms | CPU ms | kB in | kB out | segments |\n|---|---|---|---|---|---|")
    for name, rows in figures.items():
        wall, cpu = np.median(rows, axis=0)
        num_in, num_out, num_segments = sizes[name]
        kilobytes = f"{num_in / 1e3:.0f} | {num_out / 1e3:.0f}"
        print(f"| {name} | {wall:.0f} | {cpu:.0f} | {kilobytes} | {num_segments} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("image", type=Path)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--only", default="throughput,transport,latency,endurance,refusals,peers")
    parser.add_argument("--litserve", type=Path, help="a folder with the package")
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
        measure_transport(arguments.rounds)
    if "latency" in only:
        measure_latency(model, data, arguments.requests)
    if "endurance" in only:
        measure_endurance(model, data, arguments.seconds)
    if "refusals" in only:
        measure_refusals(model)
    if "peers" in only:
        measure_peers(model, image, data, arguments.rounds, arguments.litserve)


if __name__ == "__main__":
    main()
