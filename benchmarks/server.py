"""`maskmill serve` against the bare predictor and other servers: throughput, latency, transport.

    python benchmarks/server.py MODEL IMAGE [--seconds 60] [--limit 300]
    pip install --target LITSERVE --no-deps litserve pyzmq
    python benchmarks/server.py MODEL IMAGE --only peers [--litserve LITSERVE]

Bare and served runs alternate, so that both see the same load of the machine. CPU seconds of the
server's processes are given beside the times: other work on the machine changes them less. A part
that takes longer than `--limit` seconds is left out with a message, and the next one begins.

`peers` registers the model and serves that version, one image at a time, by `maskmill serve`, by
`mlflow models serve` (the image as JSON, the segments as its answer) and by LitServe (a form with
the file; decoding, prediction and segments are ours). Each server has one core to itself and its
children, so that none gains by threads.
"""

import argparse
import functools
import json
import os
import queue
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import psutil
from served import (
    Client,
    Threads,
    cpu_seconds,
    end_on_sigterm,
    memory_mb,
    serving,
    time_limit,
)

from maskmill.assembly.model_loading import load_model
from maskmill.metrics.functional.mask_runs import MaskRuns
from maskmill.serving.server.answers import AnswerWriter
from maskmill.sources.finding import Findings
from maskmill.sources.images import decode_photo

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import brightness_server  # noqa: E402
from mlflow_server import free_port  # noqa: E402

LOAD = 0.7
NUM_CLIENTS = 8
BATCH = 8
NUM_PER_ROUND = 3  # requests to each server before the next one's turn
BLOCK = 30  # requests between two measurements of transport: CPU time is counted in 10 ms
NUM_SINGLE = 15  # requests one after another, before those at a fixed rate
PEER = "models:/peer/1"

say = functools.partial(print, flush=True)


def serving_model(model, port, *, max_batch):
    """`maskmill serve` with one thread."""
    values = [f"serve.model={model}", f"serve.port={port}", "serve.threads=1"]
    values += [f"serve.batching.max_batch={max_batch}", "serve.limits.max_queue=1000"]
    return serving(["-m", "maskmill.stages.cli", "serve", *values], port, "/ready")


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
            client.predict(item)

    start_s = time.perf_counter()
    Threads(2 * BATCH, work).join()
    return (time.perf_counter() - start_s) / num_images


def single_seconds(client, data):
    """Seconds of requests one after another."""
    seconds = []
    for _ in range(NUM_SINGLE):
        start_s = time.perf_counter()
        client.predict(data)
        seconds.append(time.perf_counter() - start_s)
    return np.array(seconds)


def latencies(port, data, gaps):
    """Seconds of requests at given times, each from when it was due: a late one counts as late."""
    due = time.perf_counter() + 0.2 + np.cumsum(gaps)
    seconds = np.zeros(len(gaps))
    waiting = queue.Queue()

    def work():
        client = Client(port)
        while (index := waiting.get()) is not None:
            client.predict(data)
            seconds[index] = time.perf_counter() - due[index]

    threads = Threads(32, work)
    for index in range(len(gaps)):
        time.sleep(max(0.0, due[index] - time.perf_counter()))
        waiting.put(index)
    for _ in range(32):
        waiting.put(None)
    threads.join()
    return seconds


def ideal_latencies(gaps, service):
    """Seconds of the same requests in a queue that costs nothing, with given service times."""
    due = np.cumsum(gaps)
    seconds = np.zeros(len(gaps))
    free_s = 0.0
    for index, service_s in enumerate(np.resize(service, len(gaps))):
        free_s = max(free_s, due[index]) + service_s
        seconds[index] = free_s - due[index]
    return seconds


