"""Backbones with shared positions, trained in two processes with checkpointing.

A module of its own, because a spawned process must be able to import what it runs.
"""

from types import SimpleNamespace

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmdcls.engine import RepulsiveLossHook
from mmdcls.models import ConvNeXtDCLS, ResNetDCLS

ARCH = dict(depths=[1, 2, 2, 1], channels=[4, 8, 12, 16])


class Losses(nn.Module):
    """A backbone that returns a dictionary of losses, as OpenMMLab's models do."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, images):
        return {'loss': self.backbone(images)[-1].square().mean()}


def make_model(name, with_cp):
    torch.manual_seed(0)
    if name == 'convnext':
        backbone = ConvNeXtDCLS(
            ARCH,
            dilated_kernel_size=5,
            kernel_count=3,
            layer_scale_init_value=1.0,
            with_cp=with_cp,
        )
    else:
        # Batch statistics differ between a batch and its halves.
        backbone = ResNetDCLS(
            18, base_channels=4, stem_channels=4, norm_eval=True, with_cp=with_cp
        )
    return Losses(backbone).double().train()


def make_batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 64, 64, dtype=torch.float64, generator=generator)


def gradients(model, images):
    """Train on ``images`` with the repulsive loss; gradients by name."""
    hook = RepulsiveLossHook(begin=0)
    loop = SimpleNamespace(max_epochs=1, max_iters=1)
    hook.before_train(SimpleNamespace(model=model, epoch=0, iter=0, train_loop=loop))
    sum(model(images).values()).backward()
    hook.after_train(None)
    return {
        name.removeprefix('module.'): param.grad
        for name, param in model.named_parameters()
    }


def train_in_parallel(rank, name, store, results):
    """Half of the batch in each process; the first one saves the gradients."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{store}', rank=rank, world_size=2)
    model = DistributedDataParallel(make_model(name, with_cp=True))
    found = gradients(model, make_batch()[2 * rank : 2 * rank + 2])
    if rank == 0:
        torch.save(found, results)
    # DDP's reducer must not be the last to hold the group: it would wait for gloo's
    # threads with the GIL held, and these may wait for the GIL.
    del model
    dist.destroy_process_group()
