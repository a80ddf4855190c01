"""Turn a config into a runner, as tools/train.py and tools/test.py both do."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner

from mmdcls.checkpoints import read_checkpoint, tensors_of, with_prefix
from mmdcls.configs import (
    SPLITS,
    building_from,
    change_config,
    read_config,
    require_model,
)
from mmdcls.engine.cpu_runner import CPURunner, check_launcher
from mmdcls.errors import ConfigError

from .data_paths import set_data_root
from .strategies import build_model, prepare_strategy


def load_config(
    config: str,
    *,
    work_dir: str | None = None,
    data_root: str | None = None,
    cfg_options: Mapping | None = None,
    launcher: str = 'none',
    splits: Sequence[str] = SPLITS,
) -> Config:
    """Read a config that trains or tests a model, and change what is asked for.

    Args:
        config: A config file, or a config of a package, such as
            ``'mmpretrain::folder/x.py'``.
        work_dir: Where logs, checkpoints and scores go; by default the config's own, or
            ``work_dirs/`` and the config's name.
        data_root: The folder of the data, in place of the config's, see
            :func:`mmdcls.apis.data_paths.set_data_root`.
        cfg_options: Settings of the config to override, by their dotted keys.
        launcher: How the processes were started, as mmengine names it.
        splits: The splits whose data ``data_root`` moves; by default all.

    Raises:
        ConfigError: If the config does not exist, cannot be read or holds no model, if
            its data cannot be moved to ``data_root``, or if ``cfg_options`` cannot be.
    """
    cfg = read_config(config)
    require_model(cfg, config)
    cfg.launcher = launcher
    if data_root:
        set_data_root(cfg, data_root, splits)
    change_config(cfg, cfg_options)
    require_model(cfg, config)
    default_work_dir = str(Path('work_dirs') / Path(config).stem)
    cfg.work_dir = work_dir or cfg.get('work_dir') or default_work_dir
    use_available_device(cfg)
    return cfg


def use_available_device(cfg: Config) -> None:
    """Train in float32 on a machine without GPU: ``AmpOptimWrapper`` needs one."""
    if torch.cuda.is_available():
        return
    wrapper = cfg.get('optim_wrapper')
    if wrapper and wrapper.get('type') == 'AmpOptimWrapper':
        print_log(
            'No GPU: OptimWrapper in float32 in place of AmpOptimWrapper.',
            logger='current',
        )
        wrapper.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(key, None)


def enable_amp(cfg: Config) -> None:
    """Train with automatic mixed precision.

    Raises:
        ConfigError: If there is no GPU.
    """
    if not torch.cuda.is_available():
        raise ConfigError('`amp` needs a GPU, and none is available.')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def check_amp_evaluation(cfg: Config) -> None:
    """Refuse to evaluate in mixed precision what cannot be.

    Raises:
        ConfigError: If a detector is to run without a GPU.
    """
    if cfg.get('default_scope') == 'mmdet' and not torch.cuda.is_available():
        raise ConfigError(
            '`amp`: detection needs a GPU for it, and none is available; on a CPU '
            "MMCV's non-maximum suppression takes float32 only."
        )


def start_backbone_from(cfg: Config, checkpoint: str) -> None:
    """Initialise ``model.backbone`` from a classifier's checkpoint.

    Whether its tensors fit is looked at when they are loaded, see
    :class:`StrictCheckpointHook`.

    Raises:
        CheckpointError: If the file cannot be read or holds no backbone.
        ConfigError: If the config's model has no backbone.
    """
    if 'backbone' not in cfg.model:
        raise ConfigError('`pretrained`: the model of the config has no backbone.')
    tensors = tensors_of(read_checkpoint(checkpoint), source=checkpoint)
    with_prefix(tensors, 'backbone.', checkpoint)
    cfg.model.backbone.init_cfg = dict(
        type='Pretrained', checkpoint=checkpoint, prefix='backbone.'
    )


def warn_of_random_backbone(cfg: Config) -> None:
    """Warn if a segmentor's or detector's backbone would start from random weights.

    The paper, and all of this field, start from an ImageNet classifier (§4.3).
    """
    if cfg.get('default_scope') not in ('mmseg', 'mmdet'):
        return
    if cfg.get('resume') or cfg.get('load_from') or cfg.model.get('init_cfg'):
        return
    backbone = cfg.model.get('backbone')
    if backbone and not backbone.get('init_cfg'):
        print_log(
            f'The backbone {backbone.get("type")} starts from RANDOM weights, which '
            'cost a segmentor or detector most of its score: the config has no '
            'model.backbone.init_cfg and no load_from. --pretrained FILE starts it '
            'from a classifier (docs/released_checkpoints.md has some).',
            logger='current',
            level=logging.WARNING,
        )


def enable_tta(cfg: Config) -> None:
    """Evaluate with the config's test-time augmentation.

    ``tta_model`` and ``tta_pipeline`` of the config decide; detection and
    classification configs that name none get a horizontal flip, as upstream's tools do.

    Raises:
        ConfigError: If the config has none and its scope has no default, or if the
            model predicts masks of objects, which mmdet cannot average.
    """
    scope = cfg.get('default_scope')
    if scope == 'mmdet' and 'mask_head' in (cfg.model.get('roi_head') or {}):
        raise ConfigError(
            '`tta`: mmdet has no test-time augmentation for instance segmentation '
            '(model.roi_head.mask_head); it has one for boxes alone.'
        )
    default_models: dict[str, dict] = {
        'mmdet': dict(
            type='DetTTAModel',
            tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
        ),
        'mmpretrain': dict(type='mmpretrain.AverageClsScoreTTA'),
        'mmseg': dict(type='SegTTAModel'),
    }
    tta_model = cfg.get('tta_model') or default_models.get(scope)
    if tta_model is None:
        raise ConfigError(
            f"`tta`: the config has no tta_model and default_scope='{scope}' has no "
            f'default; these have: {", ".join(default_models)}.'
        )
    pipeline = cfg.test_dataloader.dataset.pipeline
    if cfg.get('tta_pipeline'):
        pipeline = cfg.tta_pipeline
    else:
        pack = copy.deepcopy(pipeline[-1])
        if 'meta_keys' in pack or scope == 'mmdet':
            pack.meta_keys = (
                *pack.get(
                    'meta_keys', ('img_id', 'img_path', 'ori_shape', 'img_shape')
                ),
                'scale_factor',
                'flip',
                'flip_direction',
            )
        flips = [dict(type='RandomFlip', prob=p) for p in (1.0, 0.0)]
        flip_tta = dict(type='TestTimeAug', transforms=[flips, [pack]])
        pipeline = [*pipeline[:-1], flip_tta]
    cfg.test_dataloader.dataset.pipeline = pipeline
    cfg.model = ConfigDict(**tta_model, module=cfg.model)


def draw_predictions(cfg: Config, folder: str) -> None:
    """Have the test loop write a picture of every prediction under ``folder``.

    Raises:
        ConfigError: If the config has no visualization hook.
    """
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise ConfigError(
            '`show_dir`: the config has no default_hooks.visualization to draw with.'
        )
    scope = cfg.get('default_scope')
    if scope == 'mmpretrain':
        hook.update(enable=True, interval=1, out_dir=folder)
    elif scope == 'mmdet':
        hook.update(draw=True, interval=1, test_out_dir=str(Path(folder).resolve()))
    else:
        hook.update(draw=True, interval=1)
        cfg.visualizer.update(
            save_dir=folder, vis_backends=[dict(type='LocalVisBackend')]
        )


def use_exact_resuming(cfg: Config) -> None:
    """Save whole checkpoints that the training can go on from bit for bit.

    Puts :class:`WholeCheckpointHook` in the place of mmengine's CheckpointHook, with
    its settings, and adds :class:`ExactResumeHook`. A hook of another class that the
    config has for checkpoints stays.
    """
    cfg.default_hooks = cfg.get('default_hooks') or {}
    hooks = cfg.default_hooks
    saving = hooks.get('checkpoint', dict(type='CheckpointHook', interval=1))
    if saving and saving.get('type') in ('CheckpointHook', CheckpointHook):
        hooks.checkpoint = ConfigDict(saving, type='mmdcls.WholeCheckpointHook')
    others = [*hooks.values(), *(cfg.get('custom_hooks') or [])]
    if not any(hook and 'ExactResumeHook' in str(hook.get('type')) for hook in others):
        hooks['exact_resume'] = dict(type='mmdcls.ExactResumeHook')


def build_runner(
    cfg: Config, partial_checkpoint: bool, allow_mismatch: bool = False
) -> Runner:
    """Build the runner, with a check of whatever checkpoint it will load.

    The config's ``runner_type`` decides on the runner's class; without one, several
    processes on a machine without GPU get a :class:`CPURunner`.

    Args:
        cfg: A config as :func:`load_config` gives it.
        partial_checkpoint: Whether the checkpoint may lack parts of the model, as
            ``partial`` of :class:`StrictCheckpointHook`.
        allow_mismatch: Whether weights that do not fit are left out and listed, as in
            :class:`StrictCheckpointHook`.

    Raises:
        ConfigError: If the config's ``strategy`` cannot work, see
            :func:`prepare_strategy`.
    """
    check = dict(
        type='mmdcls.StrictCheckpointHook',
        partial=partial_checkpoint,
        allow_mismatch=allow_mismatch,
    )
    others = [dict(type='mmdcls.NamedFilesHook'), dict(type='mmdcls.FiniteLossHook')]
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), check, *others]
    cfg = _without_name_of_a_file_in_work_dir(cfg)
    prepare_strategy(cfg)
    with building_from(cfg):
        if cfg.get('runner_type'):
            runner = RUNNERS.build(cfg)
            if isinstance(runner, FlexibleRunner):
                build_model(runner)
            return runner
        on_cpus = cfg.launcher != 'none' and not torch.cuda.is_available()
        if not on_cpus:
            check_launcher(cfg.launcher)
        return (CPURunner if on_cpus else Runner).from_cfg(cfg)


def _without_name_of_a_file_in_work_dir(cfg: Config) -> Config:
    """Keep the runner from writing over the config file that it was given.

    It writes the config that it runs to ``work_dir`` under the name of its file, or
    under the time where it has no name.
    """
    if cfg.filename is None:
        return cfg
    written = Path(cfg.work_dir, Path(cfg.filename).name)
    if not written.exists() or not written.samefile(cfg.filename):
        return cfg
    return Config(cfg.to_dict())
