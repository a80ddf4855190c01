"""Tables 1 to 5 as the paper prints them, and the config of each row.

A model has one name in all of them; the paper writes ConvNeXt-dcls-T in Table 5,
ConvNeXt-T-dcls in Tables 2 and 3, and CNeXt-dcls-T in Table 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmdcls.robustness.report import PAPER_ROWS


@dataclass(frozen=True)
class Column:
    """A quantity of a table.

    Attributes:
        title: The column's heading.
        keys: The printed values in a cell; more than one are separated by ``/``.
        kind: ``'parameters'`` (in M), ``'flops'`` (in G), ``'throughput'`` (in images
            a second, one GPU of the paper's) or ``'score'`` (in %).
    """

    title: str
    keys: tuple[str, ...]
    kind: str = 'score'


PARAMETERS = Column('Params (M)', ('parameters',), 'parameters')
FLOPS = Column('FLOPs (G)', ('flops',), 'flops')
THROUGHPUT = Column('Throughput / plain', ('throughput',), 'throughput')


@dataclass(frozen=True)
class Row:
    """A model.

    Attributes:
        model: The model's name, in the paper if it is there.
        printed: Values by the columns' keys, as text to keep the paper's rounding;
            empty for a model of ours that the paper has no row of.
        config: A config of this repository or, with ``::``, of an OpenMMLab package;
            None where there is none.
        plain: The row that its throughput is compared with.
    """

    model: str
    printed: dict[str, str]
    config: str | None = None
    plain: str | None = None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        number: That of the paper.
        title: A heading that says what the table shows.
        columns: The quantities, left to right.
        rows: The models, top to bottom.
        metrics: Score key to the name that the evaluation gives it, and the factor that
            makes it a percentage.
    """

    number: int
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...] = field(repr=False)
    metrics: dict[str, tuple[str, float]] = field(default_factory=dict)


def _rows(
    text: str, columns: tuple[Column, ...], configs: dict[str, str]
) -> tuple[Row, ...]:
    """Read lines of ``model | value | …``; ``-`` stands for a value not printed."""
    keys = [key for column in columns for key in column.keys]
    models = [line.split('|')[0].strip() for line in text.strip().splitlines()]
    rows = []
    for model, line in zip(models, text.strip().splitlines(), strict=True):
        values = line.split('|', 1)[1].split()
        printed = dict(zip(keys, values, strict=True))
        plain = _plain_model(model)
        rows.append(
            Row(
                model,
                {key: value for key, value in printed.items() if value != '-'},
                configs.get(model),
                plain if plain in models else None,
            )
        )
    return tuple(rows)


def _plain_model(model: str) -> str | None:
    if 'dcls' not in model:
        return None
    if model.startswith('ResNet'):
        return 'ResNet-50 3/9 dil 1'
    return model.replace('-dcls', '').replace(', Gaussian', '')


_TOP1 = {'top1': ('accuracy/top1', 1.0)}
_IMAGENET = 'configs/imagenet/'
_RSB = '_8xb256-rsb-a3-100e_in1k-160px.py'
_CONVNEXT = '_32xb128_in1k.py'
_COLUMNS_1 = (PARAMETERS, FLOPS, THROUGHPUT, Column('Top-1', ('top1',)))

TABLE_1 = Table(
    1,
    'ImageNet-1k with ResNet-50 (kernel size/count, dilation)',
    _COLUMNS_1,
    _rows(
        """
        ResNet-50 3/9 dil 1 | 25.6 4.1 1021.9 75.8
        ResNet-50 7/49 dil 1 | 75.9 12.3 642.6 77.0
        ResNet-50 3/9 dil 2 | 25.6 4.1 931.8 71.7
        ResNet-50 3/9 dil 3 | 25.6 4.1 943.4 70.1
        ResNet-50-dcls 7/5 | 24.0 12.3 627.2 76.5
        ResNet-50-dcls 7/6 | 26.0 12.3 627.1 76.5
        """,
        _COLUMNS_1,
        {
            'ResNet-50 3/9 dil 1': f'{_IMAGENET}resnet50{_RSB}',
            'ResNet-50 7/49 dil 1': f'{_IMAGENET}resnet50-ker7{_RSB}',
            'ResNet-50 3/9 dil 2': f'{_IMAGENET}resnet50-dil2{_RSB}',
            'ResNet-50 3/9 dil 3': f'{_IMAGENET}resnet50-dil3{_RSB}',
            'ResNet-50-dcls 7/5': f'{_IMAGENET}resnet50-dcls-count5{_RSB}',
            'ResNet-50-dcls 7/6': f'{_IMAGENET}resnet50-dcls-count6{_RSB}',
        },
    ),
    _TOP1,
)

