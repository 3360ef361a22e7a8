import io
import logging

import pytest

from maskmill.training.silenced_warnings import quiet_lightning


@pytest.fixture
def written(monkeypatch):
    """What a command writes after it has configured logging and imported Lightning."""
    stream = io.StringIO()
    lightning = logging.getLogger("lightning")
    monkeypatch.setattr(logging.root, "handlers", [logging.StreamHandler(stream)])
    monkeypatch.setattr(lightning, "handlers", [logging.StreamHandler(stream)])
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "level", logging.NOTSET)
    return stream


def test_a_message_of_lightning_comes_once(written):
    quiet_lightning()
    logging.getLogger("lightning.rank").warning("process 1 of 2")
    assert written.getvalue() == "process 1 of 2\n"


def test_without_a_handler_of_the_command_lightnings_own_stays(written):
    logging.root.handlers.clear()
    quiet_lightning()
    logging.getLogger("lightning.rank").warning("process 1 of 2")
    assert written.getvalue() == "process 1 of 2\n"
