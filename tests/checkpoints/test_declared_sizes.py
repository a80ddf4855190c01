"""Small files that ask for much memory are refused before they get it."""

import io
import pickle
import struct
import subprocess
import sys
import zipfile

import pytest
import torch
from helpers.engine_runs import run
from helpers.versions import needs_old_formats

from mmdcls.checkpoints import CheckpointError, read_checkpoint

GIGABYTES = 4 * 2**30

# Refuses a file in a process that may not take half a gigabyte more than it has.
REFUSE = """
import resource, sys
from pathlib import Path
from mmdcls.checkpoints import CheckpointError, read_checkpoint
used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, -1))
try:
    read_checkpoint(sys.argv[1])
except CheckpointError as error:
    print(error)
"""


def rewrite(source, target, change, compression=zipfile.ZIP_STORED):
    """Copy a checkpoint's archive with some parts changed: name and bytes to bytes."""
    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(target, 'w', compression) as new,
    ):
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def compressed(path):
    """Three hundred megabytes of zeros, compressed to kilobytes."""
    source = path.with_suffix('.full')
    torch.save({'state_dict': {'a': torch.zeros(75 * 2**20)}}, source)
    rewrite(source, path, lambda name, data: data, zipfile.ZIP_DEFLATED)
    source.unlink()


def lying_storage(path):
    """A storage of four gigabytes, said the pickle, of which four bytes are there."""
    source = path.with_suffix('.honest')
    torch.save({'a': torch.zeros(0x01020304 - 0x01020300)}, source)

    def change(name, data):
        if not name.endswith('data.pkl'):
            return data
        # The element count of the storage and the size of the tensor: BININT1 4.
        return data.replace(b'K\x04', b'J' + struct.pack('<i', 2**30))

    rewrite(source, path, change)


class Tensor:
    """Pickles as a tensor that is larger than its storage."""

    def __init__(self, size, stride):
        self.storage = torch.zeros(4)
        self.size, self.stride = size, stride

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, (
            *(self.storage.storage(), 0, self.size, self.stride, False),
            __import__('collections').OrderedDict(),
        )


def oversized_tensor(path):
    torch.save({'a': Tensor((2**30,), (1,))}, path)


def repeated_value(path):
    torch.save({'a': torch.zeros(1).expand(2**30)}, path)


def old_format(path):
    """A storage of four gigabytes in the format of PyTorch before 1.6."""
    whole = io.BytesIO()
    torch.save({'a': torch.zeros(4)}, whole, _use_new_zipfile_serialization=False)
    path.write_bytes(
        whole.getvalue().replace(b'K\x04', b'J' + struct.pack('<i', 2**30))
    )


def large_array(path):
    import numpy as np

    class Array:
        def __reduce__(self):
            reconstruct, _, _ = np.empty(0).__reduce__()
            return reconstruct, (np.ndarray, (2**32,), b'b')

    torch.save({'a': Array()}, path)


@pytest.mark.parametrize(
    'write, sentence',
    [
        (compressed, "its part 'compressed/data.pkl' is compressed"),
        (lying_storage, "its storage '0' declares 4294967296 bytes and has 16"),
        (oversized_tensor, 'a tensor of 1073741824 elements and has 4 values'),
        (repeated_value, 'a tensor of 1073741824 elements and has 1 values'),
        (old_format, 'its storages declare 4294967296 bytes in all'),
        (large_array, 'declares an array larger than the file'),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
def test_small_file_that_wants_much_memory_is_refused(tmp_path, write, sentence):
    path = tmp_path / f'{write.__name__}.pth'
    write(path)
    assert path.stat().st_size < 2**20
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value) and sentence in str(error.value)
    process = subprocess.run(
        [sys.executable, '-c', REFUSE, str(path)], capture_output=True, text=True
    )
    assert sentence in process.stdout, process.stderr[-2000:]


def test_overlapping_parts_are_refused(tmp_path):
    path = tmp_path / 'overlapping.pth'
    torch.save({'a': torch.zeros(1000), 'b': torch.ones(1000)}, path)
    with zipfile.ZipFile(path) as archive:
        first, second = (
            entry for entry in archive.infolist() if '/data/' in entry.filename
        )
    # The second part's entry in the directory now claims the first one's size and more.
    content = path.read_bytes()
    directory = content.rfind(second.filename.encode()) - 46
    sizes = struct.pack('<II', 10**8, 10**8)
    content = content[: directory + 20] + sizes + content[directory + 28 :]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match='bytes in all, and the file has'):
        read_checkpoint(path)


@pytest.mark.parametrize(
    'zipped',
    [
        pytest.param(True, id='zip'),
        pytest.param(False, id='old format', marks=needs_old_formats),
    ],
)
def test_honest_files_are_read(tmp_path, zipped):
    base = torch.arange(12.0).view(3, 4)
    expected = {
        'transposed': base.t(),
        'half': torch.ones(3, dtype=torch.float16),
        'bfloat16': torch.ones(3, dtype=torch.bfloat16),
        'double': torch.ones(5, dtype=torch.float64),
        'bool': torch.tensor([True, False]),
        'int': torch.arange(7),
        'scalar': torch.tensor(1.0),
        'empty': torch.zeros(0, 3),
        'view': base[1:],
        'expanded': torch.ones(1, 5).expand(4, 5),
        'parameter': torch.nn.Parameter(torch.ones(2)),
    }
    path = tmp_path / 'honest.pth'
    torch.save(expected, path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_a_checkpoint_of_a_training_is_read(tmp_path):
    run(tmp_path, max_epochs=1, custom_hooks=[dict(type='EMAHook')])
    checkpoint = read_checkpoint(tmp_path / 'epoch_1.pth')
    assert {'message_hub', 'optimizer', 'ema_state_dict'} <= checkpoint.keys()


def test_safetensors_whose_header_lies_is_refused(tmp_path):
    header = b'{"a":{"dtype":"F32","shape":[1073741824],"data_offsets":[0,4294967296]}}'
    path = tmp_path / 'lying.safetensors'
    path.write_bytes(struct.pack('<Q', len(header)) + header + bytes(16))
    with pytest.raises(CheckpointError, match=r'lying\.safetensors'):
        read_checkpoint(path)


def test_a_pickle_that_cannot_be_followed_is_refused(tmp_path):
    path = tmp_path / 'odd.pth'
    path.write_bytes(pickle.dumps({'a': 1}))
    with pytest.raises(CheckpointError, match=r'odd\.pth'):
        read_checkpoint(path)
