"""The statistics that a server keeps of images and predictions."""

import threading

import numpy as np
import pytest

from maskmill.canonical.panoptic import Panoptic
from maskmill.evaluation.observation import ObservationLog, observe, parse_observation, read_log
from maskmill.postprocess.prediction import Prediction

IDS = np.array([[1, 1, 2, 2], [1, 1, 0, 2]], np.int32)
CONFIDENCE = np.array([[0.99, 0.97, 0.5, 0.51], [1.0, 0.04, 0.3, 0.0]], np.float32)
IMAGE = np.stack([np.full((2, 4), value, np.uint8) for value in (10, 20, 90)], axis=2)


def prediction():
    semantic = np.where(IDS == 1, 7, 26).astype(np.int32)
    semantic[1, 2] = -1
    panoptic = Panoptic.from_ids(IDS, {1: 7, 2: 26}, scores={1: 0.25, 2: 1 / 3})
    return Prediction(semantic, panoptic, CONFIDENCE)


def test_an_observation_counts_what_the_prediction_shows():
    seen = observe(IMAGE, prediction())
    assert (seen.height, seen.width, seen.void) == (2, 4, 1)
    assert seen.rgb_mean == [10, 20, 90]
    assert seen.rgb_std == [0, 0, 0]
    assert seen.sharpness == 0
    bins = {key: np.flatnonzero(counts).tolist() for key, counts in seen.confidence.items()}
    assert bins == {"-1": [6], "7": [0, 19], "26": [0, 10]}  # bin 19 is 0.95 to 1
    assert seen.confidence["7"][19] == 3
    assert sum(map(sum, seen.confidence.values())) == 8
    assert seen.segments == [(7, 4, 0.25), (26, 3, 0.3333)]


def test_blur_lowers_the_sharpness_and_nothing_is_known_without_a_prediction():
    checks = np.indices((8, 8)).sum(axis=0) % 2 * np.uint8(200)
    image = np.repeat(checks[:, :, None], 3, axis=2).astype(np.uint8)
    seen = observe(image, None)
    assert seen.sharpness > 100 * observe(image // 20, None).sharpness > 0
    assert seen.confidence == {}
    assert seen.segments == []


def test_a_log_of_several_threads_has_whole_lines_with_time_and_version(tmp_path):
    log = ObservationLog(tmp_path / "logs" / "seen.jsonl", version="0123456789ab")

    def answer():
        for _ in range(20):
            log.observe(IMAGE, prediction(), name="a.png")

    threads = [threading.Thread(target=answer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (tmp_path / "logs" / "seen.jsonl").open("ab").write(b'{"height": 2')  # of a line in writing
    observations = list(read_log(log.path))
    assert len(observations) == 80
    assert {seen.version for seen in observations} == {"0123456789ab"}
    assert {seen.name for seen in observations} == {"a.png"}
    assert observations[0].time.endswith("+00:00")
    assert observations[0].segments == observe(IMAGE, prediction()).segments


def test_a_log_keeps_no_name_unless_asked(tmp_path):
    log = ObservationLog(tmp_path / "seen.jsonl")
    log.observe(IMAGE, prediction())
    assert b"name" not in log.path.read_bytes()
    assert len(log.path.read_bytes()) < 600


GOOD = (
    '{"height":2,"width":3,"rgb_mean":[1.0,2.0,3.0],"rgb_std":[0.0,0.0,0.0],"sharpness":4.0,'
    '"confidence":{},"void":0,"segments":[[7,4,0.5]]}'
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"height":2', '"height":"2"', "got '2' for height"),
        ('"height":2', '"height":0', "got 0 for height"),
        ("[1.0,2.0,3.0]", "[1.0,2.0]", "for rgb_mean"),
        ('"sharpness":4.0', '"sharpness":NaN', "got nan for sharpness"),
        ('"confidence":{}', '"confidence":{"car":[1]}', "for confidence.car"),
        ("0.5", "1.5", "got 1.5 for segments.0.2"),
        ("{", "[", "for the line"),
    ],
)
def test_a_line_that_is_no_observation_is_refused(old, new, message):
    parse_observation(GOOD.encode(), "x")
    with pytest.raises(ValueError, match="seen.jsonl:3: expected the statistics of an image") as e:
        parse_observation(GOOD.replace(old, new, 1).encode(), "seen.jsonl:3")
    assert message in str(e.value)
    assert "remove the line" in str(e.value)


def test_a_missing_log_says_how_to_get_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is none - either start `maskmill serve`"):
        list(read_log(tmp_path / "seen.jsonl"))
