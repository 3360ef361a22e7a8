"""Whether the loader keeps up: images per second of the loader alone, of training steps on batches
in memory, and of both together, with crops of 512 x 1024 from PNG files of 1024 x 2048."""


def measure(part):
    from benchmarks.gpu.loading import count_cores, make_data, measure_loader, measure_training

    cores = count_cores()
    for num_processes in part.size(sorted({1, cores // 2, cores}), [0, 1]):
        speed = measure_loader(part, num_processes)
        cells = {"processes": num_processes, "images_per_second": round(speed, 1)}
        part.row("The loader alone", **cells)
    source = make_data(part, num_processes)
    in_memory = list(source.train_dataloader())
    speeds = {}
    for name, data in (("in memory", None), ("from files", source)):
        speed, waiting_share = measure_training(part, in_memory, data)
        speeds[name] = speed
        part.row(
            f"Training with {num_processes} loader processes",
            batches=name,
            images_per_second=round(speed, 1),
            waiting_share=round(waiting_share, 3),
        )
    ratio = speeds["from files"] / speeds["in memory"]
    part.fact("speed from files, of that in memory", round(ratio, 3))
    part.fact("bound by the loader", ratio < 0.95)
