"""What several test folders share: real data where it lies beside the repository, and drawn label maps."""

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
def shared_data() -> Path:
    """Real labelled images, handed to developers beside the repository and never committed."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(
            "needs the real data sets in ../shared/data, which are not part of the repository"
        )
    return folder
