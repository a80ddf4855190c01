"""The measured choice: what is timed, when, how often, and what is kept."""

import functools
import json
import random

import pytest
import torch
from helpers.versions import needs_compile
from torch._subclasses.fake_tensor import FakeTensorMode

from mmdcls.compat import OutOfMemoryError
from mmdcls.ops.backends import BACKENDS, aten, toeplitz, tuning
from mmdcls.ops.backends.tuning import Tuner
from mmdcls.ops.nchw_block import choose_format

CASE = ('forward', torch.zeros(2, 3, 9, 8), (3, 5), (1, 2))


@pytest.fixture(autouse=True)
def poisoned_memory():
    """Leave memory as it is: nothing is measured with deterministic algorithms."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'cache' / 'gpu.json'


def times(**milliseconds):
    """A stand-in for ``measure`` that counts its calls."""

    def measure(*arguments):
        measure.calls += 1
        return milliseconds

    measure.calls = 0
    return measure


@pytest.mark.parametrize(
    ('triton', 'winner'), [(0.94, 'triton'), (0.96, 'aten'), (1.2, 'aten')]
)
def test_aten_stays_unless_another_is_clearly_faster(triton, winner, path):
    tuner = Tuner(path, times(aten=1.0, triton=triton, aten_relaid=1.5))
    assert tuner.choose(*CASE) == winner


def test_results_serve_again_and_in_later_processes(path):
    measure = times(aten=1.0, triton=0.5)
    tuner = Tuner(path, measure)
    assert [tuner.choose(*CASE) for _ in range(3)] == ['triton'] * 3
    assert Tuner(path, measure).choose(*CASE) == 'triton'
    assert measure.calls == 1


def test_processes_that_share_a_file_keep_each_others_results(path):
    first, second = (Tuner(path, times(aten=1.0, triton=t)) for t in (0.5, 2.0))
    first.choose(*CASE)
    second.choose('grad_weight', *CASE[1:])
    assert sorted(json.loads(path.read_text()).values()) == ['aten', 'triton']
    assert [file.name for file in path.parent.iterdir()] == ['gpu.json']


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        ('{"forward": "tri', 'Unterminated string'),
        ('[1]', 'it holds a list'),
        ('{"forward": "cudnn"}', 'it names cudnn'),
        ('{"forward": {"a": 1}}', "it names {'a': 1}"),
    ],
)
def test_a_corrupt_file_is_ignored_with_one_line(content, reason, path, caplog):
    path.parent.mkdir()
    path.write_text(content)
    tuner = Tuner(path, times(aten=1.0, triton=0.5))
    assert tuner.choose(*CASE) == 'triton'
    (record,) = caplog.records
    assert record.message.startswith(f'Timings of backends in {path} are ignored: ')
    assert reason in record.message and '\n' not in record.message
    assert list(json.loads(path.read_text()).values()) == ['triton']


def test_a_folder_that_cannot_be_written_is_told_once(path, caplog):
    path.parent.write_text('a file where the folder should be')
    tuner = Tuner(path, times(aten=1.0, triton=0.5))
    caplog.clear()
    for operation in ('forward', 'grad_input'):
        assert tuner.choose(operation, *CASE[1:]) == 'triton'
    assert caplog.text.count('are not kept for later runs') == 1


def test_without_memory_aten_runs_and_nothing_is_kept(path, caplog):
    def measure(*arguments):
        raise OutOfMemoryError

    tuner = Tuner(path, measure)
    assert tuner.choose(*CASE) == tuner.choose(*CASE) == 'aten'
    assert len(caplog.records) == 1 and not path.exists()


def test_while_only_known_results_serve_nothing_is_measured(path):
    measure = times(aten=1.0, triton=0.5)
    tuner = Tuner(path, measure)
    assert tuner.choose(*CASE, known_only=True) is None
    assert measure.calls == 0
    tuner.choose(*CASE)
    assert tuner.choose(*CASE, known_only=True) == 'triton'


def test_to_measure_may_be_to_choose(path):
    """The convolutions of a block that is measured are measured first."""
    tuner = Tuner(path, times(aten=1.0, triton=0.5))

    def block():
        assert tuner.choose(*CASE) == 'triton'
        return {'channels_last': 1.0, 'nchw': 0.5}

    assert tuner.look_up('block', block, usual='channels_last') == 'nchw'
    assert sorted(json.loads(path.read_text()).values()) == ['nchw', 'triton']
    assert Tuner(path, None).look_up('block', None) == 'nchw'


def test_without_memory_the_usual_one_runs(path, caplog):
    def block():
        raise OutOfMemoryError

    assert Tuner(path, None).look_up('block', block, usual='channels_last') == (
        'channels_last'
    )
    assert caplog.messages == [
        'No memory to time what block needs: channels_last runs.'
    ]


# --- What is measured ---------------------------------------------------------------


@pytest.fixture
def candidates(monkeypatch):
    """Two backends beside ``'aten'`` that run anywhere and are what the test makes."""
    monkeypatch.setattr(tuning, 'CANDIDATES', ('aten', 'fft', 'row_dft'))
    tuning._warn_once.cache_clear()


@pytest.mark.parametrize('operation', ['forward', 'grad_input', 'grad_weight'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_every_candidate_is_run_and_timed(operation, dtype, candidates):
    called = []
    result = tuning.measure(
        operation, *(CASE[1].to(dtype), *CASE[2:]), timer=lambda run: called.append(run)
    )
    assert list(result) == ['aten', 'fft', 'row_dft']
    shapes = {run().shape for run in called}
    assert shapes == {(3, 1, 3, 5) if operation == 'grad_weight' else (2, 3, 9, 8)}


def test_random_numbers_of_a_training_stay_what_they_are(candidates):
    state = torch.get_rng_state()
    tuning.measure(*CASE, timer=lambda run: 1.0)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_candidate_that_raises_or_errs_is_dropped(candidates, monkeypatch, caplog):
    def out_of_resources(*arguments):
        raise RuntimeError('out of resource: shared memory\nand a long story')

    monkeypatch.setattr(BACKENDS['fft'], 'forward', out_of_resources)
    monkeypatch.setattr(
        BACKENDS['row_dft'], 'forward', lambda *args: 1.05 * aten.forward(*args)
    )
    assert tuning.measure(*CASE, timer=lambda run: 1.0) == {'aten': 1.0}
    first, second = (record.message for record in caplog.records)
    assert first.endswith(
        "'fft' is not used for forward: out of resource: shared memory"
    )
    assert "'row_dft' is not used for forward: its result is off by" in second


def test_lack_of_memory_is_no_reason_to_drop_a_candidate(candidates, monkeypatch):
    def out_of_memory(*arguments):
        raise OutOfMemoryError

    monkeypatch.setattr(BACKENDS['fft'], 'forward', out_of_memory)
    with pytest.raises(OutOfMemoryError):
        tuning.measure(*CASE, timer=lambda run: 1.0)


# --- When ---------------------------------------------------------------------------


@pytest.fixture
def on_gpu(monkeypatch, tmp_path):
    """CPU tensors pass for tensors on a GPU whose winner is known to be Triton's."""
    tuner = Tuner(tmp_path / 'file.json', times(aten=1.0, triton=0.5))
    monkeypatch.setattr(tuning, '_DEVICE_TYPE', 'cpu')
    monkeypatch.setattr(tuning, 'cache_file', lambda device: None)
    monkeypatch.setattr(tuning, '_tuner', lambda path: tuner)
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: False)
    monkeypatch.delenv('MMDCLS_AUTOTUNE', raising=False)


