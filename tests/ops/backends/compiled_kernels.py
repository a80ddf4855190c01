"""Compile what a call would launch, for a GPU that is not there.

``python compiled_kernels.py cuda 90`` prints one JSON object: for each case of
``CASES``, what each of its kernels became: registers of a thread, bytes of the stack
(spilled registers), bytes of shared memory and counts of some instructions. It runs in
a process of its own, for Triton's driver is replaced.
"""

import collections
import json
import re
import subprocess
import sys
import tempfile

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from mmdcls.ops import nchw_block
from mmdcls.ops.backends import BACKENDS
from mmdcls.ops.fused_construction import construct, construct_backward

# name: backend, operation, dtype, shape of the maps
STAGE1, STAGE4 = (64, 96, 56, 56), (64, 768, 7, 7)
COCO = (2, 192, 100, 164)
CASES = {
    'triton-forward-fp32': ('triton', 'forward', torch.float32, STAGE1),
    'triton-forward-fp16': ('triton', 'forward', torch.float16, STAGE1),
    'triton-grad_weight-fp32': ('triton', 'grad_weight', torch.float32, STAGE1),
    'toeplitz-forward-fp16': ('toeplitz', 'forward', torch.float16, STAGE1),
    'toeplitz-forward-bf16-7x7': ('toeplitz', 'forward', torch.bfloat16, STAGE4),
    'toeplitz-forward-tf32': ('toeplitz', 'forward', torch.float32, STAGE1),
    'toeplitz-grad_input-fp16': ('toeplitz', 'grad_input', torch.float16, COCO),
    'toeplitz-grad_weight-fp16': ('toeplitz', 'grad_weight', torch.float16, STAGE1),
    'toeplitz-grad_weight-tf32': ('toeplitz', 'grad_weight', torch.float32, STAGE1),
}
KERNEL_SIZE = (17, 17)
# name: interpolation, layers that share positions, channels, elements
CONSTRUCTIONS = {
    'construct-bilinear': ('bilinear', 9, 384, 34),
    'construct-gaussian': ('gaussian', 1, 1024, 40),
}
# name: the operator that lays maps out anew, and the shape of the maps
RELAYING = {
    'norm': ('norm', STAGE1),
    'norm-backward': ('norm_backward', STAGE1),
    'norm-backward-7x7': ('norm_backward', STAGE4),
    'residual': ('add_residual', STAGE1),
    'residual-backward': ('add_residual_backward', STAGE1),
}

INSTRUCTIONS = {
    'cuda': {
        'tensor core': r'\b(?:HMMA|HGMMA|UTCHMMA)\b',
        'fused multiply-add': r'\bFFMA\b',
        'load': r'\bLDG\b|\bLDGSTS\b',
        'wide load': r'\b(?:LDG|LDGSTS)\.\S*128',
        'store to shared': r'\bSTS\b',
        'narrow access': r'\b(?:LDG|STG)\.E\.(?:U16|S16|U8)',
    },
    'hip': {
        'tensor core': r'\bv_mfma_',
        'fused multiply-add': r'\bv_(?:pk_)?(?:fma|fmac|mac)_f32\b',
    },
}


class Driver:
    """As much of a driver as compiling asks for."""

    def __init__(self, target):
        self.target = target

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


def compile_for(target):
    """What each case becomes on ``target``: {case: {kernel: figures}}."""
    triton.runtime.driver.set_active(Driver(target))
    run = JITFunction.run
    kernels = []

    def compile_only(self, *args, grid, warmup, **kwargs):
        kernels.append(run(self, *args, grid=grid, warmup=True, **kwargs))

    JITFunction.run = compile_only
    report = {}
    for cases, launch_case in (
        (CASES, launch),
        (CONSTRUCTIONS, launch_construction),
        (RELAYING, launch_relaying),
    ):
        for case, arguments in cases.items():
            kernels.clear()
            launch_case(*arguments)
            report[case] = {kernel.name: figures(kernel, target) for kernel in kernels}
    return report


