"""A run in this process that is spoken to: what was asked for acts at the step that was named, nothing else does."""

from __future__ import annotations

import json
import time

import pytest

import walkers_dist as wd


@pytest.fixture(scope="module")
def undisturbed(slow, tools, tmp_path_factory):
    """What a run of `SLOW` leaves behind, with these keys changed and these entries behind its schedule."""

    def make(*entries, **keys):
        config = {**slow, **keys, "schedule": [*slow["schedule"], *entries]}
        config["landscape"] = {"kind": "bowls:Bowl"}  # without its slowness
        return tools.contents(wd.run(config, run_dir=tmp_path_factory.mktemp("twin") / "run", report=False).path)

    return make


def replayed(run, tools, tmp_path):
    from walkers_dist.roles.in_process import run_in_process
    from walkers_dist.roles.request import Request

    replay, code = run_in_process(Request(replay=str(run), run_dir=str(tmp_path / "replay"), report=False))
    assert code == 0
    return replay.path


def test_a_change_while_it_trains_is_a_change_in_its_schedule(slow, spoken_to, undisturbed, tools, tmp_path):
    def what(run):
        run.at_step(35)
        first = run.tell("set", "dynamics.lr=0.02")
        second = run.tell("set", "coupling.period=2", "log.every=7", "curvature.every=25")
        third = run.tell("set", "probes.distances.every=3", at=second + 60)
        return first, second, third

    run, (a, b, c) = spoken_to(slow, what)
    assert 35 < a <= b < c == b + 60 < 400
    assert (a - 1) % 5 == 0 or (a - 1) % 10 == 0, "it acts after a report"
    entries = [
        {"at": a, "set": {"dynamics.lr": 0.02}},
        {"at": b, "set": {"coupling.period": 2, "log.every": 7, "curvature.every": 25}},
        {"at": c, "set": {"probes.distances.every": 3}},
    ]
    twin = undisturbed(*entries)
    tools.assert_equal(tools.contents(run), twin)
    assert twin["results"] != undisturbed()["results"], "the change changes something"
    tools.assert_equal(tools.contents(replayed(run, tools, tmp_path)), twin)


def test_changes_ahead_and_in_any_order(slow, spoken_to, undisturbed, tools, tmp_path):
    """Given before the first step for later ones: events are in the order of steps, each with what was before it."""

    def what(run):
        assert run.tell("set", "dynamics.lr=0.05", at=300) == 300
        assert run.tell("set", "dynamics.lr=0.02", at=30) == 30
        assert run.tell("set", "dynamics.momentum=0.3", at=60) == 60
        assert run.tell("set", "dynamics.lr=0.03", "dynamics.lr=0.04", at=30) == 30
        assert run.tell("continue") == 0

    run, _ = spoken_to(slow, what, paused=True)
    entries = [
        {"at": 30, "set": {"dynamics.lr": 0.02}},
        {"at": 30, "set": {"dynamics.lr": 0.03}},
        {"at": 30, "set": {"dynamics.lr": 0.04}},
        {"at": 60, "set": {"dynamics.momentum": 0.3}},
        {"at": 300, "set": {"dynamics.lr": 0.05}},
    ]
    twin = undisturbed(*entries)
    tools.assert_equal(tools.contents(run), twin)
    lr = [(row["step"], row["old"], row["new"]) for row in tools.rows(run, "events") if row["key"] == "dynamics.lr"]
    assert lr == [("30", "0.1", "0.02"), ("30", "0.02", "0.03"), ("30", "0.03", "0.04"), ("300", "0.04", "0.05")]
    tools.assert_equal(tools.contents(replayed(run, tools, tmp_path)), twin)


def test_a_pause_changes_no_bit_and_takes_no_time(slow, spoken_to, undisturbed, tools):
    def what(run):
        run.at_step(20)
        t = run.tell("pause")
        tools.until(lambda: run.ask("status")["status"] == "paused", "a pause")
        status = run.ask("status")
        assert status["step"] == t and status["says"].startswith(f"paused at step {t} of 400")
        assert json.loads((run.run / "run.json").read_bytes())["status"] == "paused"
        time.sleep(2)
        assert run.ask("status")["step"] == t
        assert run.tell("continue") == t
        run.at_step(t + 10)
        assert run.ask("status")["status"] == "running"
        return t

    began = time.perf_counter()
    run, t = spoken_to(slow, what)
    seconds = time.perf_counter() - began
    tools.assert_equal(tools.contents(run), undisturbed())
    told = [(row["step"], row["source"]) for row in tools.rows(run, "events")]
    assert [row for row in told if row[1] in ("pause", "continue")] == [(str(t), "pause"), (str(t), "continue")]
    assert float(tools.rows(run, "results")[-1]["elapsed"]) < seconds - 1.9
    assert wd.open_run(run).status == "done"


