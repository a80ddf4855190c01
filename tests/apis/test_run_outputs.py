import pickle

import pytest
from mmengine.config import Config
from mmengine.fileio import dump

from mmdcls.apis.launch import build_runner
from mmdcls.apis.run_outputs import check_outputs, check_start, written_predictions
from mmdcls.errors import ConfigError
from mmdcls.files import OverwritingError


def test_data_sets_without_a_folder_do_not_claim_the_working_directory(tmp_path):
    wrapped = dict(type='CocoDataset', data_root='', ann_file=str(tmp_path / 'a.json'))
    dataset = dict(type='ConcatDataset', datasets=[wrapped])
    cfg = Config(dict(test_dataloader=dict(dataset=dataset)))
    check_outputs(cfg, ('train', 'test'), ('predictions.pkl', None))
    with pytest.raises(OverwritingError, match='a.json'):
        check_outputs(cfg, ('test',), (tmp_path / 'a.json',))


@pytest.mark.parametrize('how', ['load_from', 'init_cfg'])
@pytest.mark.parametrize('name', ['epoch_3.pth', 'iter_10.pth', 'best_mIoU_iter_1.pth'])
def test_training_does_not_start_from_what_it_writes_over(how, name, tmp_path):
    path = tmp_path / name
    path.touch()
    model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=str(path))))
    cfg = Config(dict(model=model if how == 'init_cfg' else {}, work_dir=str(tmp_path)))
    if how == 'load_from':
        cfg.load_from = str(path)
    with pytest.raises(OverwritingError, match=f"starts from '{path}'"):
        check_start(cfg)
    cfg.work_dir = str(tmp_path / 'other')
    check_start(cfg)
    cfg.work_dir, cfg.resume = str(tmp_path), True
    check_start(cfg)


def test_training_starts_from_other_files_in_its_folder(tmp_path):
    (tmp_path / 'converted.pth').touch()
    for checkpoint in (tmp_path / 'converted.pth', 'https://example.org/epoch_1.pth'):
        check_start(
            Config(dict(model={}, work_dir=str(tmp_path), load_from=str(checkpoint)))
        )


CONFIG = """
# The author's own words.
default_scope = 'mmpretrain'
model = dict(type='ImageClassifier', backbone=dict(type='LeNet5'))
launcher = 'none'
"""


@pytest.mark.parametrize('where', ['work', 'configs', 'linked'])
def test_runner_does_not_write_over_its_config_file(where, tmp_path):
    work = tmp_path / 'work'
    work.mkdir()
    path = (work if where == 'work' else tmp_path) / 'my_config.py'
    path.write_text(CONFIG)
    if where == 'linked':
        (work / path.name).symlink_to(path)
    cfg = Config.fromfile(path)
    cfg.work_dir = str(work)
    runner = build_runner(cfg, partial_checkpoint=False)
    assert path.read_text() == CONFIG
    expected = path.name if where == 'configs' else f'{runner.timestamp}.py'
    written = Config.fromfile(work / expected)
    assert written.model == Config.fromfile(path).model


def test_predictions_appear_when_all_are_there(tmp_path):
    out = tmp_path / 'p.pkl'
    cfg = Config(dict(test_evaluator=dict(type='Accuracy')))
    with pytest.raises(RuntimeError), written_predictions(cfg, str(out)):
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    cfg = Config(dict(test_evaluator=dict(type='Accuracy')))
    with written_predictions(cfg, str(out)):
        metric = cfg.test_evaluator[1]
        dump([1], metric.out_file_path)
        assert not out.exists()
    assert metric.type == 'DumpResults'
    assert pickle.loads(out.read_bytes()) == [1]
    assert list(tmp_path.iterdir()) == [out]


def test_label_images_join_those_of_before(tmp_path):
    cfg = Config(dict(default_scope='mmseg', test_evaluator=dict(type='IoUMetric')))
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels' / 'old.png').touch()
    with written_predictions(cfg, str(tmp_path / 'labels')):
        dump({}, cfg.test_evaluator[0].output_dir + '/new.json')
        assert {p.name for p in (tmp_path / 'labels').iterdir()} == {'old.png'}
    assert {p.name for p in (tmp_path / 'labels').iterdir()} == {'old.png', 'new.json'}
    assert [path.name for path in tmp_path.iterdir()] == ['labels']


@pytest.mark.parametrize('scope, out', [('mmseg', 'a.txt'), ('mmdet', 'folder')])
def test_unknown_form_of_predictions_is_refused(scope, out, tmp_path):
    cfg = Config(dict(default_scope=scope, test_evaluator=dict(type='A')))
    with (
        pytest.raises(ConfigError, match=f"`out`='.*{out}' must end in .pkl"),
        written_predictions(cfg, str(tmp_path / out)),
    ):
        pass
