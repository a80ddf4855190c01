"""Whether float32 convolutions may be rounded to TF32."""

import torch


def allows_tf32() -> bool:
    """Tell whether PyTorch's settings let cuDNN's convolutions use TF32."""
    conv = getattr(torch.backends.cudnn, 'conv', None)
    if conv is None:  # PyTorch 2.8
        return torch.backends.cudnn.allow_tf32
    return conv.fp32_precision == 'tf32'
