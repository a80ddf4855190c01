"""Conversion by the layer that a file of the authors belongs to."""

import pytest
import torch
from DCLS.construct.modules import Dcls2d
from helpers.conversions import TOLERANCE, build, convert, images, load_ours
from helpers.official_configs import mini_config, write_mini_config
from helpers.official_models import PERIODS, DepthwiseDCLS, make
from rich.console import Console

from mmdcls.checkpoints.reading import CheckpointError, read_checkpoint
from mmdcls.converters import mmdcls_to_official, write_checkpoint

# What the user has to say of a file of each period.
OPTIONS = {
    '2022-09': dict(clamp=True),
    '2022-11': dict(),
    '2023-01': dict(columns_first=True, clamp=False),
    '2023-10': dict(clamp=False),
}


@pytest.fixture
def config(tmp_path):
    """The path of the mini classifier's config."""
    return write_mini_config('cls', tmp_path)


def positions_of(state_dict):
    return [state_dict[f'stages.{i}.0.dwconv.P'] for i in range(4)]


def count_beyond(state_dict):
    return sum(int((p.abs() > 8).sum()) for p in positions_of(state_dict))


def farthest_beyond(state_dict):
    return max(float(p.abs().max()) for p in positions_of(state_dict)) - 8


def clamped(state_dict):
    return {
        name: tensor.clamp(-8, 8) if name.endswith('.P') else tensor
        for name, tensor in state_dict.items()
    }


def with_meta(state_dict, time):
    return {'meta': {'mmcv_version': '1.6.1', 'time': time}, 'state_dict': state_dict}


def test_restated_layer_of_the_last_period_is_the_released_one():
    torch.manual_seed(0)
    released = Dcls2d(
        3, 3, 5, padding=8, dilated_kernel_size=17, groups=3, version='v0'
    )
    with torch.no_grad():
        released.P.normal_(0, 6)
    assert released.P.abs().max() > 8
    restated = DepthwiseDCLS(3, released.P, period='2023-10')
    restated.load_state_dict(released.state_dict(), strict=False)
    x = torch.randn(2, 3, 11, 13)
    torch.testing.assert_close(restated(x), released(x))


@pytest.mark.parametrize('period', PERIODS)
def test_model_of_each_period_gives_equal_outputs(period, tmp_path, config):
    official = make('cls', period=period)
    assert count_beyond(official.state_dict())
    options = {'clamp': None, **OPTIONS[period]}
    conversion = convert(official.state_dict(), tmp_path, config=config, **options)
    ours = load_ours(conversion, 'cls', tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(images()), official.double()(images()), **TOLERANCE
        )


@pytest.mark.parametrize('period', PERIODS)
def test_round_trip_to_each_period_is_the_identity(period, tmp_path, config):
    official = make('cls', period=period).state_dict()
    there = convert(
        official, tmp_path, config=config, **{**OPTIONS[period], 'clamp': False}
    )
    write_checkpoint(there.content, tmp_path / 'ours.pth')
    back = mmdcls_to_official(
        tmp_path / 'ours.pth',
        config=config,
        columns_first=PERIODS[period].columns_first,
    )
    back.check()
    assert back.positions.swapped == PERIODS[period].columns_first
    assert back.positions.beyond == count_beyond(official)
    expected = {name: t for name, t in official.items() if '.DCK.' not in name}
    assert list(back.state_dict) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(back.state_dict[name], tensor), name


def test_way_back_gives_a_model_of_columns_first_with_equal_outputs(tmp_path, config):
    torch.manual_seed(0)
    ours = build(mini_config('cls'))
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            parameter.normal_(0, 6 if 'positions' in name else 0.5)
    torch.save({'state_dict': ours.state_dict()}, tmp_path / 'ours.pth')
    back = mmdcls_to_official(tmp_path / 'ours.pth', config=config, columns_first=True)
    official = make('cls', period='2023-01').double()
    official.load_state_dict(back.content['model'])
    with torch.no_grad():
        torch.testing.assert_close(
            official(images()), ours.double()(images()), **TOLERANCE
        )


def test_buffers_of_the_layer_of_2022_11_are_dropped_and_others_are_not(
    tmp_path, config
):
    official = make('cls', period='2022-11').state_dict()
    conversion = convert(official, tmp_path, clamp=None, config=config)
    assert conversion.positions.swapped and not conversion.positions.clamped
    assert sorted({name.split('.')[-1] for name in conversion.dropped}) == [
        'I',
        'J',
        'lim',
    ]
    assert not any('DCK' in name for name in conversion.state_dict)
    official['stages.0.0.dwconv.DCK.other'] = torch.zeros(3)
    with pytest.raises(CheckpointError, match=r"no 'stages\.0\.0\.dwconv\.DCK\.other'"):
        convert(official, tmp_path, clamp=None, config=config)


