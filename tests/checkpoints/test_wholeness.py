import random
import zipfile

import pytest
import torch

from mmdcls.checkpoints import CheckpointError
from mmdcls.checkpoints.wholeness import check_whole


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    tensor = torch.arange(3000.0)
    torch.save({'state_dict': {'weight': tensor}, 'meta': {'epoch': 1}}, path)
    return path


def test_whole_file_is_accepted(checkpoint):
    check_whole(checkpoint)


@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda content: content[: len(content) // 2], 'its end is missing'),
        (lambda content: content[:-1], 'its end is missing|File is not a zip'),
        (lambda content: b'', 'is empty'),
        (lambda content: bytes(len(content)), 'it is no archive'),
        (lambda content: b'not a checkpoint', 'it is no archive'),
        (lambda content: content + content[-4000:], 'complete|has changed'),
    ],
    ids=['half', 'last byte', 'empty', 'zeroed', 'text', 'appended'],
)
def test_damaged_files_are_refused(checkpoint, damage, message):
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(CheckpointError, match=message) as error:
        check_whole(checkpoint)
    assert str(checkpoint) in str(error.value)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match='does not exist'):
        check_whole(tmp_path / 'epoch_1.pth')


def test_flipped_bit_in_a_tensor_is_noticed_where_pytorch_does_not(checkpoint):
    content = bytearray(checkpoint.read_bytes())
    with zipfile.ZipFile(checkpoint) as archive:
        name = next(n for n in archive.namelist() if n.endswith('/data/0'))
        data = archive.read(name)
    place = content.find(data) + 1000
    content[place] ^= 1
    checkpoint.write_bytes(content)
    loaded = torch.load(checkpoint, weights_only=True)
    assert not torch.equal(loaded['state_dict']['weight'], torch.arange(3000.0))
    with pytest.raises(CheckpointError, match=f"'{name}' does not match its checksum"):
        check_whole(checkpoint)


def test_flipped_bits_anywhere_are_noticed_or_change_nothing(checkpoint):
    content = checkpoint.read_bytes()
    generator = random.Random(0)
    noticed = 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        checkpoint.write_bytes(damaged)
        try:
            check_whole(checkpoint)
        except CheckpointError:
            noticed += 1
            continue
        loaded = torch.load(checkpoint, weights_only=True)
        assert torch.equal(loaded['state_dict']['weight'], torch.arange(3000.0))
        assert loaded['meta'] == {'epoch': 1}
    assert noticed > 200
