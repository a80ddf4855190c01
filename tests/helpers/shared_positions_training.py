"""Two layers with one position tensor, trained in two processes.

A module of its own, because a spawned process must be able to import what it runs.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmdcls.layers import DCLSConv2d


def make_model():
    torch.manual_seed(0)
    first = DCLSConv2d(4, 4, 3, 5, padding=2, groups=4)
    second = DCLSConv2d(4, 4, 3, 5, padding=2, groups=4, positions=first.positions)
    return nn.Sequential(first, nn.GELU(), second)


def make_batch():
    return torch.randn(4, 4, 9, 9, generator=torch.Generator().manual_seed(1))


def train_in_parallel(rank, store, results):
    """Half of the batch in each process; the first one saves the gradients."""
    dist.init_process_group('gloo', f'file://{store}', rank=rank, world_size=2)
    model = DistributedDataParallel(make_model())
    model(make_batch()[2 * rank : 2 * rank + 2]).square().mean().backward()
    if rank == 0:
        torch.save([parameter.grad for parameter in model.parameters()], results)
    # DDP's reducer must not be the last to hold the group: it would wait for gloo's
    # threads with the GIL held, and these may wait for the GIL.
    del model
    dist.destroy_process_group()
