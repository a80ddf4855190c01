"""The authors' three models, restated plainly: names, shapes and forward passes.

Written from the paper (eq. 3 and 14 for the kernel), the ConvNeXt, UperNet and Cascade
Mask R-CNN papers and the names in the authors' repository; nothing of OpenMMLab is
used. All sizes can be made small.
"""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

SIZES = {
    'tiny': SimpleNamespace(depths=(3, 3, 9, 3), dims=(96, 192, 384, 768), count=34),
    'small': SimpleNamespace(depths=(3, 3, 27, 3), dims=(96, 192, 384, 768), count=40),
    'base': SimpleNamespace(depths=(3, 3, 27, 3), dims=(128, 256, 512, 1024), count=40),
    'mini': SimpleNamespace(depths=(1, 2, 2, 1), dims=(4, 6, 8, 10), count=5),
}


# What the authors' layer of each period does with positions: whether P[0] runs along
# the columns, whether they are clamped to the kernel, and whether its grid is saved.
PERIODS = {
    '2022-09': SimpleNamespace(columns_first=False, clamps=True, saves_grid=False),
    '2022-11': SimpleNamespace(columns_first=True, clamps=False, saves_grid=True),
    '2023-01': SimpleNamespace(columns_first=True, clamps=False, saves_grid=False),
    '2023-10': SimpleNamespace(columns_first=False, clamps=False, saves_grid=False),
}


class DepthwiseDCLS(nn.Module):
    """Eq. 3: an element's share of a grid point falls linearly, to 0 at distance 1."""

    def __init__(self, dim, positions, kernel_size=17, period='2022-09'):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, 1, positions.shape[-1]))
        self.bias = nn.Parameter(torch.empty(dim))
        self.P = positions
        self.kernel_size = kernel_size
        self.period = PERIODS[period]
        if self.period.saves_grid:
            self.DCK = Grid(positions.shape, kernel_size)

    def kernel(self):
        half = self.kernel_size // 2
        grid = torch.arange(-half, half + 1, dtype=self.weight.dtype)
        positions = self.P.clamp(-half, half) if self.period.clamps else self.P
        shares = [(1 - (grid - p.unsqueeze(-1)).abs()).clamp(min=0) for p in positions]
        rows, columns = reversed(shares) if self.period.columns_first else shares
        return torch.einsum('cim,cimr,cims->cirs', self.weight, rows, columns)

    def forward(self, x):
        return F.conv2d(
            x,
            self.kernel(),
            self.bias,
            padding=self.kernel_size // 2,
            groups=x.shape[1],
        )


