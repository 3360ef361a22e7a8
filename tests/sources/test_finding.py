"""Findings grouped by kind, so that many of one kind hide no other."""

import time

import pytest

from maskmill.sources.finding import Finding, Findings, group_by_kind

SAME = [
    ("expected area 7 of 'car', but got 9.5", "expected area 12 of 'traffic light', but got 0"),
    ("expected a.jpg of train", "expected deep/b.d.png of train"),
    ("got [1, 2, 3], which", "got [77], which"),
    ("road (id 3) is in 7 images", "road (id 12) is in 8 images"),
    ("expected 96 x 160 pixels", "expected 48 x 64 pixels"),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_findings_that_differ_in_details_are_of_one_kind(first, second):
    kinds = {Finding("warning", "x", what, "redo it").kind for what in (first, second)}
    assert len(kinds) == 1


def test_severity_words_and_fixes_make_kinds():
    findings = [
        Finding("warning", "a", "expected one", "do this"),
        Finding("error", "a", "expected one", "do this"),
        Finding("error", "a", "expected two", "do this"),
        Finding("error", "a", "expected two", "do that"),
    ]
    assert len({finding.kind for finding in findings}) == 4


def test_errors_come_first_however_many_warnings_there_are():
    findings = Findings()
    for number in range(5000):
        findings.warn("ann.json", f"expected area {number}, but got {number + 1}", "export again")
    findings.note("a.png", "expected colours, but it is gray", "nothing")
    findings.error("b.png", "expected an image, but there is no such file", "add it")
    findings.warn("c.png", "expected an opaque image", "save it again")
    groups = group_by_kind(findings)
    severities = [group[0].severity for group in groups]
    assert severities == ["error", "warning", "warning", "note"]
    assert [len(group) for group in groups] == [1, 5000, 1, 1]


@pytest.mark.parametrize("text", ["n" * 10**6, "[" * 10**6, "a." * 10**6, "'" * 10**6])
def test_long_names_in_findings_take_no_time(text):
    start = time.process_time()
    assert len(Finding("error", "a", f"expected {text}", text).kind[1]) <= 450
    assert time.process_time() - start < 1


def test_a_finding_takes_microseconds():
    findings = [
        Finding("warning", "a.json", f"expected area {n} of 'x'", "y") for n in range(20000)
    ]
    start = time.process_time()
    group_by_kind(findings)
    assert time.process_time() - start < 2
