# SPDX-License-Identifier: MIT
"""As much of the schemas of OpenAPI 3.0 as docs/control-api.json uses: is this value as the schema says?

A keyword that is not known here fails, so that nothing in the file goes unchecked. What was met of each schema is remembered: a
property that no answer ever had, or only as null, has not been tested.
"""

import re

IGNORED = {"description", "default"}
KNOWN = IGNORED | {"type", "properties", "required", "additionalProperties", "items", "enum", "nullable", "minimum", "maximum", "pattern",
                   "maxLength", "$ref", "oneOf"}
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}


class Wrong(Exception):
    pass


class Schemas:
    def __init__(self, document):
        self.schemas = document["components"]["schemas"]
        self.met = set()

    def resolve(self, schema):
        while "$ref" in schema:
            assert set(schema) <= {"$ref"}, f"beside $ref nothing counts: {schema}"
            schema = self.schemas[schema["$ref"].removeprefix("#/components/schemas/")]
        return schema

    def check(self, value, schema, where="$"):
        schema = self.resolve(schema)
        assert set(schema) <= KNOWN, f"unknown keywords: {set(schema) - KNOWN}"
        if value is None:
            if not schema.get("nullable"):
                raise Wrong(f"{where} is null")
            return
        if "oneOf" in schema:
            self.check_one_of(value, schema["oneOf"], where)
            return
        kind = schema["type"]
        if not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
            raise Wrong(f"{where} is no {kind}: {value!r}")
        if "enum" in schema and value not in schema["enum"]:
            raise Wrong(f"{where} is none of {schema['enum']}: {value!r}")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            raise Wrong(f"{where} is not like {schema['pattern']}: {value!r}")
        if "maxLength" in schema and len(value) > schema["maxLength"]:
            raise Wrong(f"{where} is longer than {schema['maxLength']}")
        if value_is_outside(value, schema):
            raise Wrong(f"{where} is out of range: {value}")
        if kind == "object":
            self.check_object(value, schema, where)
        elif kind == "array":
            for number, item in enumerate(value):
                self.check(item, schema["items"], f"{where}[{number}]")

    def check_one_of(self, value, schemas, where):
        reasons = []
        for schema in schemas:
            try:
                self.check(value, schema, where)
                return
            except Wrong as why:
                reasons.append(str(why))
        raise Wrong(f"{where} is none of these: {reasons}")

    def check_object(self, value, schema, where):
        properties = schema.get("properties", {})
        for name in schema.get("required", []):
            if name not in value:
                raise Wrong(f"{where} has no {name}")
        for name, item in value.items():
            if name in properties:
                if item is not None and item != []:
                    self.met.add((id(schema), name))
                self.check(item, properties[name], f"{where}.{name}")
            elif schema["additionalProperties"] is False:
                raise Wrong(f"{where} has {name}, which is nowhere said")
            else:
                self.check(item, schema["additionalProperties"], f"{where}.{name}")

    def unmet(self, schema, where, seen=()):
        """Properties that no value that was checked has had."""
        schema = self.resolve(schema)
        if id(schema) in seen:
            return
        seen = (*seen, id(schema))
        for one in schema.get("oneOf", []):
            yield from self.unmet(one, where, seen)
        if "items" in schema:
            yield from self.unmet(schema["items"], f"{where}[]", seen)
        for name, item in schema.get("properties", {}).items():
            if (id(schema), name) not in self.met:
                yield f"{where}.{name}"
            yield from self.unmet(item, f"{where}.{name}", seen)


def value_is_outside(value, schema):
    return ("minimum" in schema and value < schema["minimum"]) or ("maximum" in schema and value > schema["maximum"])
