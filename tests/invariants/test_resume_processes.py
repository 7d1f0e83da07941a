"""Invariant 3 over real processes and gloo: `kill -9` of one or all of them at random instants, then a resume."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

import walkers_dist as wd


def at_step(step, tools):
    return lambda command: tools.last_step(command.run) >= step


def in_step(chance, low, high, tools):
    """At a random instant after a random step."""
    step, more = chance.randrange(low, high), 0.03 * chance.random()

    def reached(command):
        if tools.last_step(command.run) < step:
            return False
        time.sleep(more)
        return True

    return reached


def while_a_checkpoint_is_written(step):
    """A part of the checkpoint of this step, or of a later one, lies there, and is not sealed yet."""

    def written(command):
        return any(int(folder.name[5:]) >= step for folder in command.run.glob("checkpoints/step-*"))

    return written


def with_status(*statuses):
    return lambda command: command.status in statuses


def as_it_begins(command):
    return (command.run / "run.json").exists()


def kill(command, victim, instant, tools):
    tools.until(lambda: command.process.poll() is not None or instant(command), "the instant")
    command.kill(victim)
    assert command.wait() not in (0, 2, 130), command.said


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_instants_again_and_again(seed, walkers, tools, tmp_path, over_processes):
    """One story of five starts; each kill finds the run where the one before left it."""
    chance, run = random.Random(seed), tmp_path / "run"
    story = {
        1: [
            ("all", in_step(chance, 5, 40, tools)),
            ("walkers 0-1", in_step(chance, 45, 80, tools)),
            ("coordinator", while_a_checkpoint_is_written(120)),
            ("launcher", with_status("analysing", "done")),
        ],
        2: [
            ("launcher", as_it_begins),
            ("coordinator", in_step(chance, 1, 40, tools)),
            ("all", while_a_checkpoint_is_written(80)),
            ("walkers 2-3", in_step(chance, 125, 150, tools)),
        ],
    }
    config = tools.DIGITS
    for victim, instant in story[seed]:
        kill(walkers(run, config), victim, instant, tools)
        config = None
    last = walkers(run)
    assert last.wait() == 0, last.said
    tools.assert_equal(tools.contents(run), over_processes)


def test_interrupted_and_resumed(walkers, tools, tmp_path, over_processes):
    run = tmp_path / "run"
    first = walkers(run, tools.DIGITS)
    tools.until(lambda: tools.last_step(run) >= 30, "step 30")
    first.process.terminate()
    assert first.wait() == 130, first.said
    assert first.status == "interrupted"
    assert not (run / "error.txt").exists()
    second = walkers(run)
    assert second.wait() == 0, second.said
    tools.assert_equal(tools.contents(run), over_processes)


def test_stopped_by_a_rule_and_killed_before_the_analysis_ended(walkers, tools, tmp_path):
    """With one process of walkers even the bits are those of a run without processes."""
    bowl = {"kind": "quadratic", "dim": 7, "curvature": 0.2, "start": [1, 2, 3, 4], "noise": 0.1}
    rule = {"metric": "train_loss", "of": "mean", "below": 0.1}
    config = {**tools.DIGITS, "landscape": bowl, "stop": rule, "steps": 400, "walkers_per_process": 4}
    first = walkers(tmp_path / "run", config)
    os.kill(first.pid("analyst 0"), signal.SIGSTOP)
    kill(first, "all", with_status("analysing"), tools)
    again = walkers(tmp_path / "run")
    assert again.wait() == 0, again.said
    undisturbed = tools.contents(wd.run(config, run_dir=tmp_path / "undisturbed", report=False).path)
    assert int(undisturbed["results"][-1]["step"]) < 100
    tools.assert_equal(tools.contents(tmp_path / "run"), undisturbed)


def test_other_processes_go_on_with_it(walkers, tools, tmp_path):
    """All rows in one process, then one row in each of four, then two in each: the same to the last few bits."""
    config = {**tools.DIGITS, "dtype": "float64"}
    undisturbed = tools.contents(wd.run(config, run_dir=tmp_path / "undisturbed", report=False).path)
    run = tmp_path / "run"
    kill(walkers(run, {**config, "walkers_per_process": 4}), "all", at_step(60, tools), tools)
    kill(walkers(run, None, "walkers_per_process=1"), "walkers 3", at_step(110, tools), tools)
    last = walkers(run, None, "walkers_per_process=2")
    assert last.wait() == 0, last.said
    assert tools.difference(tools.contents(run), undisturbed) < 1e-10