def measure_throughput(model, predictor, image, data, rounds):
    list(predictor([image] * BATCH, batch_size=BATCH))
    ratios = []
    cpu_ratios = []
    num_images = 2 * BATCH
    port = free_port()
    with serving_model(model, port, max_batch=BATCH) as process:
        served_seconds(port, data, 2 * BATCH)
        for _ in range(rounds):
            bare_cpu = time.process_time()
            bare = bare_seconds(predictor, image, num_images)
            bare_cpu = (time.process_time() - bare_cpu) / num_images
            cpu = cpu_seconds(process)
            served = served_seconds(port, data, num_images)
            cpu = (cpu_seconds(process) - cpu) / num_images
            ratios.append(bare / served)
            cpu_ratios.append(bare_cpu / cpu)
            say(
                f"  bare {1 / bare:.1f}/s, {bare_cpu:.3f} CPU s each; "
                f"served {1 / served:.1f}/s, {cpu:.3f} CPU s each"
            )
    say(f"throughput, served / bare: {np.median(ratios):.2f}, in CPU {np.median(cpu_ratios):.2f}")


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
    port = free_port()
    options = json.dumps(brightness_server.OPTIONS | {"follow_s": 0, "port": port, "api_key": None})
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    rows = []
    with serving(
        [brightness_server.__file__, options], port, "/health", environment=environment
    ) as process:
        client = Client(port)
        front = psutil.Process(process.pid)
        for number in range(rounds + 1):
            before = (cpu_seconds(process), sum(front.cpu_times()[:2]))
            for _ in range(BLOCK):
                body = client.predict(data)
            after = (cpu_seconds(process), sum(front.cpu_times()[:2]))
            served = np.subtract(after, before)
            if number > 0:  # the first block warms up
                rows.append([*(1000 * served / BLOCK), *own_steps_ms(data, writer)])
                say(
                    "  CPU ms: server {:.1f}, front {:.1f}, decode {:.1f}, predict {:.1f}, run "
                    "lengths {:.1f}, JSON {:.1f}".format(*rows[-1])
                )
    rows = np.array(rows)  # (rounds, 6): server, front, decode, predict, run lengths, JSON
    transport = rows[:, 0] - rows[:, 2:].sum(axis=1)
    low, middle, high = np.percentile(transport, [25, 50, 75])
    server_ms, front_ms, decode, predict, codes, text = np.median(rows, axis=0)
    say(
        f"1 megapixel, {len(data) / 1e3:.0f} kB in, {len(body) / 1e3:.0f} kB out; CPU ms: decode "
        f"{decode:.1f}, predict {predict:.1f}, run lengths {codes:.1f}, JSON {text:.1f}, all in "
        f"the server {server_ms:.1f} (front process {front_ms:.1f}), so transport {middle:.1f} "
        f"({low:.1f} to {high:.1f})"
    )


def own_steps_ms(data, writer):
    """CPU ms per image of decoding, predicting, run-length codes and JSON in this process."""
    times = []
    for _ in range(BLOCK):
        times.append(time.process_time())
        decoded = decode_photo(data, "image", Findings())
        times.append(time.process_time())
        (prediction,) = brightness_server.predict([decoded])
        times.append(time.process_time())
        ids = [segment.id for segment in prediction.panoptic.segments]
        MaskRuns.from_ids(prediction.panoptic.ids, ids).codes()
        times.append(time.process_time())
        writer.write(prediction, "json")  # makes the codes again
        times.append(time.process_time())
    steps = np.diff(np.reshape(times, (BLOCK, 5)), axis=1)  # (BLOCK, 4)
    steps[:, 3] -= steps[:, 2]
    return 1000 * steps.mean(axis=0)


