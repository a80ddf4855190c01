"""Classes of splits against each other, and of data against heads."""

import pytest
from mmengine.registry import DefaultScope

from mmdcls.datasets.check import ClassList, compare_classes, compare_heads


def folders(key, names):
    return ClassList(key, 'class folders', tuple(names), len(names))


def classes(count, key='train_dataloader.dataset'):
    return ClassList(key, 'classes', tuple(map(str, range(count))), count)


def compared(*names):
    lists = [folders(f'{i}', part) for i, part in enumerate(names)]
    return [
        (str(problem).partition(': ')[2], problem.may_be_meant)
        for problem in compare_classes(lists)
    ]


def test_equal_class_folders():
    assert compared('abc', 'abc', 'abc') == []


def test_a_missing_class_shifts_the_labels_after_it():
    start = 'the class folders are not those of 0 (class folders): '
    assert compared('abcd', 'abcd', 'acd') == [
        (
            f"{start}lacks b; 'c' has label 1 here and 2 there, as 2 of 3 classes "
            'have another label',
            False,
        )
    ]


@pytest.mark.parametrize(
    'others, fact, may_be_meant',
    [
        ('abc', 'lacks d', True),
        ('abcx', 'lacks d; has besides x', True),
        ('abcde', 'has besides e', False),
    ],
)
def test_other_differences(others, fact, may_be_meant):
    ((message, meant),) = compared('abcd', others)
    assert message.endswith(f': {fact}')
    assert meant is may_be_meant


def test_names_of_different_sources_are_not_compared():
    other = ClassList('val', 'classes', ('cat', 'dog'), 2)
    assert compare_classes([folders('train', ('n01', 'n02')), other]) == []


def heads(model, *lists, exact=False, scope='mmseg'):
    with DefaultScope.overwrite_default_scope(scope):
        problems = compare_heads(model, lists, exact)
    return [(problem.path, problem.may_be_meant) for problem in problems]


def test_every_head_of_a_detector():
    bbox_head = dict(type='Shared2FCBBoxHead', num_classes=3)
    model = dict(
        backbone=dict(type='VGG', num_classes=9),
        rpn_head=dict(type='RPNHead', num_classes=1),
        roi_head=dict(
            bbox_head=[bbox_head, dict(bbox_head, num_classes=80)],
            mask_head=dict(type='FCNMaskHead', num_classes=3),
            semantic_head=dict(type='FusedSemanticHead', num_classes=183),
        ),
    )
    detector = dict(type='SoftTeacher', detector=model)
    for host, key in ((model, 'model'), (detector, 'model.detector')):
        assert heads(host, classes(3), exact=True, scope='mmdet') == [
            (f'{key}.roi_head.bbox_head[1]', False)
        ]


def test_a_default_number_of_classes_counts():
    model = dict(roi_head=dict(mask_head=dict(type='FCNMaskHead')))
    with DefaultScope.overwrite_default_scope('mmdet'):
        (problem,) = compare_heads(model, [classes(2)], exact=True)
    assert str(problem) == (
        'model.roi_head.mask_head: num_classes=80 (the default), but '
        'train_dataloader.dataset has 2 classes (0, 1)'
    )
    assert heads(model, classes(80), exact=True, scope='mmdet') == []


@pytest.mark.parametrize('num_classes, expected', [(150, []), (151, True), (19, False)])
def test_heads_of_a_segmentor(num_classes, expected):
    head = dict(type='FCNHead', num_classes=num_classes)
    model = dict(decode_head=head, auxiliary_head=[dict(head), dict(head)])
    keys = ('decode_head', 'auxiliary_head[0]', 'auxiliary_head[1]')
    assert heads(model, classes(150), classes(150, 'val')) == (
        [(f'model.{key}', expected) for key in keys] if expected != [] else []
    )


@pytest.mark.parametrize(
    'head', [dict(num_classes=2, out_channels=1), dict(num_classes=1)]
)
def test_one_output_tells_two_classes_apart(head):
    model = dict(decode_head=dict(type='FCNHead', **head))
    assert heads(model, classes(2)) == []
    assert heads(model, classes(3)) == [('model.decode_head', False)]
    # The borders of any classes, as in STDC.
    auxiliary = dict(auxiliary_head=[dict(type='STDCHead', **head)])
    assert heads(auxiliary, classes(19)) == []


def test_a_classifiers_spare_outputs_may_be_meant():
    model = dict(head=dict(type='LinearClsHead', num_classes=1000))
    assert heads(model, classes(10), scope='mmpretrain') == [('model.head', True)]
    assert heads(model, classes(1001), scope='mmpretrain') == [('model.head', False)]
