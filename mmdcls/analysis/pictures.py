"""Pictures of what a model sees, what is there, and what it predicts."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import mmcv
import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.runner import Runner

from mmdcls.apis.inference import draw_sample, read_image
from mmdcls.datasets.loading import displayable, loading_of
from mmdcls.engine.named_files_hook import name_files
from mmdcls.errors import ConfigError
from mmdcls.files import save_figure


@torch.no_grad()
def draw_predictions(
    runner: Runner, filename: str | os.PathLike, count: int = 4, score_thr: float = 0.3
) -> Path:
    """Draw images of the test set beside their ground truth and the prediction.

    Works for every task whose visualizer has ``add_datasample`` (mmseg, mmdet); the
    model's weights must be loaded already.

    Args:
        runner: Gives the model, the test data and the visualizer.
        filename: The PNG file to write; its folder is made.
        count: The number of images, which are evenly spaced over the test set.
        score_thr: Predicted objects below this score are not drawn (detection).

    Returns:
        The file's path.

    Raises:
        ConfigError: If the config is of classification.
        UnreadableImageError: If one of the images cannot be read.
    """
    if runner.cfg.get('default_scope') == 'mmpretrain':
        raise ConfigError(
            f"The config '{runner.cfg.filename}' is of classification (mmpretrain), "
            'whose predictions are no pictures; tools/predict.py draws them.'
        )
    dataset = runner.test_dataloader.dataset
    name_files(dataset)
    chosen = np.linspace(0, len(dataset) - 1, num=min(count, len(dataset)), dtype=int)
    loading = loading_of(runner.cfg)
    images = [
        read_image(dataset.get_data_info(int(index))['img_path'], loading)
        for index in chosen
    ]
    model = runner.model.eval()
    figure = Figure(figsize=(9, 2.6 * len(chosen)))
    rows = figure.subplots(len(chosen), 3, squeeze=False)
    for row, index, image in zip(rows, chosen, images, strict=True):
        batch = runner.test_dataloader.collate_fn([dataset[int(index)]])
        sample = model.test_step(batch)[0].cpu()
        drawn = [displayable(image)]
        for only in (dict(draw_gt=True, draw_pred=False), dict(draw_gt=False)):
            drawn.append(_drawn(runner, image, sample, score_thr, **only))
        for axis, picture in zip(row, drawn, strict=True):
            axis.imshow(picture)
            axis.set_axis_off()
    titles = ('input', 'ground truth', 'prediction')
    for axis, title in zip(rows[0], titles, strict=True):
        axis.set_title(title)
    return save_figure(figure, filename)


def _drawn(runner, image, sample, score_thr, **only):
    options = dict(pred_score_thr=score_thr) if 'pred_instances' in sample else {}
    runner.visualizer.dataset_meta = runner.test_dataloader.dataset.metainfo
    with tempfile.TemporaryDirectory() as folder:
        out_file = os.path.join(folder, 'picture.png')
        draw_sample(runner.visualizer, image, sample, out_file, **options, **only)
        return mmcv.imread(out_file, channel_order='rgb')
