"""Prepares the embedded scenes, and draws images of the size of Cityscapes for the loader."""

import time
from concurrent.futures import ThreadPoolExecutor


def measure(part):
    from benchmarks.exported_networks import configuration

    from maskmill.assembly.raw_data import opened_source

    start = time.perf_counter()
    overrides = ["source.root=samples/scenes", f"prepare.out={part.prepared}"]
    cfg = configuration(*overrides, f"prepare.cache={part.work / 'cache'}")
    with opened_source(cfg) as (converter, source, shown):
        dataset = converter.convert(source, shown=shown)
    part.fact("scenes", sum(row["num_images"] for row in dataset["splits"].values()))
    part.fact("preparation, s", round(time.perf_counter() - start, 1))
    size = part.size((1024, 2048), (128, 256))
    num_images = part.size(48, 6)
    start = time.perf_counter()
    write_large(part.large / "train", size, num_images)
    part.fact(
        f"{num_images} images of {size[0]} x {size[1]}, s", round(time.perf_counter() - start, 1)
    )


def write_large(folder, size, num_images):
    """A canonical folder of bands of stuff with boxes on them, with the classes of Cityscapes."""
    from benchmarks.grouping import CATEGORIES

    from maskmill.canonical.folder import write_index

    folder.mkdir(parents=True)

    def write(index):
        return write_image(folder, size, index)

    with ThreadPoolExecutor() as pool:
        written = list(pool.map(write, range(num_images)))
    records = [record for record, _ in written]
    write_index(folder, CATEGORIES, records, [annotation for _, annotation in written])


def write_image(folder, size, index):
    import numpy as np
    from benchmarks.grouping import draw_scene

    from maskmill.canonical.folder import ImageRecord, write_panoptic
    from maskmill.canonical.panoptic import Panoptic
    from maskmill.canonical.png import write_rgb

    semantic, instance = draw_scene(size, num_things=40, seed=index)
    classes = semantic[0].numpy()
    things = instance[0].numpy()
    # Stuff has the segment ids 1..19 and things those after them; hidden things are left out.
    ids = np.where(things > 0, things + 19, classes + 1).astype(np.int32)
    present, first = np.unique(ids, return_index=True)
    category_of = dict(zip(present.tolist(), classes.ravel()[first].tolist(), strict=True))
    noise = np.random.default_rng(index).integers(0, 16, (*size, 3))
    image = (classes[..., None] * [12, 8, 5] + noise).astype(np.uint8)
    record = ImageRecord(index + 1, f"{index:03}.png", *size)
    write_rgb(folder / "images" / record.file_name, image)
    return record, write_panoptic(folder, record, Panoptic.from_ids(ids, category_of))
