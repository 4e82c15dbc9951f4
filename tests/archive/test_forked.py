"""Forked kernels: warm, and yet processes of their own; ordinary ones where kernels cannot be forked."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from intercom_kit.archive import forked
from intercom_kit.archive.execute import Run, run_notebook
from intercom_kit.archive.fork_server import MODULES
from intercom_kit.archive.kernels import KernelPlan, imports_of

CANARY = "tok-canary-" + "forked"
Kernel = Callable[..., tuple[Run, str]]


def notebook(path: Path, *cells: str) -> Path:
    """Write a notebook of code cells."""
    made = new_notebook(cells=[new_code_cell("", metadata={"tags": ["parameters"]}), *map(new_code_cell, cells)])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python", "language": "python"}
    nbformat.write(made, path)
    return path


def printed(path: Path) -> str:
    """Everything the cells of a notebook printed."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", ()))


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """Return a function that runs cells on a kernel, and returns the record and what was printed."""

    def run(*cells: str, **options: object) -> tuple[Run, str]:
        source = notebook(tmp_path / "in.ipynb", *cells)
        record = run_notebook(source, tmp_path / "out.ipynb", {}, kernel=KernelPlan(**options))  # type: ignore[arg-type]
        return record, printed(tmp_path / "out.ipynb")

    return run


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Return a function that runs lines of Python, which know `run` and `folder`, in a process of its own."""
    head = """
    import os, signal, sys, time
    from pathlib import Path
    from intercom_kit.archive import forked
    from intercom_kit.archive.execute import run_notebook
    from intercom_kit.archive.kernels import KernelPlan
    folder = Path(sys.argv[1])
    def run(**options):
        return run_notebook(folder / "in.ipynb", folder / "out.ipynb", {}, kernel=KernelPlan(**options))
    """

    def start(lines: str, *cells: str, **environment: str) -> "subprocess.Popen[str]":
        notebook(tmp_path / "in.ipynb", *cells)
        code = textwrap.dedent(head) + textwrap.dedent(lines)
        command = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.Popen(
            command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


def gone(pid: int) -> bool:
    """Whether a process ended, within five seconds."""
    for _ in range(250):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_everything_is_imported_already(kernel: Kernel) -> None:
    """A kernel finds in memory what the server imported, and what its own cells import from the kit."""
    record, out = kernel(
        f"import sys; print([name for name in {MODULES!r} if name not in sys.modules])",
        "print('intercom_kit.drill.scenarios' in sys.modules); from intercom_kit.drill import scenarios",
    )
    assert record.forked
    assert out == "[]\nTrue\n"


def test_a_kernel_has_a_memory_of_its_own(kernel: Kernel) -> None:
    """What one notebook does to a module, another does not see; nor do they draw the same random numbers."""
    cell = "import math, numpy, random; print(math.pi, random.random(), numpy.random.random()); math.pi = 3"
    first, second = (kernel(cell)[1].split() for _ in range(2))
    assert first[0] == second[0] == "3.141592653589793"
    assert not set(first[1:]) & set(second[1:])


def test_a_kernel_lives_where_it_is_started(kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the working directory, time zone and variables of the moment, and is not in the group of this process."""
    kernel("1")  # the server runs by now
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside.py").write_text("words = 'beside'")
    record, out = kernel(
        "import os, time; print(os.getcwd(), time.tzname[0], os.environ['MINE'], os.getpgid(0) == os.getpid())",
        "import beside, sys; print(beside.words, sys.argv[0], __name__)",
        env={**os.environ, "TZ": "Asia/Tokyo", "MINE": "yes"},
    )
    assert record.forked
    assert out == f"{tmp_path} JST yes True\nbeside ipykernel_launcher.py __main__\n"


def test_no_secret_is_in_the_kernels_process(script: Callable[..., "subprocess.Popen[str]"], tmp_path: Path) -> None:
    """Neither the variables of a kernel nor those its process was started with hold the token or the webhook."""
    cell = "import os; print(sorted(os.environ), open('/proc/self/environ').read(), open('/proc/self/cmdline').read())"
    lines = "print(run(env={n: v for n, v in os.environ.items() if not n.startswith('INTERCOM_')}).forked)"
    process = script(lines, cell, INTERCOM_ACCESS_TOKEN=CANARY, INTERCOM_SLACK_WEBHOOK_URL=CANARY)
    assert process.communicate(timeout=60) == ("True\n", "")
    assert "PATH" in printed(tmp_path / "out.ipynb")
    assert CANARY not in printed(tmp_path / "out.ipynb")


