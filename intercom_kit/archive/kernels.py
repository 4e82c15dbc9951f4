"""The kernel of a notebook run: this interpreter, over private sockets, with a hold on it from outside."""

import ast
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any

from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from nbformat import NotebookNode
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

from intercom_kit.archive.forked import ForkedProcess
from intercom_kit.archive.provisioner import PROVISIONER, ForkedProvisioner
from intercom_kit.errors import NotebookError

ENGINE = "intercom-kit"
_LONGEST_SOCKET = 100  # bytes of a path: the system's limit is 104 to 108
_OFFLINE = "--ext=intercom_kit.archive.offline"


class OwnInterpreter(KernelSpecManager):
    """Makes `python3` mean the interpreter that runs the kit.

    A kernelspec in the user's home would otherwise win, and start a Python that does not have the kit.
    """

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return the named kernelspec; raises NoSuchKernel."""
        if kernel_name == NATIVE_KERNEL_NAME:
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())
        return super().get_kernel_spec(kernel_name)


class ForkedInterpreter(OwnInterpreter):
    """The same, forked from a process in which everything is imported already."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return the named kernelspec; raises NoSuchKernel."""
        spec = super().get_kernel_spec(kernel_name)
        if kernel_name == NATIVE_KERNEL_NAME:
            spec.metadata = {**spec.metadata, "kernel_provisioner": {"provisioner_name": PROVISIONER}}
        return spec


@dataclass(frozen=True)
class KernelPlan:
    """How a kernel is started.

    env: its whole environment, without secrets; None gives it this process's. forked: fork it, where that can be done.
    imports, prepare: see fork_server.Birth; what the notebook itself imports need not be named. offline: it reaches
    nothing but this machine.
    """

    env: Mapping[str, str] | None = None
    forked: bool = True
    imports: Sequence[str] = ()
    prepare: Sequence[str] = ()
    offline: bool = False


class KernelHold:
    """A kernel to be, and the grip on its process: kill() may come from another thread, a signal, or before its start.

    folder: private, for the sockets and what the kernel process itself complains about.
    """

    def __init__(self, folder: Path, plan: KernelPlan) -> None:
        self.folder, self.plan = folder, plan
        self.notebook: NotebookNode | None = None  # what has run until now
        self._process: subprocess.Popen[bytes] | ForkedProcess | None = None
        self._killed = False

    def manager_class(self) -> type[AsyncKernelManager]:
        """Return the class that papermill makes its one kernel manager of."""
        hold, plan = self, self.plan

        class Manager(AsyncKernelManager):
            def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - traits
                connection = str(hold.folder / "k.json")
                # Over TCP any user of the machine could connect, and ipykernel warns of it.
                short = len(connection) < _LONGEST_SOCKET and os.name == "posix"
                traits = {"transport": "ipc" if short else "tcp", "connection_file": connection}
                specs = ForkedInterpreter() if plan.forked else OwnInterpreter()
                super().__init__(kernel_spec_manager=specs, **traits, **kwargs)

            async def start_kernel(  # type: ignore[override]  # the base class wraps its coroutine
                self,
                **kwargs: Any,  # noqa: ANN401 - Popen's
            ) -> None:
                arguments = [*kwargs.pop("extra_arguments", ()), *([_OFFLINE] if plan.offline else ())]
                env = {} if plan.env is None else {"env": dict(plan.env)}
                with hold.errors.open("wb") as errors:
                    await self._async_start_kernel(
                        stdout=subprocess.DEVNULL, stderr=errors, extra_arguments=arguments, **env, **kwargs
                    )

            async def _async_launch_kernel(self, kernel_cmd: list[str], **kwargs: Any) -> None:  # noqa: ANN401 - Popen's
                if isinstance(self.provisioner, ForkedProvisioner):
                    self.provisioner.on_process = hold.grip
                    self.provisioner.imports, self.provisioner.prepare = plan.imports, plan.prepare
                await super()._async_launch_kernel(kernel_cmd, **kwargs)
                if isinstance(self.provisioner, LocalProvisioner):
                    hold.grip(self.provisioner.process)

            def client(  # type: ignore[override]  # as in the base class
                self,
                **kwargs: Any,  # noqa: ANN401 - traits
            ) -> AsyncKernelClient:
                self.client_factory = PromptClient
                return super().client(**kwargs)

        return Manager

    @property
    def errors(self) -> Path:
        """What the kernel process itself wrote to its standard error, cells apart."""
        return self.folder / "errors.txt"

    @property
    def started(self) -> bool:
        """Whether a process was started."""
        return self._process is not None

    @property
    def forked(self) -> bool:
        """Whether the process is a fork."""
        return isinstance(self._process, ForkedProcess)

    def grip(self, process: "subprocess.Popen[bytes] | ForkedProcess | None") -> None:
        """Take hold of the kernel's process."""
        self._process = process
        if self._killed:
            self.kill()

    def kill(self) -> None:
        """Kill the kernel and what it started, now or as soon as it starts."""
        self._killed = True
        match self._process:
            case ForkedProcess():
                self._process.kill()
            case subprocess.Popen(returncode=None) if hasattr(os, "killpg"):
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)  # jupyter_client makes a kernel its group's leader
            case subprocess.Popen(returncode=None):
                self._process.kill()

    def last_words(self) -> str:
        """Say what is known of a kernel's end: the signal that killed it, or the last line it wrote."""
        code = self._process.returncode if self._process else None
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        lines = self.errors.read_text("utf-8", "replace").split("\n") if self.errors.exists() else []
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return said[:200] or (f"exit status {code}" if code is not None else "no word from it")


