"""The learning rate from curvature: a formula of what the analyst measures, acting as live changes do."""

from __future__ import annotations

import csv
import json
import math
from types import SimpleNamespace

import pytest

import walkers_dist as wd
from walkers_dist.cli import main
from walkers_dist.config import formula
from walkers_dist.config.course import Change
from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.records.tables import COLUMNS
from walkers_dist.roles.rate import Rate
from walkers_dist.roles.replaying import scheduled

QUARTIC = '''
"""A surface whose curvature changes along the way: sum_j (theta_j^2 / 2 + theta_j^4 / 4), with noisy gradients."""

import time

import torch

from walkers_dist import Landscape
from walkers_dist.landscape import stream


class Quartic(Landscape):
    def __init__(self, *, seed, dtype, device, pause=0.0):
        self.size, self.seed, self.dtype, self.pause = 4, seed, dtype, pause

    def minibatches(self, walkers, batch_size):
        def gradient(X, t):
            time.sleep(self.pause)
            noise = [torch.randn(4, generator=stream(self.seed, name, "noise", t), dtype=X.dtype) for name in walkers]
            return X + X**3 + 2 * torch.stack(noise)

        return gradient

    def loss(self, theta, *, split="train", walkers=None):
        return (theta.square() / 2 + theta**4 / 4).sum(1)
'''
FORMULA = "0.2 / (1 + lambda_max)"
KEYS = {
    "name": "rated",
    "landscape": {"kind": "quartics:Quartic", "pause": 0.004},
    "walkers": 2,
    "walkers_per_process": 2,
    "steps": 100_000,
    "dtype": "float64",
    "dynamics": {"name": "sgd", "lr": 0.02, "momentum": 0.0},
    "coupling": {"name": "easgd", "alpha": 0.1, "period": 4},
    "log": {"every": 10},
    "control": {"every": 5},
    "snapshots": {"every": 50},
    "checkpoint": {"every": 60, "keep": 2},
    "curvature": {"every": 50, "of": ["w0", "center"], "top": 1, "bottom": 0, "full": "never", "lr": FORMULA},
}


@pytest.fixture
def start(walkers, tmp_path):
    (tmp_path / "quartics.py").write_text(QUARTIC)  # beside the configuration
    return lambda: walkers(tmp_path / "run", KEYS)


def changes(run, tools):
    found = [row for row in tools.rows(run, "events") if row["source"] == "curvature"]
    assert all(row["key"] == "dynamics.lr" for row in found)
    return [(int(row["step"]), float(row["new"])) for row in found]


def follows_from_curvature(run, tools):
    """Each change is what the formula says at an eigenvalue of the center that was measured at an earlier step."""
    measured = [(int(row["step"]), float(row["eigenvalue"])) for row in tools.rows(run, "eigenvalues")
                if row["walker"] == "center"]  # fmt: skip
    made = changes(run, tools)
    for step, lr in made:
        assert any(at < step and lr == 0.2 / (1 + h) for at, h in measured), (step, lr)
    rates = {int(row["step"]): float(row["lr"]) for row in tools.rows(run, "results")}
    for step, rate in rates.items():
        assert rate == ([0.02] + [lr for at, lr in made if at <= step])[-1]
    return made


def replayed(run, tools, tmp_path):
    """The replay is equal; of the rule nothing is left, so its own changes are not compared."""
    replay = tmp_path / "replay"
    words = ["replay", str(run), "landscape.pause=0", "--run-dir", str(replay), "--no-report", "--in-process"]
    assert main(words) == 0
    assert not changes(replay, tools) and wd.open_run(replay).config.curvature.lr is None
    mine, other = tools.contents(run), tools.contents(replay)
    for contents in (mine, other):
        contents["events"] = [row for row in contents["events"] if row["key"] == "dynamics.lr"]
    tools.assert_equal(mine, other)


def test_it_follows_what_is_measured_also_after_a_kill_until_that_is_impossible(start, walkers, tools, tmp_path):
    first = start()
    tools.until(lambda: len(changes(first.run, tools)) >= 2, "two changes")
    first.speaker.at_step(changes(first.run, tools)[1][0] + 1)
    first.kill()
    first.wait()
    before = changes(first.run, tools)
    again = walkers(first.run)
    tools.until(lambda: len(changes(first.run, tools)) > len(before), "another change")
    again.speaker.tell("set", "curvature.lr=1 - lambda_max")
    log = first.run / "logs/curvature.log"
    tools.until(lambda: " refused: " in log.read_text(), "a refusal")
    again.speaker.tell("stop")
    assert again.wait() == 0, again.log.read_text()
    made = follows_from_curvature(first.run, tools)
    assert made[: len(before)] == before and len(made) > len(before), "those of before act again"
    assert all((step - 1) % 5 == 0 for step, _ in made), "it acts after a report"
    assert len({lr for _, lr in made}) == len(made)
    lines = log.read_text().splitlines()
    refused = [line for line in lines if " refused: dynamics.lr = -" in line]
    assert refused and all(line.endswith(": must be greater than 0") for line in refused)
    assert len(lines) == len(made) + len(refused)
    replayed(first.run, tools, tmp_path)


