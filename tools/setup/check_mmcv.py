"""Exit with an error unless MMCV's compiled operators load and run here.

Loading fails where MMCV was compiled against another PyTorch than the one installed,
and the CUDA operators are missing where it was compiled on a machine without a GPU.
"""

import torch
from mmcv.ops import nms
from torch.utils.cpp_extension import CUDA_HOME

# CUDA operators can be had, and are missed, only where a compiler for them is.
device = 'cuda' if torch.cuda.is_available() and CUDA_HOME else 'cpu'
boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]], device=device)
_, kept = nms(boxes, boxes.new_tensor([0.9, 0.8, 0.7]), iou_threshold=0.5)
if kept.tolist() != [0, 2]:
    raise SystemExit(
        f'mmcv.ops.nms on {device} keeps boxes {kept.tolist()}, not [0, 2]'
    )
print(f'MMCV works on {device}')
