"""The kernel of a notebook run: this interpreter, over private sockets, with a hold on it from outside."""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec, KernelSpecManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from nbformat import NotebookNode
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

ENGINE = "intercom-kit"
_LONGEST_SOCKET = 100  # bytes of a path: the system's limit is 104 to 108


class OwnInterpreter(KernelSpecManager):
    """Makes `python3` mean the interpreter that runs the kit.

    A kernelspec in the user's home would otherwise win, and start a Python that does not have the kit.
    """

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return the named kernelspec; raises NoSuchKernel."""
        if kernel_name == NATIVE_KERNEL_NAME:
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())
        return super().get_kernel_spec(kernel_name)


class KernelHold:
    """A kernel to be, and the grip on its process: kill() may come from another thread, a signal, or before its start.

    folder: private, for the sockets and what the kernel process itself complains about.
    """

    def __init__(self, folder: Path, env: Mapping[str, str] | None) -> None:
        self.folder, self.env = folder, env
        self.notebook: NotebookNode | None = None  # what has run until now
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def manager_class(self) -> type[AsyncKernelManager]:
        """Return the class that papermill makes its one kernel manager of."""
        hold = self

        class Manager(AsyncKernelManager):
            def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - traits
                connection = str(hold.folder / "k.json")
                # Over TCP any user of the machine could connect, and ipykernel warns of it.
                short = len(connection) < _LONGEST_SOCKET and os.name == "posix"
                traits = {"transport": "ipc" if short else "tcp", "connection_file": connection}
                super().__init__(kernel_spec_manager=OwnInterpreter(), **traits, **kwargs)

            async def start_kernel(  # type: ignore[override]  # the base class wraps its coroutine
                self,
                **kwargs: Any,  # noqa: ANN401 - Popen's
            ) -> None:
                with hold.errors.open("wb") as errors:
                    env = {} if hold.env is None else {"env": dict(hold.env)}
                    await self._async_start_kernel(stdout=subprocess.DEVNULL, stderr=errors, **env, **kwargs)
                if isinstance(self.provisioner, LocalProvisioner) and self.provisioner.process:
                    hold.grip(self.provisioner.process)

        return Manager

    @property
    def errors(self) -> Path:
        """What the kernel process itself wrote to its standard error, cells apart."""
        return self.folder / "errors.txt"

    @property
    def started(self) -> bool:
        """Whether a process was started."""
        return self._process is not None

    def grip(self, process: "subprocess.Popen[bytes]") -> None:
        """Take hold of the kernel's process."""
        self._process = process
        if self._killed:
            self.kill()

    def kill(self) -> None:
        """Kill the kernel and what it started, now or as soon as it starts."""
        self._killed = True
        if self._process is None or self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)  # jupyter_client starts a kernel as a group's leader
            else:
                self._process.kill()

    def last_words(self) -> str:
        """Say what is known of a kernel's end: the signal that killed it, or the last line it wrote."""
        code = self._process.returncode if self._process else None
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        lines = self.errors.read_text("utf-8", "replace").split("\n") if self.errors.exists() else []
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return said[:200] or (f"exit status {code}" if code is not None else "no word from it")


class KitEngine(NBClientEngine):  # type: ignore[misc]  # papermill is not annotated
    """papermill's own way of running a notebook, with the kit's kernel."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        hold: KernelHold,
        **kwargs: Any,  # noqa: ANN401 - nbclient's options
    ) -> None:
        """Run the notebook in nb_man on the kernel that `hold` holds."""
        hold.notebook = nb_man.nb
        super().execute_managed_notebook(
            nb_man, kernel_name, kernel_manager_class=hold.manager_class(), shutdown_kernel="immediate", **kwargs
        )


papermill_engines.register(ENGINE, KitEngine)