def test_nothing_is_measured_off_a_gpu():
    assert tuning.choose(*CASE) is None


def test_the_winner_on_a_gpu(on_gpu):
    assert tuning.choose(*CASE) == 'triton'


def test_autotuning_can_be_turned_off(on_gpu, monkeypatch):
    monkeypatch.setenv('MMDCLS_AUTOTUNE', '0')
    assert tuning.choose(*CASE) is None


def test_deterministic_algorithms_take_the_table(on_gpu):
    torch.use_deterministic_algorithms(True)
    try:
        assert tuning.choose(*CASE) is None
    finally:
        torch.use_deterministic_algorithms(False)


@needs_compile
def test_compiled_code_takes_the_table(on_gpu):
    compiled = torch.compile(tuning.choose, backend='eager', fullgraph=True)
    assert compiled(*CASE) is None


def test_fake_and_empty_tensors_take_the_table(on_gpu):
    with FakeTensorMode():
        x = torch.zeros(2, 3, 9, 8)
    assert tuning.choose('forward', x, (3, 3), (1, 1)) is None
    assert tuning.choose('forward', CASE[1][:0], (3, 3), (1, 1)) is None


def test_a_capture_takes_what_is_known(on_gpu, monkeypatch):
    capturing = [True]
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: capturing[0])
    assert tuning.choose(*CASE) is None
    capturing[0] = False
    assert tuning.choose(*CASE) == 'triton'
    capturing[0] = True
    assert tuning.choose(*CASE) == 'triton'


