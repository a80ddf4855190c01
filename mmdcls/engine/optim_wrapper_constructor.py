"""Param groups for models with learnable positions."""

from __future__ import annotations

from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from mmdcls.errors import ArgumentError, ArgumentTypeError
from mmdcls.layers import iter_dcls_layers, keep_position_rates
from mmdcls.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .sharding import layers_by_unit, plain_name, whole_parameters

DECAY_TYPES = ('layer_wise', 'stage_wise')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DCLSOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Give positions a learning rate and a weight decay of their own.

    Paper §3: positions get no weight decay, which would pull them to the centre, and
    five times the learning rate of the weights, under any schedule (see
    :func:`keep_position_rates`). Positions are found by the layer that owns them; a
    tensor shared by several layers enters one group, as its first owner's. The
    multipliers apply on top of whatever learning rate the parameter would have got
    otherwise. ``sigma`` of the interpolations that have one is spared weight decay like
    the positions and keeps the usual learning rate.

    ``paramwise_cfg`` accepts, besides everything mmengine's
    :class:`DefaultOptimWrapperConstructor` does:

    - ``positions_lr_mult`` (float): Defaults to 5. The authors' downstream code trains
      its positions at 1.0, contrary to the paper's text.
    - ``positions_decay_mult`` (float): Defaults to 0.
    - ``decay_rate`` (float), ``decay_type`` (``'layer_wise'``, the default, or
      ``'stage_wise'``) and ``num_layers`` (int): learning-rate decay over the depth of
      the backbone, with the meaning these have in mmdet's and mmseg's
      ``LearningRateDecayOptimizerConstructor``; biases and other vectors are then
      spared weight decay. The backbone is found wherever it is in the model (see
      :func:`find_backbones`).

    Raises:
        ArgumentError: If ``decay_type`` is unknown, if ``num_layers`` is missing or
            does not fit the backbone.
        ArgumentTypeError: If learning rates are to decay and no module has the depths.
    """

    paramwise_cfg: dict
    decay_rate: Any
    num_layers: Any

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        self.positions_lr_mult = self.paramwise_cfg.get('positions_lr_mult', 5.0)
        self.positions_decay_mult = self.paramwise_cfg.get('positions_decay_mult', 0.0)
        self.decay_rate = self.paramwise_cfg.get('decay_rate')
        self.decay_type = self.paramwise_cfg.get('decay_type', 'layer_wise')
        self.num_layers = self.paramwise_cfg.get('num_layers')
        if self.base_lr is None:
            raise ArgumentError(
                'optim_wrapper.optimizer.lr is not set, but '
                'DCLSOptimWrapperConstructor scales it for the positions.'
            )
        if self.decay_type not in DECAY_TYPES:
            raise ArgumentError(
                f"paramwise_cfg.decay_type='{self.decay_type}' is not one of "
                f'{", ".join(DECAY_TYPES)}.'
            )
        if self.decay_rate is not None and self.num_layers is None:
            raise ArgumentError(
                'paramwise_cfg.num_layers is not set, but paramwise_cfg.decay_rate='
                f'{self.decay_rate} needs it (6 for ConvNeXt-T, 12 for S and B).'
            )
        # Shared positions are met once a block; mmengine raises unless told so.
        self.paramwise_cfg = {'bypass_duplicate': True, **self.paramwise_cfg}

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper for ``model``, which may be wrapped.

        Options that depend on a parameter's shape go by the whole one if FSDP shards
        the model.
        """
        layers_by_unit(model)
        with whole_parameters(model):
            return self._build(model)

    def _build(self, model: nn.Module) -> OptimWrapper:
        module = getattr(model, 'module', model)
        layers = list(iter_dcls_layers(module))
        self._owners = {}
        for layer in layers:
            for name, param in layer.named_parameters(recurse=False):
                if name in ('positions', 'sigma'):
                    self._owners[param] = name
        optim_wrapper = super().__call__(model)
        groups = optim_wrapper.optimizer.param_groups
        # Those of a config file are ConfigDicts, which torch.compile cannot trace.
        groups[:] = [{**group} for group in groups]
        keep_position_rates(optim_wrapper.optimizer, layers)
        for layer in layers:
            layer.positions_have_options = True
        return optim_wrapper

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: bool | None = None,
    ) -> None:
        """Append the param groups of ``module`` to ``params``, in place."""
        if self.decay_rate is not None:
            params.extend(self._depth_groups(module))
            return
        start = len(params)
        # mmengine recurses through this very method, so children are done already.
        super().add_params(params, module, plain_name(prefix), is_dcn_module)
        own = {id(param) for param in module.parameters(recurse=False)}
        for group in params[start:]:
            param = group['params'][0]
            if id(param) in own and param in self._owners:
                self._set_dcls_options(group, self._owners[param])

    def _set_dcls_options(self, group: dict, kind: str) -> None:
        if kind == 'positions':
            lr = group.get('lr', self.base_lr)
            group['lr'] = lr * self.positions_lr_mult
        if self.base_wd is not None:
            decay = group.get('weight_decay', self.base_wd)
            group['weight_decay'] = decay * self.positions_decay_mult

    def _depth_groups(self, model: nn.Module) -> list[dict]:
        """Make a group for each depth and kind of parameter, shallowest name first."""
        groups: dict[str, dict] = {}
        backbones = find_backbones(model, self.decay_type)
        for name, param in model.named_parameters():
            if not param.requires_grad:
                continue
            name = plain_name(name)
            depth = self._depth(backbones, name)
            kind = self._owners.get(param)
            no_decay = kind is None and (param.ndim == 1 or name.endswith('.bias'))
            key = f'layer_{depth}_{kind or ("no_decay" if no_decay else "decay")}'
            if key not in groups:
                lr_scale = self.decay_rate ** (self.num_layers + 1 - depth)
                groups[key] = {
                    'params': [],
                    'param_names': [],
                    'group_name': key,
                    'lr': self.base_lr * lr_scale,
                    'weight_decay': 0.0 if no_decay else self.base_wd or 0.0,
                }
                if kind:
                    self._set_dcls_options(groups[key], kind)
                groups[key]['lr_scale'] = groups[key]['lr'] / self.base_lr
            groups[key]['params'].append(param)
            groups[key]['param_names'].append(name)
        for group in groups.values():
            print_log(
                f'{group["group_name"]}: lr={group["lr"]:.3g}, '
                f'weight_decay={group["weight_decay"]}, '
                f'{len(group["params"])} parameters',
                logger='current',
            )
        return list(groups.values())

    def _depth(self, backbones: dict[str, Any], name: str) -> int:
        """Return a layer's id: 0 for the stem, ``num_layers + 1`` for the heads."""
        for prefix, backbone in backbones.items():
            if not name.startswith(prefix):
                continue
            if self.decay_type == 'stage_wise':
                return self._stage_depth(name.removeprefix(prefix))
            depth, total = backbone.get_layer_depth(name, prefix=prefix)
            if total != self.num_layers + 2:
                raise ArgumentError(
                    f'paramwise_cfg.num_layers={self.num_layers} does not fit '
                    f'{type(backbone).__name__}, which has {total - 2} layers.'
                )
            return depth
        return self.num_layers + 1

    def _stage_depth(self, name: str) -> int:
        """Return what ``get_stage_id_for_convnext`` of mmseg and mmdet gives."""
        if name.startswith('downsample_layers'):
            return 0
        if name.startswith('stages'):
            return int(name.split('.')[1]) + 1
        return self.num_layers + 1


