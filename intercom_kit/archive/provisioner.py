"""Gives Jupyter the forked kernels; it is found by its entry point, under the name that a kernelspec holds."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from intercom_kit.archive.fork_server import Birth
from intercom_kit.archive.forked import PATIENCE_S, ForkedProcess, running_server

PROVISIONER = "intercom-kit"  # its name among the entry points
_LOOK_S = 0.1


class ForkedProvisioner(LocalProvisioner):
    """Gives Jupyter kernels that are forked where that can be done, and ordinary ones elsewhere.

    on_process: told of the process before it runs. imports, prepare: see Birth.
    """

    on_process: Callable[[Any], None] | None = None
    imports: Sequence[str] = ()
    prepare: Sequence[str] = ()

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:  # noqa: ANN401 - Popen's
        """Launch the kernel's process and return its connection information."""
        if not await self._forked(cmd, kwargs):
            await super().launch_kernel(cmd, **kwargs)
            self._tell()
        return self.connection_info

    async def _forked(self, cmd: Sequence[str], kwargs: Mapping[str, Any]) -> bool:
        """Fork the kernel and wait until it answers; return False where an ordinary one must do."""
        argv = _kernel_arguments(cmd)
        server = running_server(kwargs["env"])
        if argv is None or server is None:
            return False
        cwd = str(kwargs.get("cwd") or Path.cwd())
        birth = Birth(dict(kwargs["env"]), cwd, argv, self.imports, self.prepare)
        try:
            process = server.fork(birth, getattr(kwargs.get("stderr"), "fileno", lambda: 2)())
        except OSError:
            return False  # the server has just gone
        self.process = process  # type: ignore[assignment]  # it offers what Popen does
        self._tell()
        until = time.monotonic() + PATIENCE_S
        while process.poll() is None and not process.ready and time.monotonic() < until:
            await process.news(_LOOK_S)
        if process.lost or (process.returncode is None and not process.ready):
            process.kill()
            return False
        self.pid = self.pgid = process.pid
        self.cwd = cwd
        return True

    def _tell(self) -> None:
        if self.on_process:
            self.on_process(self.process)

    async def kill(self, restart: bool = False) -> None:
        """Kill the kernel, and see at once that it is dead: Jupyter itself looks ten times a second."""
        await super().kill(restart)
        until = time.monotonic() + 1
        while isinstance(self.process, ForkedProcess) and self.process.poll() is None and time.monotonic() < until:
            await self.process.news(_LOOK_S)


def _kernel_arguments(command: Sequence[str]) -> list[str] | None:
    """Return what ipykernel is given by the command of a kernelspec; None when it starts anything else."""
    if command[0] != sys.executable or "ipykernel_launcher" not in command:
        return None
    return list(command[command.index("ipykernel_launcher") + 1 :])