# SLaK's parameters and FLOPs are those that PyTorch returns. It has no config, and
# mmpretrain's of RepLKNet cannot be read: it imports a module inside of a config.
TABLE_2 = Table(
    2,
    'ImageNet-1k',
    _COLUMNS_1,
    _rows(
        """
        Swin-T | 28 4.5 757.9 81.3
        ConvNeXt-T | 29 4.5 774.7 82.1
        ConvNeXt-T-dil2 | 29 4.5 773.6 80.8
        ConvNeXt-T-ker17 | 30 5 560.0 82.0
        SLaK-T | 38 9.4 583.5 82.5
        ConvNeXt-dcls-T | 29 5.0 725.3 82.5
        Swin-S | 50 8.7 436.7 83.0
        ConvNeXt-S | 50 8.7 447.1 83.1
        SLaK-S | 75 16.6 367.9 83.8
        ConvNeXt-dcls-S | 50 9.5 433.4 83.7
        Swin-B | 88 15.4 286.6 83.5
        ConvNeXt-B | 89 15.4 292.1 83.8
        RepLKNet-31B | 79 15.4 295.5 83.5
        SLaK-B | 122 25.9 245.4 84.0
        ConvNeXt-dcls-B | 89 16.5 285.4 84.1
        """,
        _COLUMNS_1,
        {
            'Swin-T': 'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py',
            'Swin-S': 'mmpretrain::swin_transformer/swin-small_16xb64_in1k.py',
            'Swin-B': 'mmpretrain::swin_transformer/swin-base_16xb64_in1k.py',
            'ConvNeXt-T': f'mmpretrain::convnext/convnext-tiny{_CONVNEXT}',
            'ConvNeXt-S': f'mmpretrain::convnext/convnext-small{_CONVNEXT}',
            'ConvNeXt-B': f'mmpretrain::convnext/convnext-base{_CONVNEXT}',
            'ConvNeXt-T-dil2': f'{_IMAGENET}convnext-tiny-dil2{_CONVNEXT}',
            'ConvNeXt-T-ker17': f'{_IMAGENET}convnext-tiny-ker17{_CONVNEXT}',
            'ConvNeXt-dcls-T': f'{_IMAGENET}convnext-dcls-tiny{_CONVNEXT}',
            'ConvNeXt-dcls-S': f'{_IMAGENET}convnext-dcls-small{_CONVNEXT}',
            'ConvNeXt-dcls-B': f'{_IMAGENET}convnext-dcls-base{_CONVNEXT}',
        },
    ),
    _TOP1,
)

_UPERNET = 'configs/ade20k/upernet_convnext-{}_8xb2-amp-160k_ade20k-{}.py'
_COLUMNS_3 = (Column('mIoU (ss)', ('mIoU',)), PARAMETERS, FLOPS, THROUGHPUT)

TABLE_3 = Table(
    3,
    'ADE20K with UperNet, crops of 512x512 if not named, FLOPs of 2048x512',
    _COLUMNS_3,
    _rows(
        """
        ConvNeXt-T | 46.0 60 939 23.9
        SLaK-T | 47.1 65 945 -
        ConvNeXt-dcls-T | 47.1 60 950 21.1
        ConvNeXt-S | 48.7 82 1027 22.1
        ConvNeXt-dcls-S | 48.4 82 1045 19.5
        ConvNeXt-B | 49.1 122 1170 21.7
        ConvNeXt-dcls-B | 49.3 122 1193 18.6
        ConvNeXt-dcls-T, Gaussian | - - - -
        ConvNeXt-B, 640x640 | - - - -
        ConvNeXt-dcls-B, 640x640 | - - - -
        """,
        _COLUMNS_3,
        {
            'ConvNeXt-T': _UPERNET.format('tiny', '512x512'),
            'ConvNeXt-dcls-T': _UPERNET.format('dcls-tiny', '512x512'),
            'ConvNeXt-S': _UPERNET.format('small', '512x512'),
            'ConvNeXt-dcls-S': _UPERNET.format('dcls-small', '512x512'),
            'ConvNeXt-B': _UPERNET.format('base', '512x512'),
            'ConvNeXt-dcls-B': _UPERNET.format('dcls-base', '512x512'),
            'ConvNeXt-dcls-T, Gaussian': _UPERNET.format(
                'dcls-tiny-gaussian', '512x512'
            ),
            'ConvNeXt-B, 640x640': _UPERNET.format('base', '640x640'),
            'ConvNeXt-dcls-B, 640x640': _UPERNET.format('dcls-base', '640x640'),
        },
    ),
    {'mIoU': ('mIoU', 1.0)},
)

