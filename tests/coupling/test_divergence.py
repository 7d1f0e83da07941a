"""A walker that is no longer finite: it ends the run by name, or goes on alone without disturbing the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from walkers_dist.config.errors import RunFailed

STEP = 6
REST = [0, 1, 3]
LANDSCAPE = f'''
from walkers_dist.landscape.quadratic import Quadratic


class Bowl(Quadratic):
    """A bowl whose gradient is infinite for w2 at step {STEP}."""

    def minibatches(self, walkers, batch_size):
        gradient = super().minibatches(walkers, batch_size)

        def breaking(X, t):
            g = gradient(X, t)
            if t == {STEP} and "w2" in walkers:
                g[walkers.index("w2")] = float("inf")
            return g

        return breaking
'''


@pytest.fixture
def breaking(bowl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Experiments on a bowl that lies, as a user's module, beside their configuration."""
    module = f"bowl_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(LANDSCAPE)
    monkeypatch.syspath_prepend(tmp_path)

    def make(coupling: dict[str, Any], on_divergence: str, **keys: Any) -> dict[str, Any]:
        more = {"exchange": {"on_divergence": on_divergence}}
        keys = {"dim": 3, "start": [1.0, -2.0, 3.0, 0.5], "curvature": [0.3, 1.0, 2.5], **keys}
        return bowl(coupling, steps=14, more=more, **{"kind": f"{module}:Bowl", **keys})

    return make


EASGD = {"name": "easgd", "alpha": 0.1, "period": 1}
COUPLINGS = [
    *({**EASGD, "order": order} for order in ("simultaneous", "center_last", "gradient_first")),
    {**EASGD, "beta": 0.7, "period": 2, "order": "simultaneous"},
    {"name": "elementary", "alpha": 0.1},
    {"name": "elementary", "alpha": 0.3, "rescale": False},
    {"name": "none"},
]


def check_isolated(seen: Any, expected: tuple[np.ndarray, np.ndarray]) -> None:
    x, c = expected
    assert np.isfinite(seen.x[: STEP + 1]).all() and not np.isfinite(seen.x[STEP + 1 :, 2]).any()
    np.testing.assert_allclose(seen.x[:, REST], x[:, REST], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(seen.c, c, rtol=1e-13, atol=1e-14)
    (fault,) = seen.run.events.itertuples()
    assert (fault.step, fault.source, fault.key) == (STEP + 1, "fault", "w2")
    assert seen.run.status == "done"


@pytest.mark.parametrize("coupling", COUPLINGS, ids=lambda rule: "-".join(str(value) for value in rule.values()))
def test_isolated_walker_leaves_the_others_alone(
    coupling: dict[str, Any], program: Any, breaking: Any, written_out: Any
) -> None:
    """Before its fall it pulled like the others; after it they and the center move as if it were not there."""
    experiment = breaking(coupling, "isolate")
    check_isolated(program.here(experiment), written_out(experiment, lost="w2", at=STEP))


@pytest.mark.parametrize("coupling", [COUPLINGS[0], COUPLINGS[4]], ids=lambda rule: rule["name"])
def test_isolated_process_leaves_the_others_alone(
    coupling: dict[str, Any], program: Any, breaking: Any, written_out: Any
) -> None:
    experiment = breaking(coupling, "isolate")
    check_isolated(program.over_gloo(experiment), written_out(experiment, lost="w2", at=STEP))


JUMPING = [
    {"name": "downpour", "period": 2},
    {"name": "replicated", "g": "auto"},
    {"name": "parle", "period": 2},
    {"name": "parle", "period": 2, "variant": "mpi"},
    {"name": "diloco", "period": 2},
    {"name": "tree", "degrees": [2, 2]},
]


@pytest.mark.parametrize("coupling", JUMPING, ids=lambda rule: "-".join(str(value) for value in rule.values()))
def test_isolated_walker_stays_lost_where_walkers_go_to_the_center(
    coupling: dict[str, Any], program: Any, breaking: Any
) -> None:
    seen = program.both(breaking(coupling, "isolate"))
    assert not np.isfinite(seen.x[STEP + 1 :, 2]).any()
    assert np.isfinite(seen.x[:, REST]).all() and np.isfinite(seen.c).all()
    assert seen.run.status == "done"


@pytest.mark.parametrize("order", ["simultaneous", "gradient_first"])
def test_the_rest_conserve_their_sum(order: str, program: Any, breaking: Any) -> None:
    seen = program.here(breaking({**EASGD, "order": order}, "isolate", curvature=0.0, center_start=0.7))
    x, c = seen.x[STEP + 1 :, REST], seen.c[STEP + 1 :]
    total = c + x.sum(1)
    np.testing.assert_allclose(total, np.broadcast_to(total[0], total.shape), rtol=1e-14)
    assert abs(x[-1] - x[0]).min() > 1e-3


def test_stop_names_walker_and_step_here(program: Any, breaking: Any) -> None:
    with pytest.raises(RunFailed, match=f"w2 diverged: its parameters are not finite at step {STEP + 1} "):
        program.here(breaking(EASGD, "stop"))


def test_stop_names_walker_and_step_over_gloo(program: Any, breaking: Any) -> None:
    code, run = program.exit_code(breaking(EASGD, "stop"))
    assert code == 1
    error = (run / "error.txt").read_text()
    assert "w2 diverged" in error and f"step {STEP + 1}\n" in error
    assert json.loads((run / "run.json").read_text())["status"] == "failed"