# ---- what sets it, and what does not ----------------------------------------------------------------------------


class Looked:
    """A rate over a table that is written here, and a desk that keeps what it is given."""

    def __init__(self, folder, *told):
        (folder / "logs").mkdir()
        self.path, self.given, self.refuses = folder / "eigenvalues.csv", [], ""
        with (folder / "events.csv").open("w") as file:
            csv.writer(file).writerows([COLUMNS["events"], *told])
        run = SimpleNamespace(table=lambda name: folder / f"{name}.csv", logs=folder / "logs")
        self._log, self._rate = folder / "logs/curvature.log", Rate(run, SimpleNamespace(change=self.change))

    def change(self, changes, at, source):
        if self.refuses:
            raise UserError(self.refuses)
        self.given.append((changes, at, source))
        return {"says": "so it is"}

    def measured(self, *rows):
        new = not self.path.exists()
        with self.path.open("a") as file:
            csv.writer(file).writerows([COLUMNS["eigenvalues"]] * new + [[*row, 0.0] for row in rows])

    def look(self, **curvature):
        """What is set by this look."""
        before = len(self.given)
        keys = {**KEYS, "landscape": {"kind": "quadratic", "dim": 3}}
        self._rate.look(parse({**keys, "curvature": {**keys["curvature"], **curvature}}, "x"))
        assert all((at, source) == (None, "curvature") for _, at, source in self.given)
        return [change for changes, _, _ in self.given[before:] for change in changes]

    @property
    def log(self):
        return [line.split(" ", 1)[1] for line in self._log.read_text().splitlines()] if self._log.exists() else []


def test_the_newest_of_the_center_counts_once(tmp_path):
    one = Looked(tmp_path)
    assert one.look() == []
    one.measured((0, "w0", "hessian", "top", 1, 9.0))
    assert one.look() == []
    one.measured((0, "center", "ggn", "top", 1, 9.0), (0, "center", "hessian", "top", 1, 3.0))
    assert one.look() == [("dynamics.lr", 0.05)] and one.look() == []
    one.measured(*[(step, "center", "hessian", "top", 1, h) for step, h in ((50, 1.0), (100, 0.0625), (150, 0.25))])
    one.measured((150, "center", "hessian", "top", 2, 0.2), (150, "center", "hessian", "bottom", 1, -3.0))
    assert one.look() == [("dynamics.lr", 0.16)]
    one.measured((200, "center", "hessian", "full", 1, 1.0), (200, "center", "hessian", "full", 2, 0.5))
    assert one.look(lr=None) == [] and one.look(lr="lambda_max/2") == [("dynamics.lr", 0.5)]
    one.measured((250, "w0", "hessian", "top", 1, 3.0))
    assert one.look(of=["w0"]) == [("dynamics.lr", 0.05)]
    one.measured((300, "center", "hessian", "top", 1, 9.0))
    assert one.look() == [], "it is 0.02 already"
    assert one.log[0] == "step 0: the largest eigenvalue is 3: so it is" and len(one.log) == 4


@pytest.mark.parametrize("h", (math.nan, 0.0, -1.0, math.inf))
def test_no_curvature_changes_nothing(h, tmp_path):
    one = Looked(tmp_path)
    one.measured((0, "center", "hessian", "top", 1, h))
    assert one.look() == [] == one.look()
    assert one.log == [f"step 0: the largest eigenvalue is {h:g}: dynamics.lr stays 0.02"]


def test_what_is_refused_is_logged_and_the_next_one_counts(tmp_path):
    one = Looked(tmp_path)
    one.measured((0, "center", "hessian", "top", 1, 3.0))
    one.refuses = "the run comes to its last step"
    assert one.look() == [] == one.look()
    assert one.log == ["step 0: refused: the run comes to its last step"]
    one.refuses = ""
    one.measured((50, "center", "hessian", "top", 1, 1.0))
    assert one.look() == [("dynamics.lr", 0.1)]


def test_after_a_resume_what_has_acted_acts_no_second_time(tmp_path):
    told = [61, "", "curvature", "dynamics.lr", "0.02", "0.1"], [90, "", "live", "dynamics.lr", "0.1", "0.07"]
    one = Looked(tmp_path, *told)
    one.measured(*[(step, "center", "hessian", "top", 1, 1.0) for step in (0, 50)])
    assert one.look() == []
    one.measured((100, "center", "hessian", "top", 1, 3.0))
    assert one.look() == [("dynamics.lr", 0.05)]


