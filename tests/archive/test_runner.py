"""Every way a notebook can end, in real processes: forked from a server, and started afresh."""

import importlib.util
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from intercom_kit.archive.launch import ANALYSIS_IMPORTS, IMPORTS
from intercom_kit.archive.manifest import Run
from intercom_kit.archive.runner import Plan, run_notebook
from intercom_kit.errors import KitError
from tests.conftest import PATIENCE_S

CANARY = "tok-canary-" + "execute"
PARAMETERS = """
name: str = "world"  # who is greeted
count: int = 1
share: float = 0.5
dry: bool = True
since: str | None = None
routes: list[str] = []
old = "an assignment"
"""
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that writes a notebook of code cells under a parameters cell."""

    def write(*cells: str, parameters: str = PARAMETERS, kernel: str = "python3") -> Path:
        head = new_code_cell(parameters, metadata={"tags": ["parameters"]})
        notebook = new_notebook(cells=[new_markdown_cell("# Title"), head, *map(new_code_cell, cells)])
        notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
        path = tmp_path / "sources" / "note {book}.ipynb"  # braces: papermill fills them in where they are in a path
        path.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, path)
        return path

    return write


@pytest.fixture(params=[True, False], ids=["forked", "spawned"])
def forked(request: pytest.FixtureRequest) -> bool:
    """Whether processes are forked from a server: everything holds for both kinds."""
    return bool(request.param)


@pytest.fixture
def run(tmp_path: Path, forked: bool) -> Callable[..., tuple[Run, str]]:
    """Return a function that runs a notebook and returns the record with the text of what was saved."""

    def start(source: Path, parameters: Mapping[str, object] | None = None, **options: object) -> tuple[Run, str]:
        output, on_progress = tmp_path / "out.ipynb", options.pop("on_progress", None)
        plan = Plan(forked=forked, **options)  # type: ignore[arg-type]
        record = run_notebook(source, output, parameters or {}, plan, on_progress)  # type: ignore[arg-type]
        return record, output.read_text()

    return start


def printed(saved: str) -> str:
    """Everything the cells printed."""
    cells = nbformat.reads(saved, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", ()))


def gone(pid: int) -> bool:
    """Whether a process ends."""
    for _ in range(50 * PATIENCE_S):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_a_notebook_runs_to_its_end(make: Make, run: Callable[..., tuple[Run, str]], tmp_path: Path) -> None:
    """It takes the parameters as they are, counts every code cell, and is saved for its owner, without a path."""
    seen: list[tuple[int, int]] = []
    source = make("print(name, count, share, dry, since, routes, old)", "", "import os; print(sorted(os.environ))")
    values = {"name": '00123 "x" \\', "count": 3, "share": 1, "dry": False, "since": "a", "routes": ["/me"], "old": "b"}
    environment = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "PYTHON", "LD_"))}
    record, saved = run(
        source, values, environment=environment | {"HOME": str(tmp_path)}, on_progress=lambda *step: seen.append(step)
    )
    assert record.outcome == "complete"
    assert record.complete
    assert record.detail == ""
    assert (record.cells_run, record.cells_total) == (4, 4)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert printed(saved).startswith("00123 \"x\" \\ 3 1 False a ['/me'] b\n")
    assert "INTERCOM" not in printed(saved)
    assert record.started_at < record.ended_at
    assert stat.S_IMODE((tmp_path / "out.ipynb").stat().st_mode) == 0o600
    metadata = json.loads(saved)["metadata"]
    assert metadata["papermill"]["parameters"] == values
    assert metadata["intercom_kit"]["run"]["outcome"] == "complete"
    assert not any(path in json.dumps(metadata) for path in (str(tmp_path), sys.prefix))


def test_a_failed_cell_is_reported_with_its_place_and_error(make: Make, run: Callable[..., tuple[Run, str]]) -> None:
    """The number of the cell, the error's name and its message are in the record; what ran before is saved."""
    record, saved = run(make("print('before')", "1 / 0", "print('after')"))
    assert record.outcome == "failed"
    assert (record.cell, record.error_name, record.error_message) == (4, "ZeroDivisionError", "division by zero")
    assert record.detail == "Cell 4 of 5 failed: ZeroDivisionError: division by zero"
    assert (record.cells_run, record.cells_total) == (2, 4)
    assert printed(saved) == "before\n"
    assert "papermill-error-cell" not in saved


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        ("import os; os._exit(0)", "exit status 0"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    ],
)
def test_a_dead_process_is_no_success(make: Make, run: Callable[..., tuple[Run, str]], ending: str, why: str) -> None:
    """A process that is killed, crashes or leaves in the middle is reported as dead, with the cell it died in."""
    record, saved = run(make("print('before')", ending, "print('after')"))
    assert (record.outcome, record.cell) == ("kernel_died", 4)
    assert why in record.detail
    assert printed(saved) == "before\n"


