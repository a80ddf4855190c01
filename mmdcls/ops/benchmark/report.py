"""The report of the benchmark in Markdown."""

from mmdcls.files import markdown_facts, markdown_table

# What a row may be measured against, and how the column is called.
_LIMITS = {
    'bandwidth': "of a copy's bandwidth",
    'arithmetic': "of a matrix product's rate",
}


def to_markdown(report: dict, kernel_size: int, kernel_count: int) -> str:
    """Format the report as Markdown tables.

    Args:
        report: The report, as the benchmark writes it as JSON.
        kernel_size: Dilated kernel size of the layers.
        kernel_count: Their number of elements.
    """
    return '\n'.join(
        [
            '# DCLS operators\n',
            markdown_facts(report['environment']),
            f'## Depthwise DCLS layer {kernel_size}x{kernel_size}, '
            f'{kernel_count} elements\n\n'
            'Milliseconds; then how many times faster the DCLS layer is.\n',
            _layers(report['layers']),
            '## Train step over the dilated kernel size, all stages\n',
            _growth(report['growth'], kernel_size),
            '## Kernel construction, forward and backward\n',
            _construction(report['construction']),
        ]
    )


def _layers(rows):
    names = list(rows[0]['ms'])
    others = list(dict.fromkeys(name for row in rows for name in row['ratio']))
    limits = {
        key: title for key, title in _LIMITS.items() if any(key in row for row in rows)
    }
    body = []
    for row in rows:
        cells = [row['batch'], row['mode'], row['stage']]
        cells += [f'{row["ms"][n]:.2f}' if n in row['ms'] else '' for n in names]
        cells += [f'{row["ratio"][n]:.2f}' for n in others]
        cells += [f'{row[key]:.2f}' if key in row else '' for key in limits]
        body.append(cells)
    header = ['batch', 'mode', 'stage', *names, *(f'{name} / dcls' for name in others)]
    return markdown_table([*header, *limits.values()], body)


def _growth(rows, kernel_size):
    return markdown_table(
        ['kernel size', 'ms', f'against {kernel_size}'],
        [
            [row['kernel_size'], f'{row["ms"]:.1f}', f'{row["ratio"]:.2f}']
            for row in rows
        ],
    )


def _construction(rows):
    ours = {row['interpolation']: row for row in rows if row['name'] == 'dcls'}
    return markdown_table(
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
            for row in rows
        ],
    )
