"""Readers that are given anything either read it or refuse it in a sentence.

``FUZZ_EXAMPLES=5000 pytest tests/faults/test_fuzz.py`` looks longer.
"""

import copy
import json
import os
import resource

import pytest
import torch
from bad_inputs.materials import write_detection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmdcls.checkpoints import read_checkpoint, tensors_of
from mmdcls.converters import mmdcls_to_official, official_to_mmdcls
from mmdcls.datasets.check import check_datasets, open_sources
from mmdcls.errors import MmdclsError
from mmdcls.robustness import report

EXAMPLES = int(os.environ.get('FUZZ_EXAMPLES', 60))
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize='FUZZ_EXAMPLES' not in os.environ,
    suppress_health_check=list(HealthCheck),
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(content, path=()):
    """Every path into a content of dictionaries and lists."""
    yield path
    items = []
    if isinstance(content, (dict, list)):
        items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield from places(value, (*path, key))


def changed(data, content):
    """A copy of a content with up to three values replaced or taken out."""
    content = copy.deepcopy(content)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(content))))
        if not path:
            return data.draw(values)
        owner = content
        for key in path[:-1]:
            owner = owner[key]
        if data.draw(st.booleans()):
            owner[path[-1]] = data.draw(values)
        else:
            del owner[path[-1]]
    return content


def damaged(data, content):
    """Bytes with some of them changed, cut off, or doubled."""
    content = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(0, len(content) - 1)))
        kind = data.draw(st.sampled_from(['change', 'cut', 'insert', 'zero']))
        if kind == 'change' and content:
            content[place] = data.draw(st.integers(0, 255))
        elif kind == 'cut':
            del content[place:]
        elif kind == 'insert':
            content[place:place] = data.draw(st.binary(max_size=20))
        else:
            content[place : place + 64] = bytes(64)
    return bytes(content)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('fuzz')


@pytest.fixture(scope='module', params=['zip', 'before 1.6', 'safetensors'])
def checkpoint(request, folder):
    """The bytes of a small checkpoint in every format, and the ending of its name."""
    content = {'state_dict': {f'a.{i}': torch.rand(3, 4) for i in range(4)}}
    path = folder / 'sound'
    if request.param == 'safetensors':
        from safetensors.torch import save_file

        save_file(content['state_dict'], path)
        return path.read_bytes(), '.safetensors'
    kind = request.param == 'zip'
    torch.save(content, path, _use_new_zipfile_serialization=kind)
    return path.read_bytes(), '.pth'


@fuzz
@given(data=st.data())
def test_checkpoint_reader(data, checkpoint, folder):
    content, suffix = checkpoint
    path = folder / f'damaged{suffix}'
    path.write_bytes(damaged(data, content))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        tensors_of(read_checkpoint(path), source=path)
    except MmdclsError as error:
        assert path.name in str(error)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * 1024  # Kilobytes; PyTorch itself takes some at first.


tensors = st.builds(
    torch.zeros,
    st.lists(st.integers(0, 3), max_size=4),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool]),
)
names = st.sampled_from(
    [
        'stages.0.0.dwconv.weight',
        'stages.0.0.dwconv.P',
        'stages.0.0.dwconv.DCK.lim',
        'downsample_layers.0.0.weight',
        'backbone.stages.0.0.depthwise_conv.weight',
        'backbone.stages.0.0.depthwise_conv.positions',
        'head.weight',
        'module.norm.weight',
    ]
) | st.text(max_size=9)
state_dicts = st.dictionaries(names | st.integers(), tensors | scalars, max_size=8)


@fuzz
@given(content=state_dicts, key=st.sampled_from([None, 'model', 'state_dict', 'a']))
@pytest.mark.parametrize('convert', [official_to_mmdcls, mmdcls_to_official])
def test_converters(convert, content, key, folder):
    path = folder / 'strange.pth'
    torch.save(content if key is None else {key: content}, path)
    try:
        convert(path).check()
    except MmdclsError as error:
        assert '\n' not in str(error) or str(path) in str(error)


@pytest.fixture(scope='module')
def coco(folder):
    """The content of a sound annotation file, and the config of its data set."""
    write_detection(folder / 'coco')
    file = folder / 'coco/annotations.json'
    loading = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    ]
    dataset = dict(
        type='CocoDataset',
        data_root=str(folder / 'coco'),
        ann_file='annotations.json',
        data_prefix=dict(img='images'),
        pipeline=loading,
    )
    metric = dict(type='CocoMetric', ann_file=str(file), metric=['bbox', 'segm'])
    cfg = Config(
        dict(
            default_scope='mmdet',
            test_dataloader=dict(dataset=dataset),
            test_evaluator=metric,
        )
    )
    content = json.loads(file.read_text())
    content['categories'] = content['categories'][:2]
    return content, cfg, file


@fuzz
@given(data=st.data())
def test_data_set_checker(data, coco):
    content, cfg, file = coco
    file.write_text(json.dumps(changed(data, content)))
    try:
        with DefaultScope.overwrite_default_scope('mmdet'):
            reports = check_datasets(open_sources(cfg, ['test']), workers=1)
        for found in reports:
            assert all(str(problem) for problem in found.problems)
    except MmdclsError as error:
        assert 'test_dataloader' in str(error) or str(file) in str(error), error


REPORT = dict(
    format=report.FORMAT,
    model='a',
    task='classification',
    parameters=10,
    flops=None,
    config='a.py',
    checkpoint='a.pth',
    fingerprints={},
    amp=False,
    on_the_fly=True,
    outputs=None,
    benchmarks=dict(
        clean=dict(top1=50.0, top5=60.0, unreadable=[['a.png', 'empty']]),
        c=dict(
            corruptions=dict(fog={'1': dict(top1=3.0, top5=4.0)}),
            mean_error=97.0,
            cells=1,
        ),
    ),
    missing=['a'],
)


@fuzz
@given(data=st.data())
def test_report_reader(data, folder):
    path = folder / 'report.json'
    path.write_text(json.dumps(changed(data, REPORT)))
    try:
        content = report.read(path)
    except MmdclsError as error:
        assert str(path) in str(error)
    else:
        assert '<script' not in report.to_markdown([content])


def test_a_sound_report_is_read(folder):
    path = folder / 'sound.json'
    path.write_text(json.dumps(REPORT))
    assert report.read(path) == REPORT
    assert 'a.png' in report.to_markdown([report.read(path)])
    hostile = {**REPORT, 'model': 'a|b\n<script>alert(1)</script>'}
    path.write_text(json.dumps(hostile))
    table = report.to_markdown([report.read(path)])
    assert '<script' not in table and 'a\\|b &lt;script' in table