def test_kernel_size_in_the_file_is_compared_with_the_models(tmp_path, config):
    official = make('cls', period='2022-11').state_dict()
    official['stages.1.0.dwconv.DCK.lim'].fill_(21)
    with pytest.raises(
        CheckpointError,
        match=r"'stages\.1\.0\.dwconv\.DCK\.lim'.* kernels of size 21, .* of size 17",
    ):
        convert(official, tmp_path, clamp=None, config=config)


@pytest.mark.parametrize('columns_first', [False, True])
def test_positions_beyond_need_the_users_word(columns_first, tmp_path, config):
    official = make('cls', period='2023-10').state_dict()
    beyond, farthest = count_beyond(official), farthest_beyond(official)
    total = sum(p.numel() for p in positions_of(official))
    message = (
        rf'{beyond} of {total} position coordinates beyond the kernel, by up to '
        rf'{farthest:.2g} pixels, .*`clamp` .*`no_clamp`'
    )
    with pytest.raises(CheckpointError, match=message):
        convert(
            official, tmp_path, clamp=None, config=config, columns_first=columns_first
        )


def test_positions_on_the_kernel_need_no_word(tmp_path, config):
    official = clamped(make('cls').state_dict())
    conversion = convert(official, tmp_path, clamp=None, config=config)
    assert (conversion.positions.beyond, conversion.positions.clamped) == (0, False)
    for name, tensor in official.items():
        if name.endswith('.P'):
            new = f'backbone.{name.replace("dwconv.P", "depthwise_conv.positions")}'
            assert torch.equal(conversion.state_dict[new], tensor)


@pytest.mark.parametrize('clamp', [True, False])
def test_positions_beyond_are_counted_once_and_clamped_or_kept(
    clamp, tmp_path, config, capsys
):
    official = make('cls').state_dict()
    conversion = convert(official, tmp_path, clamp=clamp, config=config)
    found = conversion.positions
    assert found.beyond == count_beyond(official) > 0
    assert found.farthest == pytest.approx(farthest_beyond(official))
    assert found.coordinates == sum(p.numel() for p in positions_of(official))
    assert (found.tensors, found.clamped, found.swapped) == (4, clamp, False)
    expected = clamped(official) if clamp else official
    for name, tensor in expected.items():
        if name.endswith('.P'):
            new = f'backbone.{name.replace("dwconv.P", "depthwise_conv.positions")}'
            assert torch.equal(conversion.state_dict[new], tensor)
    conversion.print_summary(Console(width=200))
    printed = capsys.readouterr().out
    assert 'beyond the kernel' in printed
    done = 'clamped to it' if clamp else 'kept as they are'
    assert f'by up to {found.farthest:.2g} pixels; {done}' in printed


def test_file_saved_when_only_the_clamping_layer_existed_is_clamped(tmp_path, config):
    official = make('cls').state_dict()
    early = with_meta(official, 'Mon Sep  5 10:00:00 2022')
    conversion = convert(early, tmp_path, clamp=None, config=config)
    assert conversion.positions.clamped and not conversion.positions.swapped
    assert not convert(early, tmp_path, clamp=False, config=config).positions.clamped
    for time in ('Thu Nov 10 10:00:00 2022', '20220905_100000', None):
        with pytest.raises(CheckpointError, match='does not tell'):
            convert(with_meta(official, time), tmp_path, clamp=None, config=config)
    with pytest.raises(CheckpointError, match='does not tell'):
        convert(early, tmp_path, clamp=None, config=config, columns_first=True)


def test_half_precision_is_swapped_and_clamped_as_it_is(tmp_path, config):
    official = make('cls', period='2023-01').half().state_dict()
    conversion = convert(official, tmp_path, config=config, columns_first=True)
    write_checkpoint(conversion.content, tmp_path / 'ours.pth')
    ours = read_checkpoint(tmp_path / 'ours.pth')['state_dict']
    for name, tensor in official.items():
        if name.endswith('.P'):
            new = f'backbone.{name.replace("dwconv.P", "depthwise_conv.positions")}'
            assert torch.equal(ours[new], tensor.flip(0).clamp(-8, 8))
