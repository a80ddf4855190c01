"""A launcher's processes on CPUs; tests/tools/test_distributed.py has two of them."""

import pytest
import torch
from helpers.engine_runs import SmallModel, run
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmdcls.engine import CPURunner
from mmdcls.engine.cpu_runner import join_processes
from mmdcls.registry import RUNNERS

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason='for machines without GPU'
)


class Normalised(SmallModel):
    """A SmallModel with the norm of the paper's heads, which GPUs alone can run."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(self.conv, nn.SyncBatchNorm(3))


@pytest.fixture
def launched(monkeypatch):
    """The environment of a launcher's only process, which leaves at the end."""
    threads = dict(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
    process = dict(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0')
    # Port 0: any free one.
    address = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT='0')
    for name, value in {**threads, **process, **address}.items():
        monkeypatch.setenv(name, value)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def test_one_process_of_a_launcher_trains_as_without(tmp_path, launched):
    torch.manual_seed(1)
    expected = run(tmp_path / 'plain', Normalised()).model
    torch.manual_seed(1)
    runner = run(
        tmp_path / 'launched',
        Normalised(),
        runner_class=RUNNERS.get('CPURunner'),
        launcher='pytorch',
        env_cfg=dict(dist_cfg=dict(backend='nccl', timeout=60)),
    )
    assert isinstance(runner, CPURunner)
    assert isinstance(runner.model, DistributedDataParallel)
    assert torch.distributed.get_backend() == 'gloo'
    actual = runner.model.module.state_dict()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(actual[name], value, msg=name)


def test_settings_of_the_wrapper_are_the_configs(tmp_path, launched):
    runner = run(
        tmp_path,
        runner_class=CPURunner,
        launcher='pytorch',
        cfg=dict(model_wrapper_cfg=dict(find_unused_parameters=True)),
    )
    assert runner.model.find_unused_parameters
    assert not runner.model.broadcast_buffers


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_other_launchers_need_gpus(launcher):
    with pytest.raises(
        ValueError, match=f"`launcher`={launcher} needs GPUs.*'pytorch'"
    ):
        join_processes(launcher, {})
