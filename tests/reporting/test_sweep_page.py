"""The ranking of a sweep and its page."""

import re

import numpy as np
import pytest

from maskmill.reporting import svg
from maskmill.reporting.ranking import RankedJob, Ranking
from maskmill.reporting.scales import MARGIN, scale_of
from maskmill.reporting.svg import have_room
from maskmill.reporting.sweep_page import draw_coordinates, draw_curves, write_sweep_page
from parsed_page import require_inert

JOBS = [
    RankedJob(0, {"optimizer.lr": "0.1", "network": "unet"}, "FAILED", error="the loss is <NaN>"),
    RankedJob(1, {"optimizer.lr": "0.01", "network": "unet"}, "FINISHED", 0.25, curve=[(1, 0.25)]),
    RankedJob(2, {"optimizer.lr": "0.001", "network": "fpn"}, "FINISHED", 0.5, run="abc"),
    RankedJob(3, {"optimizer.lr": "0.01", "network": "fpn"}, "PRUNED", 0.75),
    RankedJob(4, {"optimizer.lr": "0.1", "network": "fpn"}, "FINISHED", 0.5),
]
CURVES = {"curve": [(1.0, 0.2), (2.0, 0.3)]}


def ranked(**options):
    return Ranking.of("rates", "val/PQ", JOBS, **options)


@pytest.mark.parametrize(
    ("maximise", "order"),
    [
        (True, [2, 4, 1, 3, 0]),  # 0.5 twice, in the order of the jobs; 0.25; pruned; failed
        (False, [1, 2, 4, 3, 0]),
    ],
)
def test_finished_jobs_come_first_by_their_scores(maximise, order):
    ranking = ranked(maximise=maximise)
    assert [job.job for job in ranking.jobs] == order
    assert ranking.best.job == order[0]


def test_a_sweep_without_a_finished_job_has_no_best_one():
    assert Ranking.of("rates", "val/PQ", JOBS[:1]).best is None


def test_the_table_has_a_column_for_each_parameter_and_names_the_error():
    lines = ranked().text().splitlines()
    assert lines[0].split() == ["rank", "job", "val/PQ", "optimizer.lr", "network", "status"]
    assert lines[1].split() == ["1", "2", "50.0", "%", "0.001", "fpn", "finished"]
    assert lines[5].endswith("failed: the loss is <NaN>")
    assert row_of("1", "2", "50.0 %", "0.001", "fpn", "finished") in ranked().markdown()


def test_the_description_says_what_was_varied_and_what_is_best():
    first, _, rest = ranked().markdown().partition("\n")
    assert first.startswith("Best val/PQ: 50.0 % by ")
    assert "that vary " in first
    assert rest.count("\n|") == 2 + len(ranked().jobs)


def row_of(*cells):
    """A row of Markdown, with the space that MLflow leaves out."""
    return f"| {'&emsp; | '.join(cells)} |"


def test_the_description_of_many_jobs_has_the_first_rows():
    jobs = [RankedJob(job, {"seed": str(job)}, "FINISHED", job / 100) for job in range(12)]
    text = Ranking.of("seeds", "val/PQ", jobs).markdown()
    assert (
        "Best val/PQ: 11.0 % by seed=11. 12 jobs (12 finished) that vary seed (12 values)." in text
    )
    assert row_of("10", "2", "2.0 %", "2", "finished") in text
    assert text.endswith("\n\nand 2 more jobs")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1e-3", "1e-2", "1e-1"], [0, 0.5, 1]),  # a decade or more: by the logarithm
        (["1", "2", "3"], [0, 0.5, 1]),
        (["-1", "0", "9"], [0, 0.1, 1]),  # no logarithm
        (["unet", "fpn", "pan"], [0, 0.5, 1]),
        (["1", "none", "3"], [0, 0.5, 1]),  # names, in the order in which they come
    ],
)
def test_numbers_are_spaced_by_value_and_names_evenly(texts, expected):
    scale = scale_of("", texts)
    places = [scale.position[text] for text in texts]
    assert places == pytest.approx([MARGIN + (1 - 2 * MARGIN) * place for place in expected])


def test_a_single_value_lies_in_the_middle_and_many_have_five_labels():
    assert scale_of("", ["7", "7"]).position == {"7": 0.5}
    assert [text for _, text in scale_of("", list("123456789")).ticks] == ["1", "3", "5", "7", "9"]
    # epochs 1 to 8: no label between two of them
    epochs = scale_of("epoch", [f"{epoch}.0" for epoch in range(1, 9)], linear=True)
    assert [text for _, text in epochs.ticks] == ["1", "3", "4", "6", "8"]
    assert epochs.ticks[1][0] == epochs.position["3.0"]


def test_values_of_a_search_that_lie_close_together_get_labels_with_room():
    rates = ["0.008591", "0.009446", "0.001264", "0.001252", "0.0006824", "0.0007447"]
    scale = scale_of("lr", rates)
    labels = [text for _, text in scale.ticks]
    assert labels == ["0.000682", "0.00132", "0.00254", "0.0049", "0.00945"]
    assert not have_room([(scale.position[rate], rate) for rate in rates])
    assert have_room(scale.ticks)


def corners(line):
    return np.array([point.split() for point in line.split("L")], float)


def test_the_line_of_a_job_goes_through_its_values_and_the_best_is_thick():
    ranking = ranked()
    jobs = [job for job in ranking.jobs if job.score is not None]
    drawn = re.findall(
        r'<path d="M([^"]+)" style="stroke:([^;]+);stroke-width:3"',
        str(draw_coordinates(ranking, jobs)),
    )
    ((line, color),) = drawn
    assert color == "rgb(0,90,160)"
    low, middle, high = (24 + 240 * (1 - place) for place in (MARGIN, 0.5, 1 - MARGIN))
    # lr 0.001 is the lowest; fpn is the first name; 0.5 lies between 0.25 and 0.75
    assert corners(line)[:, 1] == pytest.approx([low, low, middle], abs=0.1)
    assert high < middle < low


def test_a_learning_curve_needs_two_validations():
    assert draw_curves(ranked()) is None
    job = RankedJob(0, {}, "FINISHED", 0.3, **CURVES)
    chart = str(draw_curves(Ranking.of("rates", "val/PQ", [job])))
    (line,) = re.findall(r'<path d="M([^"]+)" style="stroke', chart)
    expected = [svg.LEFT + svg.SIDE * MARGIN, svg.LEFT + svg.SIDE * (1 - MARGIN)]
    assert corners(line)[:, 0] == pytest.approx(expected, abs=0.1)
    assert all(f">{text}<" in chart for text in ("20.0", "25.0", "30.0", "val/PQ, %"))


def test_the_page_escapes_names_and_needs_no_other_file(tmp_path):
    path = write_sweep_page(tmp_path / "sweep.html", ranked(), facts={"best": "<b>"})
    text = path.read_text()
    require_inert(text)
    assert "the loss is &lt;NaN&gt;" in text
    assert "&lt;b&gt;" in text
    assert text.count('class="chart"') >= 3
