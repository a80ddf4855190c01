"""The sections of a complete report on the operators."""

import json
from dataclasses import replace

import torch
from torch import nn

from mmdcls.compat import allows_tf32
from mmdcls.errors import MmdclsError
from mmdcls.ops import nchw_block
from mmdcls.ops.backends import BACKENDS, OPERATIONS, toeplitz, tuning
from mmdcls.ops.kernel import INTERPOLATIONS

from . import blocks, layers
from .contenders import DCLSLayer, inference, train_step
from .layers import PARITY_CASES, Settings, model_shapes
from .precompile import compile_in_parallel
from .section import Rows, Section
from .timing import peak_memory

FORMATS = {'nchw': torch.contiguous_format, 'channels_last': torch.channels_last}


def parity(settings: Settings) -> Rows:
    """Compare every backend with PyTorch's convolution in float64."""
    for dtype in settings.dtypes:
        for name in tuning.CANDIDATES:
            for operation in OPERATIONS:
                yield _parity_row(name, operation, dtype, settings.device)


def _parity_row(name, operation, dtype, device):
    row = {'backend': name, 'operation': operation, 'dtype': _short(dtype, device)}
    backend, errors = BACKENDS[name], []
    for (shape, size), memory_format in (
        (case, memory_format) for case in PARITY_CASES for memory_format in FORMATS
    ):
        padding = size[0] // 2, size[1] // 2
        x = torch.empty(shape, dtype=dtype, device=device)
        x = x.to(memory_format=FORMATS[memory_format])
        try:
            backend.can_run(operation, x, size, padding, raise_error=True)
            arguments = tuning.make_arguments(operation, x, size, padding)
            actual = getattr(backend, operation)(*arguments).double()
        except Exception as error:
            refused = isinstance(error, MmdclsError)
            result = 'not here' if refused else 'FAILED'
            return row | {
                'largest error': '',
                'result': f'{result}: {_first_line(error)}',
            }
        exact = [
            value.double() if isinstance(value, torch.Tensor) else value
            for value in arguments
        ]
        expected = getattr(BACKENDS['aten'], operation)(*exact)
        errors.append(((actual - expected).abs().max() / expected.abs().max()).item())
    largest = max(errors)
    passed = largest <= layers.tolerance(dtype, device)
    return row | {
        'largest error': f'{largest:.1e}',
        'result': 'passed' if passed else 'FAILED',
    }


def construction_parity(settings: Settings) -> Rows:
    """Compare kernels and gradients with the same in float64."""
    for interpolation in INTERPOLATIONS:
        layer = DCLSLayer(8, layers.KERNEL_SIZE, 34, interpolation).to(settings.device)
        results = []
        for module in (layer, DCLSLayer(8, layers.KERNEL_SIZE, 34, interpolation)):
            if module is not layer:
                module.load_state_dict(layer.state_dict())
                module = module.to(settings.device).double()
            kernel = module.construct_kernel()
            grad = torch.ones_like(kernel).cumsum(-1)
            sources = [p for name, p in module.named_parameters() if name != 'bias']
            results.append([kernel, *torch.autograd.grad(kernel, sources, grad)])
        error = max(
            ((a.double() - b).abs().max() / b.abs().max()).item()
            for a, b in zip(*results, strict=True)
        )
        yield {
            'interpolation': interpolation,
            'largest error': f'{error:.1e}',
            'result': 'passed' if error < 1e-4 else 'FAILED',
        }


def block_parity(settings: Settings) -> Rows:
    """Compare a block on NCHW maps with one on channels_last ones in float64."""
    for dtype in settings.dtypes:
        row = {'dtype': _short(dtype, settings.device)}
        x = torch.empty(2, 40, 9, 14, dtype=dtype, device=settings.device)
        if not toeplitz.can_run('forward', x, (3, 3), (1, 1)):
            yield row | {'largest error': '', 'result': 'not here'}
            continue
        maps, parameters = nchw_block.random_block(x, (3, 3), training=True)
        exact = [p.detach().double().requires_grad_() for p in parameters]
        results = [
            nchw_block.run_step('nchw', maps, parameters, training=True),
            nchw_block.run_step('channels_last', maps.double(), exact, training=True),
        ]
        error = max(
            ((a.double() - b).abs().max() / b.abs().max()).item()
            for a, b in zip(*results, strict=True)
        )
        passed = error <= layers.tolerance(dtype, settings.device)
        result = 'passed' if passed else 'FAILED'
        yield row | {'largest error': f'{error:.1e}', 'result': result}


def format_times(settings: Settings) -> Rows:
    """Time a block without its pointwise layers in both formats of its maps."""
    size = layers.KERNEL_SIZE
    for model, shape in model_shapes(settings):
        for dtype in settings.dtypes[:2]:
            x = torch.empty(shape, dtype=dtype, device=settings.device)
            x = x.to(memory_format=torch.channels_last)
            for training in (False, True):
                times = nchw_block.measure_formats(
                    x, (size, size), training, tuning.time_on_gpu
                )
                yield {
                    'model': model,
                    'maps': 'x'.join(map(str, shape)),
                    'dtype': _short(dtype, settings.device),
                    'mode': 'train' if training else 'inference',
                    **{name: f'{value:.3f}' for name, value in times.items()},
                    'auto': tuning.fastest(times),
                }