class Grid(nn.Module):
    """The column and row of every grid point for every element, and the sizes."""

    def __init__(self, positions_shape, kernel_size):
        super().__init__()
        index = torch.arange(kernel_size).view(-1, 1, 1, 1)
        shape = kernel_size, kernel_size, *positions_shape[1:]
        tensors = {
            'I': index.expand(shape),
            'J': index.unsqueeze(1).expand(shape),
            'lim': torch.full(positions_shape, float(kernel_size)),
        }
        for name, tensor in tensors.items():
            self.register_parameter(
                name, nn.Parameter(tensor.contiguous(), requires_grad=False)
            )


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of ``(N, C, H, W)``."""

    def __init__(self, dim):
        super().__init__(dim, eps=1e-6)

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Block(nn.Module):
    def __init__(self, dim, positions, period):
        super().__init__()
        self.dwconv = DepthwiseDCLS(dim, positions, period=period)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.empty(dim))

    def forward(self, x):
        y = self.norm(self.dwconv(x).movedim(1, -1))
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.movedim(-1, 1)


class Backbone(nn.Module):
    """Shared by the tasks; a classifier adds ``norm`` and ``head``."""

    def __init__(self, size, share=True, period='2022-09'):
        super().__init__()
        dims = size.dims
        stem = nn.Sequential(nn.Conv2d(3, dims[0], 4, 4), ChannelNorm(dims[0]))
        self.downsample_layers = nn.ModuleList([stem])
        for before, after in zip(dims, dims[1:], strict=False):
            self.downsample_layers.append(
                nn.Sequential(ChannelNorm(before), nn.Conv2d(before, after, 2, 2))
            )
        self.stages = nn.ModuleList()
        for depth, dim in zip(size.depths, dims, strict=True):
            positions = [
                nn.Parameter(torch.empty(2, dim, 1, size.count))
                for _ in range(1 if share else depth)
            ]
            blocks = [
                Block(dim, positions[i if not share else 0], period)
                for i in range(depth)
            ]
            self.stages.append(nn.Sequential(*blocks))

    def levels(self, x):
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
            yield x


class Classifier(Backbone):
    def __init__(self, size, classes=1000, **kwargs):
        super().__init__(size, **kwargs)
        self.norm = nn.LayerNorm(size.dims[-1], eps=1e-6)
        self.head = nn.Linear(size.dims[-1], classes)

    def forward(self, x):
        *_, last = self.levels(x)
        return self.head(self.norm(last.mean((2, 3))))


class DownstreamBackbone(Backbone):
    def __init__(self, size, **kwargs):
        super().__init__(size, **kwargs)
        for i, dim in enumerate(size.dims):
            self.add_module(f'norm{i}', ChannelNorm(dim))

    def forward(self, x):
        return [
            getattr(self, f'norm{i}')(level) for i, level in enumerate(self.levels(x))
        ]


class ConvBNReLU(nn.Module):
    def __init__(self, before, after, kernel_size):
        super().__init__()
        self.conv = nn.Conv2d(
            before, after, kernel_size, padding=kernel_size // 2, bias=False
        )
        self.bn = nn.BatchNorm2d(after)

    def forward(self, x):
        return self.bn(self.conv(x)).relu()


def resize(x, like):
    return F.interpolate(x, like.shape[2:], mode='bilinear', align_corners=False)


class UPerHead(nn.Module):
    def __init__(self, dims, channels, classes):
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, classes, 1)
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(s), ConvBNReLU(dims[-1], channels, 1))
            for s in (1, 2, 3, 6)
        )
        self.bottleneck = ConvBNReLU(dims[-1] + 4 * channels, channels, 3)
        self.lateral_convs = nn.ModuleList(
            ConvBNReLU(dim, channels, 1) for dim in dims[:-1]
        )
        self.fpn_convs = nn.ModuleList(
            ConvBNReLU(channels, channels, 3) for _ in dims[:-1]
        )
        self.fpn_bottleneck = ConvBNReLU(4 * channels, channels, 3)

    def forward(self, levels):
        *lower, top = levels
        pooled = [resize(pool(top), top) for pool in self.psp_modules]
        top = self.bottleneck(torch.cat([top, *pooled], 1))
        laterals = [
            conv(x) for conv, x in zip(self.lateral_convs, lower, strict=True)
        ] + [top]
        for i in (2, 1, 0):
            laterals[i] = laterals[i] + resize(laterals[i + 1], laterals[i])
        outs = [
            conv(x) for conv, x in zip(self.fpn_convs, laterals[:-1], strict=True)
        ] + [top]
        outs = [resize(x, outs[0]) for x in outs]
        return self.conv_seg(self.fpn_bottleneck(torch.cat(outs, 1)))


class FCNHead(nn.Module):
    def __init__(self, dim, channels, classes):
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, classes, 1)
        self.convs = nn.Sequential(ConvBNReLU(dim, channels, 3))

    def forward(self, levels):
        return self.conv_seg(self.convs(levels[2]))


class Segmentor(nn.Module):
    def __init__(
        self, size, classes=150, channels=512, auxiliary_channels=256, **kwargs
    ):
        super().__init__()
        self.backbone = DownstreamBackbone(size, **kwargs)
        self.decode_head = UPerHead(size.dims, channels, classes)
        self.auxiliary_head = FCNHead(size.dims[2], auxiliary_channels, classes)

    def forward(self, x):
        levels = self.backbone(x)
        return self.decode_head(levels), self.auxiliary_head(levels)


class Conv(nn.Module):
    """A convolution under the name that mmcv's ConvModule gives it."""

    def __init__(self, before, after, kernel_size):
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel_size, padding=kernel_size // 2)

    def forward(self, x):
        return self.conv(x)


class FPN(nn.Module):
    def __init__(self, dims, channels):
        super().__init__()
        self.lateral_convs = nn.ModuleList(Conv(dim, channels, 1) for dim in dims)
        self.fpn_convs = nn.ModuleList(Conv(channels, channels, 3) for _ in dims)

    def forward(self, levels):
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, levels, strict=True)]
        for i in (2, 1, 0):
            laterals[i] = laterals[i] + F.interpolate(
                laterals[i + 1], laterals[i].shape[2:], mode='nearest'
            )
        outs = [conv(x) for conv, x in zip(self.fpn_convs, laterals, strict=True)]
        return [*outs, F.max_pool2d(outs[-1], 1, stride=2)]


