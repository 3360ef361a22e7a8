"""Workers that die, hang or change their model, and a server that stops: who gets an answer."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import brightness_server
from brightness_server import HANGS, SLOW, SLOW_S, is_healthy, png

pytestmark = pytest.mark.slow  # processes start, die and are replaced


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    options = {"workers": 2, "max_batch": 1, "max_queue": 3, "timeout_s": 2}
    with brightness_server.running(folder, **options) as running:
        yield running


def in_parallel(server, images):
    """Futures of the answers to images that are sent at the same time."""
    pool = ThreadPoolExecutor(len(images))
    futures = [pool.submit(server.predict, image) for image in images]
    pool.shutdown(wait=False)
    return futures


def pids(server):
    return [worker["pid"] for worker in server.health()[1]["workers"]]


def test_a_killed_worker_loses_what_it_was_predicting_and_nothing_else(server):
    before = pids(server)
    futures = in_parallel(server, [png(corner=SLOW)] * 4)  # two in the workers, two behind them
    time.sleep(SLOW_S / 2)
    os.kill(before[0], signal.SIGKILL)
    results = [future.result() for future in futures]
    statuses = sorted(status for status, _ in results)
    assert statuses == [200, 200, 200, 503]
    (lost,) = [answer for status, answer in results if status == 503]
    assert lost == {
        "error": "a worker that ended while it predicted",
        "expected": "a worker with a loaded model",
        "do": "send the request again in a few seconds",
    }
    server.wait_until(is_healthy)
    assert before[1] in pids(server)
    assert before[0] not in pids(server)


def test_health_is_false_and_ready_true_while_a_worker_is_missing(server):
    os.kill(pids(server)[0], signal.SIGKILL)
    server.wait_until(lambda server: not is_healthy(server), timeout_s=5)
    status, health = server.health()
    assert (status, health["healthy"], health["ready"]) == (503, False, True)
    assert server.request("GET", "/ready")[0] == 200
    assert server.predict(png())[0] == 200
    server.wait_until(is_healthy)
    assert "maskmill_worker_restarts" in server.request("GET", "/metrics")[2].decode()


def test_a_worker_that_hangs_is_replaced(server):
    before = pids(server)
    status, refusal = server.predict(png(corner=HANGS))
    assert (status, refusal["error"]) == (503, "a worker that ended while it predicted")
    server.wait_until(is_healthy)
    assert len(set(before) - set(pids(server))) == 1


def test_a_full_queue_is_a_429(server):
    futures = in_parallel(server, [png(corner=SLOW)] * 12)
    statuses = [future.result()[0] for future in futures]
    assert set(statuses) == {200, 429}
    refusals = [future.result()[1] for future in futures if future.result()[0] == 429]
    assert refusals[0]["expected"] == "fewer than 3"


def test_sigterm_answers_what_is_in_flight_refuses_the_rest_and_ends_with_0(tmp_path):
    with brightness_server.running(tmp_path, max_batch=1) as server:
        (worker,) = pids(server)
        futures = in_parallel(server, [png(corner=SLOW)] * 3)
        time.sleep(SLOW_S / 2)
        server.process.send_signal(signal.SIGTERM)
        os.kill(worker, signal.SIGTERM)  # as service managers do; it finishes all the same
        time.sleep(SLOW_S / 4)
        status, refusal = server.predict(png())
        assert (status, refusal["error"]) == (503, "a server that is stopping")
        assert server.request("GET", "/ready")[0] == 503
        assert [future.result()[0] for future in futures] == [200, 200, 200]
        assert server.process.wait(timeout=30) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_a_model_that_does_not_load_ends_the_command_with_its_message(tmp_path):
    with brightness_server.running(tmp_path, model="models/damaged", wait=False) as server:
        assert server.process.wait(timeout=60) == 1
    log = (tmp_path / "log.txt").read_text()
    assert "ValueError: models/damaged: expected a model, but it is damaged" in log


def test_the_alias_is_followed_without_a_lost_request(tmp_path):
    alias = tmp_path / "alias"
    log = tmp_path / "log.txt"
    alias.write_text("models:/street/1")
    with brightness_server.running(tmp_path, model=f"behind {alias}") as server:
        assert server.predict(png())[1]["model"]["name"] == "models:/street/1"
        seen = []
        stop = threading.Event()
        clients = [threading.Thread(target=ask, args=(server, seen, stop)) for _ in range(3)]
        for thread in clients:
            thread.start()
        alias.write_text("models:/street/damaged")  # does not load: the first one stays
        server.wait_until(lambda _: "models:/street/damaged does not load" in log.read_text())
        alias.unlink()  # a registry that does not answer changes nothing
        server.wait_until(lambda _: "the alias could not be read" in log.read_text())
        alias.write_text("models:/street/2")
        server.wait_until(lambda server: server.health()[1]["model"] == "models:/street/2")
        time.sleep(0.3)
        stop.set()
        for thread in clients:
            thread.join()
        assert {status for status, _ in seen} == {200}
        names = [name for _, name in seen]
        assert names[-1] == "models:/street/2"
        assert set(names) == {"models:/street/1", "models:/street/2"}
        assert len(pids(server)) == 1


def ask(server, seen, stop):
    while not stop.is_set():
        status, answer = server.predict(png())
        seen.append((status, answer.get("model", {}).get("name")))
