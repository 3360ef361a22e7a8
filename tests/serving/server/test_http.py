"""The server over HTTP: its answers, and what it refuses in words."""

import io
import json
import struct
import threading
import time
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

import brightness_server
from brightness_server import BRIGHT, DARK, FAILS, SLOW, image, jpeg, png
from maskmill.canonical.png import encode_png
from maskmill.canonical.rle import decode_rle

KEY = brightness_server.KEY


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with brightness_server.running(tmp_path_factory.mktemp("server"), api_key=KEY) as running:
        yield running


def png_header(width, height):
    """A file of 57 bytes that states a size, and has no pixels."""

    def chunk(name, data):
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def saved(array_or_image, form, **options):
    picture = array_or_image
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def form_body(name, data):
    boundary = "frontier"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="x.png"\r\n'
    body = head.encode() + b"Content-Type: image/png\r\n\r\n" + data + b"\r\n--frontier--\r\n"
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def ids_of(answer):
    ids = np.zeros((answer["height"], answer["width"]), np.int32)
    for segment in answer["segments"]:
        ids[decode_rle(segment["segmentation"], ids.shape)] = segment["id"]
    return ids


@pytest.mark.slow
def test_an_answer_has_the_segments_with_class_score_and_pixels(server):
    status, answer = server.predict(png())
    assert status == 200
    assert (answer["height"], answer["width"]) == (48, 64)
    assert answer["model"] == {"name": "brightness", "fingerprint": "fingerprint of brightness"}
    assert [row["name"] for row in answer["categories"]] == ["dark <b>", "bright"]
    dark, bright = answer["segments"]
    assert np.array_equal(ids_of(answer), np.where(image()[..., 0] > 100, 2, 1))
    assert dark.pop("segmentation")["size"] == [48, 64]
    assert dark == {
        **{"id": 1, "category_id": DARK, "name": "dark <b>", "score": 0.75},
        **{"area": 48 * 32, "bbox": [0, 0, 32, 48]},
    }
    assert bright["category_id"] == BRIGHT


@pytest.mark.parametrize(
    ("query", "headers", "values"),
    [
        ("?format=panoptic", {}, [0, 0, 1, 0, 0, 2]),  # BGR of an id below 256
        ("", {"Accept": "image/png"}, [0, 0, 1, 0, 0, 2]),
        ("?format=labels", {}, [DARK, BRIGHT]),
    ],
)
def test_an_answer_as_png(server, query, headers, values):
    status, answer_headers, body = server.request("POST", f"/predict{query}", png(), headers)
    assert (status, answer_headers["Content-Type"]) == (200, "image/png")
    array = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    assert array.shape[:2] == (48, 64)
    assert array[10, [5, 60]].ravel().tolist() == values


TURNED = Image.Exif()
TURNED[0x0112] = 6  # rotate by 90 degrees to the right


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (jpeg(), (48, 64)),
        (saved(image(), "TIFF", compression="tiff_lzw"), (48, 64)),
        (saved(image()[..., 0], "PNG"), (48, 64)),
        (saved(image(), "JPEG", exif=TURNED), (64, 48)),
    ],
    ids=["jpeg", "tiff", "gray", "rotated by its EXIF tag"],
)
def test_images_are_read_as_prepare_reads_them(server, data, size):
    status, answer = server.predict(data)
    assert (status, (answer["height"], answer["width"])) == (200, size)


def test_a_form_with_a_file_is_an_image_too(server):
    body, headers = form_body("image", png())
    status, answer = server.predict(body, headers=headers)
    assert (status, answer["segments"][0]["name"]) == (200, "dark <b>")


REFUSED = {
    "nothing": (b"", 400, "an empty body", "send the bytes of the file"),
    "garbage": (b"\x01\x02garbage", 415, "9 bytes of another format", "convert the image to PNG"),
    "JSON": (b'{"image": 1}', 415, "12 bytes of another format", "convert the image to PNG"),
    "GIF": (saved(image(), "GIF"), 415, "bytes of another format", "convert the image to PNG"),
    "1 px": (png(1, 1), 422, "1 x 1 (width x height)", "send a larger image"),
    "bomb": (png_header(20_000, 20_000), 413, "20000 x 20000", "raise serve.limits.max_pixels"),
    "bomb of TIFF": (
        saved(Image.new("1", (20_000, 20_000)), "TIFF", compression="group4"),
        *(413, "20000 x 20000", "either cut the image into tiles"),
    ),
    "header alone": (png_header(64, 48), 422, "it is truncated or damaged", "replace the file"),
    "truncated": (jpeg(480, 640)[:3000], 422, "it is truncated or damaged", "replace the file"),
    "16 bits": (
        encode_png(np.zeros((48, 64), np.uint16)),
        *(422, "more (I;16)", "scale the image to 8 bits first"),
    ),
    "CMYK": (
        saved(Image.new("CMYK", (64, 48)), "JPEG"),
        *(422, "CMYK", "convert the image to RGB"),
    ),
    "pages": (
        saved(
            Image.new("L", (64, 48)), "TIFF", save_all=True, append_images=[Image.new("L", (9, 9))]
        ),
        *(422, "the file contains 2", "save one picture per file"),
    ),
    "50 MB": (bytes(50_000_000), 413, "a body of 50,000,000 bytes", "raise serve.limits.max_bytes"),
}


