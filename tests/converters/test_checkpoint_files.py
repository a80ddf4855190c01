import pytest
import torch

from mmdcls.checkpoints.reading import CheckpointError
from mmdcls.converters import check_destination, write_checkpoint
from mmdcls.files import OverwritingError


class Unwritable:
    """Fails when it is pickled."""

    def __reduce__(self):
        raise OSError('disk full')


def test_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path):
    target = tmp_path / 'new' / 'a.pth'
    write_checkpoint({'a': torch.ones(1)}, target)
    with pytest.raises(CheckpointError, match='cannot be written .disk full'):
        write_checkpoint({'a': torch.zeros(1), 'b': Unwritable()}, target)
    assert torch.load(target)['a'] == 1
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    'target, error, message',
    [
        ('a.safetensors', CheckpointError, r'must end in \.pth'),
        ('folder.pth', CheckpointError, 'is a folder'),
        ('source.pth', OverwritingError, 'is the same and is to be read'),
    ],
)
def test_bad_destination_is_refused(target, error, message, tmp_path):
    (tmp_path / 'folder.pth').mkdir()
    (tmp_path / 'source.pth').touch()
    with pytest.raises(error, match=message):
        check_destination(tmp_path / 'source.pth', tmp_path / target)
