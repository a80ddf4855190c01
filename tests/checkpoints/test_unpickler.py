"""The unpickler of our own, and the warning of files that strangers wrote."""

import argparse
import collections
import pickle

import numpy as np
import pytest
import torch
from helpers.engine_runs import run
from mmengine.logging import HistoryBuffer

from mmdcls.checkpoints import reading, unpickler
from mmdcls.checkpoints.reading import CheckpointError, read_checkpoint
from mmdcls.converters.checkpoint_files import write_checkpoint

HOOK = dict(type='mmdcls.StrictCheckpointHook')


@pytest.fixture
def before_2_6(monkeypatch):
    """Read as with PyTorch before 2.6."""
    monkeypatch.setattr(unpickler, 'torch_is', lambda *version: version < (2, 6))


@pytest.fixture
def before_2_10(monkeypatch, tmp_path):
    """Read as with PyTorch 2.9 at most, with a cache of its own; the warnings."""
    warnings = []
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    really = unpickler.torch_is
    monkeypatch.setattr(
        unpickler, 'torch_is', lambda *version: version < (2, 10) and really(*version)
    )
    monkeypatch.setattr(unpickler, '_warned', False)
    monkeypatch.setattr(
        unpickler, 'print_log', lambda text, **options: warnings.append(text)
    )
    return warnings


def test_what_openmmlab_writes_is_read(tmp_path, before_2_6):
    history = HistoryBuffer(np.arange(3.0), np.ones(3))
    content = {
        'state_dict': collections.OrderedDict(weight=torch.arange(6.0).view(2, 3)),
        'parameter': torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
        'message_hub': {'loss': history, 'scale': np.float32(2.5), 'step': np.int64(7)},
        'arrays': [np.array([1, 2], np.int8), np.array(True)],
        'args': argparse.Namespace(model='tiny', epochs=300),
        'shape': torch.Size([2, 3]),
        'dtype': torch.float16,
        'meta': {'epoch': 3, 'classes': ('a', 'ä'), 'bytes': b'\x00\xff'},
    }
    torch.save(content, tmp_path / 'a.pth')
    found = read_checkpoint(tmp_path / 'a.pth')
    assert found.keys() == content.keys()
    torch.testing.assert_close(found['state_dict'], content['state_dict'])
    assert torch.equal(found['parameter'], content['parameter'])
    assert found['message_hub']['loss'].mean() == history.mean()
    assert found['message_hub']['scale'] == np.float32(2.5)
    assert found['message_hub']['step'].dtype == np.int64
    np.testing.assert_array_equal(found['arrays'][0], content['arrays'][0])
    for key in ('args', 'shape', 'dtype', 'meta'):
        assert found[key] == content[key]


def test_views_share_their_storage(tmp_path, before_2_6):
    whole = torch.zeros(10)
    torch.save({'a': whole[:5], 'b': whole[3:]}, tmp_path / 'a.pth')
    found = read_checkpoint(tmp_path / 'a.pth')
    found['a'][3] = 1
    assert found['b'][0] == 1


class Reduced:
    """Is unpickled by whatever it is given."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    'content, named',
    [
        (Reduced(print, ('run',)), r'\w*builtin\w*\.print'),
        (Reduced(eval, ('1',)), r'\w*builtin\w*\.eval'),
        (Reduced(pickle.loads, (b'a',)), r'pickle\.loads'),
        (Reduced(torch.load, ('x',)), r'torch\.serialization\.load'),
        (Reduced(torch.hub.load, ('x',)), r'torch\.hub\.load'),
        (np.load, r'numpy\.\w*load'),
    ],
)
def test_anything_else_is_refused_and_named(tmp_path, before_2_6, content, named):
    torch.save({'x': content}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=f'holds {named}') as error:
        read_checkpoint(tmp_path / 'a.pth')
    assert 'nothing in it was run' in str(error.value)


def test_classes_are_not_changed(tmp_path, before_2_6):
    # BUILD with a state in slots sets attributes of whatever it is given.
    torch.save({'x': HistoryBuffer}, tmp_path / 'a.pth')
    data = pickle.dumps(HistoryBuffer, protocol=2)[:-1]
    data += pickle.dumps((None, {'mean': 3}), protocol=2)[2:-1] + pickle.BUILD + b'.'
    with pytest.raises(pickle.UnpicklingError, match='it changes .*HistoryBuffer'):
        unpickler.Unpickler(__import__('io').BytesIO(data)).load()
    assert callable(HistoryBuffer.mean)


def test_old_formats_and_programs_are_refused(tmp_path, before_2_6):
    old, program = tmp_path / 'old.pth', tmp_path / 'program.pth'
    torch.save({'a': torch.ones(1)}, old, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match='only files of PyTorch 1.6 and later'):
        read_checkpoint(old)
    torch.jit.script(torch.nn.Identity()).save(str(program))
    with pytest.raises(CheckpointError, match='it is a program of TorchScript'):
        read_checkpoint(program)


def test_bytes_in_other_encodings_are_refused():
    assert reading.latin_bytes('\xff', 'latin1') == b'\xff'
    with pytest.raises(pickle.UnpicklingError, match="encoding 'zip'"):
        reading.latin_bytes('a', 'zip')


def test_a_stranger_is_told_once(tmp_path, before_2_10):
    for name in ('a.pth', 'b.pth'):
        torch.save({'a': torch.ones(1)}, tmp_path / name)
        read_checkpoint(tmp_path / name)
    (warning,) = before_2_10
    assert "a.pth' was not written by this installation" in warning


def test_what_this_installation_wrote_is_no_stranger(tmp_path, before_2_10):
    run(tmp_path / 'run', max_epochs=1, custom_hooks=[HOOK])
    (trained,) = (tmp_path / 'run').glob('*.pth')
    read_checkpoint(trained)
    content = {'state_dict': {}, 'meta': {'classes': ['a']}}
    write_checkpoint(content, tmp_path / 'a.pth')
    assert read_checkpoint(tmp_path / 'a.pth')['meta'].keys() == {
        'classes',
        unpickler.MARK_KEY,
    }
    assert content['meta'] == {'classes': ['a']}
    assert before_2_10 == []


def test_nothing_is_noted_where_nobody_is_warned(tmp_path, monkeypatch):
    monkeypatch.setattr(unpickler, 'torch_is', lambda *version: True)
    write_checkpoint({'state_dict': {}, 'meta': {}}, tmp_path / 'a.pth')
    assert read_checkpoint(tmp_path / 'a.pth')['meta'] == {}


def test_without_a_cache_everybody_is_a_stranger(tmp_path, before_2_10, monkeypatch):
    (tmp_path / 'cache').write_text('a file in its place')
    assert unpickler.installation_mark() is None
    torch.save({'a': torch.ones(1)}, tmp_path / 'a.pth')
    read_checkpoint(tmp_path / 'a.pth')
    assert len(before_2_10) == 1
