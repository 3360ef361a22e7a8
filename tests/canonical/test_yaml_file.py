"""YAML files: plain values of bounded size, or one message that names the file."""

import sys

import pytest

from maskmill.canonical.yaml_file import MAX_EXPANDED, read_yaml, write_yaml

LEVELS = range(1, 10)
LAUGHS = "\n".join(
    ["a0: &a0 [1]", *(f"a{i}: &a{i} [{', '.join(9 * [f'*a{i - 1}'])}]" for i in LEVELS)]
)


@pytest.fixture
def read(tmp_path):
    def read_text(text):
        path = tmp_path / "a.yaml"
        path.write_bytes(text.encode())
        return read_yaml(path)

    return read_text


def test_values_and_small_aliases_are_read(read):
    text = "a: &a {lr: 0.001}\nb: *a\nc: [1, x, null, true, 'é']"
    assert read(text) == {"a": {"lr": 0.001}, "b": {"lr": 0.001}, "c": [1, "x", None, True, "é"]}


def test_what_is_written_is_read_again(tmp_path):
    texts = ["1e-5", "1_000", "on", "null", "~", "2001-01-01", "1:30", "${a}", "é\u2028\n ", ""]
    numbers = [1e-05, -0.0, 0.1, float("inf"), 2**70, 0, True, None]
    content = {"texts": texts, "numbers": numbers, "keys": {1: {"a b": []}, "2": {}}}
    write_yaml(tmp_path / "a.yaml", content)
    assert repr(read_yaml(tmp_path / "a.yaml")) == repr(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(LAUGHS, f"stand for at most {MAX_EXPANDED} values, but", id="laughs"),
        pytest.param("a: &a [*a]", "stand for at most", id="alias-of-itself"),
        pytest.param("a: &a {b: &b {c: *a}}", "stand for at most", id="alias-in-a-circle"),
        pytest.param("a: *b", "undefined alias", id="alias-of-nothing"),
        pytest.param("!!python/object/apply:os.system ['x']", "could not determine", id="object"),
        pytest.param("!!python/name:os.system", "could not determine", id="name"),
        pytest.param("!!python/module:evil", "could not determine", id="module"),
        pytest.param("a: 2024-13-45", "month must be in 1..12", id="no-such-date"),
        pytest.param("a: " + 5000 * "9", "Exceeds the limit", id="huge-number"),
        pytest.param("{[1]: 2}", "unhashable key", id="list-as-key"),
        pytest.param("[" * 20_000, "", id="deep"),
        pytest.param("a: &a " + "[" * 20_000 + "*", "", id="deep-with-alias"),
        pytest.param("a:\n\tb: 1", "cannot start any token", id="tab"),
        pytest.param("a: 'x", "", id="open-quote"),
        pytest.param("a: \x01", "", id="control-character"),
    ],
)
def test_anything_else_is_one_message_with_the_file(read, text, message):
    before = set(sys.modules)
    with pytest.raises(
        ValueError, match=rf"a\.yaml: expected .*{message}.* - (correct|write|save)"
    ):
        read(text)
    assert not {"evil"} & (set(sys.modules) - before)