class RPNHead(nn.Module):
    def __init__(self, channels, anchors=3):
        super().__init__()
        self.rpn_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.rpn_cls = nn.Conv2d(channels, anchors, 1)
        self.rpn_reg = nn.Conv2d(channels, 4 * anchors, 1)

    def forward(self, levels):
        features = [self.rpn_conv(x).relu() for x in levels]
        return [self.rpn_cls(x) for x in features], [self.rpn_reg(x) for x in features]


class BBoxHead(nn.Module):
    """Four convolutions and one fully connected layer; the last class is background."""

    def __init__(self, channels, fc_channels, classes, convs):
        super().__init__()
        self.fc_cls = nn.Linear(fc_channels, classes + 1)
        self.fc_reg = nn.Linear(fc_channels, 4 * classes)
        self.shared_convs = nn.Sequential(
            *(ConvBNReLU(channels, channels, 3) for _ in range(convs))
        )
        self.shared_fcs = nn.ModuleList([nn.Linear(49 * channels, fc_channels)])

    def forward(self, x):
        x = self.shared_fcs[0](self.shared_convs(x).flatten(1)).relu()
        return self.fc_cls(x), self.fc_reg(x)


class MaskHead(nn.Module):
    def __init__(self, channels, classes, convs):
        super().__init__()
        self.convs = nn.ModuleList(Conv(channels, channels, 3) for _ in range(convs))
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.conv_logits = nn.Conv2d(channels, classes, 1)

    def forward(self, x):
        for conv in self.convs:
            x = conv(x).relu()
        return self.conv_logits(self.upsample(x).relu())


class Detector(nn.Module):
    def __init__(
        self, size, classes=80, channels=256, fc_channels=1024, convs=4, **kwargs
    ):
        super().__init__()
        self.backbone = DownstreamBackbone(size, **kwargs)
        self.neck = FPN(size.dims, channels)
        self.rpn_head = RPNHead(channels)
        self.roi_head = nn.Module()
        self.roi_head.bbox_head = nn.ModuleList(
            BBoxHead(channels, fc_channels, classes, convs) for _ in range(3)
        )
        self.roi_head.mask_head = nn.ModuleList(
            MaskHead(channels, classes, convs) for _ in range(3)
        )


MODELS = {'cls': Classifier, 'seg': Segmentor, 'det': Detector}

# The smallest options, for the outputs' comparison.
SMALL = {
    'cls': dict(classes=7),
    'seg': dict(classes=7, channels=6, auxiliary_channels=5),
    'det': dict(classes=7, channels=6, fc_channels=8, convs=2),
}


def make(task, size='mini', **kwargs):
    """A model with random values throughout, positions beyond the kernel included."""
    options = SMALL[task] if size == 'mini' else {}
    model = MODELS[task](SIZES[size], **{**options, **kwargs})
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and '.DCK.' not in name:
            scale = 6.0 if name.endswith('.P') else 0.5
            tensor.normal_(0, scale, generator=generator)
        if name.endswith('running_var'):
            tensor.abs_().add_(0.5)
    return model.eval()


def names_and_shapes(task, size):
    """A full-size state dict that takes no memory: every tensor is one zero."""
    with torch.device('meta'):
        model = MODELS[task](SIZES[size])
    return {
        name: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
        for name, tensor in model.state_dict().items()
    }


def layouts(state_dict):
    """The ways in which such files hold a state dict, by name."""
    prefixed = {f'module.{name}': value for name, value in state_dict.items()}
    wrong = {name: value + 1 for name, value in state_dict.items()}
    averaged = {'n_averaged': torch.tensor(7), **prefixed}
    lightning = {f'model.{name}': value for name, value in state_dict.items()}
    compiled = {
        f'_orig_mod.{name.replace("stages.", "stages._orig_mod.")}': value
        for name, value in prefixed.items()
    }
    return {
        'bare': state_dict,
        'model': {'model': state_dict},
        'state_dict': {'state_dict': state_dict, 'meta': {'epoch': 36}},
        'module': {'state_dict': prefixed},
        'model_ema': {'model': wrong, 'model_ema': prefixed, 'epoch': 299},
        'averaged': averaged,
        'compiled': {'model': compiled},
        'Lightning': {'state_dict': lightning, 'pytorch-lightning_version': '2.4.0'},
        'DeepSpeed': {'module': state_dict, 'dp_world_size': 2, 'optimizer': None},
    }
