import pytest
import torch

from mmdcls.checkpoints.reading import CheckpointError
from mmdcls.converters import open_checkpoint


def test_deepspeeds_file_of_one_process_is_read_if_it_has_all(tmp_path):
    content = {'module': {'a.weight': torch.ones(2)}, 'optimizer': None}
    path = tmp_path / 'mp_rank_00_model_states.pt'
    torch.save(content, path)
    checkpoint = open_checkpoint(path)
    assert checkpoint.layout == 'module'
    assert torch.equal(checkpoint.state_dict['a.weight'], torch.ones(2))


def test_deepspeeds_file_without_the_other_processes_weights_is_refused(tmp_path):
    content = {'module': {'a.weight': torch.ones(2), 'b.weight': torch.ones(0)}}
    path = tmp_path / 'mp_rank_00_model_states.pt'
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"'b\.weight' is spread .*zero_to_fp32"):
        open_checkpoint(path)


def test_names_that_the_model_has_stay(tmp_path):
    torch.save({'model.head.bias': torch.ones(1)}, tmp_path / 'a.pth')
    checkpoint = open_checkpoint(tmp_path / 'a.pth', expected=['model.head.bias'])
    assert list(checkpoint.state_dict) == ['model.head.bias']
    assert list(open_checkpoint(tmp_path / 'a.pth').state_dict) == ['head.bias']
