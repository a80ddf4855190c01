"""PyTorch's convolution on the other memory format: same values, format kept."""

import pytest
import torch
import torch.nn.functional as F
from helpers.tolerances import assert_close

from mmdcls.ops.backends import aten, aten_relaid
from mmdcls.ops.backends.layout import format_of

FORMATS = {'nchw': torch.contiguous_format, 'channels_last': torch.channels_last}


@pytest.mark.parametrize('memory_format', FORMATS)
def test_values_and_formats(memory_format, monkeypatch):
    memory_format = FORMATS[memory_format]
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 9, dtype=torch.float64)
    x = x.contiguous(memory_format=memory_format)
    weight = torch.randn(3, 1, 3, 5, dtype=torch.float64)
    tensors = x.requires_grad_(), weight.requires_grad_()
    expected = F.conv2d(*tensors, padding=(1, 2), groups=3)
    grad_output = torch.randn_like(expected)
    grad_x, grad_kernel = torch.autograd.grad(expected, tensors, grad_output)
    seen = []
    forward = aten.forward
    monkeypatch.setattr(
        aten,
        'forward',
        lambda x, *rest: (seen.append(format_of(x)), forward(x, *rest))[1],
    )
    with torch.no_grad():
        output = aten_relaid.forward(x, weight, None, (1, 2))
        gradient = aten_relaid.grad_input(grad_output, weight, (8, 9), (1, 2))
        grad_weight = aten_relaid.grad_weight(x, grad_output, (3, 5), (1, 2))
    assert memory_format not in seen and len(seen) == 2
    assert output.is_contiguous(memory_format=memory_format)
    assert gradient.is_contiguous(memory_format=memory_format)
    assert_close(output, expected, 'output')
    assert_close(gradient, grad_x, 'gradient')
    assert_close(grad_weight, grad_kernel, 'gradient')