def find_backbones(model: nn.Module, decay_type: str) -> dict[str, nn.Module]:
    """Find what learning rates decay in, by the prefix of its parameters' names.

    A backbone is called otherwise in some models, and sits deeper in others, such as
    the detector of a semi-supervised one. So it is known by what it has: for
    ``'layer_wise'`` decay a ``get_layer_depth``, for ``'stage_wise'`` the
    ``downsample_layers`` and ``stages`` of a ConvNeXt. There may be several.

    Args:
        model: Any model.
        decay_type: One of :data:`DECAY_TYPES`.

    Raises:
        ArgumentTypeError: If there is none.
    """
    needed = {
        'layer_wise': ('get_layer_depth',),
        'stage_wise': ('downsample_layers', 'stages'),
    }[decay_type]
    candidates = {
        f'{plain_name(name)}.' if name else '': module
        for name, module in model.named_modules()
        if all(hasattr(module, attribute) for attribute in needed)
    }
    # mmpretrain's classifiers have a get_layer_depth, too, which asks the backbone's.
    found = {
        prefix: module
        for prefix, module in candidates.items()
        if not any(p != prefix and p.startswith(prefix) for p in candidates)
    }
    if not found:
        backbone = getattr(model, 'backbone', model)
        raise ArgumentTypeError(
            f"paramwise_cfg.decay_type='{decay_type}' needs a backbone with "
            f'{" and ".join(needed)}; no module of {type(model).__name__} has that, '
            f'{type(backbone).__name__} has none.'
        )
    return found
