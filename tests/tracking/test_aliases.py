"""The version behind an alias."""

import pytest

from maskmill.tracking.aliases import version_behind


@pytest.mark.parametrize("model", ["out/train", "models:/street/3", "models:/street"])
def test_a_name_without_an_alias_stays(model):
    assert version_behind(model) == model


@pytest.mark.slow  # a real SQLite store
def test_an_alias_is_the_version_that_it_points_at_now(store, tmp_path):
    store.create_registered_model("street")
    for _ in range(2):
        store.create_model_version("street", f"{tmp_path}/model")
    for version in ("2", "1"):
        store.set_registered_model_alias("street", "champion", version)
        assert version_behind("models:/street@champion") == f"models:/street/{version}"
    with pytest.raises(ValueError, match="models:/street@best: expected an alias of a registered"):
        version_behind("models:/street@best")
