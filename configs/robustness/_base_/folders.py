# Where tools/robustness.py looks for the images; --data-root replaces data_root.
robustness = dict(
    data_root='data',
    folders=dict(
        clean='imagenet/val',
        c='imagenet-c',
        cbar='imagenet-c-bar',
        a='imagenet-a',
        r='imagenet-r',
        sketch='imagenet-sketch',
    ),
)
