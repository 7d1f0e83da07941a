"""Time-outs bound silence, not slowness: every process beats in the store, and the coordinator's beat is watched by
all, all beats by the coordinator. A process that is slow, or waits in a collective, still beats."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import torch.distributed as dist

BEAT = 1.0  # s


class Heartbeat:
    """Beats as `me` and watches `others`; `on_silence(name, seconds)` is called, in this thread, when one is silent."""

    def __init__(
        self,
        store: Callable[[], dist.Store],
        me: str,
        others: Sequence[str],
        silence: float,
        on_silence: Callable[[str, float], None],
    ) -> None:
        self._store, self.me, self.others, self.silence = store, me, others, silence
        self._on_silence = on_silence
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(2 * BEAT)

    def _run(self) -> None:
        store = self._store()
        now = time.monotonic()
        seen = {name: ("", now) for name in self.others}
        count, last = 0, now
        while not self._stop.wait(min(BEAT, self.silence / 4)):
            count += 1
            try:
                store.set(f"beat-{self.me}", str(count))
                beats = {name: self._beat(store, name) for name in self.others}
            except RuntimeError:  # the store is gone with the launcher: the leash ends this process
                return
            now = time.monotonic()
            woken, last = now - last > self.silence / 2, now
            for name, beat in beats.items():
                if beat != seen[name][0] or woken:  # after a stop of this process itself, everybody gets a new chance
                    seen[name] = (beat, now)
                elif now - seen[name][1] > self.silence:
                    self._on_silence(name, now - seen[name][1])
                    return

    @staticmethod
    def _beat(store: dist.Store, name: str) -> str:
        key = f"beat-{name}"
        return store.get(key).decode() if store.check([key]) else ""
