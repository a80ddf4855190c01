import functools
import http.server
import threading

import pytest
import torch

from mmdcls.checkpoints.reading import CheckpointError, read_checkpoint
from mmdcls.converters import check_destination, write_checkpoint
from mmdcls.converters.checkpoint_files import open_checkpoint
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
        ('a.onnx', CheckpointError, r'must end in \.pth or \.pt or \.safetensors'),
        ('folder.pth', CheckpointError, 'is a folder'),
        ('source.pth', OverwritingError, 'is the same and is to be read'),
    ],
)
def test_bad_destination_is_refused(target, error, message, tmp_path):
    (tmp_path / 'folder.pth').mkdir()
    (tmp_path / 'source.pth').touch()
    with pytest.raises(error, match=message):
        check_destination(tmp_path / 'source.pth', tmp_path / target)


def test_safetensors_hold_tensors_and_meta(tmp_path):
    shared = torch.arange(6.0).view(2, 3)
    state_dict = {'a.P': shared, 'b.P': shared, 'c': torch.ones(3, 2).t()}
    meta = {'dataset_meta': {'classes': ['cat', 'dog']}}
    target = tmp_path / 'new' / 'a.safetensors'
    write_checkpoint({'state_dict': state_dict, 'meta': meta}, target)
    found = open_checkpoint(target)
    assert found.meta == meta
    assert found.state_dict.keys() == state_dict.keys()
    for name, tensor in state_dict.items():
        assert torch.equal(found.state_dict[name], tensor)


def test_safetensors_without_meta_are_a_bare_state_dict(tmp_path):
    write_checkpoint({'model': {'a': torch.ones(2)}}, tmp_path / 'a.safetensors')
    assert read_checkpoint(tmp_path / 'a.safetensors').keys() == {'a'}
    assert open_checkpoint(tmp_path / 'a.safetensors').layout == 'bare'


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of ``tmp_path / 'served'``; gives its address."""
    (tmp_path / 'served').mkdir()
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'hub'))
    handler = functools.partial(Handler, directory=tmp_path / 'served')
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{served.server_port}'
        served.shutdown()
        thread.join()


def test_an_address_is_downloaded_once_and_read(tmp_path, server):
    torch.save({'model': {'a': torch.ones(2)}}, tmp_path / 'served/a.pth')
    assert open_checkpoint(f'{server}/a.pth').state_dict['a'].tolist() == [1, 1]
    (tmp_path / 'served/a.pth').unlink()
    found = open_checkpoint(f'{server}/a.pth')
    assert found.path == tmp_path / 'hub/hub/checkpoints/a.pth'


def test_a_download_that_is_not_what_its_name_says_is_refused(tmp_path, server):
    torch.save({'a': torch.ones(2)}, tmp_path / 'served/a-0123abcd.pth')
    with pytest.raises(CheckpointError, match='cannot be downloaded .*invalid hash'):
        open_checkpoint(f'{server}/a-0123abcd.pth')
    with pytest.raises(CheckpointError, match=r'absent.pth. cannot be downloaded'):
        open_checkpoint(f'{server}/absent.pth')
    assert not list(tmp_path.glob('hub/hub/checkpoints/*'))
