"""A training of a few seconds through mmengine's Runner, for tests of hooks."""

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmdcls.layers import DCLSConv2d


class Images(Dataset):
    """Eight random images and a target each, the same at every call."""

    metainfo = {'classes': ('a', 'b')}

    def __init__(self, length=8):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.rand(length, 3, 9, 9, generator=generator)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.images[index].mean()


class SmallModel(BaseModel):
    """One DCLS layer and a head."""

    def __init__(self, kernel_count=5):
        super().__init__()
        self.conv = DCLSConv2d(3, 3, kernel_count, 7, padding=3, groups=3)
        self.head = nn.Linear(3, 1)

    def forward(self, images, targets=None, mode='tensor'):
        outputs = self.head(self.conv(images).mean((2, 3))).squeeze(1)
        if mode == 'loss':
            return {'loss_square': ((outputs - targets) ** 2).mean()}
        return list(outputs)


class Mean(BaseMetric):
    """The mean prediction."""

    def process(self, data_batch, data_samples):
        self.results += [float(sample) for sample in data_samples]

    def compute_metrics(self, results):
        return {'mean': sum(results) / len(results)}


def run(
    work_dir,
    model=None,
    max_epochs=2,
    optim_wrapper=None,
    param_scheduler=None,
    runner_class=Runner,
    log_level='ERROR',
    train_cfg=None,
    **kwargs,
):
    """Train ``model`` (by default a SmallModel, always the same); return the runner."""
    torch.manual_seed(0)
    loader = dict(
        batch_size=2,
        dataset=Images(),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    runner = runner_class(
        model=model or SmallModel(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        val_evaluator=[Mean()],
        val_cfg=dict(),
        train_cfg=train_cfg or dict(by_epoch=True, max_epochs=max_epochs),
        optim_wrapper=optim_wrapper
        or dict(
            constructor='mmdcls.DCLSOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.05),
        ),
        param_scheduler=param_scheduler
        or dict(type='CosineAnnealingLR', T_max=32, by_epoch=False),
        randomness=dict(seed=0),
        log_level=log_level,
        experiment_name=f'{work_dir.name}-{id(loader)}',
        **kwargs,
    )
    runner.train()
    return runner
