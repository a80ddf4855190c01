"""Trainings of seconds, one for each setting in which resuming could go wrong.

All have images of noise, a ConvNeXt-dcls of a few channels, random transforms, and
whatever draws random numbers in its task's recipe.
"""

import json
from dataclasses import dataclass

import numpy as np
from PIL import Image

IMAGES = 12
BATCH_SIZE = 2

_BACKBONE = dict(
    type='mmdcls.ConvNeXtDCLS',
    arch=dict(depths=[1, 1, 1, 1], channels=[4, 6, 8, 10]),
    dilated_kernel_size=5,
    kernel_count=3,
    drop_path_rate=0.3,
    layer_scale_init_value=1.0,
)
_NORM = dict(mean=[120.0, 120.0, 120.0], std=[60.0, 60.0, 60.0])


@dataclass(frozen=True)
class Setting:
    """What a training is made of.

    Attributes:
        task: ``'classification'``, ``'segmentation'`` or ``'detection'``.
        by_epoch: Whether the training counts epochs, or iterations.
        save_by_epoch: The same for its checkpoints; inside of epochs, if the training
            counts epochs and they do not.
        workers: The workers of its DataLoader.
        persistent: Whether they live on from epoch to epoch.
        ema: Whether it averages weights.
        accumulate: The number of iterations for a step of the optimizer.
        processes: The number of processes.
        validate: Whether it validates, and saves the best checkpoint.
        seed: ``randomness.seed``; None for one that the training draws.
    """

    task: str = 'classification'
    by_epoch: bool = True
    save_by_epoch: bool = True
    workers: int = 0
    persistent: bool = False
    ema: bool = True
    accumulate: int = 1
    processes: int = 1
    validate: bool = False
    seed: int | None = 0

    @property
    def epoch_length(self):
        """The iterations of an epoch."""
        return IMAGES // BATCH_SIZE // self.processes


SETTINGS = {
    'epochs': Setting(),
    'two workers': Setting(workers=2),
    'persistent worker': Setting(workers=1, persistent=True),
    'persistent workers, inside epochs': Setting(
        workers=2, persistent=True, save_by_epoch=False
    ),
    'inside epochs': Setting(save_by_epoch=False),
    'accumulated gradients': Setting(save_by_epoch=False, accumulate=4),
    'accumulated over epochs': Setting(accumulate=4, ema=False),
    'validation': Setting(validate=True),
    'iterations': Setting(by_epoch=False, save_by_epoch=False),
    'two processes': Setting(processes=2, workers=1),
    'two processes, accumulated': Setting(
        processes=2, save_by_epoch=False, accumulate=2
    ),
    'segmentation': Setting('segmentation', by_epoch=False, save_by_epoch=False),
    'segmentation, persistent workers': Setting(
        'segmentation', by_epoch=False, save_by_epoch=False, workers=2, persistent=True
    ),
    'segmentation, accumulated': Setting(
        'segmentation', by_epoch=False, save_by_epoch=False, workers=1, accumulate=3
    ),
    'segmentation, epochs': Setting('segmentation', validate=True),
    'segmentation, two processes': Setting(
        'segmentation', by_epoch=False, save_by_epoch=False, processes=2
    ),
    'detection': Setting('detection'),
    'detection, inside epochs': Setting(
        'detection', save_by_epoch=False, workers=2, persistent=True
    ),
    'detection, iterations': Setting(
        'detection', by_epoch=False, save_by_epoch=False, ema=False, accumulate=2
    ),
    'detection, two processes': Setting('detection', processes=2, workers=1),
}


def write_data(folder):
    """Write images, labels and annotations for all tasks."""
    generator = np.random.default_rng(0)
    boxes = []
    for number in range(IMAGES):
        # Upright ones and ones on their side, which detection has in batches apart.
        height, width = (40, 56) if number % 3 else (56, 40)
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        labels = generator.integers(0, 3, (height, width), dtype=np.uint8)
        for kind, array, suffix in (
            (f'classes/{"ab"[number % 2]}', pixels, 'jpg'),
            ('images', pixels, 'jpg'),
            ('labels', labels, 'png'),
        ):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / kind / f'{number}.{suffix}')
        boxes += [(number, [2 + 3 * k, 4, 16, 20 - k], k % 2 + 1) for k in range(3)]
    images = [
        dict(id=n, file_name=f'{n}.jpg', width=40 + 16 * (n % 3 > 0), height=0)
        for n in range(IMAGES)
    ]
    for image in images:
        image['height'] = 96 - image['width']
    annotations = [
        dict(
            id=k, image_id=n, bbox=b, area=b[2] * b[3], iscrowd=0, category_id=category
        )
        for k, (n, b, category) in enumerate(boxes)
    ]
    categories = [dict(id=1, name='a'), dict(id=2, name='b')]
    content = dict(images=images, annotations=annotations, categories=categories)
    (folder / 'boxes.json').write_text(json.dumps(content))


