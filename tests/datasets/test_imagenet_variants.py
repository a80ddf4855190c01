"""The robustness data sets: layouts of the releases, masks, and what is refused."""

import shutil
from importlib.resources import files

import pytest
import torch
from mmengine.registry import DATASETS

import mmdcls.registry  # noqa: F401  registers the scope
from mmdcls.datasets import (
    ImageNetA,
    ImageNetC,
    ImageNetCBar,
    ImageNetR,
    ImageNetSketch,
    ImageNetVal,
)
from mmdcls.datasets.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from mmdcls.datasets.imagenet_variants import (
    CBAR_SEVERITIES,
    ImageFolderError,
    read_wordnet_ids,
)
from mmdcls.evaluation import MaskedAccuracy

CLASSES = ('n01440764', 'n01443537', 'n02124075')


def fill(folder, classes=CLASSES, count=2, suffix='JPEG'):
    """Write empty files: the data sets list images, they do not read them."""
    for wnid in classes:
        (folder / wnid).mkdir(parents=True)
        for i in range(count):
            (folder / wnid / f'{wnid}_{i}.{suffix}').touch()


def test_hidden_files_are_no_images(tmp_path):
    fill(tmp_path)
    for name in ('._n01440764_0.JPEG', '.DS_Store', 'Thumbs.db'):
        (tmp_path / CLASSES[0] / name).touch()
    (tmp_path / '._n01440764').touch()
    dataset = ImageNetVal(tmp_path, wordnet_ids=CLASSES, image_count=6)
    assert len(dataset) == 6


# ---------------------------------------------------------------------------- masks


@pytest.mark.parametrize(
    ('kind', 'name'), [(ImageNetA, 'imagenet_a'), (ImageNetR, 'imagenet_r')]
)
def test_mask_is_right_on_every_class(tmp_path, kind, name):
    text = (files('timm.data') / '_info' / f'{name}_indices.txt').read_text()
    indices = [int(line) for line in text.split()]
    wordnet_ids = read_wordnet_ids(name)
    fill(tmp_path, wordnet_ids, count=1, suffix='jpg')
    dataset = kind(tmp_path, image_count=200)
    assert len(indices) == len(set(indices)) == 200
    assert dataset.metainfo['selected_classes'] == tuple(indices)
    assert [read_wordnet_ids()[i] for i in indices] == list(wordnet_ids)
    metric = MaskedAccuracy()
    metric.dataset_meta = dataset.metainfo
    outside = next(i for i in range(1000) if i not in indices)
    for i, label in enumerate(indices):
        sample = dataset.get_data_info(i)
        assert f'/{wordnet_ids[i]}/' in sample['img_path']
        assert sample['gt_label'] == label
        # Outside the mask another class wins by far, and every other class inside
        # comes after the true one.
        scores = torch.zeros(1000)
        scores[outside], scores[label] = 0.9, 0.1
        metric.process({}, [dict(pred_score=scores, gt_label=torch.tensor([label]))])
        # The true class comes last.
        scores = torch.full((1000,), 0.5)
        scores[label] = 0.1
        metric.process({}, [dict(pred_score=scores, gt_label=torch.tensor([label]))])
    metrics = metric.evaluate(400)
    assert metrics['accuracy/top1'] == metrics['accuracy/top5'] == 50


def test_class_lists_are_the_published_ones():
    assert len(read_wordnet_ids()) == len(set(read_wordnet_ids())) == 1000
    assert list(read_wordnet_ids()) == sorted(read_wordnet_ids())
    # Both lists begin with these in the releases' own code.
    assert read_wordnet_ids('imagenet_a')[:3] == ('n01498041', 'n01531178', 'n01534433')
    assert read_wordnet_ids('imagenet_r')[:3] == ('n01443537', 'n01484850', 'n01494475')


# -------------------------------------------------------------------------- layouts


@pytest.mark.parametrize('kind', [ImageNetVal, ImageNetSketch])
def test_thousand_classes(tmp_path, kind):
    fill(tmp_path, read_wordnet_ids(), count=1)
    dataset = kind(tmp_path, image_count=1000)
    assert dataset.metainfo['selected_classes'] == tuple(range(1000))
    assert [dataset.get_data_info(i)['gt_label'] for i in (0, 7, 999)] == [0, 7, 999]


def test_imagenet_c(tmp_path):
    for corruption in ('fog', 'saturate'):
        for severity in (2, 5):
            fill(tmp_path / corruption / str(severity))
    dataset = ImageNetC(
        tmp_path, ['fog', 'saturate'], severities=(2, 5), wordnet_ids=CLASSES
    )
    assert len(dataset) == 2 * 2 * 3 * 2
    sample = dataset.get_data_info(7)
    assert sample['img_path'].endswith('fog/5/n01440764/n01440764_1.JPEG')
    assert (sample['corruption'], sample['severity'], sample['gt_label']) == (
        *('fog', 5),
        0,
    )


def test_imagenet_c_has_the_15_by_default(tmp_path):
    assert ImageNetC(tmp_path, lazy_init=True, wordnet_ids=CLASSES).corruptions == (
        CORRUPTIONS
    )
    assert len(CORRUPTIONS) == 15 and not set(CORRUPTIONS) & set(EXTRA_CORRUPTIONS)


