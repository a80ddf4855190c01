import pytest

from mmdcls.engine.resuming.differences import config_differences

CONFIG = dict(
    model=dict(type='Net', backbone=dict(depths=[1, 2], drop=float('nan'))),
    train_dataloader=dict(batch_size=4, num_workers=2, dataset=dict(data_root='a')),
    optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
    param_scheduler=[dict(type='LinearLR', end=3), dict(type='CosineAnnealingLR')],
    train_cfg=dict(max_epochs=3),
    randomness=dict(seed=0),
    custom_hooks=[dict(type='EMAHook', momentum=0.1)],
)


def test_same_configs_have_no_differences():
    now = dict(
        CONFIG,
        model=dict(type='Net', backbone=dict(depths=(1, 2), drop=float('nan'))),
        train_dataloader=dict(CONFIG['train_dataloader'], num_workers=0),
        custom_hooks=[*CONFIG['custom_hooks'], dict(type='mmdcls.ExactResumeHook')],
        auto_scale_lr=None,
        work_dir='elsewhere',
    )
    assert config_differences(CONFIG, now) == []


CHANGES = {
    'architecture': (
        dict(model=dict(type='Net', backbone=dict(depths=[1, 3], drop=0.0))),
        'model.backbone.depths[1] was 2 and is 3 (and 1 more).',
    ),
    'batch size or data': (
        dict(train_dataloader=dict(batch_size=8, dataset=dict(data_root='a'))),
        'train_dataloader.batch_size was 4 and is 8.',
    ),
    'optimizer': (
        dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1))),
        "optim_wrapper.optimizer.type was 'AdamW' and is 'SGD'; of the optimizer's "
        "settings, the checkpoint's go on (lr, weight_decay, …).",
    ),
    'schedule': (
        dict(
            param_scheduler=[dict(type='LinearLR', end=5), CONFIG['param_scheduler'][1]]
        ),
        "param_scheduler[0].end was 3 and is 5; the checkpoint's goes on.",
    ),
    'length or validation': (
        dict(train_cfg=dict(max_epochs=5)),
        'train_cfg.max_epochs was 3 and is 5.',
    ),
    'seed': (dict(randomness=dict(seed=1)), 'randomness.seed was 0 and is 1.'),
    'set of hooks': (dict(custom_hooks=[]), 'custom_hooks was [{'),
}


@pytest.mark.parametrize('label', CHANGES)
def test_every_difference_is_a_line(label):
    change, text = CHANGES[label]
    (line,) = config_differences(CONFIG, {**CONFIG, **change})
    assert line.startswith(f'Another {label} than in the checkpoint: ')
    assert text in line and '\n' not in line


def test_a_line_each():
    now = {**CONFIG, 'randomness': dict(seed=1), 'train_cfg': dict(max_epochs=9)}
    assert len(config_differences(CONFIG, now)) == 2


def test_values_that_are_not_set_are_said_so():
    (line,) = config_differences(CONFIG, {**CONFIG, 'auto_scale_lr': dict(enable=True)})
    assert "auto_scale_lr was not set and is {'enable': True}" in line
