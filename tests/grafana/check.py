#!/usr/bin/env python3
"""check.py DASHBOARD...: each against the types that Grafana publishes (schemas.json); what is wrong, one line each."""
import json, sys
from pathlib import Path
from jsonschema import Draft7Validator

SCHEMAS = {name: Draft7Validator(schema) for name, schema in json.loads((Path(__file__).parent / "schemas.json").read_text()).items()}
# What the Prometheus data source adds to an annotation; the type of an annotation is that of all data sources.
OF_PROMETHEUS = {"expr", "step", "titleFormat", "textFormat", "tagKeys"}


def faults(dashboard):
    for annotation in dashboard["annotations"]["list"]:
        for key in OF_PROMETHEUS:
            annotation.pop(key, None)
    parts = [("dashboard", dashboard)]
    for panel in dashboard["panels"]:
        # A kind of panel without a schema here is a fault: nobody checked it.
        if panel["type"] != "row":
            parts.append((panel["type"], panel.get("options", {})))
        if panel["type"] == "timeseries":
            parts.append(("timeseries_field", panel["fieldConfig"]["defaults"].get("custom", {})))
    for name, part in parts:
        for error in SCHEMAS[name].iter_errors(part):
            yield f"{name} {list(error.absolute_path)}: {error.message[:300]}"


wrong = [f"{file}: {fault}" for file in sys.argv[1:] for fault in faults(json.loads(Path(file).read_text()))]
print("\n".join(wrong))
sys.exit(bool(wrong))