def measure_latency(model, data, rounds, num_requests):
    """Seconds of requests at 70 % load, as multiples of the same round's single requests."""
    rng = np.random.default_rng(0)
    kinds = {"regular": lambda mean_s: np.full(num_requests, mean_s)}
    kinds["random (Poisson)"] = lambda mean_s: rng.exponential(mean_s, num_requests)
    found = {kind: [] for kind in kinds}
    ideal = {kind: [] for kind in kinds}
    singles = []
    port = free_port()
    with serving_model(model, port, max_batch=1) as process:
        client = Client(port)
        single_seconds(client, data)
        for _ in range(rounds):
            for kind, draw in kinds.items():
                single = single_seconds(client, data)
                one_s = float(np.median(single))
                gaps = draw(one_s / LOAD)
                cpu_s = cpu_seconds(process)
                found[kind].extend(latencies(port, data, gaps) / one_s)
                cpu_s = (cpu_seconds(process) - cpu_s) / num_requests
                ideal[kind].extend(ideal_latencies(gaps, single) / one_s)
                singles.extend(single / one_s)
                say(
                    f"  {kind} arrivals: one request {1000 * one_s:.0f} ms, at 70 % load p50 "
                    f"{times(found[kind][-num_requests:], 50)}, slowest "
                    f"{times(found[kind][-num_requests:], 100)}, {1000 * cpu_s:.0f} CPU ms each"
                )
    say(f"one request after another: p99 {times(singles, 99)} their median")
    for kind in kinds:
        say(
            f"70 % load, {kind} arrivals: p50 {times(found[kind], 50)}, p99 "
            f"{times(found[kind], 99)} a single request's time; a queue that costs nothing: p99 "
            f"{times(ideal[kind], 99)}"
        )


def times(ratios, percentile):
    return f"{np.percentile(ratios, percentile):.2f} x"


