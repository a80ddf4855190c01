"""Text in a checkpoint is data: nothing of it is executed."""

from pathlib import Path

import pytest
import torch
from helpers.engine_runs import run
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import FlexibleRunner, Runner

from mmdcls.checkpoints import read_checkpoint
from mmdcls.checkpoints.embedded_config import disarm_configs

WRITTEN_BY_MMENGINE = Config(
    dict(
        model=dict(type='A', sizes=[1, 2], pair=(1, -2.5), flag=None),
        classes={'1': 'cat', 'a b': {3: 'dog'}},
        quotation='it\'s "quoted"\n',
    )
)


def test_what_mmengine_dumps_stays(tmp_path):
    text = WRITTEN_BY_MMENGINE.pretty_text
    checkpoint = {'meta': {'cfg': text, 'config': text, 'epoch': 3}}
    disarm_configs(checkpoint, 'x.pth')
    assert checkpoint['meta']['epoch'] == 3
    for key in ('cfg', 'config'):
        config = Config.fromstring(checkpoint['meta'][key], '.py')
        assert config.to_dict() == WRITTEN_BY_MMENGINE.to_dict()


def armed_texts(trace, write=True):
    """Texts that make the file ``trace`` when mmengine executes them."""
    command = f"open({str(trace)!r}, 'w').close()"
    module = trace.parent / 'armed_base.py'
    if write:
        module.write_text(command)
    return {
        'statement': command,
        'import': f'import pathlib\npathlib.Path({str(trace)!r}).touch()',
        'argument': f'a = dict(b={command})',
        'comprehension': f'a = [{command} for _ in (1,)]',
        'base': f'_base_ = [{str(module)!r}]',
        'custom imports': "custom_imports = dict(imports=['armed_module'])",
        'placeholder': 'a = "{{$NOTHING:" + ' + command + ' + "}}"',
        'escaped placeholder': f'a = "\\x7b\\x7b$NOTHING:\' + str({command}) + \'}}}}"',
        'walrus': f'a = (b := {command})',
        'decorator': f'@(lambda f: {command})\ndef f(): pass',
        'unpacked': f'a = dict(**{{"b": {command}}})',
        'f-string': f'a = f"{{{command}}}"',
    }


@pytest.mark.parametrize('kind', armed_texts(Path('/trace'), write=False))
def test_armed_text_is_not_executed(tmp_path, monkeypatch, kind):
    trace = tmp_path / 'trace'
    (tmp_path / 'armed_module.py').write_text(f"open({str(trace)!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    text = armed_texts(trace)[kind]
    checkpoint = {
        'meta': {'cfg': text, 'config': text},
        'message_hub': {'runtime_info': {'cfg': text}},
    }
    torch.save(checkpoint, tmp_path / 'armed.pth')
    read = read_checkpoint(tmp_path / 'armed.pth')
    for holder in (read['meta'], read['message_hub']['runtime_info']):
        for rewritten in holder.values():
            Config.fromstring(rewritten, '.py')
    assert not trace.exists()


@pytest.mark.parametrize('text', [None, 5, 'a = 1 +', 'a.b = 1', '(' * 9999])
def test_what_is_no_config_is_left_out(text):
    checkpoint = {'meta': {'cfg': text}}
    disarm_configs(checkpoint, 'x.pth')
    assert checkpoint == {'meta': {}}


def test_leaving_out_is_logged(tmp_path, capsys):
    torch.save({'meta': {'cfg': 'print(1)'}}, tmp_path / 'armed.pth')
    MMLogger.get_instance('leaving-out')
    assert read_checkpoint(tmp_path / 'armed.pth') == {'meta': {}}
    message = capsys.readouterr().out + capsys.readouterr().err
    assert 'armed.pth' in message and 'not executed' in message


@pytest.mark.parametrize('runner_class', [Runner, FlexibleRunner])
@pytest.mark.parametrize('key', ['cfg', 'config'])
def test_resuming_executes_nothing(tmp_path, runner_class, key):
    trace = tmp_path / 'trace'
    run(tmp_path / 'run', max_epochs=1)
    checkpoint = read_checkpoint(tmp_path / 'run' / 'epoch_1.pth')
    checkpoint['meta'][key] = f"open({str(trace)!r}, 'w').close()"
    torch.save(checkpoint, tmp_path / 'armed.pth')
    resumed = run(
        tmp_path / 'resumed',
        max_epochs=2,
        runner_class=runner_class,
        load_from=str(tmp_path / 'armed.pth'),
        resume=True,
    )
    assert resumed.epoch == 2 and not trace.exists()


def test_inferencer_without_a_config_executes_nothing(tmp_path):
    from mmseg.apis import MMSegInferencer

    trace = tmp_path / 'trace'
    text = f"open({str(trace)!r}, 'w').close()"
    checkpoint = {'meta': {'cfg': text}, 'state_dict': {}}
    torch.save(checkpoint, tmp_path / 'armed.pth')
    with pytest.raises(ValueError, match='Cannot find the config'):
        MMSegInferencer(None, weights=str(tmp_path / 'armed.pth'), device='cpu')
    assert not trace.exists()
