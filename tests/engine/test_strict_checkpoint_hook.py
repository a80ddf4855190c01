import pytest
import torch
from helpers.engine_runs import SmallModel, run
from mmpretrain.models.backbones import ResNet, VisionTransformer

from mmdcls.engine import CheckpointError
from mmdcls.models import ConvNeXtDCLS

EXACT = dict(type='mmdcls.StrictCheckpointHook')
PARTIAL = dict(type='mmdcls.StrictCheckpointHook', partial=True)


def save(path, model=None, **changes):
    state_dict = (model or SmallModel()).state_dict()
    state_dict.update(changes)
    torch.save(
        {'state_dict': {k: v for k, v in state_dict.items() if v is not None}}, path
    )
    return str(path)


def train_from(tmp_path, checkpoint, hook):
    return run(
        tmp_path / 'run',
        max_epochs=1,
        load_from=checkpoint,
        custom_hooks=[hook],
        log_level='INFO',
    )


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'head.bias': None}, "no 'head.bias' .1 missing, 0 unexpected"),
        ({'other': torch.zeros(1)}, "no 'other' .0 missing, 1 unexpected"),
        (
            {'head.bias': torch.zeros(7)},
            r"'head.bias' is \(7,\) in the file and \(1,\)",
        ),
    ],
    ids=['missing', 'unexpected', 'shape'],
)
def test_exact_refuses_what_differs(tmp_path, changes, message):
    checkpoint = save(tmp_path / 'a.pth', **changes)
    with pytest.raises(CheckpointError, match=message) as error:
        train_from(tmp_path, checkpoint, EXACT)
    assert 'a.pth' in str(error.value)


def test_another_kernel_count_is_refused(tmp_path):
    checkpoint = save(tmp_path / 'a.pth', model=SmallModel(kernel_count=6))
    with pytest.raises(CheckpointError, match='of another shape'):
        train_from(tmp_path, checkpoint, EXACT)


def test_exact_accepts_its_own_and_ddps_names(tmp_path):
    model = SmallModel()
    train_from(tmp_path, save(tmp_path / 'a.pth', model=model), EXACT)
    prefixed = {f'module.{name}': v for name, v in model.state_dict().items()}
    torch.save({'state_dict': prefixed}, tmp_path / 'b.pth')
    train_from(tmp_path, str(tmp_path / 'b.pth'), EXACT)


def test_partial_accepts_some_and_refuses_none(tmp_path):
    checkpoint = save(tmp_path / 'a.pth', **{'head.bias': torch.zeros(7)})
    train_from(tmp_path, checkpoint, PARTIAL)
    torch.save({'state_dict': {'other': torch.zeros(1)}}, tmp_path / 'b.pth')
    with pytest.raises(CheckpointError, match='none of the 5 tensors of the model'):
        train_from(tmp_path, str(tmp_path / 'b.pth'), PARTIAL)


def test_partial_lists_what_is_left_out(tmp_path, capsys):
    checkpoint = save(tmp_path / 'a.pth', **{'head.bias': torch.zeros(7)})
    train_from(tmp_path, checkpoint, PARTIAL)
    assert '4 of 5 tensors of the model are loaded' in told(capsys)


def told(capsys):
    captured = capsys.readouterr()
    return ' '.join((captured.out + captured.err).split())


class Classifier(SmallModel):
    """A backbone and a head for some classes."""

    def __init__(self, classes=2, kernel_count=5):
        super().__init__()
        self.conv = torch.nn.Identity()
        self.backbone = ConvNeXtDCLS(
            dict(depths=[1] * 4, channels=[2] * 4),
            dilated_kernel_size=3,
            kernel_count=kernel_count,
        )
        self.head = torch.nn.Linear(2, classes)

    def forward(self, images, targets=None, mode='tensor'):
        outputs = self.head(self.backbone(images.repeat(1, 1, 4, 4))[0]).mean(1)
        if mode == 'loss':
            return {'loss_square': ((outputs - targets) ** 2).mean()}
        return list(outputs)


def start(tmp_path, checkpoint, hooks, **kwargs):
    return run(
        tmp_path / 'run',
        model=Classifier(**kwargs),
        max_epochs=1,
        load_from=str(checkpoint),
        custom_hooks=hooks,
        log_level='INFO',
    )


@pytest.mark.parametrize('ema', ['EMAHook', 'mmpretrain.EMAHook'])
def test_a_head_for_other_classes_starts_anew(tmp_path, capsys, ema):
    """Also where the checkpoint holds averaged weights, which mmpretrain refused."""
    hooks = [PARTIAL, dict(type=ema, priority='ABOVE_NORMAL')]
    trained = run(
        tmp_path / 'first', model=Classifier(), max_epochs=1, custom_hooks=hooks[1:]
    )
    assert trained.epoch == 1
    checkpoint = tmp_path / 'first' / 'epoch_1.pth'
    start(tmp_path, checkpoint, hooks, classes=3)
    message = told(capsys)
    assert 'tensors of the backbone are loaded from' in message
    assert "'head.weight' is (2, 2) in the file and (3, 2) in the model" in message
    assert 'both start from its state_dict' in message


def test_a_backbone_of_another_kernel_count_does_not_start(tmp_path):
    checkpoint = save(tmp_path / 'a.pth', model=Classifier(kernel_count=6))
    with pytest.raises(CheckpointError, match='does not fit the backbone.* 8 of its'):
        start(tmp_path, checkpoint, [PARTIAL])
    start(tmp_path, checkpoint, [dict(PARTIAL, allow_mismatch=True)])


