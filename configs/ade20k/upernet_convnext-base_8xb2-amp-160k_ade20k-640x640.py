# UperNet 640x640, ConvNeXt-B: mmseg's own recipe, to run beside ConvNeXt-dcls-B.
_base_ = 'mmseg::convnext/convnext-base_upernet_8xb2-amp-160k_ade20k-640x640.py'

# mmdcls.engine lets torch >= 2.6 read the run's own checkpoints.
custom_imports = dict(
    imports=['mmpretrain.models', 'mmdcls.engine'], allow_failed_imports=False
)
# For --auto-scale-lr: 8 GPUs with 2 images each.
auto_scale_lr = dict(enable=False, base_batch_size=16)
default_hooks = dict(
    checkpoint=dict(type='mmdcls.WholeCheckpointHook'),
    exact_resume=dict(type='mmdcls.ExactResumeHook'),
)