def config_of(setting, data, length):
    """Return the config of a training.

    Args:
        setting: A Setting.
        data: The folder of :func:`write_data`.
        length: The epochs that it trains; where it counts iterations, that many epochs'
            worth of iterations.
    """
    task = _TASKS[setting.task](str(data))
    iterations = length * setting.epoch_length
    loader = dict(
        batch_size=BATCH_SIZE,
        num_workers=setting.workers,
        persistent_workers=setting.persistent,
        # Serialised data sets collect garbage, which takes most of a second.
        dataset=dict(task['dataset'], serialize_data=False),
    )
    if setting.task == 'detection':
        loader['batch_sampler'] = dict(type='AspectRatioBatchSampler')
    sampler = 'DefaultSampler' if setting.by_epoch else 'InfiniteSampler'
    hooks = [dict(type='mmdcls.ClampPositionsHook')]
    hooks += [dict(type='mmdcls.PositionStatisticsHook')]
    if setting.ema:
        hooks.append(dict(type='EMAHook', momentum=0.1, priority='ABOVE_NORMAL'))
    cfg = dict(
        default_scope=task['scope'],
        custom_imports=dict(
            imports=[f'{task["scope"]}.models', f'{task["scope"]}.datasets']
        ),
        model=task['model'],
        train_dataloader=dict(sampler=dict(type=sampler, shuffle=True), **loader),
        optim_wrapper=dict(
            type='OptimWrapper',
            constructor='mmdcls.DCLSOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05),
            accumulative_counts=setting.accumulate,
        ),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=3),
            dict(type='CosineAnnealingLR', T_max=iterations, by_epoch=False),
        ],
        train_cfg=dict(by_epoch=True, max_epochs=length, val_interval=1)
        if setting.by_epoch
        else dict(by_epoch=False, max_iters=iterations, val_interval=3),
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook',
                interval=1 if setting.save_by_epoch else 2,
                by_epoch=setting.save_by_epoch,
                max_keep_ckpts=3,
            ),
            logger=dict(type='LoggerHook', interval=1),
        ),
        custom_hooks=hooks,
        log_processor=dict(by_epoch=setting.by_epoch),
        randomness=dict(seed=setting.seed),
        log_level='WARNING',
    )
    if setting.validate:
        loader['dataset'] = task.get('val_dataset', loader['dataset'])
        cfg['val_dataloader'] = dict(
            sampler=dict(type='DefaultSampler', shuffle=False),
            **{key: value for key, value in loader.items() if key != 'batch_sampler'},
        )
        cfg.update(val_cfg=dict(), val_evaluator=task['evaluator'])
        cfg['default_hooks']['checkpoint'].update(save_best='auto', rule='greater')
    return cfg


def _classification(data):
    return dict(
        scope='mmpretrain',
        model=dict(
            type='ImageClassifier',
            data_preprocessor=dict(type='ClsDataPreprocessor', num_classes=2, **_NORM),
            backbone=_BACKBONE,
            head=dict(
                type='LinearClsHead',
                num_classes=2,
                in_channels=10,
                loss=dict(
                    type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'
                ),
            ),
            train_cfg=dict(
                augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
            ),
        ),
        dataset=dict(
            type='CustomDataset',
            data_root=data,
            data_prefix='classes',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='RandomResizedCrop', scale=32),
                dict(type='RandomFlip', prob=0.5, direction='horizontal'),
                dict(
                    type='RandAugment',
                    policies='timm_increasing',
                    num_policies=2,
                    total_level=10,
                    magnitude_level=9,
                    magnitude_std=0.5,
                ),
                dict(type='RandomErasing', erase_prob=0.25, mode='rand'),
                dict(type='PackInputs'),
            ],
        ),
        evaluator=dict(type='Accuracy', topk=(1,)),
    )