def test_another_backbone_does_not_start(tmp_path):
    model = Classifier()
    model.backbone = ResNet(18)
    checkpoint = save(tmp_path / 'a.pth', model=model)
    for hook in (PARTIAL, dict(PARTIAL, allow_mismatch=True)):
        with pytest.raises(CheckpointError, match='none of the .* of the backbone'):
            start(tmp_path, checkpoint, [hook])


@pytest.mark.parametrize('hook', [EXACT, PARTIAL], ids=['exact', 'partial'])
@pytest.mark.parametrize('ema', ['EMAHook', 'mmpretrain.EMAHook'])
def test_a_bare_state_dict_is_accepted(tmp_path, hook, ema):
    """mmengine's hooks look for a state_dict in the checkpoint."""
    trained = SmallModel()
    torch.save(trained.state_dict(), tmp_path / 'bare.pth')
    runner = run(
        tmp_path / 'run',
        max_epochs=1,
        load_from=str(tmp_path / 'bare.pth'),
        custom_hooks=[hook, dict(type=ema)],
        optim_wrapper=dict(
            constructor='mmdcls.DCLSOptimWrapperConstructor',
            optimizer=dict(type='SGD', lr=1e-12),
        ),
    )
    for name, tensor in runner.model.state_dict().items():
        torch.testing.assert_close(tensor, trained.state_dict()[name])


def test_exact_with_allow_mismatch_loads_what_fits(tmp_path, capsys):
    checkpoint = save(tmp_path / 'a.pth', **{'head.bias': None, 'x': torch.zeros(1)})
    train_from(tmp_path, checkpoint, dict(EXACT, allow_mismatch=True))
    message = told(capsys)
    assert 'not in the file: head.bias; not in the model: x' in message


def test_pretrained_files_of_upstream_modules_are_checked(tmp_path):
    class Host(SmallModel):
        def __init__(self, path):
            super().__init__()
            init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
            self.backbone = ResNet(18, init_cfg=init_cfg)

    path = save(tmp_path / 'a.pth', model=Classifier())
    with pytest.raises(CheckpointError, match='none of the .* of the ResNet'):
        run(tmp_path / 'run', model=Host(path), max_epochs=1, custom_hooks=[PARTIAL])


class Upstream(SmallModel):
    """Has a part that starts from a file, as upstream's backbones do."""

    def __init__(self, part, path):
        super().__init__()
        self.part = part
        # Or mmengine would stop: a loss without the part's parameters.
        self.part.requires_grad_(False)
        self.part.init_cfg = dict(type='Pretrained', checkpoint=path)


def run_upstream(tmp_path, capsys, part, weights):
    torch.save(weights, tmp_path / 'a.pth')
    run(
        tmp_path / 'run',
        model=Upstream(part, str(tmp_path / 'a.pth')),
        max_epochs=1,
        log_level='INFO',
        custom_hooks=[PARTIAL],
    )
    return told(capsys)


def test_upstream_modules_may_add_layers_to_what_they_start_from(tmp_path, capsys):
    part = ResNet(18, base_channels=64)
    weights = part.state_dict()
    part.layer1[0].conv2.conv_offset = torch.nn.Conv2d(64, 18, 3)
    message = run_upstream(tmp_path, capsys, part, weights)
    assert 'not in the file: layer1.0.conv2.conv_offset.weight' in message


def test_upstream_modules_may_resize_what_they_load(tmp_path, capsys):
    settings = dict(arch='deit-tiny', patch_size=32)
    weights = VisionTransformer(img_size=64, **settings).state_dict()
    part = VisionTransformer(img_size=96, **settings)
    message = run_upstream(tmp_path, capsys, part, weights)
    assert "of another shape: 'pos_embed' is (1, 5, 192) in the file" in message
    assert 'Resize the pos_embed shape from' in message


@pytest.mark.parametrize('hook', [EXACT, PARTIAL], ids=['exact', 'partial'])
@pytest.mark.parametrize(
    'rename',
    [
        lambda name: f'_orig_mod.{name}',
        lambda name: f'module._orig_mod.{name}',
        lambda name: name.replace('conv.', 'conv._orig_mod.'),
        lambda name: f'model.{name}',
    ],
    ids=['compiled', 'DDP', 'compiled inside', 'Lightning'],
)
def test_names_of_wrapped_models_are_loaded(tmp_path, hook, rename):
    trained = SmallModel()
    tensors = {rename(name): value for name, value in trained.state_dict().items()}
    torch.save({'state_dict': tensors}, tmp_path / 'wrapped.pth')
    runner = run(
        tmp_path / 'run',
        max_epochs=1,
        load_from=str(tmp_path / 'wrapped.pth'),
        custom_hooks=[hook],
        optim_wrapper=dict(
            constructor='mmdcls.DCLSOptimWrapperConstructor',
            optimizer=dict(type='SGD', lr=1e-12),
        ),
    )
    for name, tensor in runner.model.state_dict().items():
        torch.testing.assert_close(tensor, trained.state_dict()[name])


def test_an_unknown_prefix_is_named(tmp_path):
    tensors = {f'student.{n}': v for n, v in SmallModel().state_dict().items()}
    torch.save({'state_dict': tensors}, tmp_path / 'a.pth')
    for hook in (EXACT, PARTIAL):
        with pytest.raises(
            CheckpointError, match=r"all names .* begin with 'student\."
        ):
            train_from(tmp_path, str(tmp_path / 'a.pth'), hook)
