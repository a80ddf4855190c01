"""mmengine's Runner with several processes on CPUs, which mmengine itself refuses.

Named in a config by ``custom_imports`` and ``runner_type``; needs tests/ on PYTHONPATH.
"""

import torch.distributed as dist
from mmengine.registry import RUNNERS
from mmengine.runner import Runner


@RUNNERS.register_module()
class CPURunner(Runner):
    """Joins the launcher's processes by gloo and gives DDP no GPU."""

    def setup_env(self, env_cfg):
        # mmengine's init_dist asks for a GPU whatever the backend.
        if self.distributed and not dist.is_initialized():
            dist.init_process_group('gloo')
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg, model):
        if self.distributed:
            model_wrapper_cfg = dict(
                type='MMDistributedDataParallel',
                device_ids=None,
                broadcast_buffers=False,
            )
        return super().wrap_model(model_wrapper_cfg, model)
