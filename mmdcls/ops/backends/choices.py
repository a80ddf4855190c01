"""Which backend is fastest; written by ``python -m mmdcls.ops.benchmark --tune``.

``CHOICES[device, dtype][operation][kernel size]`` names the backend for each size of
``MAP_SIZES``; the nearest sizes count. What is not here runs on ``'aten'``.
"""

MAP_SIZES = (7, 14, 28, 56)
CHOICES = {
    ('cpu', 'float32'): {
        'forward': {
            7: ('aten', 'aten', 'aten', 'aten'),
            17: ('aten', 'aten', 'aten', 'aten'),
            21: ('aten', 'aten', 'row_dft', 'row_dft'),
            31: ('aten', 'aten', 'row_dft', 'row_dft'),
            51: ('aten', 'aten', 'row_dft', 'row_dft'),
        },
        'grad_input': {
            7: ('aten', 'aten', 'aten', 'aten'),
            17: ('aten', 'aten', 'aten', 'aten'),
            21: ('aten', 'aten', 'aten', 'row_dft'),
            31: ('aten', 'aten', 'row_dft', 'row_dft'),
            51: ('aten', 'aten', 'row_dft', 'row_dft'),
        },
        'grad_weight': {
            7: ('aten', 'aten', 'aten', 'aten'),
            17: ('aten', 'aten', 'aten', 'row_dft'),
            21: ('aten', 'aten', 'aten', 'row_dft'),
            31: ('aten', 'aten', 'row_dft', 'row_dft'),
            51: ('aten', 'aten', 'row_dft', 'row_dft'),
        },
    },
    ('cpu', 'float64'): {
        'forward': {
            7: ('fft', 'fft', 'fft', 'fft'),
            17: ('fft', 'fft', 'fft', 'fft'),
            31: ('fft', 'fft', 'fft', 'fft'),
            51: ('fft', 'fft', 'fft', 'fft'),
        },
        'grad_input': {
            7: ('fft', 'fft', 'fft', 'fft'),
            17: ('fft', 'fft', 'fft', 'fft'),
            31: ('fft', 'fft', 'fft', 'fft'),
            51: ('fft', 'fft', 'fft', 'fft'),
        },
        'grad_weight': {
            7: ('fft', 'fft', 'fft', 'fft'),
            17: ('fft', 'fft', 'fft', 'fft'),
            31: ('fft', 'fft', 'fft', 'fft'),
            51: ('fft', 'fft', 'fft', 'fft'),
        },
    },
}
