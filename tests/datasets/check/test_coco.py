"""A key that is missing is reported where mmdet dies of it, and only there."""

import copy
import json

import pytest
import torch
from helpers.checked_data import coco, edit_annotations, messages
from mmengine.registry import DATASETS, METRICS

ALL_KEYS = ('segmentation', 'area', 'bbox', 'iscrowd', 'category_id', 'image_id', 'id')
EDITS = {
    **{f'annotation-{key}': ('annotations', key, 'gone') for key in ALL_KEYS},
    'annotation-segmentation-empty': ('annotations', 'segmentation', []),
    'annotation-segmentation-null': ('annotations', 'segmentation', None),
    **{
        f'image-{key}': ('images', key, 'gone')
        for key in ('id', 'file_name', 'width', 'height')
    },
    'sound': ('images', 'id', 'kept'),
}
USES = {
    'boxes': (False, None),
    'masks': (True, None),
    'bbox-of-file': (False, dict(metric='bbox', ann_file='the file')),
    'segm-of-file': (False, dict(metric='segm', ann_file='the file')),
    'both-of-file': (False, dict(metric=['bbox', 'segm'], ann_file='the file')),
    'bbox': (False, dict(metric='bbox')),
    'segm': (False, dict(metric='segm')),
    'proposal': (False, dict(metric='proposal', ann_file='the file')),
    'format-only': (False, dict(format_only=True, outfile_prefix='results')),
}


def load_and_measure(config, metric):
    """What mmdet does in an evaluation whose predictions are the annotations."""
    pack = dict(
        type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'instances')
    )
    config = dict(config, pipeline=[*config['pipeline'], pack])
    dataset = DATASETS.build(config)
    samples = [dataset[i]['data_samples'] for i in range(len(dataset))]
    if metric is None:
        return
    metric = METRICS.build(metric)
    metric.dataset_meta = dataset.metainfo
    outputs = []
    for sample in samples:
        truth = sample.gt_instances
        count = len(truth.labels)
        predictions = dict(
            bboxes=truth.bboxes.tensor,
            labels=truth.labels,
            scores=torch.ones(count),
            masks=torch.ones(count, *sample.ori_shape, dtype=torch.bool),
        )
        outputs.append(
            dict(
                pred_instances=predictions,
                img_id=sample.img_id,
                ori_shape=sample.ori_shape,
                instances=sample.instances,
            )
        )
    metric.process({}, outputs)
    metric.evaluate(len(outputs))


@pytest.mark.parametrize('use', USES)
@pytest.mark.parametrize('edit', EDITS)
def test_missing_key(mini, tmp_path, edit, use):
    with_masks, metric = USES[use]
    config = dict(
        coco(mini),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=with_masks),
        ],
    )
    parts, key, value = EDITS[edit]

    def damage(content):
        for part in content[parts]:
            if value == 'gone':
                del part[key]
            elif value != 'kept':
                part[key] = value

    if metric and 'ann_file' in metric:
        # The file of the metric alone, so that its needs are seen on their own.
        name = 'annotations/instances_train2017.json'
        path = tmp_path / 'metric.json'
        content = json.loads((mini / 'coco' / name).read_text())
        damage(content)
        path.write_text(json.dumps(content))
        metric = dict(metric, ann_file=str(path))
    else:
        path = edit_annotations(mini, damage)
    metric = metric and dict(metric, type='CocoMetric')
    if metric and 'outfile_prefix' in metric:
        metric['outfile_prefix'] = str(tmp_path / 'results')
    try:
        load_and_measure(copy.deepcopy(config), copy.deepcopy(metric))
        dies = False
    except (KeyError, TypeError, IndexError):
        dies = True
    problems = messages(config, metrics=[metric] if metric else [])
    named = [problem for problem in problems if f"'{key}'" in problem]
    assert bool(named) == dies, problems
    assert all(problem.startswith(f'{path}: ') for problem in named)


def test_annotations_that_the_data_set_leaves_out_need_no_masks(mini):
    def edit(content):
        content['annotations'][0].update(ignore=1, segmentation=[])
        content['annotations'][1].update(area=0, segmentation=[])
        content['annotations'][2].pop('segmentation')
        content['annotations'][2]['id'] = 'c'

    path = edit_annotations(mini, edit)
    count = len(json.loads(path.read_text())['annotations'])
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_mask=True),
    ]
    assert messages(dict(coco(mini), pipeline=pipeline)) == [
        f"{path}: 1 of {count - 2} annotations have no 'segmentation' (the first: "
        'annotation c), and LoadAnnotations(with_mask=True) ends in an error without it'
    ]


def test_a_test_set_may_have_no_annotations(mini):
    path = edit_annotations(mini, lambda content: content.pop('annotations'))
    assert messages(dict(coco(mini), test_mode=True)) == []
    (problem,) = messages(coco(mini))
    assert problem.startswith(f'{path}: is no annotation file in COCO format')


def test_categories_in_another_order_than_the_classes(mini):
    path = edit_annotations(mini, lambda content: content['categories'].reverse())
    assert messages(coco(mini)) == [
        f"{path}: orders its categories otherwise than the data set's classes: label "
        "0, named 'person', is 'toothbrush'"
    ]
