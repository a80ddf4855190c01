"""The converters as commands; what they compute is tested in tests/converters."""

import runpy
import sys

import pytest
import torch
from helpers.official_configs import write_mini_config
from helpers.official_models import make
from helpers.tool_runs import ROOT, assert_refuses, assert_runs
from helpers.trained_models import mini_model

FORWARD = 'model_converters/official_to_mmdcls.py'
BACK = 'model_converters/mmdcls_to_official.py'
FOLD = 'model_converters/fold.py'


class Hostile:
    """Ends the process when it is unpickled."""

    def __reduce__(self):
        return sys.exit, ('hostile code ran',)


def run_in_process(monkeypatch, script, *arguments):
    """As ``assert_runs``, without the time that a new process takes to import torch."""
    monkeypatch.setattr(sys, 'argv', [script, *map(str, arguments)])
    runpy.run_path(str(ROOT / 'tools' / script), run_name='__main__')


def files_in(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def classifier(tmp_path):
    """An official file, and the config that it fits."""
    torch.save({'model': make('cls').state_dict()}, tmp_path / 'official.pth')
    return tmp_path / 'official.pth', write_mini_config('cls', tmp_path)


def test_there_and_back(classifier, tmp_path):
    source, config = classifier
    ours, back = tmp_path / 'new' / 'ours.pth', tmp_path / 'back.pth'
    options = ('--config', config, '--task', 'cls', '--clamp')
    printed = assert_runs(FORWARD, source, ours, *options)
    for row in ('loaded', 'renamed', 'beyond the kernel', 'missing', 'unexpected'):
        assert row in printed
    assert f'Written: {ours}' in printed
    assert_runs(BACK, ours, back, '--config', config)
    first, last = (torch.load(path)['model'] for path in (source, back))
    assert list(first) == list(last)
    for name, tensor in first.items():
        expected = tensor.clamp(-8, 8) if name.endswith('.P') else tensor
        assert torch.equal(last[name], expected), name


def test_differing_positions_end_in_one_sentence(tmp_path):
    state_dict = make('cls', share=False).state_dict()
    torch.save(state_dict, tmp_path / 'official.pth')
    config = write_mini_config('cls', tmp_path)
    before = files_in(tmp_path)
    target = tmp_path / 'ours.pth'
    assert_refuses(
        "'stages.2.1.dwconv.P'",
        FORWARD,
        tmp_path / 'official.pth',
        target,
        '--config',
        config,
    )
    assert files_in(tmp_path) == before


def test_accepts_differing_positions_on_request(monkeypatch, tmp_path):
    state_dict = make('cls', share=False).state_dict()
    torch.save(state_dict, tmp_path / 'official.pth')
    config = write_mini_config('cls', tmp_path)
    ours, back = tmp_path / 'ours.pth', tmp_path / 'back.pth'
    options = ('--config', config, '--no-share')
    source = tmp_path / 'official.pth'
    run_in_process(monkeypatch, FORWARD, source, ours, *options, '--no-clamp')
    run_in_process(monkeypatch, BACK, ours, back, *options)
    returned = torch.load(back)['model']['stages.2.1.dwconv.P']
    assert torch.equal(returned, state_dict['stages.2.1.dwconv.P'])


def test_swaps_the_axes_on_request_in_both_directions(
    monkeypatch, tmp_path, classifier
):
    source, config = classifier
    ours, back = tmp_path / 'ours.pth', tmp_path / 'back.pth'
    options = ('--config', config, '--columns-first')
    run_in_process(monkeypatch, FORWARD, source, ours, *options, '--no-clamp')
    run_in_process(monkeypatch, BACK, ours, back, *options)
    positions = torch.load(source)['model']['stages.2.1.dwconv.P']
    name = 'backbone.stages.2.1.depthwise_conv.positions'
    assert torch.equal(torch.load(ours)['state_dict'][name], positions.flip(0))
    assert torch.equal(torch.load(back)['model']['stages.2.1.dwconv.P'], positions)


def test_starts_from_plain_convnext(monkeypatch, capsys, tmp_path, classifier):
    _, config = classifier
    state_dict = {
        name: torch.randn(len(tensor), 1, 7, 7) if 'dwconv.weight' in name else tensor
        for name, tensor in make('cls').state_dict().items()
        if not name.endswith('.P')
    }
    torch.save({'model': state_dict}, tmp_path / 'plain.pth')
    options = ('--from-convnext', '--config', config)
    target = tmp_path / 'ours.pth'
    run_in_process(monkeypatch, FORWARD, tmp_path / 'plain.pth', target, *options)
    printed = capsys.readouterr().out
    assert 'backbone.stages.0.0.depthwise_conv.positions' in printed
    assert torch.equal(
        torch.load(target)['state_dict']['head.fc.bias'], state_dict['head.bias']
    )


def truncate(path):
    path.write_bytes(path.read_bytes()[:3000])


def make_hostile(path):
    torch.save({'model': make('cls').state_dict(), 'meta': Hostile()}, path)


def make_nan(path):
    content = torch.load(path)
    content['model']['head.bias'][3] = float('nan')
    torch.save(content, path)


def remove_a_tensor(path):
    content = torch.load(path)
    del content['model']['stages.0.0.gamma']
    torch.save(content, path)


BAD_INPUT = {
    'truncated': (truncate, (), 'is not a complete checkpoint'),
    'hostile': (make_hostile, (), 'nothing in it was run'),
    'nan': (make_nan, (), "NaN or infinite in 'head.bias'"),
    'incomplete': (remove_a_tensor, (), "no 'backbone.stages.0.0.gamma' (1 missing"),
    'beyond the kernel': (lambda path: None, (), 'give --clamp if it is'),
    'wrong task': (lambda path: None, ('--task', 'det'), 'holds a classification mod'),
    'absent': (lambda path: path.unlink(), (), 'does not exist'),
    'plain': (lambda path: None, ('--from-convnext',), 'has positions already'),
}


@pytest.mark.parametrize('how', BAD_INPUT)
def test_bad_input_ends_in_one_sentence_and_writes_nothing(
    how, monkeypatch, tmp_path, classifier
):
    source, config = classifier
    spoil, options, message = BAD_INPUT[how]
    spoil(source)
    before = files_in(tmp_path)
    with pytest.raises(SystemExit) as end:
        run_in_process(
            monkeypatch,
            FORWARD,
            source,
            tmp_path / 'out' / 'ours.pth',
            '--config',
            config,
            *options,
        )
    assert str(end.value.code).startswith('error: ') and message in end.value.code
    assert '\n' not in end.value.code
    assert files_in(tmp_path) == before


@pytest.mark.parametrize(
    'options, message',
    [
        (('--task', 'seg'), 'takes no other task'),
        (('--no-share',), 'has no positions'),
        (('--columns-first',), 'has no positions'),
        (('--clamp',), 'has no positions'),
        (('--no-clamp',), 'has no positions'),
    ],
)
def test_flags_that_exclude_each_other(options, message, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        run_in_process(monkeypatch, FORWARD, 'a', 'b.pth', '--from-convnext', *options)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_fold_says_how_to_use_the_result(monkeypatch, capsys, tmp_path):
    config, checkpoint, _ = mini_model('resnet', tmp_path)
    target = tmp_path / 'folded.pth'
    run_in_process(monkeypatch, FOLD, config, checkpoint, target)
    printed = capsys.readouterr().out
    assert '16 DCLS layers and 20 batch norms folded' in printed
    assert '--cfg-options model.backbone.deploy=True' in printed
    assert f'Written: {target}' in printed and target.is_file()


@pytest.mark.parametrize('how', ['truncated', 'hostile', 'absent'])
def test_fold_refuses_bad_input_and_writes_nothing(how, classifier, tmp_path):
    checkpoint, config = classifier
    spoil, _, message = BAD_INPUT[how]
    spoil(checkpoint)
    before = files_in(tmp_path)
    target = tmp_path / 'out' / 'folded.pth'
    assert_refuses(message, FOLD, config, checkpoint, target)
    assert files_in(tmp_path) == before


def test_fold_refuses_another_architecture(classifier, tmp_path):
    checkpoint, config = classifier
    target = tmp_path / 'folded.pth'
    assert_refuses('does not fit the model of', FOLD, config, checkpoint, target)
    assert_refuses('must end in .pth', FOLD, config, checkpoint, tmp_path / 'a.onnx')
    assert not target.exists()