@pytest.mark.parametrize(
    ("ending", "code"), [("import sys; sys.exit(0)", "0"), ("raise SystemExit(3)", "3"), ("exit()", "0")]
)
def test_leaving_in_a_cell_is_no_success(
    make: Make, run: Callable[..., tuple[Run, str]], ending: str, code: str
) -> None:
    """sys.exit in a cell, which papermill takes for success, is reported as what it is."""
    record, saved = run(make("print('before')", ending, "print('after')"))
    assert record.outcome == "exited"
    assert record.detail == f"Cell 4 of 5 called sys.exit({code}): no cell after it ran."
    assert printed(saved).startswith("before\n")
    assert "after\n" not in printed(saved)


def test_a_kernel_that_ends_after_its_last_cell_did_its_work(make: Make, run: Callable[..., tuple[Run, str]]) -> None:
    """Where every cell ran to its end, it does not matter how the kernel went."""
    record, saved = run(make("import os, threading", "threading.Timer(0.05, os._exit, [1]).start(); print('all')"))
    assert record.complete
    assert printed(saved) == "all\n"


def test_a_cell_that_takes_too_long_is_stopped(make: Make, run: Callable[..., tuple[Run, str]], tmp_path: Path) -> None:
    """The time limit of a cell ends the run, names the cell, and leaves no process behind."""
    cell = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\nprint('in', flush=True)"
    record, saved = run(make(f"{cell}\ntime.sleep(6000)", "print('after')"), cell_timeout_s=3)
    assert record.outcome == "cell_timeout"
    assert record.detail == "Cell 3 of 4 took longer than 3 s."
    assert printed(saved) == "in\n"
    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.slow
def test_a_notebook_that_takes_too_long_is_stopped(make: Make, run: Callable[..., tuple[Run, str]]) -> None:
    """The time limit of the whole ends the run in between cells that each keep theirs, and cannot be ignored."""
    stubborn = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(6000)"
    record, saved = run(make("print('before')", stubborn), notebook_timeout_s=10, cell_timeout_s=500)
    assert record.outcome == "notebook_timeout"
    assert record.detail == "The notebook took longer than 10 s: stopped in cell 4 of 4."
    assert printed(saved) == "before\n"


def test_a_time_limit_holds_while_the_kernel_starts(make: Make, run: Callable[..., tuple[Run, str]]) -> None:
    """A limit shorter than the kernel's start is a time-out too, not a dead kernel."""
    record, _ = run(make("1"), notebook_timeout_s=0.0001)
    assert record.outcome == "notebook_timeout"
    assert "start of its process" in record.detail
    assert record.cells_run == 0


def test_a_missing_kernel_is_reported(make: Make, run: Callable[..., tuple[Run, str]]) -> None:
    """A notebook for another kernel is refused by its name, and is saved with its parameters."""
    record, saved = run(make("1", kernel="no-such-kernel"), {"name": "kept"})
    assert record.outcome == "missing_kernel"
    assert "no-such-kernel" in record.detail
    assert record.cells_run == 0
    assert "kept" in saved