def test_what_is_changed_during_a_pause_acts_after_it(slow, spoken_to, undisturbed, tools):
    def what(run):
        run.at_step(20)
        t = run.tell("pause")
        tools.until(lambda: run.ask("status")["status"] == "paused", "a pause")
        assert run.tell("set", "dynamics.lr=0.01") == t + 1
        assert run.ask("set", "dynamics.lr=0.02", at=t)["ok"] is False
        run.tell("continue")
        return t

    run, t = spoken_to(slow, what)
    tools.assert_equal(tools.contents(run), undisturbed({"at": t + 1, "set": {"dynamics.lr": 0.01}}))


def test_a_stop_is_a_number_of_steps(slow, spoken_to, undisturbed, tools, tmp_path):
    def what(run):
        run.at_step(75)
        return run.tell("stop")

    run, last = spoken_to(slow, what)
    assert 75 < last < 200
    opened = wd.open_run(run)
    assert opened.status == "done" and opened.steps[-1] == last == opened.results["step"].max()
    twin = undisturbed(steps=last)
    tools.assert_equal(tools.contents(run), twin)
    replay = replayed(run, tools, tmp_path)
    tools.assert_equal(tools.contents(replay), twin)
    assert wd.open_run(replay).info["parent"]["replay"] is True
    wd.resume(run, report=False)
    tools.assert_equal(tools.contents(run), twin)
    wd.resume(run, ["steps=400"], report=False)
    ours, theirs = (
        [row for row in found["results"] if row["step"] != str(last)] for found in (tools.contents(run), undisturbed())
    )
    assert ours == theirs, "it goes on where more steps are asked for"


def test_a_stop_ends_a_pause(slow, spoken_to, undisturbed, tools):
    def what(run):
        return run.tell("stop")

    run, last = spoken_to(slow, what, paused=True)
    assert last == 1
    tools.assert_equal(tools.contents(run), undisturbed(steps=1, schedule=[]))


def test_a_snapshot_at_the_step_that_is_named(slow, spoken_to, undisturbed, tools, tmp_path):
    def what(run):
        run.at_step(60)
        return run.tell("snapshot")

    run, t = spoken_to(slow, what)
    assert t > 60 and wd.open_run(run).steps == sorted({*range(0, 401, 50), t})
    twin = undisturbed()
    tools.assert_equal(tools.contents(run, asked=[] if t % 50 == 0 else [t]), twin)
    longer = wd.open_run(run).snapshot(t, "w2")
    asked = replayed(run, tools, tmp_path)
    tools.assert_equal(tools.contents(asked), twin)
    if t % 10 == 0:
        (row,) = [row for row in tools.rows(run, "results") if (row["step"], row["walker"]) == (str(t), "w2")]
        assert float(row["norm"]) == pytest.approx(float(longer.norm()), rel=1e-6)


def test_a_snapshot_where_there_are_none(slow, spoken_to):
    config = {**slow, "snapshots": None, "curvature": None, "probes": None, "analysts": 0, "steps": 150}

    def what(run):
        run.at_step(20)
        return run.tell("snapshot")

    run, t = spoken_to(config, what)
    assert wd.open_run(run).steps == [t]


def test_a_rule_stops_at_the_same_step_with_snapshots_and_pauses(slow, spoken_to, undisturbed, tools):
    rule = {"metric": "train_loss", "of": "center", "below": 0.4}

    def what(run):
        run.at_step(5)
        while True:
            try:
                for word in ("snapshot", "pause", "continue"):
                    run.ask(word)
            except wd.UserError:  # it has ended
                return

    twin = undisturbed(stop=rule)
    end = int(twin["results"][-1]["step"])
    assert 20 < end < 390
    run, _ = spoken_to({**slow, "stop": rule}, what)
    taken = [int(row["step"]) for row in tools.rows(run, "events") if row["source"] == "snapshot"]
    assert taken
    regular = [step for step, _ in twin["snapshots"]]
    tools.assert_equal(tools.contents(run, asked=[step for step in taken if step not in regular]), twin)


def test_status_is_answered_within_a_second(slow, spoken_to):
    def what(run):
        run.at_step(5)
        waits = []
        for _ in range(20):
            began = time.perf_counter()
            status = run.ask("status")
            waits.append(time.perf_counter() - began)
        return waits, status

    _, (waits, status) = spoken_to({**slow, "steps": 300}, what)
    assert sorted(waits)[len(waits) // 2] < 1.0
    assert set(status["train_loss"]) == {"center", "w0", "w1", "w2", "w3"} and status["last"] == 300


def test_a_step_of_many_seconds_holds_no_answer_back(slow, spoken_to):
    config = {**slow, "landscape": {"kind": "bowls:Bowl", "pause": 1.5}, "steps": 4, "checkpoint": None}
    config |= {"log": {"every": 2}, "control": {"every": 2}, "schedule": [], "analysts": 0}

    def what(run):
        run.at_step(0)
        began = time.perf_counter()
        step = run.tell("set", "dynamics.lr=0.2")
        return time.perf_counter() - began, step

    _, (seconds, step) = spoken_to(config, what)
    assert seconds < 1.0 and step == 3