def backend_times(settings: Settings) -> Rows:
    """Time every backend that ``auto`` chooses from, and name its choice."""
    size = layers.KERNEL_SIZE
    for model, shape in model_shapes(settings):
        for dtype in settings.dtypes:
            for memory_format in FORMATS:
                rows, columns = (min(size, 2 * s - 1) for s in shape[2:])
                x = torch.empty(shape, dtype=dtype, device=settings.device)
                x = x.to(memory_format=FORMATS[memory_format])
                for operation in OPERATIONS:
                    times = tuning.measure(
                        operation,
                        x,
                        (rows, columns),
                        (rows // 2, columns // 2),
                        timer=tuning.time_on_gpu,
                    )
                    yield {
                        'model': model,
                        'maps': 'x'.join(map(str, shape)),
                        'dtype': _short(dtype, settings.device),
                        'format': memory_format,
                        'operation': operation,
                        **{
                            name: f'{times[name]:.3f}' if name in times else ''
                            for name in tuning.CANDIDATES
                        },
                        'auto': tuning.fastest(times),
                    }


def layer_times(settings: Settings) -> Rows:
    """Time a DCLS layer against the 7x7 one, in inference and training."""
    for dtype in settings.dtypes:
        one = replace(settings, dtype=dtype)
        for row in layers.time_layers(one, layers.measure_rates(one)):
            yield {
                'dtype': _short(dtype, settings.device),
                **{name: row[name] for name in ('batch', 'mode', 'stage')},
                **{name: f'{value:.3f}' for name, value in row['ms'].items()},
                **{f'{n} / dcls': f'{value:.2f}' for n, value in row['ratio'].items()},
            }


def graph_times(settings: Settings) -> Rows:
    """Time the same layers from a CUDA graph."""
    for channels, size in settings.stages:
        for dtype in settings.dtypes[:1]:
            for mode in ('inference', 'train'):
                row = {
                    'dtype': _short(dtype, settings.device),
                    'stage': f'{channels}x{size}x{size}',
                }
                row['mode'] = mode
                for name, step in _steps(channels, size, dtype, mode, settings).items():
                    step()  # Chooses backends, and compiles them.
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph):
                        kept = step()
                    row[name] = f'{tuning.time_on_gpu(step):.3f}'
                    row[f'{name}, graph'] = f'{tuning.time_on_gpu(graph.replay):.3f}'
                    del kept
                yield row


def peak_memories(settings: Settings) -> Rows:
    """Measure the peak memory of a layer beyond what there is before."""
    for channels, size in settings.stages:
        for mode in ('inference', 'train'):
            row = {'stage': f'{channels}x{size}x{size}', 'mode': mode}
            dtype = settings.dtypes[0]
            for name, step in _steps(channels, size, dtype, mode, settings).items():
                step()
                peak = peak_memory(step, settings.device)
                row[f'{name}, MB'] = f'{peak / 2**20:.1f}'
            yield row


def construction_times(settings: Settings) -> Rows:
    """Time the building of kernels, forward and backward."""
    for row in layers.time_construction(settings):
        yield row | {key: f'{row[key]:.3f}' for key in ('ms', 'peak_mb')}


def block_times(settings: Settings) -> Rows:
    """Time the Triton kernels with other blocks than theirs."""
    for channels, size in settings.stages:
        for dtype in settings.dtypes:
            x = torch.randn(
                settings.batch_sizes[0], channels, size, size, device=settings.device
            ).to(dtype)
            for kernel, configuration, run in blocks.launches(x, layers.KERNEL_SIZE):
                row = {
                    'maps': 'x'.join(map(str, x.shape)),
                    'dtype': _short(dtype, settings.device),
                    'kernel': kernel,
                    'blocks': ' '.join(map(str, configuration)),
                }
                try:
                    row['ms'] = f'{tuning.time_on_gpu(run):.3f}'
                except Exception as error:
                    row['ms'] = f'not here: {_first_line(error)}'
                yield row


def measured_choices(settings: Settings) -> Rows:
    """List what has been chosen on this GPU up to now, in this run and before."""
    path = tuning.cache_file(settings.device)
    choices = json.loads(path.read_text()) if path.exists() else {}
    for key, name in sorted(choices.items()):
        yield {'what': key, 'fastest': name}


# What matters most comes first.
SECTIONS = {
    'Kernels compiled beforehand': Section(compile_in_parallel, True, 10, False),
    'Parity of the backends': Section(parity),
    'Parity of construction': Section(construction_parity),
    'Parity of blocks on NCHW maps': Section(block_parity),
    'Layers against 7x7': Section(layer_times, seconds=10),
    'Backends': Section(backend_times, True, in_documents=False),
    'Formats of the maps of a block': Section(format_times, True, in_documents=False),
    'CUDA graphs': Section(graph_times, True),
    'Peak memory': Section(peak_memories),
    'Construction': Section(construction_times),
    'Measured choices': Section(measured_choices, True, 0, False),
    'Blocks of the Triton kernels': Section(block_times, True, 10, False),
}


def _steps(channels, size, dtype, mode, settings):
    """Return a step of the DCLS layer and of the 7x7 one, on channels_last maps."""
    x = torch.randn(
        settings.batch_sizes[0], channels, size, size, device=settings.device
    )
    x = x.to(dtype).contiguous(memory_format=torch.channels_last)
    plain = nn.Conv2d(channels, channels, 7, padding=3, groups=channels).to(dtype)
    plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    modules: dict[str, nn.Module] = {
        'dcls': DCLSLayer(channels, layers.KERNEL_SIZE, layers.KERNEL_COUNT),
        '7x7': plain,
    }
    modules = {name: module.to(settings.device) for name, module in modules.items()}
    if mode == 'inference':
        return {name: inference(module, x) for name, module in modules.items()}
    return {
        name: train_step(module, x, torch.randn_like(x))
        for name, module in modules.items()
    }


def _short(dtype, device):
    name = str(dtype).removeprefix('torch.')
    rounded = device.type == 'cuda' and dtype == torch.float32 and allows_tf32()
    return 'tf32' if rounded else name


def _first_line(error):
    return str(error).split('\n')[0]
