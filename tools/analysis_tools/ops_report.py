"""The report of ``benchmark_ops.py`` in Markdown."""


def to_markdown(report: dict, kernel_size: int, kernel_count: int) -> str:
    """The report as Markdown tables.

    Args:
        report: What ``benchmark_ops.py`` writes as JSON.
        kernel_size: Dilated kernel size of the layers.
        kernel_count: Their number of elements.
    """
    lines = ['# DCLS operators', '']
    lines += [f'- {name}: {value}' for name, value in report['environment'].items()]
    names = list(report['layers'][0]['ms'])
    others = list(
        dict.fromkeys(name for row in report['layers'] for name in row['ratio'])
    )
    lines += [
        '',
        f'## Depthwise DCLS layer {kernel_size}x{kernel_size}, {kernel_count} elements',
        '',
        'Milliseconds; then how many times faster the DCLS layer is.',
        '',
    ]
    header = ['batch', 'mode', 'stage', *names, *(f'{name} / dcls' for name in others)]
    limits = {
        'bandwidth': "of a copy's bandwidth",
        'arithmetic': "of a matrix product's rate",
    }
    limits = {
        key: title
        for key, title in limits.items()
        if any(key in row for row in report['layers'])
    }
    body = []
    for row in report['layers']:
        cells = [row['batch'], row['mode'], row['stage']]
        cells += [f'{row["ms"][n]:.2f}' if n in row['ms'] else '' for n in names]
        cells += [f'{row["ratio"][n]:.2f}' for n in others]
        cells += [f'{row[key]:.2f}' if key in row else '' for key in limits]
        body.append(cells)
    lines += table([*header, *limits.values()], body)
    lines += ['', '## Train step over the dilated kernel size, all stages', '']
    lines += table(
        ['kernel size', 'ms', f'against {kernel_size}'],
        [
            [row['kernel_size'], f'{row["ms"]:.1f}', f'{row["ratio"]:.2f}']
            for row in report['growth']
        ],
    )
    lines += ['', '## Kernel construction, forward and backward', '']
    ours = {
        row['interpolation']: row
        for row in report['construction']
        if row['name'] == 'dcls'
    }
    lines += table(
        ['interpolation', '', 'ms', 'against dcls', 'peak MB', 'against dcls'],
        [
            [
                row['interpolation'],
                row['name'],
                f'{row["ms"]:.2f}',
                f'{row["ms"] / ours[row["interpolation"]]["ms"]:.1f}',
                f'{row["peak_mb"]:.2f}',
                f'{row["peak_mb"] / ours[row["interpolation"]]["peak_mb"]:.1f}',
            ]
            for row in report['construction']
        ],
    )
    return '\n'.join([*lines, ''])


def table(header, rows):
    """The lines of a Markdown table."""
    cells = [header, ['---'] * len(header), *rows]
    return ['| ' + ' | '.join(map(str, row)) + ' |' for row in cells]