def test_the_file_is_named_after_all_that_matters(monkeypatch, tmp_path):
    tuning.cache_file.cache_clear()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    name = 'NVIDIA H100 80GB/HBM3'
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: name)
    file = tuning.cache_file(torch.device('cuda'))
    tuning.cache_file.cache_clear()
    assert file.parent == tmp_path / 'mmdcls'
    for part in ('NVIDIA-H100-80GB-HBM3_', f'_torch{torch.__version__}_', '_cudnn'):
        assert part in file.name
    assert '_triton' in file.name and tuning._code_digest() in file.name


# --- How often ----------------------------------------------------------------------

# Of the COCO configs: image sizes, the scales of both branches, and the crop.
IMAGE_SIZES = [(480, 640), (427, 640), (640, 480), (640, 427), (500, 375), (333, 500)]
SCALES = [(480 + 32 * step, 1333) for step in range(11)]
SCALES_BEFORE_CROP = [(400, 4200), (500, 4200), (600, 4200)]
CROP = (384, 600)


def resized(size, scale):
    ratio = min(max(scale) / max(size), min(scale) / min(size))
    return tuple(int(ratio * side + 0.5) for side in size)


def coco_map_size(draw):
    """The size of an image after the multi-scale pipeline, cropped in half of cases."""
    size = draw.choice(IMAGE_SIZES)
    size = tuple(side + draw.randrange(-60, 61) for side in size)
    if draw.random() < 0.5:
        size = resized(size, draw.choice(SCALES_BEFORE_CROP))
        size = tuple(draw.randint(min(s, CROP[0]), min(s, CROP[1])) for s in size)
    return resized(size, draw.choice(SCALES))


def test_few_keys_whatever_the_image_sizes(path, monkeypatch):
    """1,000 iterations of Cascade Mask R-CNN's training, then evaluation, batch 1."""
    draw = random.Random(0)
    measure = times(aten=1.0, triton=0.5)
    tuner = Tuner(path, measure)
    monkeypatch.setattr(tuning, '_DEVICE_TYPE', 'meta')
    monkeypatch.setattr(
        tuning,
        'look_up',
        lambda key, x, timed, usual: tuner.look_up(
            key, times(channels_last=1.0, nchw=0.9), usual=usual
        ),
    )
    monkeypatch.setattr(toeplitz, 'can_run', lambda *arguments: True)
    sizes = set()
    for iteration in range(1000):
        training = iteration < 900
        batch = 2 if training else 1
        images = [coco_map_size(draw) for _ in range(batch)]
        padded = [-(-max(sides) // 32) * 32 for sides in zip(*images, strict=True)]
        sizes.add(tuple(padded))
        for stage, channels in enumerate((96, 192, 384, 768)):
            stride = 4 * 2**stage
            shape = batch, channels, padded[0] // stride, padded[1] // stride
            x = torch.empty(shape, dtype=torch.float16, device='meta')
            assert choose_format(x, (17, 17), training) == 'nchw'
            operations = ('forward', 'grad_input', 'grad_weight')
            for operation in operations if training else operations[:1]:
                tuner.choose(operation, x, (17, 17), (8, 8))
    assert len(sizes) > 150
    formats = list(tuner.results.values()).count('nchw')
    assert measure.calls == len(tuner.results) - formats
    assert 0 < formats < measure.calls
    assert len(tuner.results) <= 40


def test_one_key_for_each_precision(path):
    x = torch.zeros(2, 3, 9, 8)
    last = x.contiguous(memory_format=torch.channels_last)
    keys = {
        tuning.bucket('forward', tensor, (17, 17))
        for tensor in (x, last, x.half(), x.bfloat16(), x.double())
    }
    assert len(keys) == 5
    exact = functools.partial(tuning.bucket, 'forward', x, (17, 17))
    first = exact()
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = not allowed
    try:
        assert first != exact()
    finally:
        torch.backends.cudnn.allow_tf32 = allowed
