"""``--data-root`` moves what it can mean, and refuses what it cannot."""

import pytest
from mmengine.config import Config

from mmdcls.apis.data_paths import (
    check_data_paths,
    iter_datasets,
    iter_metrics,
    set_data_root,
)
from mmdcls.errors import ConfigError


def coco(data_root, **kwargs):
    return dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='annotations/a.json',
        data_prefix=dict(img='train2017/'),
        **kwargs,
    )


def config(train, val=None, **kwargs):
    loaders = dict(train_dataloader=dict(dataset=train))
    if val:
        loaders['val_dataloader'] = dict(dataset=val)
    return Config(dict(**loaders, **kwargs))


def roots(cfg, split='train'):
    return [dataset.data_root for _, dataset in iter_datasets(cfg, split)]


def test_datasets_and_metrics_are_found_however_deep():
    nested = dict(
        type='RepeatDataset',
        dataset=dict(type='ConcatDataset', datasets=[coco('a'), coco('b')]),
    )
    cfg = config(
        dict(type='ConcatDataset', datasets=[nested, coco('c')]),
        val_evaluator=dict(type='Evaluator', metrics=[dict(type='A'), dict(type='B')]),
        test_evaluator=dict(type='C'),
    )
    assert {key: dataset.data_root for key, dataset in iter_datasets(cfg, 'train')} == {
        'train_dataloader.dataset.datasets[0].dataset.datasets[0]': 'a',
        'train_dataloader.dataset.datasets[0].dataset.datasets[1]': 'b',
        'train_dataloader.dataset.datasets[1]': 'c',
    }
    assert [(key, metric.type) for key, metric in iter_metrics(cfg, 'val')] == [
        ('val_evaluator.metrics[0]', 'A'),
        ('val_evaluator.metrics[1]', 'B'),
    ]
    assert [key for key, _ in iter_metrics(cfg, 'test')] == ['test_evaluator']
    assert not list(iter_metrics(cfg, 'train'))


@pytest.mark.parametrize('written', ['data/coco', 'data/coco/', './data//coco/'])
def test_data_root_moves_data_sets_and_metrics(tmp_path, written):
    metric = dict(
        type='CocoPanopticMetric',
        ann_file='data/coco/annotations/a.json',
        seg_prefix='data/coco/annotations/maps/',
        outfile_prefix='data/coco-results',
    )
    concatenation = dict(type='ConcatDataset', datasets=[coco(written)] * 2)
    cfg = config(
        dict(type='RepeatDataset', dataset=concatenation),
        coco('data/coco'),
        val_evaluator=[metric, dict(type='CocoMetric')],
        test_evaluator=dict(type='Evaluator', metrics=[metric]),
    )
    set_data_root(cfg, str(tmp_path))
    assert roots(cfg) == [f'{tmp_path}/'] * 2
    assert roots(cfg, 'val') == [f'{tmp_path}/']
    for moved in (cfg.val_evaluator[0], cfg.test_evaluator.metrics[0]):
        assert moved.ann_file == f'{tmp_path}/annotations/a.json'
        assert moved.seg_prefix == f'{tmp_path}/annotations/maps'
        assert moved.outfile_prefix == 'data/coco-results'
    assert cfg.val_evaluator[1] == dict(type='CocoMetric')
    # Relative to its data set's root, so it stays as it is.
    assert cfg.val_dataloader.dataset.ann_file == 'annotations/a.json'


def test_absolute_paths_below_the_root_move_along(tmp_path):
    dataset = dict(
        type='CocoDataset',
        data_root='/old',
        ann_file='/old/a.json',
        data_prefix=dict(img='/old/images', seg='/elsewhere/maps'),
    )
    cfg = config(dataset, dict(type='CustomDataset', data_root='/old', data_prefix=''))
    set_data_root(cfg, str(tmp_path))
    assert cfg.train_dataloader.dataset == dict(
        type='CocoDataset',
        data_root=f'{tmp_path}/',
        ann_file=f'{tmp_path}/a.json',
        data_prefix=dict(img=f'{tmp_path}/images', seg='/elsewhere/maps'),
    )
    assert cfg.val_dataloader.dataset.data_root == f'{tmp_path}/'


def test_two_folders_cannot_become_one(tmp_path):
    both = dict(type='ConcatDataset', datasets=[coco('data/a'), coco('data/b/')])
    with pytest.raises(ConfigError) as error:
        set_data_root(config(both), str(tmp_path))
    assert (
        "train_dataloader.dataset.datasets[0].data_root='data/a' and "
        "train_dataloader.dataset.datasets[1].data_root='data/b/'"
    ) in str(error.value)


def test_folders_of_splits_count_where_both_are_used(tmp_path):
    metric = dict(type='CocoMetric', ann_file='data/b/a.json')
    cfg = config(coco('data/a'), coco('data/b'), val_evaluator=metric)
    with pytest.raises(ConfigError, match="'data/a'.*'data/b'"):
        set_data_root(cfg, str(tmp_path), splits=('train', 'val'))
    set_data_root(cfg, str(tmp_path), splits=('train',))
    assert roots(cfg) == [f'{tmp_path}/']
    assert roots(cfg, 'val') == ['data/b']
    assert cfg.val_evaluator.ann_file == 'data/b/a.json'


@pytest.mark.parametrize('data_root', [{}, dict(data_root=''), dict(data_root=None)])
def test_a_data_set_without_data_root(tmp_path, data_root):
    dataset = dict(type='CustomDataset', data_prefix='/data/images', **data_root)
    message = (
        'train_dataloader.dataset has no data_root to replace '
        r"\(train_dataloader.dataset.data_prefix='/data/images'\)"
    )
    with pytest.raises(ConfigError, match=message):
        set_data_root(config(dataset), str(tmp_path))


def test_a_data_set_that_would_ignore_it(tmp_path):
    dataset = dict(type='CustomDataset', data_root='data', data_prefix='/images')
    with pytest.raises(ConfigError, match="would ignore it.*data_prefix='/images'"):
        set_data_root(config(dataset), str(tmp_path))


def test_nothing_to_move(tmp_path):
    with pytest.raises(ConfigError, match=r'no data set to move \(in test_dataloader'):
        set_data_root(config(coco('data')), str(tmp_path), splits=('test',))


def test_a_folder_that_does_not_exist(tmp_path):
    absent = str(tmp_path / 'absent')
    with pytest.raises(ConfigError, match=f"the folder '{absent}' does not exist"):
        set_data_root(config(coco('data')), absent)


def test_missing_files_are_named_with_their_keys(tmp_path):
    (tmp_path / 'train2017').mkdir()
    (tmp_path / 'annotations').mkdir()
    ann_file = tmp_path / 'annotations/a.json'
    metric = dict(type='CocoMetric', ann_file=str(ann_file))
    cfg = config(coco(str(tmp_path)), val_evaluator=[metric])
    with pytest.raises(ConfigError, match=r"^train_dataloader.dataset.ann_file: '"):
        check_data_paths(cfg, ('train',))
    with pytest.raises(ConfigError, match=r"^val_evaluator\[0\].ann_file: '"):
        check_data_paths(cfg, ('val',))
    ann_file.touch()
    check_data_paths(cfg, ('train', 'val', 'test'))