# ---- formulas ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ("0.5 * 2/lambda_max", "lambda_max", "-lambda_max + +3", "(1 + 2e-3) / (lambda_max - -1)", " 1/lambda_max ")
)
def test_a_formula_is_arithmetic(text):
    assert formula.check(text) == text
    for h in (1e-3, 1.0, 7.3):
        assert formula.value(text, h) == eval(text.strip(), {"__builtins__": {}}, {"lambda_max": h})


def test_a_formula_without_a_value():
    assert math.isnan(formula.value("1 / (lambda_max - 2)", 2.0))


@pytest.mark.parametrize(
    "text",
    (
        *("", " ", "1", "2 * 3", "lambda", "1/lambda_max; 1", "lambda_max ** 2", "lambda_max // 2", "lambda_max % 2"),
        *("__import__('os').getpid() + lambda_max", "lambda_max.real", "max(1, lambda_max)", "[lambda_max][0]"),
        *("lambda_max if lambda_max else 1", "True * lambda_max", "1j * lambda_max", "'a' * lambda_max", "~lambda_max"),
        *("lambda_max < 1", "(lambda_max, 1)", "(x := lambda_max)", "lambda: lambda_max", "f'{lambda_max}'", "1/x"),
        *("(" * 99 + "lambda_max" + ")" * 99, "1+" * 99 + "lambda_max", "lambda_max\0", "1/lambda_max #" + " " * 200),
    ),
)
def test_nothing_else_is_read(text):
    with pytest.raises(UserError) as error:
        parse({**KEYS, "landscape": {"kind": "quadratic"}, "curvature": {"lr": text}}, "x")
    assert str(error.value).startswith("curvature.lr = ") and "\n" not in str(error.value)
    assert "must be a formula of numbers, + - * / ( ) and lambda_max" in str(error.value)


# ---- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "expected"),
    (
        ({"analysts": 0}, "curvature.lr = 1/lambda_max: needs analysts of at least 1"),
        ({"curvature": {"lr": "1/lambda_max", "top": 0}}, "curvature: lr = 1/lambda_max needs top of at least 1"),
        ({"curvature": {"lr": "1/lambda_max", "matrix": ["ggn"]}}, "curvature: lr = 1/lambda_max needs top of at"),
        ({"curvature": {"lr": 0.1}}, "curvature.lr = 0.1: must be text or null"),
        ({"snapshots": None}, "snapshots = null: must be on where curvature.every = 100 needs snapshots"),
    ),
)
def test_keys_that_do_not_fit(keys, expected):
    with pytest.raises(UserError, match="^" + expected.replace("*", r"\*")):
        parse({"landscape": {"kind": "quadratic"}, "curvature": {"lr": "1/lambda_max"}, **keys}, "x")


def test_one_process_is_not_enough(tmp_path, capsys, slow, spoken_to):
    run, keys = tmp_path / "run", {**KEYS, "landscape": {"kind": "quadratic"}}
    scheduled_later = {"curvature": None, "schedule": [{"at": 5, "set": {"curvature.lr": "1/lambda_max"}}]}
    for more in ({}, scheduled_later):
        (file := tmp_path / "rated.yaml").write_text(json.dumps({**keys, **more}))
        assert main(["run", str(file), "--run-dir", str(run), "--in-process"]) == 2
        why = capsys.readouterr().err
        assert why.startswith("walkers: curvature.lr = ") and "needs processes of its own" in why
        assert why.count("\n") == 1 and not run.exists()
    _, answer = spoken_to({**slow, "steps": 100}, lambda run: run.ask("set", "curvature.lr=1/lambda_max"))
    assert not answer["ok"] and answer["says"].startswith("curvature.lr = 1/lambda_max: needs processes of its own")


def test_a_replay_has_what_was_set_and_no_rule():
    entries = [
        {"at": 3, "set": {"curvature": {"every": 7, "lr": FORMULA}}},
        {"at": 5, "set": {"curvature.lr": FORMULA}},
    ]
    experiment = parse({**KEYS, "landscape": {"kind": "quadratic"}, "schedule": entries}, "x")
    given = [
        Change(4, "curvature", "dynamics.lr", 0.02, 0.05),
        Change(6, "live", "curvature.lr", FORMULA, "lambda_max"),
    ]
    keys = scheduled(experiment, given)
    assert keys["curvature"]["lr"] is None and keys["curvature"]["every"] == 50
    assert [(entry["at"], entry["set"]) for entry in keys["schedule"]] == [
        (3, {"curvature": {"every": 7, "lr": None}}),
        (5, {"curvature.lr": None}),
        (4, {"dynamics.lr": 0.05}),
        (6, {"curvature.lr": None}),
    ]
    assert experiment.schedule[1].set == {"curvature.lr": FORMULA}, "nothing of the old one is changed"
    assert parse(keys, "x").curvature.lr is None
