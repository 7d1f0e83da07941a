"""No orphans: whatever kills the parent, the child ends; without a leash it would not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

Until = Callable[..., None]

FOREVER = "import time\nwhile True: time.sleep(3600)\n"
SAY = "import os\nprint(os.getpid(), flush=True)\n"
"""Each process says its number on the output that all share."""
WEAR = "from walkers_dist.distributed import leash\nleash.wear()\n"
PARENTS = {
    "tie": f"""
import subprocess, sys
from walkers_dist.distributed import leash
with leash.tie() as tied:
    subprocess.Popen([sys.executable, "-c", {WEAR + SAY + FOREVER!r}], **tied)
""",
    "tie, and the grandchild on the child's": f"""
import subprocess, sys
from walkers_dist.distributed import leash
GRANDCHILD = {WEAR + SAY + FOREVER!r}
CHILD = {WEAR!r} + '''
import subprocess, sys
with leash.tie() as tied:
    subprocess.Popen([sys.executable, "-c", sys.argv[1]], **tied)
''' + {SAY + FOREVER!r}
with leash.tie() as tied:
    subprocess.Popen([sys.executable, "-c", CHILD, GRANDCHILD], **tied)
""",
    "the kernel's, as under torchrun": f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {WEAR + SAY + FOREVER!r}])
""",
    "the forkserver's": """
import multiprocessing, os, sys, time
from walkers_dist.distributed import leash
def child():
    leash.wear()
    print(os.getpid(), flush=True)
    time.sleep(3600)
if __name__ == "__main__":
    multiprocessing.get_context("forkserver").Process(target=child).start()
""",
}
NO_LEASH = f'import subprocess, sys\nsubprocess.Popen([sys.executable, "-c", {SAY + FOREVER!r}])\n'


def alive(pid: int) -> bool:
    """Whether a process runs: neither gone nor a zombie that nobody has buried yet."""
    if sys.platform == "linux":
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].strip()
        except (FileNotFoundError, ProcessLookupError):
            return False
    else:
        state = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    return bool(state) and not state.startswith("Z")


class Family:
    """A parent and those it started, by their numbers."""

    def __init__(self, script: str, children: int) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "WALKERS_LEASH"}
        self.parent = subprocess.Popen(
            [sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )
        assert self.parent.stdout is not None
        self.children = [int(self.parent.stdout.readline()) for _ in range(children)]

    def end(self) -> None:
        for pid in (self.parent.pid, *self.children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.parent.wait()


@pytest.fixture
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, int], Family]]:
    families: list[Family] = []

    def start(source: str, children: int) -> Family:
        script = tmp_path_factory.mktemp("family") / "parent.py"
        script.write_text(source)
        families.append(Family(str(script), children))
        return families[-1]

    yield start
    for made in families:
        made.end()


@pytest.mark.parametrize("kind", PARENTS)
def test_killed_with_the_parent(family: Callable[[str, int], Family], until: Until, kind: str) -> None:
    waiting = f'\nif __name__ == "__main__":\n    {FOREVER.replace(chr(10), chr(10) + "    ")}\n'
    made = family(PARENTS[kind] + waiting, 2 if "grandchild" in kind else 1)
    assert all(alive(pid) for pid in made.children)
    made.parent.kill()
    until(lambda: not any(alive(pid) for pid in made.children), "the children end", 5.0)


@pytest.mark.parametrize("kind", ["tie", "the kernel's, as under torchrun"])
def test_ended_with_a_parent_that_just_returns(family: Callable[[str, int], Family], until: Until, kind: str) -> None:
    made = family(PARENTS[kind] + "import time\ntime.sleep(0.5)\n", 1)
    made.parent.wait(30)
    until(lambda: not alive(made.children[0]), "the child ends", 5.0)


def test_without_a_leash_it_would_stay(family: Callable[[str, int], Family]) -> None:
    """The tests above can fail."""
    made = family(NO_LEASH, 1)
    made.parent.wait(30)
    time.sleep(0.5)
    assert alive(made.children[0])


def test_the_variable_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child's own children are on its leash, not on its parent's."""
    code = WEAR + "import os\nprint(os.environ.get(leash.VARIABLE))"
    script = (
        "import subprocess, sys\nfrom walkers_dist.distributed import leash\n"
        f"with leash.tie() as tied:\n    subprocess.run([sys.executable, '-c', {code!r}], **tied)"
    )
    monkeypatch.delenv("WALKERS_LEASH", raising=False)
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "None"
