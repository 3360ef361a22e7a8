"""One kill and one damaged file of a cheap stage; the campaign itself is run by hand."""

import random

import pytest
from benchmarks.campaign.kills import Campaign, Folder, begin, pipeline

pytestmark = pytest.mark.slow


def test_prepare_ends_in_the_same_bytes_after_a_kill_and_after_damage(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    monkeypatch.chdir(folder.work)
    begin(folder)
    compose, prepare, *_ = pipeline()
    assert compose.run()[0]
    campaign = Campaign(prepare, folder, random.Random(0))
    campaign.kill(1)
    campaign.tear(0)  # the mark of the output, some bytes of which are flipped
    assert campaign.tally.failures == []
    assert (campaign.tally.num_killed, campaign.tally.num_torn) == (1, 1)
    assert len(campaign.expected) > 20  # files that were compared
