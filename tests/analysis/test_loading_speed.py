from helpers.trained_models import MINI_CONFIGS
from mmengine.config import Config

from mmdcls.analysis.loading_speed import images_per_core


def test_a_pipeline_is_timed():
    cfg = Config.fromfile(MINI_CONFIGS['convnext'])
    assert images_per_core(cfg, seconds=0.01) > 0
