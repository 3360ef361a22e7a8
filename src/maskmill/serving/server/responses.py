"""Bodies of refusals."""

import json
from collections.abc import Mapping

from maskmill.serving.server.jobs import Answer


def refusal_answer(status: int, refusal: Mapping[str, str]) -> Answer:
    """A refusal as an answer in JSON."""
    return Answer(status, "application/json", json.dumps(dict(refusal)).encode())
