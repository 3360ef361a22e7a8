"""Folds of cross-validation, made when the data is prepared."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maskmill.sources.class_masks import ClassMasks
from maskmill.sources.convert import Converter
from maskmill.sources.finding import Findings
from maskmill.sources.folds import Fold
from maskmill.sources.merged import Merged
from maskmill.sources.pairs import FolderPairs
from maskmill.sources.relabelled import Relabelled
from maskmill.sources.scenes import Scenes, SceneSet
from maskmill.sources.source import Sample
from maskmill.sources.splits import HashSplit, StratifiedSplit

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
TABLE = [{"id": 0, "name": "soil"}, {"id": 1, "name": "plant"}]
num_folds_any = st.integers(2, 5)
seeds = st.integers(0, 3)


def sample(name, split="train", **options):
    return Sample(split, name, f"{name}.png", f"{name}_labels.png", **options)


def splits_of(samples):
    return {item.name: item.split for item in samples}


def val_folds(samples, num_folds, classes, *, seed=0):
    """Name -> the folds whose val split has the image; `classes` is name -> category ids."""
    folds_of = {item.name: [] for item in samples}
    for index in range(num_folds):
        for item in Fold(index, num_folds, seed).assign(samples, lambda it: classes[it.name]):
            if item.split == "val":
                folds_of[item.name].append(index)
    return folds_of


def single_folds(samples, num_folds, classes, *, seed=0):
    """Name -> the only fold whose val split has the image; not of test images."""
    fold_of = {}
    for name, folds in val_folds(samples, num_folds, classes, seed=seed).items():
        if folds:
            (fold_of[name],) = folds
    return fold_of


def differ_by_one(counts, num_folds):
    sizes = [counts[index] for index in range(num_folds)]
    return max(sizes) - min(sizes) <= 1


@st.composite
def labelled(draw, max_classes=3):
    """Samples of all three splits, and name -> category ids."""
    parts = st.tuples(
        st.sampled_from(["train", "val", "test"]),
        st.sets(st.integers(0, 4), max_size=max_classes),
    )
    samples = [sample(f"pool{index}", "train") for index in range(5)]
    classes = {item.name: {0} for item in samples}
    for index, (split, ids) in enumerate(draw(st.lists(parts, max_size=20))):
        samples.append(sample(f"{index}", split))
        classes[f"{index}"] = ids
    return samples, classes


@given(labelled(), num_folds_any, seeds)
def test_every_image_is_in_the_val_split_of_one_fold_and_test_stays(drawn, num_folds, seed):
    samples, classes = drawn
    folds_of = val_folds(samples, num_folds, classes, seed=seed)
    for item in samples:
        assert len(folds_of[item.name]) == (0 if item.split == "test" else 1)
    assert {index for folds in folds_of.values() for index in folds} == set(range(num_folds))
    assigned = Fold(0, num_folds, seed).assign(samples, lambda item: classes[item.name])
    test = [item for item in samples if item.split == "test"]
    assert [item for item in assigned if item.split == "test"] == test
    assert sorted(splits_of(assigned)) == sorted(splits_of(samples))
    assert {item.split for item in assigned if item not in test} == {"train", "val"}


@given(labelled(), num_folds_any, seeds, st.randoms())
def test_folds_depend_on_neither_the_order_nor_the_earlier_splits(drawn, num_folds, seed, random):
    samples, classes = drawn
    before = single_folds(samples, num_folds, classes, seed=seed)
    others = []
    for item in random.sample(samples, len(samples)):
        is_pool = item.split != "test"
        others.append(replace(item, split=random.choice(["train", "val"])) if is_pool else item)
    assert single_folds(others, num_folds, classes, seed=seed) == before


@given(labelled(max_classes=1), num_folds_any, seeds)
def test_with_a_class_per_image_each_class_and_each_fold_is_balanced(drawn, num_folds, seed):
    samples, classes = drawn
    fold_of = single_folds(samples, num_folds, classes, seed=seed)
    assert differ_by_one(Counter(fold_of.values()), num_folds)
    for class_id in range(5):
        images = [fold_of[name] for name in fold_of if class_id in classes[name]]
        assert differ_by_one(Counter(images), num_folds)


@given(labelled(), num_folds_any, seeds)
def test_the_rarest_class_is_balanced_whatever_else_the_images_have(drawn, num_folds, seed):
    samples, classes = drawn
    fold_of = single_folds(samples, num_folds, classes, seed=seed)
    num_images = Counter()
    for name in fold_of:
        num_images.update(classes[name])
    rarest = min(num_images, key=lambda class_id: (num_images[class_id], class_id))
    counts = Counter(fold_of[name] for name in fold_of if rarest in classes[name])
    # An empty fold takes an image of another one, which a class of enough images prevents.
    if num_images[rarest] >= num_folds:
        assert differ_by_one(counts, num_folds)


def test_a_class_of_one_image_does_not_draw_images_to_the_first_fold():
    # Twelve classes of an image each: a split that is trained on alone would take all of them.
    samples = [sample(f"{index}") for index in range(12)]
    classes = {item.name: {index} for index, item in enumerate(samples)}
    fold_of = single_folds(samples, 3, classes)
    assert Counter(fold_of.values()) == {0: 4, 1: 4, 2: 4}


@pytest.mark.parametrize("rule", [HashSplit, StratifiedSplit])
@given(st.lists(st.integers(0, 9), min_size=40, max_size=60), seeds)
@settings(max_examples=30)
def test_the_groups_of_the_sources_rule_stay_together(rule, patients, seed):
    listed = [sample(f"p{patient}_{index}", "") for index, patient in enumerate(patients)]
    assigned = rule(SHARES, group="^(p.)_").assign(listed, lambda _: {0})
    groups = {item.group for item in assigned if item.split != "test"}
    if len(groups) < 2:
        return
    fold_of = single_folds(assigned, 2, {item.name: {0} for item in listed}, seed=seed)
    folds_of_group = {}
    for name, fold in fold_of.items():
        folds_of_group.setdefault(name[:2], set()).add(fold)
    assert folds_of_group.keys() == groups
    assert {len(folds) for folds in folds_of_group.values()} == {1}


def test_merged_samples_keep_the_groups_of_their_class_masks(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        for name in ("a_1", "a_2", "b_1"):
            Image.new("L", (4, 4)).save(tmp_path / folder / f"{name}.png")
    rule = HashSplit({"train": 1.0}, group="^.")
    semantic = ClassMasks(tmp_path, [FolderPairs("images", "labels", rule)], TABLE)
    for source in (semantic, Merged(tmp_path, semantic, semantic)):
        listed = Relabelled(source, {}).samples(Findings())
        assert [item.group for item in listed] == ["a", "a", "b"]


def test_another_seed_gives_other_folds():
    samples = [sample(f"{index}") for index in range(20)]
    classes = {item.name: {0} for item in samples}
    assert single_folds(samples, 2, classes) != single_folds(samples, 2, classes, seed=1)


def test_image_ids_stay_unless_train_and_val_have_the_same():
    train = [sample(f"{index}", image_id=index) for index in range(3)]
    for val_id, ids in ((7, [0, 1, 2, 7]), (1, [None] * 4)):
        listed = [*train, sample("v", "val", image_id=val_id), sample("t", "test", image_id=1)]
        assigned = Fold(0, 2, 0).assign(listed, lambda _: {0})
        pool = sorted((item for item in assigned if item.split != "test"), key=lambda it: it.name)
        assert [item.image_id for item in pool] == ids
        assert assigned[-1].image_id == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 3, "num_folds": 3}, r"`prepare.fold` from 0 to 2, but got 3 - either choose"),
        ({"fold": -1}, r"`prepare.fold` from 0 to 4, but got -1 - either choose"),
        ({"fold": 0, "num_folds": 1}, r"`prepare.num_folds` of at least 2, but got 1 - set it"),
    ],
)
def test_folds_that_cannot_be_are_refused_at_once(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        Converter(tmp_path / "out", **options)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([sample("a"), sample("b", "test")], "each of 2 folds, but the source has 1 images -"),
        (
            [sample("a", group="x"), sample("b", "val", group="x")],
            "each of 2 folds, but the source has 2 images in 1 groups - either lower",
        ),
        (
            [sample("a"), sample("A", "val"), sample("c")],
            "A is the name of a.png and of A.png - either rename one of them",
        ),
    ],
)
def test_samples_that_folds_cannot_divide_are_refused(samples, message):
    with pytest.raises(ValueError, match=message):
        Fold(0, 2, 0).assign(samples, lambda _: {0})


class Watched(Scenes):
    """Scenes that list what is converted in a file."""

    def read(self, sample, findings):
        with (self.root / "read.txt").open("a") as file:
            file.write(f"{sample.name}\n")
        return super().read(sample, findings)


def files_of(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_another_fold_in_the_same_folder_is_that_of_a_fresh_prepare(tmp_path):
    raw = SceneSet(tmp_path / "raw", num_train=4, num_val=2, num_test=1, seed=4).write().parent
    cache = tmp_path / "cache"
    out = tmp_path / "out"
    digests = set()
    contents = []
    for fold in (None, 0, 1):
        before = (raw / "read.txt").read_text().split() if fold is not None else []
        dataset = Converter(out, workers=1, cache=cache, fold=fold, num_folds=2).convert(
            Watched(raw)
        )
        read = (raw / "read.txt").read_text().split()[len(before) :]
        assert len(read) == (7 if fold is None else 6)  # for the classes; all are in the cache
        fresh = Converter(tmp_path / f"fresh{fold}", workers=1, fold=fold, num_folds=2)
        assert fresh.convert(Watched(raw)) == dataset
        contents.append(files_of(out))
        assert files_of(tmp_path / f"fresh{fold}") == contents[-1]
        digests.add(dataset["digest"])
    assert len(digests) == 3
    assert dataset["fold"] == {"index": 1, "num_folds": 2, "seed": 0}
    assert dataset["splits"] == {
        split: {"num_images": count} for split, count in (("train", 3), ("val", 3), ("test", 1))
    }
    for name, content in contents[0].items():
        if name.startswith("test/"):
            assert contents[1][name] == contents[2][name] == content
    val = []
    for content in contents[1:]:
        val.append({name for name in content if name.startswith("val/images/")})
    assert len(val[0]) == len(val[1]) == 3
    assert not val[0] & val[1]
