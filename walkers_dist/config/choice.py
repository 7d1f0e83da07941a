"""A section whose `name` or `kind` says which class holds its other keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from walkers_dist.config.errors import UserError
from walkers_dist.config.explain import either, explain, unknown_key
from walkers_dist.config.registry import KINDS, check_importable, lookup
from walkers_dist.config.text import inline


@dataclass(frozen=True)
class Choice:
    """Annotates a field of `Experiment` (or of a part of it): the mapping at `section` chooses its own class.

    `schemas` are the classes by name where they are not the registered object itself; `custom` is then the class of
    a name that is an import path, which is only looked for. Without them the registered object is the class.
    """

    section: str
    category: str
    default: str
    """The name where the section gives none."""
    key: str = "name"
    null: str | None = None
    """The name that null stands for."""
    schemas: Mapping[str, type[BaseModel]] | None = None
    custom: type[BaseModel] | None = None
    fixed: bool = False
    """Whether the section's own name says which: there is no key for it."""

    def schema_of(self, name: object) -> type[BaseModel]:
        """The class that holds the keys of this name. Raises UserError."""
        where = f"{self.section}.{self.key}"
        if not isinstance(name, str):
            raise UserError(f"{where} = {inline(name)}: must be {either([*KINDS[self.category], 'an import path'])}")
        try:
            if self.schemas and name in self.schemas:
                return self.schemas[name]
            if self.custom and ":" in name:
                check_importable(name)
                return self.custom
            found = lookup(self.category, name)
        except UserError as error:
            raise UserError(f"{where} = {error}") from error.__cause__
        if not (isinstance(found, type) and issubclass(found, BaseModel)):
            raise self._wrong_class(name)
        if missing := sorted(getattr(found, "__abstractmethods__", ())):
            raise UserError(f"{where} = {name}: the class leaves {', '.join(missing)} undefined")
        return found

    def keys_of(self, name: object) -> list[str]:
        """The keys that this name has values for; one that can only be null is none of them."""
        fields = self.schema_of(name).model_fields.items()
        return [field.alias or key for key, field in fields if field.annotation is not type(None)]

    def validate(self, value: object, base: type[BaseModel]) -> BaseModel:
        if isinstance(value, base):
            return value
        if value is None and self.null:
            value = {self.key: self.null}
        if not isinstance(value, dict):
            raise UserError(f"{self.section} = {inline(value)}: must be a mapping")
        if self.fixed and self.key in value:
            known = [key for key in self.keys_of(self.default) if key != self.key]
            raise unknown_key(f"{self.section}.{self.key}", known)
        name = value.get(self.key, self.default)
        schema = self.schema_of(name)
        if not issubclass(schema, base):
            raise self._wrong_class(name)
        # A user's subclass of a built-in kind keeps the import path as its name, whatever it inherits.
        own_name = schema.model_fields[self.key].is_required() or name == schema.model_fields[self.key].default
        keys = {**value, self.key: name} if own_name else {k: v for k, v in value.items() if k != self.key}
        try:
            made = schema.model_validate(keys)
        except ValidationError as error:
            raise explain(error, schema, value, self.section) from None
        return made if own_name else made.model_copy(update={self.key: name})

    def _wrong_class(self, name: object) -> UserError:
        base = f"walkers_dist.config.kinds.{self.category.capitalize()}"
        return UserError(f"{self.section}.{self.key} = {name}: must be a class derived from {base}")

    def _dump(self, made: BaseModel) -> dict[str, Any]:
        return made.model_dump(exclude={self.key} if self.fixed else None)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda value: self.validate(value, source),
            serialization=core_schema.plain_serializer_function_ser_schema(self._dump),
        )

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        if self.fixed:
            return handler(self.schema_of(self.default).__pydantic_core_schema__)
        kinds: list[dict[str, Any]] = []
        for name in KINDS[self.category]:
            required = {} if name == self.default else {"required": [self.key]}
            kinds.append({**handler(self.schema_of(name).__pydantic_core_schema__), **required})
        own = {"type": "object", "properties": {self.key: {"type": "string", "pattern": ":"}}, "required": [self.key]}
        return {"oneOf": [*kinds, own, *([{"type": "null"}] if self.null else [])]}
