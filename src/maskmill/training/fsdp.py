"""FSDP2 training by Lightning, on any number of machines and GPUs, and on the CPU for tests."""

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn


class FSDP2Strategy(ModelParallelStrategy):
    """Each process has its own batches and a share of weights, gradients and optimizer states.

    The task applies FSDP to its network. Checkpoints are whole files, gathered on the first
    process, so they and the model are the same as those of any other training.

    Lightning's FSDPStrategy refuses to clip gradients by their norm, runs on GPUs only, and
    flattens the weights, so that the optimizer cannot see which of them are matrices.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Distribute the weights over all processes; Lightning's default is over the machines."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def on_validation_start(self) -> None:
        """Validate with the batch statistics of the first process, which checkpoints contain."""
        assert self.lightning_module is not None
        network = self.lightning_module.network
        assert isinstance(network, nn.Module)
        buffers = []
        for buffer in network.buffers():
            if buffer.is_floating_point():
                buffers.append(buffer)
        if not buffers:
            return
        joined = torch.cat([buffer.float().flatten() for buffer in buffers])
        dist.broadcast(joined, src=0)
        values = joined.split([buffer.numel() for buffer in buffers])
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value.view_as(buffer))
