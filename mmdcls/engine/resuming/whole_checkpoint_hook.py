"""Save checkpoints that are whole or not there, and resume from the newest of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.fileio import LocalBackend, get_file_backend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import BaseLoop, Runner

from mmdcls.checkpoints.wholeness import check_whole
from mmdcls.files import write_text, written_whole
from mmdcls.registry import HOOKS

from .newest_checkpoint import LAST_CHECKPOINT, newest_checkpoint

BACKEND = 'mmdcls.whole_files'
"""The name that mmengine's ``fileio`` knows :class:`WholeFilesBackend` by."""


class WholeFilesBackend(LocalBackend):
    """mmengine's access to local files, whose files are whole or not there."""

    def __init__(self) -> None:
        self._outdated: list[str] | None = None

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write a file, which takes its name when all of it is on the disk.

        Args:
            obj: The content.
            filepath: The file.

        Raises:
            OSError: If it cannot be written; ``filepath`` is as it was then.
        """
        with written_whole(filepath) as temporary:
            temporary.write_bytes(obj)

    def remove(self, filepath: str | os.PathLike) -> None:
        """Remove a file, at once or at the end of :meth:`removing_last`."""
        if self._outdated is None:
            super().remove(filepath)
        else:
            self._outdated.append(str(filepath))

    @contextmanager
    def removing_last(self) -> Iterator[None]:
        """Have what is removed inside stay until all inside is done."""
        self._outdated = []
        try:
            yield
            outdated = self._outdated
        except BaseException:
            outdated = []
            raise
        finally:
            self._outdated = None
        for filepath in outdated:
            super().remove(filepath)


register_backend(BACKEND, WholeFilesBackend, force=True)


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, which loses no checkpoint to an interruption.

    A checkpoint gets its name when all of it is on the disk, as does
    ``last_checkpoint``; an older one is removed when the new one was read back and fits
    its checksums. A training that is resumed goes on from the newest checkpoint that
    does so, whatever state ``last_checkpoint`` is in, and says what it passed over.

    Args:
        **kwargs: As for mmengine's CheckpointHook. Where ``backend_args`` or
            ``out_dir`` have the checkpoints kept elsewhere than on local disks,
            mmengine's own ways stay in use.

    Raises:
        CheckpointError: When a training begins that is to resume from a checkpoint that
            the user named, if that is damaged.
    """

    def before_run(self, runner: Runner) -> None:
        """Choose the checkpoint to resume from."""
        if not runner._resume or not isinstance(runner._train_loop, BaseLoop):
            return
        # mmengine's FlexibleRunner resumes before it asks any hook.
        if runner._has_loaded:
            return
        named = runner._load_from
        if named is not None:
            # Old formats and other sources have no checksums to look at.
            if Path(named).is_file() and Path(named).suffix == '.pth':
                check_whole(named)
            return
        folder = self._folder(runner)
        if folder is None:
            return
        found: list[Any] = [None, []]
        if is_main_process():
            path, passed_over = newest_checkpoint(
                Path(runner.work_dir), folder, self.filename_tmpl
            )
            found = [path and str(path), passed_over]
        # Processes that see a shared folder at different times must agree.
        broadcast_object_list(found)
        path, passed_over = found
        for line in passed_over:
            runner.logger.warning(line)
        if path is None:
            runner.logger.warning(
                f"There is no checkpoint to resume from in '{folder}': the training "
                'starts anew.'
            )
            runner._resume = False
        runner._load_from = path

    def before_train(self, runner: Runner) -> None:
        """Have files written whole; take up the counts of a resumed training."""
        if self._folder(runner) is not None:
            self.backend_args = {'backend': BACKEND}
        super().before_train(runner)
        if isinstance(self.file_backend, WholeFilesBackend):
            self._keep_best_in_own_folder()
            if is_main_process():
                _remove_leftovers(Path(self.out_dir))
                _remove_leftovers(Path(runner.work_dir))

    def _folder(self, runner: Runner) -> Path | None:
        """Return the local folder of the checkpoints; None if it is not local."""
        if self.file_client_args is not None:
            return None
        if self.backend_args not in (None, {'backend': BACKEND}):
            return None
        out_dir = str(self.out_dir or runner.work_dir)
        if type(get_file_backend(out_dir)) is not LocalBackend:
            return None
        if hasattr(self, 'file_backend') or out_dir == runner.work_dir:
            return Path(out_dir)
        return Path(out_dir, Path(runner.work_dir).name)

    def _keep_best_in_own_folder(self) -> None:
        """Let a training that was copied remove no checkpoint of the original."""

        def own(path: str | None) -> str | None:
            return path and str(Path(self.out_dir, Path(path).name))

        # mmengine has one or the other, by the number of scores.
        if hasattr(self, 'best_ckpt_path'):
            self.best_ckpt_path = own(getattr(self, 'best_ckpt_path', None))
        for key, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            self.best_ckpt_path_dict[key] = own(path)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not isinstance(self.file_backend, WholeFilesBackend):
            super()._save_best_checkpoint(runner, metrics)
            return
        with self.file_backend.removing_last():
            super()._save_best_checkpoint(runner, metrics)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if not isinstance(self.file_backend, WholeFilesBackend):
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        outdated = self._count_in(runner, step)
        name = self.filename_tmpl.format(step)
        self.last_ckpt: Any = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if self.max_keep_ckpts > 0:
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        if not is_main_process():
            return
        # Strategies such as DeepSpeed's write folders.
        if not Path(self.last_ckpt).is_dir():
            check_whole(self.last_ckpt)
        write_text(Path(runner.work_dir, LAST_CHECKPOINT), self.last_ckpt)
        for old in outdated:
            path = self.file_backend.join_path(
                self.out_dir, self.filename_tmpl.format(old)
            )
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):
                self.file_backend.rmtree(path)

    def _count_in(self, runner: Runner, step: int) -> list[int]:
        """Add to the checkpoints that are kept; returns those to remove afterwards."""
        if self.max_keep_ckpts <= 0 or step in list(self.keep_ckpt_ids)[-1:]:
            return []
        kept = [*self.keep_ckpt_ids, step]
        # A training that is killed before they are removed removes them when it is
        # resumed from this checkpoint.
        runner.message_hub.update_info('keep_ckpt_ids', kept)
        self.keep_ckpt_ids.append(step)
        return kept[: -self.max_keep_ckpts]


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes of this machine left half-written in a folder."""
    for path in folder.glob('.*.tmp'):
        process = path.name.split('.')[-2]
        if process.isdecimal() and not _is_running(int(process)):
            path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