@pytest.mark.parametrize('layout', ['release', 'generator', 'generator, one above'])
def test_imagenet_c_bar(tmp_path, layout):
    root = tmp_path
    if layout == 'generator, one above':
        root = tmp_path / 'ImageNet-C-Bar'
    for name, strengths in CBAR_SEVERITIES.items():
        for severity, strength in enumerate(strengths, 1):
            folder = str(severity) if layout == 'release' else f'{strength:.2f}'
            fill(root / name / folder, count=1)
    dataset = ImageNetCBar(tmp_path, wordnet_ids=CLASSES)
    assert len(dataset) == 10 * 5 * 3
    for i, name in enumerate(CBAR_SEVERITIES):
        for severity in range(1, 6):
            sample = dataset.get_data_info(i * 15 + (severity - 1) * 3)
            assert (sample['corruption'], sample['severity']) == (name, severity)
            assert f'/{name}/' in sample['img_path']


def test_other_classes_follow_the_order_given(tmp_path):
    fill(tmp_path)
    dataset = ImageNetVal(tmp_path, wordnet_ids=CLASSES[::-1])
    labels = {
        dataset.get_data_info(i)['img_path'].split('/')[-2]: dataset.get_data_info(i)[
            'gt_label'
        ]
        for i in range(len(dataset))
    }
    assert labels == dict(zip(CLASSES[::-1], range(3), strict=True))


def test_folders_of_ones_own_need_no_wordnet_ids(tmp_path):
    names = ('apple', 'n1', 'pear')
    fill(tmp_path, names)
    for hidden in ('.cache/x.jpg', 'apple/._apple_0.JPEG', 'apple/.DS_Store'):
        (tmp_path / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / hidden).touch()
    (tmp_path / 'pear/x.TIF').touch()
    dataset = ImageNetVal(tmp_path, wordnet_ids=names)
    found = [dataset.get_data_info(i) for i in range(len(dataset))]
    listed = [(sample['img_path'], sample['gt_label']) for sample in found]
    names = [(f'{n}/{n}_{i}.JPEG', x) for x, n in enumerate(names) for i in (0, 1)]
    names.append(('pear/x.TIF', 2))
    assert listed == [(f'{tmp_path}/{name}', label) for name, label in names]


def test_classes_without_images_are_accepted_and_counted(tmp_path):
    fill(tmp_path)
    empty_class(tmp_path)
    shutil.rmtree(tmp_path / CLASSES[0])
    dataset = ImageNetVal(tmp_path, wordnet_ids=CLASSES, image_count=None)
    labels = [dataset.get_data_info(i)['gt_label'] for i in range(len(dataset))]
    assert labels == [2, 2]
    assert dataset.empty_classes == set(CLASSES[:2])
    shutil.rmtree(tmp_path / CLASSES[2])
    with pytest.raises(ImageFolderError, match='no image of 3 of 3 classes'):
        ImageNetVal(tmp_path, wordnet_ids=CLASSES, image_count=None)


def test_data_sets_are_registered(tmp_path):
    fill(tmp_path)
    dataset = DATASETS.build(
        dict(type='mmdcls.ImageNetVal', data_root=str(tmp_path), wordnet_ids=CLASSES)
    )
    assert isinstance(dataset, ImageNetVal)


# -------------------------------------------------------------------------- refused


def remove_class(root):
    shutil.rmtree(root / CLASSES[1])


def empty_class(root):
    for path in (root / CLASSES[1]).iterdir():
        path.unlink()


def foreign_class(root):
    (root / 'n99999999').mkdir()


def remove_all(root):
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (remove_all, 'does not exist'),
        (remove_class, r'no image of 1 of 3 classes \(n01443537\)'),
        (empty_class, r'no image of 1 of 3 classes \(n01443537\)'),
        (foreign_class, '1 folders of classes .* ImageNetVal .*n99999999'),
    ],
)
def test_wrong_folders(tmp_path, damage, message):
    fill(tmp_path / 'val')
    damage(tmp_path / 'val')
    with pytest.raises(ImageFolderError, match=message):
        ImageNetVal(tmp_path / 'val', wordnet_ids=CLASSES)


def test_wrong_count(tmp_path):
    fill(tmp_path, read_wordnet_ids('imagenet_a'), count=1)
    with pytest.raises(ImageFolderError, match='200 images instead of 7500'):
        ImageNetA(tmp_path)


def test_another_benchmark_in_the_folder(tmp_path):
    fill(tmp_path, read_wordnet_ids('imagenet_r'), count=1)
    with pytest.raises(ImageFolderError, match='no image of .* of 200 classes'):
        ImageNetA(tmp_path)


def test_mask_that_matches_no_class(tmp_path):
    with pytest.raises(ImageFolderError, match='none of the 1 classes of the model'):
        ImageNetA(tmp_path, wordnet_ids=['n01440764'])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(corruptions=['rain']), "ImageNetC has no 'rain', but gaussian_noise"),
        (dict(severities=[0]), 'ImageNetC has no 0, but 1, 2, 3, 4, 5'),
    ],
    ids=['corruption', 'severity'],
)
def test_unknown_cells(tmp_path, arguments, message):
    with pytest.raises(ImageFolderError, match=message):
        ImageNetC(tmp_path, **arguments)