SCRIPT = """
import sys
from pathlib import Path
from intercom_kit.archive.runner import Plan, run_notebook

show = lambda *step: print(*step, flush=True)
run = run_notebook(Path(sys.argv[1]), Path(sys.argv[2]), {}, Plan(forked=sys.argv[3] == "True"), show)
print(run.line().decode())
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_reported_and_what_ran_is_saved(
    make: Make, tmp_path: Path, number: signal.Signals, forked: bool
) -> None:
    """SIGINT and SIGTERM end the notebook, are named, and cost nothing that ran before."""
    pid = f"import os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))"
    source = make("print('before')", pid, "import time; time.sleep(6000)")
    with started(tmp_path, source, forked) as process:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(3)] == ["1 4\n", "2 4\n", "3 4\n"]
        time.sleep(0.2)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
    record = Run.from_line(out)
    assert record.outcome == "interrupted"
    assert record.detail == f"Stopped by {number.name} in cell 5 of 5."
    assert printed((tmp_path / "out.ipynb").read_text()) == "before\n"
    assert gone(int((tmp_path / "pid").read_text()))
    assert err == ""


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"nmae": "x"}, "no parameter 'nmae'"),
        ({"Name": "x"}, "no parameter 'Name'"),
        ({"x=1;import os": 1}, "no parameter 'x=1;import os'"),
        ({"count": "1"}, "'count' must be int, but str was given"),
        ({"count": True}, "'count' must be int, but bool was given"),
        ({"count": 1.0}, "'count' must be int, but float was given"),
        ({"name": 123}, "'name' must be str, but int was given"),
        ({"name": None}, "'name' must be str, but NoneType was given"),
        ({"share": "0.5"}, "'share' must be float"),
        ({"dry": 1}, "'dry' must be bool"),
        ({"since": 5}, r"'since' must be str \| None"),
        ({"routes": "/me"}, r"'routes' must be list\[str\]"),
        ({"routes": [1]}, r"'routes' must be list\[str\]"),
        ({"old": 5}, "'old' must be str"),
        ({"name": f"x{CANARY}"}, "'name' holds a secret"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(
    make: Make, tmp_path: Path, parameters: dict[str, object], complaint: str
) -> None:
    """An unknown name, a crafted one, a value of another type or a secret stops the run before it starts."""
    output = tmp_path / "out.ipynb"
    source = make(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(KitError, match=complaint) as refused:
        run_notebook(source, output, parameters, Plan(secrets=[CANARY]))
    assert CANARY not in str(refused.value)
    assert not output.exists()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("cell", ["import os", "x: str = os.getcwd()", "x, y = 1, 2", "x: SomeType = 1", "x = f()", ""])
def test_a_parameters_cell_holds_nothing_but_literals(make: Make, tmp_path: Path, cell: str) -> None:
    """A cell whose types cannot be known is refused rather than guessed at; where it is empty, nothing is accepted."""
    with pytest.raises(KitError, match="only assignments of literals" if cell else "It has: none"):
        run_notebook(make("1", parameters=cell), tmp_path / "out.ipynb", {"x": "1"})


def test_a_secret_that_a_cell_prints_is_blotted_out(make: Make, run: Callable[..., tuple[Run, str]]) -> None:
    """What must not be archived is not, even when a cell shows it."""
    _, saved = run(make("print('tok-' + 'canary-' + 'execute')"), secrets=[CANARY])
    assert CANARY not in saved
    assert printed(saved) == "********\n"


def started(tmp_path: Path, source: Path, forked: bool) -> "subprocess.Popen[str]":
    """Run a notebook by a script in a process of its own: one without a guard, as people write them."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(script), str(source), str(tmp_path / "out.ipynb"), str(forked)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_process_ends_with_the_one_that_started_it(make: Make, tmp_path: Path, forked: bool) -> None:
    """Where the command is killed, nothing that it started goes on, in the middle of a cell neither."""
    source = make(
        "import os; print(os.getpid())",
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\nwhile True: pass",
    )
    with started(tmp_path, source, forked) as process:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        process.kill()
    assert gone(int((tmp_path / "pid").read_text()))


def test_processes_share_nothing(make: Make, run: Callable[..., tuple[Run, str]]) -> None:
    """What one notebook does to a module, another does not see; nor do they draw the same random numbers."""
    source = make("import math, numpy, random; print(math.pi, random.random(), numpy.random.random()); math.pi = 3")
    first, second = (printed(run(source)[1]).split() for _ in range(2))
    assert first[0] == second[0] == "3.141592653589793"
    assert not set(first[1:]) & set(second[1:])