def measure_endurance(model, data, seconds):
    """Answers, statuses and memory of clients that send one image after another."""
    num_answers = [0]
    memory = []
    port = free_port()
    with serving_model(model, port, max_batch=BATCH) as process:
        served_seconds(port, data, 32)  # what the first batches allocate
        end_s = time.monotonic() + seconds

        def work():
            client = Client(port)
            while time.monotonic() < end_s:
                client.predict(data)  # raises on any status but 200
                num_answers[0] += 1

        threads = Threads(NUM_CLIENTS, work)
        while time.monotonic() < end_s:
            memory.append(memory_mb(process))
            if len(memory) % 10 == 0:
                say(f"  {num_answers[0]} answers, {memory[-1]:.0f} MB")
            time.sleep(1)
        threads.join()
    third = max(1, len(memory) // 3)
    say(
        f"{NUM_CLIENTS} clients for {seconds} s: {num_answers[0]} answers, all 200, "
        f"memory {np.mean(memory[:third]):.0f} MB in the first third, "
        f"{np.mean(memory[-third:]):.0f} MB in the last"
    )


def measure_refusals(model):
    """How soon each kind of body is refused."""
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (20_000).to_bytes(4, "big") * 2
    bodies = {
        "garbage": b"garbage",
        "bomb": header + b"\x08\x02\x00\x00\x00",
        "50 MB": bytes(50_000_000),
    }
    port = free_port()
    with serving_model(model, port, max_batch=1):
        for name, body in bodies.items():
            milliseconds = []
            for _ in range(5):
                start_s = time.perf_counter()
                status, _ = Client(port).request("/predict", body)
                milliseconds.append(1000 * (time.perf_counter() - start_s))
            say(f"{name}: {status} in {np.median(milliseconds):.1f} ms")


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


def peer_servers(image, data, litserve):
    """Name -> command, port, path of the health check, path, body and type of a request."""
    form = b'--x\r\nContent-Disposition: form-data; name="image"; filename="i"\r\n\r\n'
    form += data + b"\r\n--x--\r\n"
    inputs = {"inputs": image[None].tolist(), "params": {"output": "segments"}}
    ports = [free_port() for _ in range(3)]
    values = [f"serve.model={PEER}", f"serve.port={ports[0]}", "serve.batching.max_batch=1"]
    mlflow_options = [*("--env-manager", "local"), *("--port", str(ports[1]))]
    servers = {
        "maskmill serve": (
            *(["-m", "maskmill.stages.cli", "serve", *values], ports[0], "/ready"),
            *("/predict", data, "application/octet-stream"),
        ),
        "mlflow models serve": (
            *(["-m", "mlflow", "models", "serve", "-m", PEER, *mlflow_options], ports[1], "/ping"),
            *("/invocations", json.dumps(inputs).encode(), "application/json"),
        ),
    }
    if litserve is not None:
        script = str(Path(__file__).with_name("litserve_server.py"))
        servers["LitServe"] = (
            *([script, PEER, str(ports[2])], ports[2], "/health"),
            *("/predict", form, "multipart/form-data; boundary=x"),
        )
    return servers


def measure_peers(model, image, data, rounds, litserve):
    """Latency, CPU time and bytes of one request, for each server in turn."""
    servers = peer_servers(image, data, litserve)
    paths = [] if litserve is None else [str(litserve)]
    environment = {"PYTHONPATH": os.pathsep.join([*paths, *sys.path])}
    figures = {name: [] for name in servers}  # milliseconds and CPU milliseconds
    sizes = {}
    with ExitStack() as stack:
        register(model, image, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        say("  the model is registered")
        environment["MLFLOW_TRACKING_URI"] = os.environ["MLFLOW_TRACKING_URI"]
        processes = {}
        for name, (command, port, health, *_) in servers.items():
            processes[name] = stack.enter_context(
                serving(command, port, health, environment=environment, core=0)
            )
            say(f"  {name} is ready")
        for number in range(rounds + 1):
            for name, (_, port, _, *request) in servers.items():
                cpu_s = cpu_seconds(processes[name])
                start_s = time.perf_counter()
                for _ in range(NUM_PER_ROUND):
                    status, answer = Client(port).request(*request)
                    assert status == 200, answer
                seconds = np.array([time.perf_counter() - start_s, 0])
                seconds[1] = cpu_seconds(processes[name]) - cpu_s
                sizes[name] = (len(request[1]), len(answer), answer.count(b"counts"))
                if number > 0:  # the first round warms up
                    figures[name].append(1000 * seconds / NUM_PER_ROUND)
            say(f"  round {number} of {rounds}")
    say("| server | ms | CPU ms | kB in | kB out | segments |\n|---|---|---|---|---|---|")
    for name, rows in figures.items():
        wall, cpu = np.median(rows, axis=0)
        num_in, num_out, num_segments = sizes[name]
        kilobytes = f"{num_in / 1e3:.0f} | {num_out / 1e3:.0f}"
        say(f"| {name} | {wall:.0f} | {cpu:.0f} | {kilobytes} | {num_segments} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("image", type=Path)
    parser.add_argument("--seconds", type=int, default=60, help="of endurance")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=50, help="of each round at 70 %% load")
    parser.add_argument("--limit", type=int, default=300, help="seconds of a part")
    parser.add_argument("--only", default="throughput,transport,latency,endurance,refusals,peers")
    parser.add_argument("--litserve", type=Path, help="a folder with the package")
    arguments = parser.parse_args()
    end_on_sigterm()
    import torch

    torch.set_num_threads(1)
    data = arguments.image.read_bytes()
    image = decode_photo(data, "image", Findings())
    model = arguments.model
    rounds = arguments.rounds
    shape = f"{image.shape[1]} x {image.shape[0]} px, {len(data) / 1e3:.0f} kB"
    say(json.dumps({"model": model, "image": shape, "cores": os.cpu_count()}))

    def throughput():
        predictor = load_model(model, device="cpu").predictor
        measure_throughput(model, predictor, image, data, rounds)

    parts = {
        "throughput": throughput,
        "transport": functools.partial(measure_transport, rounds),
        "latency": functools.partial(measure_latency, model, data, rounds, arguments.requests),
        "endurance": functools.partial(measure_endurance, model, data, arguments.seconds),
        "refusals": functools.partial(measure_refusals, model),
        "peers": functools.partial(measure_peers, model, image, data, rounds, arguments.litserve),
    }
    is_complete = True
    for name in arguments.only.split(","):
        start_s = time.monotonic()
        say(f"{name}:")
        try:
            with time_limit(name, arguments.limit):
                parts[name]()
        except TimeoutError as error:
            say(error)
            is_complete = False
        say(f"  {name} took {time.monotonic() - start_s:.0f} s")
    sys.exit(0 if is_complete else 1)


if __name__ == "__main__":
    main()
