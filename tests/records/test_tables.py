"""Tables keep a prefix of whole rows whatever is cut off their end, and give back every bit of a number."""

from __future__ import annotations

import csv
import math
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from walkers_dist.config.errors import UserError
from walkers_dist.records.tables import COLUMNS, Table, merge_rows, read_rows

KEYS = ("step", "walker", "value")
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), max_size=8)
rows = st.lists(st.tuples(st.integers(0, 5), texts, st.floats(allow_nan=False) | st.none()), max_size=8)
relaxed = settings(deadline=None, max_examples=60)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("tables") / "a table.csv"


def write(path, blocks, columns=KEYS, digits=17):
    path.unlink(missing_ok=True)
    table = Table(path, columns, digits)
    for block in blocks:
        table.append(block)
    return table


def read(path):
    return [tuple(row.values()) for row in read_rows(path)]


def as_text(row):
    step, walker, value = row
    return str(step), walker, "" if value is None else format(value, ".17g")


@relaxed
@given(data=st.data(), rows=rows)
def test_cut_at_any_byte_leaves_a_prefix_of_whole_rows(path, data, rows):
    write(path, [rows]).close()
    whole = path.read_bytes()
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    path.write_bytes(cut)
    survivors = [as_text(row) for row in rows[: max(cut.count(b"\n") - 1, 0)]]
    assert read(path) == survivors
    table = Table(path, KEYS)
    assert read(path) == survivors
    table.append(rows[len(survivors) :])
    table.close()
    assert path.read_bytes() == whole


@relaxed
@given(rows=rows, step=st.integers(0, 6))
def test_truncate_drops_the_steps_from_there_on_and_keeps_the_order(path, rows, step):
    table = write(path, [rows])
    table.truncate(step)
    kept = [row for row in rows if row[0] < step]
    assert read(path) == [as_text(row) for row in kept]
    table.append([(step, "w0", 1.5)])
    assert read(path) == [*(as_text(row) for row in kept), (str(step), "w0", "1.5")]
    assert table.position() == len(path.read_bytes())
    table.close()


@relaxed
@given(npst.arrays(np.float32, 20) | npst.arrays(np.float64, 20))
def test_floats_come_back_bit_for_bit(path, values):
    digits = {np.dtype(np.float32): 9, np.dtype(np.float64): 17}[values.dtype]
    write(path, [[(value,) for value in values]], ("value",), digits).close()
    again = np.array([row["value"] for row in read_rows(path)], values.dtype)
    finite = ~np.isnan(values)
    assert np.array_equal(np.isnan(again), ~finite)
    assert again[finite].tobytes() == values[finite].tobytes()
    seen = pd.read_csv(path)["value"].to_numpy(values.dtype)
    assert np.array_equal(seen, values, equal_nan=True)


def test_each_type_has_its_text(path):
    row = (None, "w0", "a,b", 'say "hi"', "two\nlines", np.int64(7), math.nan, -math.inf, np.float32(0.1))
    write(path, [[row]], "abcdefghi", digits=9).close()
    assert path.read_bytes() == b'a,b,c,d,e,f,g,h,i\n,w0,"a,b","say ""hi""",two lines,7,nan,-inf,0.100000001\n'
    write(path, [[(0.1,)]], "a").close()
    assert path.read_bytes() == b"a\n0.10000000000000001\n"


def test_a_block_is_one_write_and_goes_on_after_a_short_one(path, monkeypatch):
    table = write(path, [])
    block = [(step, "w0", 0.5) for step in range(100)]
    sizes, real = [], os.write

    def short_write(fd, data):
        sizes.append(len(data))
        return real(fd, data[: limit[0]])

    limit = [10**6]
    monkeypatch.setattr(os, "write", short_write)
    table.append(block)
    assert len(sizes) == 1
    limit[0] = 100
    table.append(block)
    monkeypatch.undo()
    assert len(sizes) > 2
    assert read(path) == [as_text(row) for row in block * 2]
    table.close()


def test_another_table_is_refused_and_left_alone(path):
    for strange in (b"time,temperature\n1,20\n", b"x", b"step,walker,value,more\n"):
        path.write_bytes(strange)
        with pytest.raises(UserError, match=r"a table.csv: is not a table with the columns step, walker, value"):
            Table(path, KEYS)
        assert path.read_bytes() == strange