_CASCADE = (
    'configs/coco/'
    'cascade-mask-rcnn_convnext-{}_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py'
)
_MASK = 'configs/coco/mask-rcnn_convnext-{}_fpn_amp-ms-crop-3x_coco.py'
_COLUMNS_4 = (
    PARAMETERS,
    FLOPS,
    THROUGHPUT,
    Column('box AP / 50 / 75', ('box_AP', 'box_AP50', 'box_AP75')),
    Column('mask AP / 50 / 75', ('mask_AP', 'mask_AP50', 'mask_AP75')),
)

TABLE_4 = Table(
    4,
    'COCO with Cascade Mask R-CNN if not named, 3x, FLOPs of 1280x800',
    _COLUMNS_4,
    _rows(
        """
        ResNet-50 | - 739 - 46.3 64.3 50.5 40.1 61.7 43.4
        X101-32 | - 819 - 48.1 66.5 52.4 41.6 63.9 45.2
        X101-64 | - 972 - 48.3 66.4 52.3 41.7 64.0 45.1
        Swin-T | - 745 - 50.4 69.2 54.7 43.7 66.6 47.3
        ConvNeXt-T | - 741 11.6 50.4 69.1 54.8 43.7 66.5 47.3
        ConvNeXt-dcls-T | - 751 11.2 51.2 69.9 55.7 44.5 67.5 48.3
        Swin-S | - 838 - 51.9 70.7 56.3 45.0 68.2 48.8
        ConvNeXt-S | - 827 11.2 51.9 70.8 56.5 45.0 68.4 49.1
        ConvNeXt-dcls-S | - 844 10.5 52.8 71.6 57.6 45.6 69.0 49.3
        Swin-B | - 982 - 51.9 70.5 56.4 45.0 68.1 48.9
        ConvNeXt-B | - 964 11.1 52.7 71.3 57.2 45.6 68.9 49.5
        ConvNeXt-dcls-B | - 987 10.3 53.0 71.5 57.7 46.0 69.3 50.0
        ConvNeXt-dcls-T, Gaussian | - - - - - - - - -
        ConvNeXt-T, Mask R-CNN | - - - - - - - - -
        ConvNeXt-dcls-T, Mask R-CNN | - - - - - - - - -
        """,
        _COLUMNS_4,
        {
            'ConvNeXt-T': _CASCADE.format('tiny'),
            'ConvNeXt-dcls-T': _CASCADE.format('dcls-tiny'),
            'ConvNeXt-S': _CASCADE.format('small'),
            'ConvNeXt-dcls-S': _CASCADE.format('dcls-small'),
            'ConvNeXt-B': _CASCADE.format('base'),
            'ConvNeXt-dcls-B': _CASCADE.format('dcls-base'),
            'ConvNeXt-dcls-T, Gaussian': _CASCADE.format('dcls-tiny-gaussian'),
            'ConvNeXt-T, Mask R-CNN': _MASK.format('tiny'),
            'ConvNeXt-dcls-T, Mask R-CNN': _MASK.format('dcls-tiny'),
        },
    ),
    {
        f'{short}_AP{threshold}': (
            f'coco/{name}_mAP' + (f'_{threshold}' if threshold else ''),
            100.0,
        )
        for short, name in (('box', 'bbox'), ('mask', 'segm'))
        for threshold in ('', '50', '75')
    },
)

_COLUMNS_5 = (
    FLOPS,
    PARAMETERS,
    Column('Clean', ('clean',)),
    Column('C (↓)', ('c',)),
    Column('C̄ (↓)', ('cbar',)),
    Column('A', ('a',)),
    Column('R', ('r',)),
    Column('SK', ('sketch',)),
)

# C of ResNet-50 is an AlexNet-normalised mCE, that of the others a mean error.
TABLE_5 = Table(
    5,
    'Robustness: accuracy, and mean error on ImageNet-C and -C̄',
    _COLUMNS_5,
    _rows(
        '\n'.join(
            ' '.join([f'{model} | {size.replace("/", "")}', *map(str, scores)])
            for model, size, *scores in PAPER_ROWS
        ),
        _COLUMNS_5,
        {
            'ResNet-50': 'mmpretrain::resnet/resnet50_8xb32_in1k.py',
            'ConvNeXt-T': f'mmpretrain::convnext/convnext-tiny{_CONVNEXT}',
            'ConvNeXt-dcls-T': f'{_IMAGENET}convnext-dcls-tiny{_CONVNEXT}',
            'ConvNeXt-S': f'mmpretrain::convnext/convnext-small{_CONVNEXT}',
            'ConvNeXt-dcls-S': f'{_IMAGENET}convnext-dcls-small{_CONVNEXT}',
            'ConvNeXt-B': f'mmpretrain::convnext/convnext-base{_CONVNEXT}',
            'ConvNeXt-dcls-B': f'{_IMAGENET}convnext-dcls-base{_CONVNEXT}',
        },
    ),
)

TABLES = {
    table.number: table for table in (TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_5)
}
"""The paper's tables by their numbers."""
