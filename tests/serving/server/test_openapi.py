"""Requests drawn from the server's own description: none ends in an error of the server."""

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import brightness_server
from brightness_server import jpeg, png

pytestmark = pytest.mark.slow

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
ALL = list(HealthCheck)
NUM_REQUESTS = int(os.environ.get("MASKMILL_REQUESTS", "80"))
IMAGES = [png(), png(8, 9), jpeg(), png(1, 1), png()[:100]]


@st.composite
def damaged_images(draw):
    data = bytearray(draw(st.sampled_from(IMAGES)))
    for position in draw(st.lists(st.integers(0, len(data) - 1), max_size=4)):
        data[position] = draw(st.integers(0, 255))
    return bytes(data)


BODIES = st.sampled_from(IMAGES) | damaged_images() | st.binary(max_size=64)
for media_type in ("image/png", "image/jpeg", "image/tiff"):
    schemathesis.openapi.media_type(media_type, BODIES)


@pytest.fixture(scope="module")
def description(tmp_path_factory):
    with brightness_server.running(tmp_path_factory.mktemp("server")) as server:
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")


def test_no_request_of_the_description_ends_in_an_error_of_the_server(description):
    operations = [result.ok() for result in description.get_all_operations()]
    assert {operation.path for operation in operations} >= {"/predict", "/health", "/metrics"}
    for operation in operations:
        is_prediction = operation.path == "/predict"
        num_requests = NUM_REQUESTS if is_prediction else 5
        answer_all(operation, settings(max_examples=num_requests, suppress_health_check=ALL))


def answer_all(operation, options):
    @options
    @given(case=operation.as_strategy())
    def answer(case):
        case.call_and_validate(checks=CHECKS)

    answer()
