"""What several test folders share: real data sets where a developer has them, and drawn label maps."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from maskmill.training.silenced_warnings import SILENCED_WARNINGS

# Hypothesis' limit of 200 ms an example measures what else the machine does, not the code.
settings.register_profile("maskmill", deadline=None)
settings.load_profile("maskmill")

REPOSITORY = Path(__file__).parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Ignore the warnings that a training ignores too."""
    for pattern in SILENCED_WARNINGS:
        config.addinivalue_line("filterwarnings", f"ignore:{pattern}")


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def third_party_data() -> Path:
    """Real labelled images of others, in the folder that MASKMILL_DATA names; never committed."""
    folder = os.environ.get("MASKMILL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the folder of third-party data sets: set MASKMILL_DATA to it")
    return Path(folder)
