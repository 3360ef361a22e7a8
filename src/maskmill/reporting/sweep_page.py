"""The page of a sweep: its jobs in order, and what their settings have to do with their scores."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from maskmill.canonical.files import write_text
from maskmill.reporting.pages import render_page
from maskmill.reporting.ranking import RankedJob, Ranking
from maskmill.reporting.scales import Scale, scale_of
from maskmill.reporting.svg import DOT_RADIUS, draw_chart, draw_svg, draw_text, svg_x, svg_y

WORST = (214, 214, 214)
BEST = (0, 90, 160)
AXIS_PX = (130, 260)  # between two axes of the parallel coordinates, at least and at most
AXES_PX = 560  # all of them, where few have room for more
TOP, HEIGHT, SIDE = 24, 240, 70  # px
MIN_JOBS = 2  # a chart of one point shows nothing


def write_sweep_page(path: Path, ranking: Ranking, *, facts: dict[str, str]) -> Path:
    """Write the page.

    Args:
        path: the HTML file.
        ranking: of the jobs.
        facts: name -> text, shown at the top.

    Returns:
        `path`.
    """
    scored = [job for job in ranking.jobs if job.score is not None]
    charts = len(scored) >= MIN_JOBS
    values = {
        "ranking": ranking,
        "facts": facts,
        "coordinates": draw_coordinates(ranking, scored) if charts else None,
        "scatters": draw_scatters(ranking, scored) if charts else [],
        "curves": draw_curves(ranking),
    }
    return write_text(path, render_page("sweep", **values))


def draw_coordinates(ranking: Ranking, jobs: Sequence[RankedJob]) -> Markup:
    """Parallel coordinates: an axis for each parameter and the score, a line for each job."""
    scales = [_param_scale(name, jobs) for name in ranking.params]
    scales.append(_score_scale(ranking, jobs))
    apart = max(AXIS_PX[0], min(AXIS_PX[1], AXES_PX // max(1, len(ranking.params))))
    shapes = []
    for job in reversed(jobs):  # the best on top
        texts = [job.params.get(name, "") for name in ranking.params] + [repr(job.score)]
        corners = []
        for index, (scale, text) in enumerate(zip(scales, texts, strict=True)):
            corners.append(f"{SIDE + index * apart} {_y(scale.position[text]):.1f}")
        shapes.append(_draw_path("L".join(corners), ranking, jobs, job))
    for index, scale in enumerate(scales):
        shapes += _draw_axis(scale, SIDE + index * apart)
    width = 2 * SIDE + (len(scales) - 1) * apart
    return draw_svg(width, HEIGHT + 2 * TOP, shapes, label="parallel coordinates of the jobs")


def draw_scatters(ranking: Ranking, jobs: Sequence[RankedJob]) -> list[Markup]:
    """The score over each parameter, a dot for each job."""
    y = _score_scale(ranking, jobs)
    charts = []
    for name in ranking.params:
        x = _param_scale(name, jobs)
        dots = []
        for job in reversed(jobs):
            dots.append(
                _DOT.format(
                    svg_x(x.position[job.params.get(name, "")]),
                    svg_y(y.position[repr(job.score)]),
                    DOT_RADIUS,
                    _shade(jobs, job),
                    _title(ranking, job),
                )
            )
        label = f"{ranking.metric} over {name}"
        charts.append(draw_chart(dots, label=label, x_axis=x.axis(), y_axis=y.axis()))
    return charts


def draw_curves(ranking: Ranking) -> Markup | None:
    """The score of each job over the epochs; None if no job was validated twice."""
    jobs = [job for job in ranking.jobs if len(job.curve) >= MIN_JOBS]
    if not jobs:
        return None
    points = [point for job in jobs for point in job.curve]
    x = scale_of("epoch", [repr(epoch) for epoch, _ in points], linear=True)
    y = _percent_scale(ranking, [score for _, score in points])
    lines = []
    for job in reversed(jobs):
        corners = []
        for epoch, score in job.curve:
            across, up = x.position[repr(epoch)], y.position[repr(score)]
            corners.append(f"{svg_x(across):.1f} {svg_y(up):.1f}")
        lines.append(_draw_path("L".join(corners), ranking, jobs, job))
    label = f"{ranking.metric} over epochs"
    return draw_chart(lines, label=label, x_axis=x.axis(), y_axis=y.axis())


_DOT = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}" style="fill:{}"><title>{}</title></circle>')
_LINE = Markup('<path d="M{}" style="stroke:{};stroke-width:{}"><title>{}</title></path>')


def _draw_path(corners: str, ranking: Ranking, jobs: Sequence[RankedJob], job: RankedJob) -> Markup:
    width = 3 if job is jobs[0] else 1.5
    return _LINE.format(corners, _shade(jobs, job), width, _title(ranking, job))


def _draw_axis(scale: Scale, x: float) -> list[Markup]:
    line = Markup('<path class="frame" d="M{} {}v{}"/>').format(x, TOP, HEIGHT)
    # The last part of a dotted name is what distinguishes it.
    name = draw_text(x, TOP - 10, scale.name.rpartition(".")[2], anchor="middle")
    shapes = [line, name]
    for place, text in scale.ticks:
        shapes.append(draw_text(x + 5, _y(place) + 4, text, css_class="halo"))
    return shapes


def _y(fraction: float) -> float:
    return TOP + HEIGHT * (1 - fraction)


def _param_scale(name: str, jobs: Sequence[RankedJob]) -> Scale:
    return scale_of(name, [job.params.get(name, "") for job in jobs])


def _score_scale(ranking: Ranking, jobs: Sequence[RankedJob]) -> Scale:
    return _percent_scale(ranking, [job.score for job in jobs if job.score is not None])


def _percent_scale(ranking: Ranking, scores: Sequence[float]) -> Scale:
    """The axis of scores from the lowest to the highest, with labels there and in the middle."""
    scale = scale_of(ranking.metric, list(map(repr, scores)), linear=True)
    low, high = min(scores), max(scores)
    ticks = []
    for score in dict.fromkeys((low, (low + high) / 2, high)):
        place = scale_of("", [repr(low), repr(score), repr(high)], linear=True).position[
            repr(score)
        ]
        ticks.append((place, ranking.format(score).removesuffix(" %")))
    name = f"{ranking.metric}, %" if ranking.is_fraction else ranking.metric
    return Scale(name, scale.position, ticks)


def _shade(jobs: Sequence[RankedJob], job: RankedJob) -> str:
    """From gray, the last job, to blue, the first."""
    share = 1 - jobs.index(job) / max(1, len(jobs) - 1)
    mixed = []
    for worst, best in zip(WORST, BEST, strict=True):
        mixed.append(str(round(worst + (best - worst) * share)))
    return f"rgb({','.join(mixed)})"


def _title(ranking: Ranking, job: RankedJob) -> str:
    return f"job {job.job}: {job.name}: {ranking.metric} {ranking.format(job.score)}"