@pytest.mark.parametrize(("data", "status", "error", "do"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_segmented_is_refused_in_words(server, data, status, error, do):
    found, refusal = server.predict(data)
    assert found == status, refusal
    assert refusal.keys() == {"error", "expected", "do"}
    assert error in refusal["error"]
    assert do in refusal["do"]
    assert len(refusal["expected"]) > 3


def test_a_body_of_unknown_length_is_refused_while_it_arrives(server):
    chunks = (bytes(500_000) for _ in range(100))
    status, refusal = server.predict(chunks)
    assert (status, refusal["expected"]) == (413, "at most 2,000,000 bytes")


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/predict", 405, "GET /predict"),
        ("GET", "/nowhere", 404, "GET /nowhere"),
        ("GET", "/..%2f..%2fetc%2fpasswd", 404, "GET /../../etc/passwd"),
        ("POST", "/predict?format=bmp", 422, "query.format='bmp'"),
    ],
)
def test_requests_of_another_kind_are_refused_in_words(server, method, path, status, error):
    found, _, body = server.request(method, path, png() if method == "POST" else None)
    assert (found, json.loads(body)["error"]) == (status, error)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"--other\r\n", "Invalid multipart data"),
        (b"--frontier--\r\n", "a form without a file"),
    ],
)
def test_a_form_without_an_image_is_refused(server, body, error):
    headers = {"Content-Type": "multipart/form-data; boundary=frontier"}
    status, refusal = server.predict(body, headers=headers)
    assert status == 400
    assert error in refusal["error"]


@pytest.mark.slow
def test_an_image_that_fails_does_not_spoil_its_batch(server):
    slow = threading.Thread(target=server.predict, args=(png(corner=SLOW),))
    slow.start()
    time.sleep(0.2)  # the next ones wait for it, and become a batch
    found = {}

    def send(corner):
        found[corner] = server.predict(png(corner=corner))

    threads = [threading.Thread(target=send, args=(corner,)) for corner in (None, FAILS, (3, 3, 3))]
    for thread in [*threads, slow]:
        if thread is not slow:
            thread.start()
    for thread in [*threads, slow]:
        thread.join()
    assert found[FAILS][0] == 500
    assert found[FAILS][1]["error"] == "RuntimeError while predicting"
    assert found[None][0] == found[3, 3, 3][0] == 200
    assert b"maskmill_batch_size_bucket" in server.request("GET", "/metrics")[2]


def test_metrics_count_answers_and_batches(server):
    def count(text, name):
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(line.rpartition(" ")[2])

    before = server.request("GET", "/metrics")[2].decode()
    server.predict(png())
    _, headers, after = server.request("GET", "/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for name in (
        'maskmill_requests_total{status="200"}',
        "maskmill_request_seconds_count",
        "maskmill_batch_size_count",
    ):
        assert count(after.decode(), name) == count(before, name) + 1
    assert count(after.decode(), "maskmill_workers_ready") == 1
    assert 'fingerprint="fingerprint of brightness"' in after.decode()


def test_pages_need_nothing_from_elsewhere(server):
    for path in ("/", "/docs", "/page.js", "/page.css"):
        status, headers, body = server.request("GET", path)
        assert status == 200
        assert headers["Content-Security-Policy"].startswith(
            "default-src 'none'; script-src 'self'"
        )
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert b"http://" not in body.replace(b"http://HOST:PORT", b"")
        assert b"https://" not in body


def test_the_description_lists_every_answer(server):
    description = json.loads(server.request("GET", "/openapi.json")[2])
    route = description["paths"]["/predict"]["post"]
    assert set(route["responses"]) == {
        *("200", "400", "401", "408", "413", "415", "422", "429", "503")
    }
    assert set(route["requestBody"]["content"]) >= {"image/png", "multipart/form-data"}


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/health", "/ready"])
def test_the_page_and_the_health_need_no_key(server, path):
    assert server.request("GET", path, headers={"X-API-Key": ""})[0] == 200


@pytest.mark.parametrize(
    "path", ["/metrics", "/docs", "/openapi.json", "/nowhere", "//predict", "/health/", "/%2e/"]
)
def test_everything_else_needs_the_key(server, path):
    assert server.request("GET", path, headers={"X-API-Key": ""})[0] == 401


@pytest.mark.slow
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-API-Key": ""}, 401),
        ({"X-API-Key": KEY[:-1]}, 401),
        ({"X-API-Key": "", "Authorization": f"Basic {KEY}"}, 401),
        ({"X-API-Key": KEY}, 200),
        ({"X-API-Key": "", "Authorization": f"Bearer {KEY}"}, 200),
    ],
)
def test_the_key_is_a_header_or_a_bearer_token(server, headers, status):
    found, answer = server.predict(png(), headers=headers)
    assert found == status
    assert answer.get("error") == ("no key or another one" if status == 401 else None)
