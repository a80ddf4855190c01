"""Every config builds, and the paper's two run forward and backward."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData

from mmdcls.layers import DCLSConvNd

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)
ADE20K = 'configs/ade20k/upernet_convnext-dcls-tiny_8xb2-amp-160k_ade20k-512x512.py'
COCO = (
    'configs/coco/'
    'cascade-mask-rcnn_convnext-dcls-tiny_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py'
)


def load(config):
    cfg = Config.fromfile(ROOT / config)
    init_default_scope(cfg.default_scope)
    return cfg


def without_amp(cfg):
    optim_wrapper = cfg.optim_wrapper
    return dict(
        type='OptimWrapper',
        optimizer=optim_wrapper.optimizer,
        constructor=optim_wrapper.get('constructor', 'DefaultOptimWrapperConstructor'),
        paramwise_cfg=optim_wrapper.get('paramwise_cfg'),
    )


def test_basenames_are_unique():
    names = [Path(config).name for config in CONFIGS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize('config', CONFIGS)
def test_config_builds_and_every_parameter_is_optimized_once(config):
    cfg = load(config)
    model = MODELS.build(cfg.model)
    optim_wrapper = build_optim_wrapper(model, without_amp(cfg))
    listed = [
        p for group in optim_wrapper.optimizer.param_groups for p in group['params']
    ]
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert len(listed) == len({id(p) for p in listed}) == len(trainable)
    if any(isinstance(module, DCLSConvNd) for module in model.modules()):
        # Lets torch >= 2.6 read the run's own checkpoints.
        assert 'mmdcls.engine' in cfg.custom_imports.imports
        hooks = [hook.type for hook in cfg.custom_hooks]
        assert 'mmdcls.ClampPositionsHook' in hooks


def assert_all_gradients(model):
    for name, param in model.named_parameters():
        assert param.grad is not None and torch.isfinite(param.grad).all(), name


def test_ade20k_tiny_runs_forward_and_backward():
    torch.manual_seed(0)
    cfg = load(ADE20K)
    from mmseg.structures import SegDataSample

    model = MODELS.build(cfg.model).train()
    sample = SegDataSample(
        gt_sem_seg=PixelData(data=torch.randint(0, 150, (1, 64, 64))),
        metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)),
    )
    images = torch.rand(2, 3, 64, 64)
    losses = model(images, [sample, sample.clone()], mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert_all_gradients(model)


def test_coco_tiny_runs_forward_and_backward():
    torch.manual_seed(0)
    cfg = load(COCO)
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    for stage in cfg.model.train_cfg.rcnn:
        stage.sampler.num = 16
    model = MODELS.build(cfg.model).train()
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[:, 8:40, 8:40] = 1
    sample = DetDataSample(
        gt_instances=InstanceData(
            bboxes=torch.tensor([[8.0, 8.0, 40.0, 40.0]]),
            labels=torch.tensor([3]),
            masks=BitmapMasks(masks.numpy(), 64, 64),
        ),
        metainfo=dict(
            img_shape=(64, 64),
            ori_shape=(64, 64),
            pad_shape=(64, 64),
            batch_input_shape=(64, 64),
            scale_factor=(1.0, 1.0),
        ),
    )
    losses = model(torch.rand(1, 3, 64, 64), [sample], mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    for name, param in model.backbone.named_parameters():
        assert param.grad is not None and torch.isfinite(param.grad).all(), name