def launch(name, operation, dtype, shape):
    """Launch the kernels of one operation, on tensors without memory."""
    backend = BACKENDS[name]
    k = [
        min(size, 2 * extent - 1)
        for size, extent in zip(KERNEL_SIZE, shape[2:], strict=True)
    ]
    padding = [size // 2 for size in k]
    x = torch.empty(shape, dtype=dtype, device='meta')
    if name == 'triton':
        x = x.to(memory_format=torch.channels_last)
    weight = torch.empty(shape[1], 1, *k, dtype=dtype, device='meta')
    bias = torch.empty(shape[1], dtype=dtype, device='meta')
    if operation == 'grad_weight':
        backend.correlate_sum._init_fn(x, x, padding)
    else:
        flip = operation == 'grad_input'
        backend.correlate._init_fn(x, weight, None if flip else bias, padding, flip)


def launch_construction(interpolation, layers, channels, count):
    """Launch the kernels that build a stage's, forward and backward."""
    weight = torch.empty(layers, channels, count, device='meta')
    positions = torch.empty(2, channels, count, device='meta')
    sigma = None
    if interpolation != 'bilinear':
        sigma = torch.empty(2, *weight.shape, device='meta')
    arguments = weight, positions, sigma, KERNEL_SIZE, interpolation
    grad = construct._init_fn(*arguments)
    construct_backward._init_fn(grad, *arguments)


def launch_relaying(operator, shape):
    """Launch a kernel beside the convolution, as it runs in mixed precision."""
    images, channels, height, width = shape
    x = torch.empty(shape, dtype=torch.float16, device='meta')
    last = torch.empty(images, height, width, channels, dtype=x.dtype, device='meta')
    ones, pixels = torch.empty(channels, device='meta'), last[..., 0].float()
    scale = torch.empty(images, channels, 1, 1, device='meta')
    arguments = {
        'norm': (x, ones, ones, ones, 1e-6),
        'norm_backward': (last, x, ones, ones, pixels, pixels),
        'add_residual': (x.float(), last, scale),
        'add_residual_backward': (x.float(), last, scale),
    }
    getattr(nchw_block, operator)._init_fn(*arguments[operator])


def figures(kernel, target):
    """Registers, stack, shared memory and instruction counts of a compiled kernel."""
    if target.backend == 'hip':
        code = kernel.asm['amdgcn']

        def read(name):
            return int(re.search(rf'\.{name}:\s*(\d+)', code).group(1))

        result = {
            'registers': read('vgpr_count'),
            'stack': read('private_segment_fixed_size'),
        }
    else:
        with tempfile.NamedTemporaryFile(suffix='.cubin') as file:
            file.write(kernel.asm['cubin'])
            file.flush()
            usage = tool('cuobjdump', '--dump-resource-usage', file.name)
            code = tool('nvdisasm', '-c', file.name)
        result = {
            'registers': int(re.search(r'REG:(\d+)', usage).group(1)),
            'stack': int(re.search(r'STACK:(\d+)', usage).group(1)),
        }
    result['shared'] = kernel.metadata.shared
    result['warps'] = kernel.metadata.num_warps
    counts = collections.Counter()
    for name, pattern in INSTRUCTIONS[target.backend].items():
        counts[name] = len(re.findall(pattern, code))
    return result | counts


def tool(name, *arguments):
    path = getattr(triton.knobs.nvidia, name).path
    return subprocess.run(
        [path, *arguments], check=True, capture_output=True, text=True
    ).stdout


if __name__ == '__main__':
    backend, architecture = sys.argv[1:]
    if backend == 'cuda':
        target = GPUTarget('cuda', int(architecture), 32)
    else:
        target = GPUTarget('hip', architecture, 64)
    print(json.dumps(compile_for(target), indent=1))
