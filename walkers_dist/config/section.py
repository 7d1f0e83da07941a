"""What every part of the configuration shares: a base class and the numbers that keys take."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1)]
Numbers = Annotated[tuple[Finite, ...], Field(strict=False)]


class Section(BaseModel):
    """A part of the configuration: its keys, with types that are not converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, serialize_by_alias=True)
