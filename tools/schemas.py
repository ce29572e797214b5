"""Writes the JSON schemas of Kubernetes objects in the form that kubeconform reads.

usage: schemas.py FOLDER DEFINITIONS.yaml...

The schemas of Kubernetes' own objects come from the package kubernetes-validate, those of custom resources from their
definitions. All refuse unknown fields, as the API server does on demand.
"""

import json
import pathlib
import sys

import kubernetes_validate
import yaml

STRICT = "-local-strict"
# The reader in C where there is one: some definitions are a megabyte.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def kubernetes(folder):
    """The package's strict schemas. They name themselves and each other by addresses: here by file names alone."""
    source = pathlib.Path(kubernetes_validate.__path__[0], "kubernetes-json-schema")
    for version in source.glob("*" + STRICT):
        target = folder / version.name.removesuffix(STRICT)
        target.mkdir(parents=True)
        for file in version.glob("*.json"):
            schema = json.loads(file.read_text().replace("/api/_definitions.json#", "_definitions.json#"))
            schema.pop("$id", None)
            (target / file.name).write_text(json.dumps(schema))


def closed(schema):
    """The schema with every object refusing unknown properties, and Kubernetes' number-or-string told in JSON Schema."""
    if not isinstance(schema, dict):
        return schema
    schema = dict(schema)
    open_ended = schema.pop("x-kubernetes-preserve-unknown-fields", False)
    if schema.pop("x-kubernetes-int-or-string", False):
        schema.pop("anyOf", None)
        schema["type"] = ["integer", "string"]
    if "properties" in schema:
        schema["properties"] = {name: closed(value) for name, value in schema["properties"].items()}
        if not open_ended:
            schema.setdefault("additionalProperties", False)
    # What stands below `allOf`, `anyOf`, `oneOf` and `not` only narrows this schema: it isn't closed again.
    for key in ("items", "additionalProperties"):
        if key in schema:
            schema[key] = closed(schema[key])
    return schema


def custom(folder, definitions):
    """One schema a version of each custom resource that a file defines."""
    for definition in yaml.load_all(pathlib.Path(definitions).read_text(), LOADER):
        spec = definition["spec"]
        for version in spec["versions"]:
            schema = closed(version["schema"]["openAPIV3Schema"])
            # The object's metadata is checked by the server, not by the definition. Some leave these two out as well.
            schema["properties"]["metadata"] = {"type": "object"}
            for key in ("apiVersion", "kind"):
                schema["properties"].setdefault(key, {"type": "string"})
            name = f"{spec['names']['kind'].lower()}_{version['name']}.json"
            path = folder / spec["group"] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(schema, indent=1))


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1])
    kubernetes(root / "kubernetes")
    for file in sys.argv[2:]:
        custom(root / "custom", file)