def test_a_caller_needs_no_guard_and_is_not_imported_again(
    script: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    """A script without `if __name__ == "__main__"` runs once, whatever lies in its working directory."""
    (tmp_path / "random.py").write_text("raise SystemExit('not the module that is meant')")
    lines = "print('once'); os.chdir(folder); print(run().outcome)"
    assert script(lines, "print(1)").communicate(timeout=60) == ("once\ncomplete\n", "")


def test_kernels_end_with_their_caller(script: Callable[..., "subprocess.Popen[str]"], tmp_path: Path) -> None:
    """When the process that asked for a kernel is killed, kernel and server are gone in a moment, even a busy one."""
    cell = f"import os; open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{os.getppid()}} ')"
    process = script("run()", cell, "while True: pass")
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text().endswith(" "):
        time.sleep(0.02)
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert all(gone(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_a_server_that_dies_leaves_ordinary_kernels(script: Callable[..., "subprocess.Popen[str]"]) -> None:
    """Notebooks run on after the server was killed, and it is said why their kernels are ordinary ones."""
    lines = """
    print(run().forked, repr(forked.why_ordinary()))
    os.kill(forked._server._process.pid, signal.SIGKILL)
    time.sleep(0.2)
    again = run()
    print(again.outcome, again.forked, forked.why_ordinary())
    """
    out, err = script(lines, "1").communicate(timeout=60)
    assert out == "True ''\ncomplete False the process to fork from ended: it said nothing\n"
    assert err == ""


def test_a_server_that_cannot_start_leaves_ordinary_kernels(
    script: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    """Where the imports fail, here of a broken matplotlib, the notebook runs all the same."""
    (tmp_path / "path" / "matplotlib").mkdir(parents=True)
    (tmp_path / "path" / "matplotlib" / "__init__.py").write_text("raise ImportError('it is broken')")
    lines = "made = run(); print(made.outcome, made.forked, forked.why_ordinary())"
    out, _ = script(lines, "print(1)", PYTHONPATH=str(tmp_path / "path")).communicate(timeout=60)
    assert out == "complete False the process to fork from ended: ImportError: it is broken\n"


def test_another_system_has_ordinary_kernels(script: Callable[..., "subprocess.Popen[str]"]) -> None:
    """Where forking is not safe, nothing is forked, and it is said so."""
    lines = "sys.platform = 'darwin'; made = run(); print(made.outcome, made.forked, forked.why_ordinary())"
    out, err = script(lines, "1").communicate(timeout=60)
    assert out == "complete False forking is not safe on this system (darwin)\n"
    assert err == ""


def test_what_python_reads_at_its_start_is_honoured(kernel: Kernel, tmp_path: Path) -> None:
    """A kernel whose PYTHONPATH is another than the server's is an ordinary one, and finds its modules."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "only_there.py").write_text("")
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "elsewhere")}
    record, _ = kernel("import only_there", env=env)
    assert (record.outcome, record.forked) == ("complete", False)


def test_a_fork_can_call_a_function(tmp_path: Path) -> None:
    """A function of the kit is called in a fork; failing, or none of the kit's, it is told as not done."""
    target = tmp_path / "made"
    assert (
        forked.call_forked("intercom_kit.collect.incident_folder:_make_private", str(target)) is False
    )  # takes a Path
    assert forked.call_forked("os:mkdir", str(target)) is False
    assert not target.exists()


def test_the_modules_of_a_notebook_are_found() -> None:
    """Imports from the kit are found in every cell that can be read, whatever else stands there."""
    cells = [
        new_code_cell(
            "import os, intercom_kit.records\n"
            "from intercom_kit.incident import log\nfrom intercom_kit.display import tables"
        ),
        new_code_cell("%magic"),
        new_code_cell("from pathlib import Path"),
    ]
    assert imports_of(new_notebook(cells=cells)) == (
        "intercom_kit.records",
        "intercom_kit.display",
        "intercom_kit.incident.log",
        "intercom_kit.display.tables",
    )


@pytest.fixture
def papermill(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Return a function that runs the papermill command on a notebook of cells."""

    def run(*cells: str, engine: bool = True) -> "subprocess.CompletedProcess[str]":
        source, chosen = notebook(tmp_path / "in.ipynb", *cells), ["--engine", "intercom-kit"] if engine else []
        command = [sys.executable, "-m", "papermill", *chosen, str(source), str(tmp_path / "out.ipynb")]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    return run


@pytest.mark.parametrize("engine", [True, False])
def test_the_papermill_command_runs_with_the_engine_and_without(
    papermill: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path, engine: bool
) -> None:
    """`papermill --engine intercom-kit` forks its kernel; plain papermill works as it always did."""
    done = papermill("import sys; print('intercom_kit.display.charts' in sys.modules)", engine=engine)
    assert done.returncode == 0, done.stderr
    assert printed(tmp_path / "out.ipynb") == f"{engine}\n"


@pytest.mark.parametrize("ending", ["import sys; sys.exit(0)", "import os; os._exit(0)", "1 / 0"])
def test_the_engine_calls_no_failure_success(
    papermill: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path, ending: str
) -> None:
    """A cell that leaves, a kernel that dies and an exception fail the command, and stand in the file."""
    done = papermill("print('before')", ending, "print('after')")
    assert done.returncode == (138 if "_exit" in ending else 1)  # papermill's own number for a kernel that died
    saved = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert saved.metadata.papermill["exception"] is True
    assert "failed" in [cell.metadata.get("papermill", {}).get("status") for cell in saved.cells]
    assert "before\n" in printed(tmp_path / "out.ipynb")