def test_a_place_that_cannot_be_written_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match="cannot be written: No such file"):
        Table(tmp_path / "absent" / "results.csv", KEYS)


def test_a_row_of_the_wrong_length_writes_nothing(path):
    table = write(path, [])
    with pytest.raises(ValueError, match="needs 3 values"):
        table.append([(0, "w0", 1.0), (0, "w1")])
    assert read(path) == []
    table.close()


def test_no_file_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "results.csv") == []


def test_the_columns_are_those_of_the_design():
    design = """
    results.csv      step, epoch, walker, lr, norm, train_loss, train_grad_norm, train_accuracy, test_loss, \
test_grad_norm, test_accuracy, elapsed
    distances.csv    step, a, b, distance, cosine
    interpolations.csv step, a, b, path, t, norm, train_loss, train_grad_norm, train_accuracy, test_loss, \
test_grad_norm, test_accuracy
    planes.csv       step, plane, u, v, train_loss, train_accuracy, test_loss, test_accuracy
    plane_points.csv step, plane, walker, u, v, distance, train_loss
    explorations.csv step, walk, walker, move, threshold, step_size, norm, train_loss, train_accuracy, test_loss, \
test_accuracy
    sharpness.csv    step, walker, formula, epsilon, moves, distance, train_sharpness, test_sharpness
    averages.csv     step, kind, members, train_loss, train_accuracy, test_loss, test_accuracy, disagreement
    eigenvalues.csv  step, walker, matrix, side, rank, eigenvalue, residual
    density.csv      step, walker, matrix, probe, node, weight
    curvature.csv    step, walker, matrix, quantity, value, error
    events.csv       step, time, source, key, old, new
    """
    lines = [line.split(None, 1) for line in design.strip().splitlines()]
    wanted = {file.removesuffix(".csv"): tuple(next(csv.reader([rest], skipinitialspace=True))) for file, rest in lines}
    assert wanted == COLUMNS


@relaxed
@given(rows=rows, late=rows)
def test_late_rows_come_in_order_of_steps_in_the_place_of_equal_ones(path, rows, late):
    rows = sorted(rows, key=lambda row: row[0])
    write(path, [rows]).merge(late, ("step", "walker"))
    taken = {row[:2] for row in late}
    kept = [row for row in rows if row[:2] not in taken]
    assert read(path) == [as_text(row) for row in sorted([*kept, *late], key=lambda row: row[0])]


def test_rows_of_matrices_stand_by_point_matrix_and_side_and_overlaps_last(tmp_path):
    ordered = [
        *([0, walker, matrix, "trace"] for walker in ("center", "w2", "w10") for matrix in ("hessian", "ggn")),
        [0, "center", "hessian", "gradient overlap"],
        [0, "center", "hessian", "overlap before"],
        [0, "center", "hessian", "overlap with w2"],
        [0, "center", "hessian", "overlap with w10"],
        [0, "w2", "hessian", "gradient overlap"],
        [0, "center", "ggn", "gradient overlap"],
        [10, "center", "hessian", "trace"],
    ]
    path = tmp_path / "curvature.csv"
    for row in sorted(ordered, key=str, reverse=True):
        merge_rows(path, "curvature", [[*row, 1.0, None]])
    assert [list(row.values())[:4] for row in read_rows(path)] == [[str(row[0]), *row[1:]] for row in ordered]


def test_a_late_side_leaves_the_other_sides_and_takes_the_place_of_its_own(tmp_path):
    path = tmp_path / "eigenvalues.csv"

    def side(name: str, n: int) -> None:
        merge_rows(path, "eigenvalues", [[0, "w0", "ggn", name, rank, 1.0, None] for rank in range(1, n + 1)])

    for name, n in (("full", 3), ("top", 2), ("bottom", 1), ("top", 1)):
        side(name, n)
    found = [(row["side"], row["rank"]) for row in read_rows(path)]
    assert found == [("top", "1"), ("bottom", "1"), ("full", "1"), ("full", "2"), ("full", "3")]