def _segmentation(data):
    dataset = dict(
        type='BaseSegDataset',
        data_root=data,
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.jpg',
        seg_map_suffix='.png',
        metainfo=dict(classes=('a', 'b', 'c'), palette=[[0] * 3, [9] * 3, [90] * 3]),
    )
    load, labels = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')
    size = dict(scale=(64, 40), ratio_range=(0.8, 1.5), keep_ratio=True)
    train = [
        *(load, labels, dict(type='RandomResize', **size)),
        dict(type='RandomCrop', crop_size=(32, 32), cat_max_ratio=0.75),
        *(dict(type='RandomFlip', prob=0.5), dict(type='PhotoMetricDistortion')),
        dict(type='PackSegInputs'),
    ]
    val = [load, dict(type='Resize', scale=(32, 32)), labels, train[-1]]
    return dict(
        scope='mmseg',
        model=dict(
            type='EncoderDecoder',
            data_preprocessor=dict(
                type='SegDataPreProcessor', size=(32, 32), seg_pad_val=255, **_NORM
            ),
            backbone=dict(_BACKBONE, gap_before_final_norm=False),
            decode_head=dict(
                type='FCNHead',
                in_channels=10,
                in_index=0,
                channels=8,
                num_convs=1,
                dropout_ratio=0.3,
                num_classes=3,
                norm_cfg=dict(type='BN'),
                align_corners=False,
                loss_decode=dict(type='CrossEntropyLoss'),
            ),
            train_cfg=dict(),
            test_cfg=dict(mode='whole'),
        ),
        dataset=dict(dataset, pipeline=train),
        val_dataset=dict(dataset, pipeline=val),
        evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']),
    )


def _detection(data):
    coder = dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2])
    cross_entropy = dict(type='CrossEntropyLoss', use_sigmoid=True)

    def assigner(positive, negative):
        return dict(
            type='MaxIoUAssigner',
            pos_iou_thr=positive,
            neg_iou_thr=negative,
            min_pos_iou=negative,
        )

    def sampler(number, **options):
        return dict(type='RandomSampler', num=number, pos_fraction=0.5, **options)

    return dict(
        scope='mmdet',
        model=dict(
            type='FasterRCNN',
            data_preprocessor=dict(
                type='DetDataPreprocessor', pad_size_divisor=32, **_NORM
            ),
            backbone=dict(_BACKBONE, out_indices=(2, 3), gap_before_final_norm=False),
            neck=dict(type='FPN', in_channels=[8, 10], out_channels=8, num_outs=2),
            rpn_head=dict(
                type='RPNHead',
                in_channels=8,
                feat_channels=8,
                anchor_generator=dict(
                    type='AnchorGenerator', scales=[1], ratios=[1.0], strides=[16, 32]
                ),
                bbox_coder=coder,
                loss_cls=cross_entropy,
                loss_bbox=dict(type='L1Loss'),
            ),
            roi_head=dict(
                type='StandardRoIHead',
                bbox_roi_extractor=dict(
                    type='SingleRoIExtractor',
                    roi_layer=dict(type='RoIAlign', output_size=3, sampling_ratio=1),
                    out_channels=8,
                    featmap_strides=[16, 32],
                ),
                bbox_head=dict(
                    type='Shared2FCBBoxHead',
                    in_channels=8,
                    fc_out_channels=12,
                    roi_feat_size=3,
                    num_classes=2,
                    bbox_coder=coder,
                    loss_cls=dict(type='CrossEntropyLoss'),
                    loss_bbox=dict(type='L1Loss'),
                ),
            ),
            train_cfg=dict(
                rpn=dict(
                    assigner=assigner(0.5, 0.3),
                    sampler=sampler(8, add_gt_as_proposals=False),
                    allowed_border=-1,
                    pos_weight=-1,
                ),
                rpn_proposal=dict(
                    nms_pre=20, max_per_img=8, nms=dict(type='nms', iou_threshold=0.7)
                ),
                rcnn=dict(
                    assigner=assigner(0.5, 0.5), sampler=sampler(8), pos_weight=-1
                ),
            ),
            test_cfg=dict(
                rpn=dict(
                    nms_pre=20, max_per_img=8, nms=dict(type='nms', iou_threshold=0.7)
                ),
                rcnn=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=5),
            ),
        ),
        dataset=dict(
            type='CocoDataset',
            data_root=data,
            ann_file='boxes.json',
            data_prefix=dict(img='images'),
            metainfo=dict(classes=('a', 'b')),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(type='RandomFlip', prob=0.5),
                dict(
                    type='RandomChoiceResize',
                    scales=[(48, 48), (64, 64), (80, 64)],
                    keep_ratio=True,
                ),
                dict(type='PackDetInputs'),
            ],
        ),
        evaluator=dict(type='CocoMetric', ann_file=f'{data}/boxes.json'),
    )


_TASKS = dict(
    classification=_classification, segmentation=_segmentation, detection=_detection
)
