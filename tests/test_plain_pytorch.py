"""Operators and layers need PyTorch and NumPy alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCKED = ('mmengine', 'mmcv', 'mmpretrain', 'mmseg', 'mmdet', 'matplotlib', 'rich')
BLOCK = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {BLOCKED}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocker())
"""


def run(code):
    process = subprocess.run(
        [sys.executable, '-W', 'error::DeprecationWarning:mmdcls', '-c', BLOCK + code],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_the_packages_are_blocked():
    code = "\ntry:\n    import rich\nexcept ImportError:\n    print('blocked')"
    assert run(code) == 'blocked\n'


def test_the_training_loop_of_the_readme():
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.S)
    (loop,) = (block for block in blocks if 'position_param_groups' in block)
    assert len([line for line in loop.splitlines() if line]) <= 20
    data = """
import torch
torch.manual_seed(0)
images, labels = torch.randn(8, 3, 64, 64), torch.arange(8)
loader = [(images, labels)] * 30
"""
    judge = """
dcls = model[1]
before = nn.functional.cross_entropy(torch.zeros(8, 10), labels)
assert loss < before, (loss, before)
assert type(dcls).__name__ == 'DCLSConv2d' and dcls.positions.grad.abs().sum() > 0
assert dcls.positions.abs().max() <= 8
"""
    run(data + loop + judge)


def test_positions_come_back_and_groups_are_complete():
    run("""
import torch
from mmdcls.layers import DCLSConv1d, DCLSConv2d, clamp_positions
from mmdcls.layers import position_param_groups
model = torch.nn.ModuleDict(dict(
    a=DCLSConv2d(4, 4, dilated_kernel_size=7, kernel_count=3, groups=4),
    b=DCLSConv2d(4, 4, dilated_kernel_size=7, kernel_count=3, groups=4),
    c=DCLSConv1d(4, 4, dilated_kernel_size=7, kernel_count=3, interpolation='gaussian'),
    d=torch.nn.Linear(2, 2)))
model.b.positions = model.a.positions
groups = position_param_groups(model, lr=0.1, weight_decay=0.2, lr_mult=3.0)
found = [p for group in groups for p in group['params']]
assert len(found) == len({id(p) for p in found}) == len(list(model.parameters()))
by_name = {group['name']: group for group in groups}
assert {id(p) for p in by_name['positions']['params']} == {
    id(model.a.positions), id(model.c.positions)}
assert [id(p) for p in by_name['sigma']['params']] == [id(model.c.sigma)]
options = {name: (g['lr'], g['weight_decay']) for name, g in by_name.items()}
assert options == {'others': (0.1, 0.2), 'positions': (0.1 * 3, 0), 'sigma': (0.1, 0)}
with torch.no_grad():
    model.a.positions.fill_(99)
clamp_positions(model)
assert (model.b.positions == 3).all()
""")


def test_the_operators_and_their_benchmark():
    run("""
import torch
import mmdcls.ops.benchmark
from mmdcls.ops import construct_kernel, depthwise_conv2d
images = torch.randn(1, 2, 9, 9)
result = depthwise_conv2d(images, torch.randn(2, 1, 3, 3), padding=1)
assert result.shape == images.shape
""")


def test_importing_the_layers_imports_nothing_of_openmmlab():
    loaded = run('import mmdcls.layers\nprint(*sorted(n for n in sys.modules))')
    own = {name for name in loaded.split() if name.startswith('mmdcls.')}
    rooms = {name.split('.')[1] for name in own}
    helpers = {'compat', 'environment', 'errors', 'files', 'version'}
    assert rooms == {'layers', 'ops', *helpers}


def test_the_version_needs_no_pytorch():
    loaded = run('import mmdcls\nprint(mmdcls.__version__, "torch" in sys.modules)')
    assert loaded.endswith(' False\n')