class PromptClient(AsyncKernelClient):
    """A client that is ready when the kernel answers; the base class listens for 0.2 s whether more is coming.

    It has no heartbeat, which tells of kernels on other machines: here the manager sees the process itself. Its thread
    complains when a run is stopped at the moment that it starts.
    """

    def start_channels(
        self, shell: bool = True, iopub: bool = True, stdin: bool = True, hb: bool = False, control: bool = True
    ) -> None:  # fmt: skip
        """Open the channels, but for the heartbeat."""
        super().start_channels(shell, iopub, stdin, hb, control)

    async def wait_for_ready(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the base class's
        """Wait until both channels carry what the kernel says; raises RuntimeError when it is dead or takes longer."""
        until = time.monotonic() + (timeout or float("inf"))
        while time.monotonic() < until:
            if not await self.is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            self.kernel_info()
            with suppress(Empty):
                reply = await self.get_shell_msg(timeout=1)
                while (await self.get_iopub_msg(timeout=0.2))["content"].get("execution_state") != "idle":
                    pass
                self._handle_kernel_info_reply(reply)
                return
        raise RuntimeError(f"Kernel didn't respond in {timeout} seconds")


class KitEngine(NBClientEngine):  # type: ignore[misc]  # papermill is not annotated
    """papermill's own way of running a notebook, with the kit's kernel, and without calling success what is none."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        hold: KernelHold | None = None,
        **kwargs: Any,  # noqa: ANN401 - nbclient's options
    ) -> None:
        """Run the notebook in nb_man on the kernel that `hold` holds; the command line of papermill gives none."""
        with tempfile.TemporaryDirectory(prefix="ik-") as folder:
            held = hold or KernelHold(Path(folder), KernelPlan(imports=imports_of(nb_man.nb)))
            held.notebook = nb_man.nb
            kernel = {"kernel_manager_class": held.manager_class(), "shutdown_kernel": "immediate"}
            try:
                super().execute_managed_notebook(nb_man, kernel_name, **kernel, **kwargs)
            finally:
                overlooked = _overlooked_end(nb_man)
        if overlooked and not hold:
            raise NotebookError(f"{overlooked} Find out why it left, and run the notebook again.")


def _overlooked_end(nb_man: NotebookExecutionManager) -> str:
    """Mark the code cell in which a notebook broke off where papermill does not, and say where that is."""
    code = [cell for cell in nb_man.nb.cells if cell.cell_type == "code" and cell.source.strip()]
    outputs = [output for cell in code for output in cell.outputs if output.output_type == "error"]
    if outputs and outputs[-1].ename == "SystemExit":
        return f"A cell called sys.exit({outputs[-1].evalue})."
    if outputs:
        return ""  # an exception: this papermill tells
    number, cell = next(((n, cell) for n, cell in enumerate(code, 1) if not cell.execution_count), (0, None))
    if cell is None:
        return ""
    cell.metadata.papermill["status"] = nb_man.FAILED
    nb_man.nb.metadata.papermill["exception"] = True
    return f"Code cell {number} of {len(code)} did not run."


def imports_of(notebook: NotebookNode) -> tuple[str, ...]:
    """Return the modules of the kit that a notebook imports, and names in them that may be modules."""
    names: list[str] = []
    for cell in notebook.cells:
        with suppress(SyntaxError):  # a magic, or a mistake that the notebook will show
            names += _imported(ast.parse(cell.source) if cell.cell_type == "code" else ast.Module([], []))
    return tuple(dict.fromkeys(name for name in names if name.startswith("intercom_kit.")))


def _imported(tree: ast.Module) -> Iterable[str]:
    for node in tree.body:
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)


papermill_engines.register(ENGINE, KitEngine)
