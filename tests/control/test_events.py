"""The table of events keeps the order of steps, whenever something is written down, and never says a thing twice."""

from __future__ import annotations

import random

import pytest

from walkers_dist.config.course import Change
from walkers_dist.records.events import Events, change_of
from walkers_dist.records.tables import read_rows


def told(path):
    return [(int(row["step"]), row["source"], row["key"], row["old"], row["new"]) for row in read_rows(path)]


@pytest.mark.parametrize("seed", range(5))
def test_in_the_order_of_steps_however_they_come(seed, tmp_path):
    chance = random.Random(seed)
    changes = [Change(chance.randrange(6), chance.choice(["live", "schedule"]), f"k{n}", None, n) for n in range(30)]
    events = Events(tmp_path / "events.csv")
    for change in changes:
        chance.choice([events.tell, lambda change: events.foretell([change])])(change)
    ordered = sorted(changes, key=lambda change: (change.step, change.source == "live"))
    assert told(tmp_path / "events.csv") == [(c.step, c.source, c.key, "null", str(c.new)) for c in ordered]


def test_what_was_foretold_is_told_once_with_what_was_before_it(tmp_path):
    path = tmp_path / "events.csv"
    events = Events(path)
    events.foretell([Change(50, "live", "dynamics.lr", 0.1, 0.02)])
    times = [row["time"] for row in read_rows(path)]
    events.foretell([Change(30, "live", "dynamics.lr", 0.1, 0.05)])
    events.close()
    again = Events(path)  # after a kill
    again.tell(Change(30, "live", "dynamics.lr", 0.1, 0.05))
    again.tell(Change(50, "live", "dynamics.lr", 0.05, 0.02))
    assert told(path) == [(30, "live", "dynamics.lr", "0.1", "0.05"), (50, "live", "dynamics.lr", "0.05", "0.02")]
    assert read_rows(path)[1]["time"] == times[0]
    again.tell(Change(50, "live", "dynamics.lr", 0.05, 0.02))
    assert len(told(path)) == 3, "a second time it is another event"


def test_a_resume_stands_where_it_came(tmp_path):
    path = tmp_path / "events.csv"
    events = Events(path)
    events.tell(Change(90, "schedule", "dynamics.lr", 0.1, 0.2))
    events.tell(Change(20, "resume", "dynamics.lr", 0.1, 0.3))
    events.close()
    again = Events(path)
    again.foretell([Change(40, "live", "dynamics.lr", 0.3, 0.4)])
    assert [row[0] for row in told(path)] == [20, 40, 90]


def test_what_there_is_none_of_is_an_empty_cell_and_all_is_read_back(tmp_path):
    path = tmp_path / "events.csv"
    events, changes = Events(path), [Change(3, "pause", "", "", ""), Change(4, "live", "stop", {"below": 0.1}, None)]
    events.foretell(changes)
    events.close()
    assert path.read_text().splitlines()[1].endswith(",pause,,,")
    assert [change_of(row) for row in read_rows(path)] == changes
