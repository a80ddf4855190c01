"""Errors of what loads images name the file."""

import numpy as np
import pytest
from mmengine.dataset import BaseDataset, RepeatDataset
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image
from torch.utils.data import DataLoader

from mmdcls.datasets.loading import UnreadableImageError
from mmdcls.engine.named_files_hook import name_files
from mmdcls.sentences import find_sentence


@pytest.fixture
def dataset(tmp_path):
    """Two images, of which the second is a text, in a data set inside another."""
    Image.new('RGB', (4, 4), 'red').save(tmp_path / 'a.png')
    (tmp_path / 'b.png').write_text('no picture')

    class Images(BaseDataset):
        def load_data_list(self):
            return [dict(img_path=str(tmp_path / name)) for name in ('a.png', 'b.png')]

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        load = TRANSFORMS.build(dict(type='LoadImageFromFile'))
        return RepeatDataset(Images(pipeline=[load]), times=2)


def test_the_file_is_named_once(dataset, tmp_path):
    name_files(dataset)
    name_files(dataset)
    assert np.asarray(dataset[0]['img']).shape == (4, 4, 3)
    with pytest.raises(UnreadableImageError) as error:
        dataset[1]
    assert str(error.value).count(f"'{tmp_path / 'b.png'}' cannot be read") == 1


def test_a_worker_names_it_in_one_sentence(dataset, tmp_path):
    name_files(dataset)
    loader = DataLoader(dataset, num_workers=1, collate_fn=list)
    with pytest.raises(UnreadableImageError) as error:
        list(loader)
    sentence = find_sentence(error.value)
    assert sentence.startswith(f"'{tmp_path / 'b.png'}' cannot be read: ")
    assert '\n' not in sentence.strip()


def test_a_file_that_has_vanished(dataset, tmp_path):
    name_files(dataset)
    (tmp_path / 'a.png').unlink()
    with pytest.raises(UnreadableImageError, match=r"a.png' cannot be read: "):
        dataset[0]


def test_other_data_sets_are_left_alone():
    name_files([1, 2])
