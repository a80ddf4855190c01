"""A small classifier of any number of channels, its config and its checkpoint."""

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

SIZE = 32
LOADING = {
    1: dict(type='LoadImageFromFile', color_type='grayscale'),
    3: dict(type='LoadImageFromFile'),
    4: dict(type='LoadImageFromFile', color_type='unchanged'),
}


def any_channels_config(channels, data_prefix='data', classes=2):
    """A ConvNeXt-dcls that loads images with this many channels."""
    pipeline = [
        LOADING[channels],
        dict(type='ResizeEdge', scale=37, edge='short', backend='pillow'),
        dict(type='CenterCrop', crop_size=SIZE),
        dict(type='PackInputs'),
    ]
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                data_preprocessor=dict(
                    type='ClsDataPreprocessor',
                    mean=[100.0, 110.0, 120.0, 130.0][:channels],
                    std=[50.0, 60.0, 70.0, 80.0][:channels],
                    to_rgb=True,
                ),
                backbone=dict(
                    type='mmdcls.ConvNeXtDCLS',
                    arch=dict(depths=[1] * 4, channels=[8, 16, 24, 32]),
                    in_channels=channels,
                    dilated_kernel_size=5,
                    kernel_count=3,
                ),
                head=dict(type='LinearClsHead', num_classes=classes, in_channels=32),
            ),
            test_dataloader=dict(
                batch_size=1,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(
                    type='CustomDataset',
                    data_prefix=str(data_prefix),
                    pipeline=pipeline,
                ),
            ),
            test_cfg=dict(),
            test_evaluator=dict(type='Accuracy', topk=(1,)),
            custom_imports=dict(imports=['mmpretrain.datasets', 'mmpretrain.models']),
        )
    )


def write_any_channels_model(folder, channels, **options):
    """Write ``config.py`` and ``model.pth``; returns both and the random model."""
    folder.mkdir(parents=True, exist_ok=True)
    cfg = any_channels_config(channels, **options)
    cfg.dump(folder / 'config.py')
    torch.manual_seed(0)  # Of the positions.
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'positions' not in name:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise * 0.5)
        # The two first classes tell dark images from white ones.
        levels = torch.tensor([80.0, 255.0]).view(-1, 1, 1, 1)
        images = levels.expand(2, channels, SIZE, SIZE)
        inputs = model.data_preprocessor(dict(inputs=images))['inputs']
        model.head.fc.bias -= model(inputs).mean(0)
    torch.save({'state_dict': model.state_dict()}, folder / 'model.pth')
    return folder / 'config.py', folder / 'model.pth', model
