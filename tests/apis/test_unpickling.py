"""Files that could run code are refused before anything reads them."""

import pickle
from pathlib import Path

import pytest
from helpers.tool_runs import assert_refuses
from mmengine.config import Config

from mmdcls.apis.unpickling import refuse_unpickling
from mmdcls.errors import ConfigError

CONFIG = 'configs/mini/convnext-dcls-atto_1xb32-mini_in1k-64px.py'


class Touches:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def config(**dataset):
    return Config(dict(train_dataloader=dict(dataset=dict(type='A', **dataset))))


@pytest.mark.parametrize(
    'dataset, key',
    [
        (dict(ann_file='a.pkl'), 'ann_file'),
        (dict(ann_file='a.PICKLE'), 'ann_file'),
        (dict(ann_file='a.yaml'), 'ann_file'),
        (dict(proposal_file='a.yml'), 'proposal_file'),
        (dict(hierarchy_file='a.np'), 'hierarchy_file'),
        (dict(dataset=dict(ann_file='a.pkl')), 'dataset.ann_file'),
        (dict(datasets=[dict(ann_file='a.pkl')]), 'datasets[0].ann_file'),
        (
            dict(pipeline=[dict(type='B', decode_backend='pickle')]),
            'pipeline[0].decode_backend',
        ),
    ],
)
def test_every_file_that_is_unpickled_is_named(dataset, key):
    cfg = config(**dataset)
    with pytest.raises(ConfigError) as error:
        refuse_unpickling(cfg, ('train', 'val'))
    assert str(error.value).startswith(f'train_dataloader.dataset.{key}=')
    refuse_unpickling(cfg, ('train', 'val'), allow_pickle=True)
    refuse_unpickling(cfg, ('val', 'test'))


def test_other_files_are_accepted():
    pipeline = [dict(type='B', decode_backend='cv2')]
    cfg = config(ann_file='a.json', data_prefix=dict(img='x'), pipeline=pipeline)
    refuse_unpickling(cfg, ('train',))


@pytest.mark.parametrize(
    'strategy', ['DeepSpeedStrategy', 'mmengine.ColossalAIStrategy']
)
@pytest.mark.parametrize('how', [dict(resume=True), dict(load_from='a')])
def test_strategies_that_unpickle_checkpoints_are_named(strategy, how):
    cfg = Config(dict(strategy=dict(type=strategy), **how))
    with pytest.raises(ConfigError, match=strategy.rpartition('.')[2]):
        refuse_unpickling(cfg, ())
    refuse_unpickling(cfg, (), allow_pickle=True)
    refuse_unpickling(Config(dict(strategy=dict(type=strategy))), ())


@pytest.mark.parametrize(
    'tool',
    [
        ('train.py', CONFIG),
        ('test.py', CONFIG, 'a.pth'),
        ('check_dataset.py', CONFIG),
        ('robustness.py', CONFIG, 'a.pth'),
        ('analysis_tools/draw_predictions.py', CONFIG, 'a.pth', 'a.png'),
    ],
    ids=lambda tool: tool[0],
)
def test_tools_unpickle_no_annotations(tool, tmp_path):
    trace, annotations = tmp_path / 'trace', tmp_path / 'a.pkl'
    annotations.write_bytes(pickle.dumps(Touches(trace)))
    options = []
    for split in ('train', 'val', 'test'):
        dataset = f'{split}_dataloader.dataset'
        options += [f'{dataset}.data_root={tmp_path}', f'{dataset}.ann_file=a.pkl']
        options += [f'{dataset}.split=']
    assert_refuses(
        *("ann_file='a.pkl' is unpickled", *tool),
        *('--cfg-options', f'work_dir={tmp_path / "work"}', *options),
    )
    assert not trace.exists()
