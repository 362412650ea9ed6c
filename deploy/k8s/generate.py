"""Makes values.schema.json and the table of README.md: `make chart`; with `--check` it only says if they are current.

values.yaml gives defaults and, as comments, descriptions; schema.yaml gives types and limits; the code gives the keys
of the strategy configuration and the names of each service's environment, so Helm already refuses a misspelt one.
"""

import ast
import inspect
import itertools
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from breakwater_core.config import BreakwaterConfig
from breakwater_runtime.settings import ServiceSettings
from executor_service.settings import ExecutorSettings
from market_data_service.settings import MarketDataSettings
from notifier_service.settings import NotifierSettings
from paper_exchange_service.settings import PaperExchangeSettings
from reporter_service.settings import ReporterSettings
from signal_service.settings import SignalSettings

CHART = Path(__file__).parent
START, END = "<!-- values: made by `make chart` -->", "<!-- end of values -->"
SETTINGS: dict[str, type[ServiceSettings]] = {
    "market-data": MarketDataSettings,
    "signal": SignalSettings,
    "executor": ExecutorSettings,
    "reporter": ReporterSettings,
    "notifier": NotifierSettings,
    "paper-exchange": PaperExchangeSettings,
}
MANAGED = re.compile(
    "nats_.*|run_id|config_file|http_.*|log_level|drain_timeout_s|instance|otlp_.*|mode|role|clock|accounts.*"
    "|database_url.*|migrate|exchange_url|private_stream_url|public_stream_url|egress_.*|recordings"
    "|record_directory|record_flush_s|start|end"
    "|speed|window_s|lockstep|slack_token.*|slack_channel|link_base|runbook|reference_prices|near_target_ratio"
)
"""Names that the chart itself sets; each has a value of its own."""


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` compare them; return the exit code."""
    stale = [path.name for path, text in made_files().items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        if stale:
            sys.stderr.write(f"{', '.join(stale)}: not what values.yaml, schema.yaml and the code give: make chart\n")
        return 1 if stale else 0
    for path, text in made_files().items():
        path.write_text(text)
    return 0


def made_files() -> dict[Path, str]:
    """Return the contents of the files that are made."""
    schema = values_schema()
    readme = CHART / "README.md"
    head, rest = readme.read_text().split(START)
    table = values_table(yaml.safe_load((CHART / "values.yaml").read_text()), schema)
    return {
        CHART / "values.schema.json": json.dumps(schema, indent=1) + "\n",
        readme: f"{head}{START}\n\n{table}\n{END}{rest.split(END)[1]}",
    }


def values_schema() -> dict[str, Any]:
    """Return the schema: schema.yaml with what the code adds, and the comments of values.yaml as descriptions."""
    schema: dict[str, Any] = expanded(yaml.safe_load((CHART / "schema.yaml").read_text()))
    for path, text in descriptions((CHART / "values.yaml").read_text()).items():
        node = schema_at(schema, path)
        if node is not None:
            node["description"] = text
    return schema


def descriptions(text: str) -> dict[tuple[str, ...], str]:
    """Return the comment above each key of values.yaml, by the key's path."""
    found: dict[tuple[str, ...], str] = {}
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped.removeprefix("#").strip())
        elif match := re.match(r"( *)([A-Za-z][A-Za-z0-9]*):", line):
            indent = len(match[1])
            path = [*((depth, key) for depth, key in path if depth < indent), (indent, match[2])]
            if comment:
                found[tuple(key for _, key in path)] = " ".join(comment)
            comment = []
        else:
            comment = []
    return found


def schema_at(schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the schema of a value, with its shared definition copied to it so that it can bear a description."""
    node = schema
    for key in path:
        children = node.get("properties", {})
        if key not in children:
            return None
        if reference := children[key].get("$ref"):
            shared = schema["$defs"][reference.rpartition("/")[2]]
            children[key] = json.loads(json.dumps(shared))
        node = children[key]
    return node


def expanded(node: Any) -> Any:
    """Return the schema with the parts that come from the code."""
    if isinstance(node, list):
        return [expanded(part) for part in node]
    if not isinstance(node, dict):
        return node
    if "x-config" in node:
        return config_schema(BreakwaterConfig)
    if service := node.get("x-workload"):
        return workload_schema(service)
    return {key: expanded(part) for key, part in node.items()}


def workload_schema(service: str) -> dict[str, Any]:
    """Return the schema of a service's own values."""
    properties: dict[str, Any] = {} if service == "paper-exchange" else {"replicas": {"$ref": "#/$defs/replicas"}}
    properties |= {
        "drainTimeoutSeconds": {"$ref": "#/$defs/drainTimeout"},
        "settings": settings_schema(SETTINGS[service]),
        "resources": {"$ref": "#/$defs/resources"},
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def settings_schema(settings: type[ServiceSettings]) -> dict[str, Any]:
    """Return the schema of further settings: the names that the service knows and the chart leaves alone."""
    texts = {name: text for base in reversed(settings.__mro__) for name, text in docstrings(base).items()}
    names = sorted(name for name in settings.model_fields if not MANAGED.fullmatch(name))
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name.upper(): {"type": ["string", "number", "boolean"], "description": texts.get(name, "")}
            for name in names
        },
    }


def config_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a section of the strategy configuration."""
    made = model.model_json_schema()
    texts = docstrings(model)
    properties: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            properties[name] = config_schema(field.annotation)
            continue
        properties[name] = simplified(made["properties"][name], made.get("$defs", {})) | {
            "description": texts.get(name, "")
        }
    text = inspect.cleandoc(model.__doc__ or "")
    return {"type": "object", "additionalProperties": False, "description": text, "properties": properties}


def simplified(node: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """Return pydantic's schema of one field without alternatives, whose faults Helm tells in ten lines."""
    if reference := node.get("$ref"):
        return {"enum": shared[reference.rpartition("/")[2]]["enum"]}
    alternatives = [simplified(part, shared) for part in node.get("anyOf", [])] or [node]
    types = {name for part in alternatives for name in _list(part["type"])} if "enum" not in alternatives[0] else set()
    if "number" in types or "integer" in types:
        types.add("string")  # decimals as text, and durations such as `30s`
    limits = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength")
    kept = {name: value for part in alternatives for name, value in part.items() if name in limits}
    if "array" in types:
        kept["items"] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
    if not types:
        return {"enum": alternatives[0]["enum"]}
    return {"type": sorted(types) if len(types) > 1 else types.pop(), **kept}


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def docstrings(model: type) -> dict[str, str]:
    """Return the texts below the attributes of a class."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    except (OSError, TypeError):
        return {}
    found: dict[str, str] = {}
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for statement, below in itertools.pairwise(statements):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            found[statement.target.id] = " ".join(below.value.value.split())
    return found


def values_table(values: dict[str, Any], schema: dict[str, Any]) -> str:
    """Return the table of all values: key, default, what it is."""
    lines = ["| value | default | |", "|---|---|---|"]

    def add(path: str, value: Any, node: dict[str, Any]) -> None:
        text = node.get("description", "").replace("|", "\\|")
        inner = {
            key: part for key, part in node.get("properties", {}).items() if isinstance(value, dict) and key in value
        }
        leaf = not inner or path.endswith("resources")
        if "enum" in node and leaf:
            text = f"{text} One of {', '.join(f'`{choice}`' for choice in node['enum'])}."
        default = f"`{json.dumps(value)}`" if leaf else ""
        lines.append(f"| `{path}` | {default} | {text} |")
        if not leaf:
            for key, part in inner.items():
                add(f"{path}.{key}", value[key], part)

    for key, value in values.items():
        add(key, value, schema["properties"][key])
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
