import pytest

from maskmill.tracking.descriptions import headline, in_words, with_entry

SCORES = {"mIoU": 0.842, "SQ": 0.9, "PQ": 0.779, "AP": None, "PQ/thing": 0.5}


@pytest.mark.parametrize(
    ("deciding", "names"),
    [
        pytest.param("PQ", ["PQ", "PQ/thing", "mIoU"], id="panoptic"),
        pytest.param("mIoU", ["mIoU"], id="semantic"),
        pytest.param("SQ", ["SQ", "PQ", "PQ/thing", "mIoU"], id="the project's own choice"),
        pytest.param(None, ["PQ", "PQ/thing", "mIoU"], id="run of an earlier version"),
    ],
)
def test_the_deciding_score_leads_and_scores_without_a_value_are_left_out(deciding, names):
    assert list(headline(SCORES, deciding)) == names


def test_scores_in_words_have_their_interval():
    words = in_words({"PQ": 0.7792, "AP": 0.0}, {"PQ": (0.7633, 0.7946)})
    assert words == "PQ 77.9 % (76.3 to 79.5), AP 0.0 %"


def test_an_entry_replaces_the_one_of_its_label_and_leaves_other_text():
    note = with_entry("A U-Net.\n- my list", "Validation", "60 %")
    note = with_entry(note, "Test", "50 %")
    note = with_entry(f"{note}\nmy remark", "Validation", "61 %")
    lines = ["A U-Net.", "- my list", "", "- **Validation**: 61 %", "- **Test**: 50 %", "my remark"]
    assert note == "\n".join(lines)
