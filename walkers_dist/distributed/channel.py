"""The report: what walkers hand the coordinator at set steps, and the answer they all hear.

A message is named tensors and a note of plain JSON, as the bytes of one safetensors file.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from walkers_dist.distributed.groups import begin, broadcast, wait
from walkers_dist.records import layout

Note = dict[str, Any]
Message = tuple[dict[str, Tensor], Note]
FRAME = 1024  # bytes; a longer answer needs a second broadcast


class Channel(Protocol):
    def send(self, tensors: dict[str, Tensor], note: Note) -> None:
        """Walkers: hand in the report of a step; goes on in the background."""

    def settle(self) -> None:
        """Walkers: return when what was sent has left."""

    def receive(self) -> list[Message]:
        """Coordinator: the report of every walker process, in the order of their rows."""

    def answer(self, note: Note) -> None:
        """Coordinator: answer the report of this step."""

    def hear(self) -> Note:
        """Walkers: the answer."""


class LocalChannel:
    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._answers: deque[Note] = deque()

    def send(self, tensors: dict[str, Tensor], note: Note) -> None:
        self._messages.append((tensors, note))

    def settle(self) -> None:
        pass

    def receive(self) -> list[Message]:
        return [self._messages.popleft()]

    def answer(self, note: Note) -> None:
        self._answers.append(note)

    def hear(self) -> Note:
        return self._answers.popleft()


class GroupChannel:
    """Over the group of the coordinator, at place 0, and the walker processes."""

    def __init__(self, group: Any, places: int) -> None:
        self.group, self.places = group, places
        self._sending: list[tuple[Any, Tensor]] = []

    def send(self, tensors: dict[str, Tensor], note: Note) -> None:
        self.settle()
        body = _encode(tensors, note)
        parts = torch.tensor([len(body)], dtype=torch.int64), body
        self._sending = [(begin(self.group.send, [part], 0, 0), part) for part in parts]

    def settle(self) -> None:
        for work, _ in self._sending:
            wait(work)
        self._sending = []

    def receive(self) -> list[Message]:
        return [self._receive_from(place) for place in range(1, self.places)]

    def _receive_from(self, place: int) -> Message:
        length = torch.zeros(1, dtype=torch.int64)
        wait(begin(self.group.recv, [length], place, 0))
        body = torch.empty(int(length), dtype=torch.uint8)
        wait(begin(self.group.recv, [body], place, 0))
        return _decode(body)

    def answer(self, note: Note) -> None:
        text = json.dumps(note).encode()
        frame = torch.zeros(FRAME, dtype=torch.uint8)
        head = len(text).to_bytes(8, "little") + text
        frame[: min(len(head), FRAME)] = torch.frombuffer(bytearray(head[:FRAME]), dtype=torch.uint8)
        broadcast(self.group, frame)
        if len(head) > FRAME:
            broadcast(self.group, torch.frombuffer(bytearray(head[FRAME:]), dtype=torch.uint8))

    def hear(self) -> Note:
        frame = torch.zeros(FRAME, dtype=torch.uint8)
        broadcast(self.group, frame)
        raw = frame.numpy().tobytes()
        length = int.from_bytes(raw[:8], "little")
        if (more := 8 + length - FRAME) > 0:
            rest = torch.zeros(more, dtype=torch.uint8)
            broadcast(self.group, rest)
            raw += rest.numpy().tobytes()
        return json.loads(raw[8 : 8 + length])


def _encode(tensors: dict[str, Tensor], note: Note) -> Tensor:
    return torch.from_numpy(np.concatenate([*layout.parts(tensors, {"note": json.dumps(note)})]))


def _decode(body: Tensor) -> Message:
    tensors, texts = layout.read(body)
    return tensors, json.loads(texts["note"])
