"""The desk: where a run that goes on is asked how it stands, and told what to do; its answers are given at once.

What walkers hear at a report was decided when the coordinator had finished the report before. So what is asked for
now is heard at the first report that is still open, and acts after it: at a step that the answer names, the same in
every process. It is on the disk before it is answered.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from walkers_dist.config.course import SNAPSHOT, Change, Course
from walkers_dist.config.errors import RunFailed, UserError
from walkers_dist.config.merge import split
from walkers_dist.config.schema import Experiment
from walkers_dist.config.text import inline
from walkers_dist.distributed.asking import WORDS
from walkers_dist.records.events import Events
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.roles.by_hand import STEPS, STOP
from walkers_dist.roles.prompt import Prompt
from walkers_dist.roles.standing import Standing, line

POLL = 0.1  # s between looks for a signal during a pause
MOST = 100  # changes in one command


@dataclass
class Desk:
    """`course` is the coordinator's, not begun yet; `check` raises UserError for an experiment that cannot be run."""

    run: RunDirectory
    course: Course
    events: Events
    check: Callable[[Experiment], None]
    standing: Standing
    """How the run stands, as the coordinator last published it."""
    paused: bool = False
    """Whether the next answer is held back."""
    prompt: Prompt | None = None
    """Who asks the user, every so many steps."""
    _new: list[Change] = field(default_factory=list)
    """What was given and no walker has heard yet."""
    _over: bool = False

    def __post_init__(self) -> None:
        self.course = self.course.copy()  # as the coordinator's was when the last answer was decided
        self._lock = threading.Condition()
        if self.paused:
            self.events.foretell([Change(self.standing.step, "pause", "", "", "")])

    # ---- the coordinator's side -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def deciding(self, course: Course, t: int, interrupted: Callable[[], Any]) -> Iterator[dict[str, Any]]:
        """The answer to the report at step `t`, to be added to; held back while the run is paused.

        What was given is in it and in the coordinator's `course`; what is asked for later is for the next answer.
        """
        with self._lock:
            last = t == course.last
            asks = self.prompt is not None and self.prompt.is_due(t)
            if (self.paused or asks) and not last:
                self._hold_back(course, t, asks, interrupted)
            answer: dict[str, Any] = {}
            if self._new and not last:
                answer["given"] = [len(course.given), [asdict(change) for change in self._new]]
                course.give(len(course.given), self._new)
                self._new = []
            yield answer
            self.course, self._over = course.copy(), last

    def _hold_back(self, course: Course, t: int, asks: bool, interrupted: Callable[[], Any]) -> None:
        self.standing, self.paused = self.standing.at(t), True
        self.run.update_info(status="paused")
        if self.prompt and asks:
            self.prompt.begin(self, course.experiment, t)
        while self.paused and not interrupted():
            if self.prompt and self.prompt.is_answered():
                break
            self._lock.wait(POLL)
        if self.prompt:
            self.prompt.end()
        self.paused = False
        self.run.update_info(status="running")

    # ---- the other side ---------------------------------------------------------------------------------------

    def answer(self, request: object) -> dict[str, Any]:
        """The answer to a request, both as JSON has them: `ok`, the line that it `says`, and more for machines."""
        try:
            word, words, at = _understood(request)
            does: Mapping[str, Callable[[], dict[str, Any]]] = {
                "status": self.status,
                "pause": self.pause,
                "continue": self.go_on,
                "stop": self.stop,
                "snapshot": self.snapshot,
                "set": lambda: self.change([split(word) for word in words], at),
            }
            return {"ok": True, **does[word]()}
        except (UserError, RunFailed) as error:
            return {"ok": False, "says": str(error)}

    def status(self) -> dict[str, Any]:
        standing, status = self.standing, str(self.run.read_info().get("status", "unknown"))
        given = [change for change in (*self.course.given, *self._new) if change.step > standing.step]
        return {"says": line(status, standing, given), "status": status, **standing.facts(given)}

    def pause(self) -> dict[str, Any]:
        with self._lock:
            t = self._open_report(self.course.copy())
            if not self.paused:
                self.events.foretell([Change(t, "pause", "", "", "")])
                self.paused = True
            return {"says": f"paused at step {t}", "step": t}

    def go_on(self) -> dict[str, Any]:
        with self._lock:
            if not self.paused:
                raise UserError("continue: the run is not paused")
            t = self._open_report(self.course.copy())
            self.events.foretell([Change(t, "continue", "", "", "")])
            self.paused = False
            self._lock.notify_all()
            return {"says": f"goes on from step {t}", "step": t}

    def stop(self) -> dict[str, Any]:
        """The step after the next open report becomes the last."""
        with self._lock:
            t = self._open_report(self.course.copy()) + 1
            self._give(Change(t, STOP, STEPS, None, t))
            self.paused = False
            self._lock.notify_all()
            return {"says": f"stops at step {t}", "step": t}

    def snapshot(self) -> dict[str, Any]:
        """Taken at a report of its own accord: one more report could stop a run earlier than without a snapshot."""
        with self._lock:
            course = self._ahead()
            self._open_report(course)
            t = course.next_report()
            asked = Change(t, SNAPSHOT, "", "", "")
            self.events.foretell([asked])
            self._new.append(asked)
            return {"says": f"a snapshot at step {t}", "step": t}

    def change(self, changes: Sequence[tuple[str, object]], at: int | None, source: str = "live") -> dict[str, Any]:
        """Set keys at step `at`, by default the first possible one: all of them or, with UserError, none."""
        with self._lock:
            t = self._open_report(self.course.copy()) + 1
            if at is not None and at < t:
                raise UserError(f"--at {at}: must be at least {t}, the first step at which a change can act now")
            t = at or t
            made = self._give(*(Change(t, source, key, None, value) for key, value in changes))
            told = ", ".join(f"{change.key} = {inline(change.new)} (was {inline(change.old)})" for change in made)
            return {"says": f"{told} at step {t}", "step": t, "changes": [asdict(change) for change in made]}

    # ---- what lies ahead --------------------------------------------------------------------------------------

    def _ahead(self) -> Course:
        """The course from here on, with what no walker has heard yet."""
        course = self.course.copy()
        course.give(len(course.given), self._new)
        return course

    def _open_report(self, course: Course) -> int:
        """Follow the course to the first report whose answer is still open; its step."""
        if not self._over:
            t = course.next_report()
            if t < course.last:
                return t
        raise UserError(f"the run comes to its last step, {course.last}: it takes no more commands")

    def _give(self, *given: Change) -> Sequence[Change]:
        """Accept changes at one step, written down; as they will be made. Raises UserError where one is impossible,
        or makes a later one so."""
        course, step = self._ahead(), given[0].step
        course.give(len(course.given), given)
        made: Sequence[Change] = ()
        try:
            for t, changes in course.rest():
                if t == step:
                    made = changes[-len(given) :]
                if t >= step:
                    self._check(course.experiment, t)
        except UserError as error:
            raise UserError(str(error) if course.step == step else f"at step {course.step}: {error}") from None
        if not made:
            raise UserError(f"--at {step}: must be at most {course.last}, the last step")
        self.events.foretell(made)
        self._new += made
        return made

    def _check(self, experiment: Experiment, t: int) -> None:
        self.check(experiment)
        if experiment.steps < t:
            raise UserError(f"steps = {experiment.steps}: must be at least {t}, the step at which it acts")


def _understood(request: object) -> tuple[str, list[str], int | None]:
    """The word, the changes and the step of a request. Raises UserError."""
    if not isinstance(request, dict) or not request.keys() <= {"word", "changes", "at"}:
        raise UserError("the request is none: a mapping of word, changes and at is expected")
    word, words, at = request.get("word"), request.get("changes", []), request.get("at")
    if word not in WORDS:
        raise UserError(f"{inline(word)}: is no command; there are {', '.join(WORDS)}")
    if not isinstance(words, list) or not all(isinstance(each, str) for each in words) or len(words) > MOST:
        raise UserError(f"changes = {inline(words)}: must be at most {MOST} words key=value")
    if at is not None and type(at) is not int:
        raise UserError(f"at = {inline(at)}: must be a step")
    if word == "set" and not words:
        raise UserError("set: must be followed by key=value")
    if word != "set" and (words or at is not None):
        raise UserError(f"{word}: takes neither key=value nor --at")
    return word, words, at