def test_a_process_is_as_a_kernels(
    make: Make, run: Callable[..., tuple[Run, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Working directory, time zone and variables are those of the moment, and no secret is in any of them."""
    monkeypatch.setenv("INTERCOM_ACCESS_TOKEN", CANARY)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside.py").write_text("words = 'beside'")
    environment = {name: value for name, value in os.environ.items() if value != CANARY}
    _, saved = run(
        make(
            "import os, sys, time; print(os.getcwd(), time.tzname[0], os.getpgid(0) == os.getpid(), sys.argv)",
            "import beside; print(beside.words, os.environ['MINE'])",
            "print([name for name, value in os.environ.items() if 'canary' in value])",
        ),
        environment={**environment, "TZ": "Asia/Tokyo", "MINE": "yes"},
    )
    assert printed(saved) == f"{tmp_path} JST True ['notebook']\nbeside yes\n[]\n"
    assert os.environ["INTERCOM_ACCESS_TOKEN"] == CANARY


EARLY = """
import psutil
from intercom_kit.archive.launch import preload

preload(analysis=False)
print(*("INTERCOM_ACCESS_TOKEN" in child.environ() for child in psutil.Process().children(recursive=True)))
"""


def test_what_is_started_early_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the server that workers are forked from nor multiprocessing's own helper has the token."""
    monkeypatch.setenv("INTERCOM_ACCESS_TOKEN", CANARY)
    assert subprocess.check_output([sys.executable, "-c", EARLY], text=True).split() == ["False", "False"]


def test_outputs_are_as_a_kernels(make: Make, run: Callable[..., tuple[Run, str]]) -> None:
    """Pictures of matplotlib, displays that are updated or cleared, views of the kit and awaiting work as usual."""
    _, saved = run(
        make(
            "%matplotlib inline\n%config InlineBackend.figure_formats = ['svg']\nimport matplotlib.pyplot as plt",
            "plt.plot([1, 2]); plt.show()",
            "from IPython.display import clear_output, display, update_display, HTML\n"
            "_ = display(HTML('<b>1</b>'), display_id='a'); update_display(HTML('<b>2</b>'), display_id='a')",
            "print('gone'); clear_output(); print('a'); print('b')",
            "from intercom_kit.display import tables\ntables.message('kept')",
            "import asyncio; await asyncio.sleep(0); 6 * 7",
            "import ipywidgets; ipywidgets.IntSlider()",
        )
    )
    shown = [cell.outputs for cell in nbformat.reads(saved, as_version=4).cells if cell.cell_type == "code"][1:]
    assert "<svg" in shown[1][0].data["image/svg+xml"]
    assert [output.data["text/html"] for output in shown[2]] == ["<b>2</b>"]
    assert [output.text for output in shown[3]] == ["a\nb\n"]
    assert shown[4][0].data["text/html"].startswith("<style scoped>")
    assert (shown[5][0].data["text/plain"], shown[5][0].execution_count) == ("42", 8)
    assert "IntSlider" in shown[6][0].data["text/plain"]


def test_a_server_that_was_killed_is_started_again(make: Make, tmp_path: Path) -> None:
    """Notebooks run on after the process that they are forked from is gone."""
    source = make("import os; print(os.getppid())")
    assert run_notebook(source, tmp_path / "out.ipynb", {}).complete
    os.kill(int(printed((tmp_path / "out.ipynb").read_text())), signal.SIGKILL)
    assert run_notebook(source, tmp_path / "out.ipynb", {}).complete


def test_the_network_can_be_off(make: Make, run: Callable[..., tuple[Run, str]]) -> None:
    """A process that is offline reaches this machine and nothing else, whatever library asks."""
    cells = OFFLINE.strip().split("\n\n")
    record, saved = run(make(*cells), offline=True)
    assert record.complete, record.detail
    assert printed(saved).split() == ["OfflineError"] * 5 + ["reached"] * 2


OFFLINE = """
import asyncio, httpx, socket, urllib.request
ended = []
def attempt(call, *given):
    try:
        call(*given)
    except Exception as error:
        while cause := error.__cause__ or error.__context__:
            error = cause
        ended.append(type(error).__name__)
    else:
        ended.append('reached')

attempt(httpx.get, 'https://192.0.2.1')
attempt(urllib.request.urlopen, 'http://intercom.example')
attempt(socket.create_connection, ('192.0.2.1', 443), 1)
attempt(socket.getaddrinfo, 'intercom.example', 443)
attempt(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto, b'x', ('192.0.2.1', 53))

with socket.create_server(('127.0.0.1', 0)) as server:
    attempt(socket.create_connection, server.getsockname(), 1)
attempt(socket.getaddrinfo, 'localhost', 443)
print(*ended)
"""


@pytest.mark.parametrize("name", [*IMPORTS, *ANALYSIS_IMPORTS])
def test_what_is_preloaded_exists(name: str) -> None:
    """The fork server passes over names that it does not find: each must be there."""
    assert importlib.util.find_spec(name)
