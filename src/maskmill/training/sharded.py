"""Sharded data parallel training by Lightning, for any number of machines and GPUs, and on the CPU for tests."""

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy


class ShardedStrategy(ModelParallelStrategy):
    """Every process has its own batches and a share of the weights, gradients and optimiser states; the task shards its network.

    Checkpoints are whole files, gathered on the first process, so that they and the model are those of any other training.
    Lightning's FSDPStrategy would refuse to clip gradients by their norm, run on GPUs only, and flatten the weights, of which the
    optimiser must know which are matrices.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Deal to all processes: Lightning would take the number of machines."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def on_validation_start(self) -> None:
        """Validate with the batch statistics of the first process, which are those that checkpoints keep."""
        assert self.lightning_module is not None
        buffers = [
            buffer
            for buffer in self.lightning_module.network.buffers()
            if buffer.is_floating_point()
        ]
        if not buffers:
            return
        whole = torch.cat([buffer.float().flatten() for buffer in buffers])
        dist.broadcast(whole, src=0)
        for buffer, value in zip(
            buffers, whole.split([buffer.numel() for buffer in buffers]), strict=True
        ):
            buffer.copy_(value.view_as(buffer))
