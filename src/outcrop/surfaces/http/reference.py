"""The API's description as a page for people: made of the OpenAPI document, without a script and without another file."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Iterable
from html import escape
from typing import Any

_JSON = "application/json"
_STYLE = """
:root { color-scheme: light dark; --quiet: #64748b; --line: #cbd5e1; --panel: #f1f5f9; --link: #1d4ed8; }
@media (prefers-color-scheme: dark) { :root { --quiet: #94a3b8; --line: #334155; --panel: #1e293b; --link: #93c5fd; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem 1rem 6rem; }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); } h3 { margin: 2.5rem 0 0; font-size: 1.05rem; }
h4 { margin: 1rem 0 .25rem; font-size: .9rem; color: var(--quiet); }
code, pre { font: .875rem/1.45 ui-monospace, monospace; } pre { background: var(--panel); padding: .75rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; display: block; overflow-x: auto; }
td, th { border-top: 1px solid var(--line); padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; }
a { color: var(--link); } nav ul { columns: 20rem; padding-left: 1rem; font-size: .9rem; } .quiet { color: var(--quiet); }
"""
#: What the page may do: show itself.
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-"
    f"{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{style}</style></head>
<body><h1>{title}</h1>
<p>For programs: <a href="openapi.json">openapi.json</a>. Errors are problems (RFC 9457): <a href="problems">the list</a>.</p>
"""


def page(document: dict[str, Any]) -> str:
    """The page of an OpenAPI document."""
    by_tag: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, of in document["paths"].items():
        for method, operation in of.items():
            for tag in operation.get("tags", ["other"]):
                by_tag.setdefault(tag, []).append((method.upper(), path, operation))
    title = f"{document['info']['title']} {document['info']['version']}: the HTTP API"
    parts = [
        _HEAD.format(title=escape(title), style=_STYLE),
        _contents(by_tag),
        *(_section(tag, operations) for tag, operations in sorted(by_tag.items())),
        "<h2>Schemas</h2>",
        *(_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())),
        "</body></html>",
    ]
    return "".join(parts)


def _contents(by_tag: dict[str, list[tuple[str, str, dict[str, Any]]]]) -> str:
    items = "".join(
        f'<li><a href="#{escape(operation["operationId"])}">{escape(operation["summary"])}</a></li>'
        for _, operations in sorted(by_tag.items())
        for _, _, operation in operations
    )
    return f"<nav aria-label='Routes'><ul>{items}</ul></nav>"


def _section(tag: str, operations: Iterable[tuple[str, str, dict[str, Any]]]) -> str:
    return f"<h2>{escape(tag.capitalize())}</h2>" + "".join(_operation(*one) for one in operations)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [
        f'<h3 id="{escape(operation["operationId"])}">{escape(operation["summary"])}</h3>',
        f"<pre>{method} {escape(path)}</pre>",
        f"<p>{escape(operation.get('description', ''))}</p>",
    ]
    parameters = operation.get("parameters", [])
    if parameters:
        rows = (
            (one["name"], f"{_type(one['schema'])}{'' if one.get('required') else ', optional'}", one.get("description", ""))
            for one in parameters
        )
        parts.append(f"<h4>In the {' and the '.join(sorted({one['in'] for one in parameters}))}</h4>{_table(rows)}")
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h4>Body, {escape(kind)}</h4><p>{_type(content['schema'])}</p>")
        if "example" in content:
            parts.append(f"<pre>{escape(_curl(method, path, kind, content['example']))}</pre>")
    answers = (
        (
            status,
            " or ".join(_type(one["schema"]) for one in answer.get("content", {}).values()) or "nothing",
            answer["description"],
        )
        for status, answer in operation["responses"].items()
        if int(status) < 400
    )
    problems = ", ".join(status for status in operation["responses"] if int(status) >= 400)
    parts.append(f"<h4>Answer</h4>{_table(answers)}<p class='quiet'>Problems: {problems}</p>")
    return "".join(parts)


def _curl(method: str, path: str, kind: str, example: Any) -> str:
    """The example as a command."""
    address = f"http://127.0.0.1:7700{path.replace('{name}', 'papers')}"
    text = shlex.quote((example if isinstance(example, str) else json.dumps(example)).rstrip())
    return f"curl -X {method} -H 'content-type: {kind}' --data-binary {text} {address}"


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = (
        (field, f"{_type(of)}{'' if field in required else ', optional'}{_default(of)}", of.get("description", ""))
        for field, of in schema.get("properties", {}).items()
    )
    about = escape(schema.get("description", ""))
    fields = _table(rows) if "properties" in schema else _type(schema)
    return f'<h3 id="schema-{escape(name)}">{escape(name)}</h3><p>{about}</p>{fields}'


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words, as HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(_type(one) for one in schema.get("anyOf", schema.get("oneOf", ())))
    if "enum" in schema or "const" in schema:
        return " or ".join(f"<code>{escape(json.dumps(one))}</code>" for one in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema['items'])}" if isinstance(schema.get("items"), dict) else "list"
    bounds = [
        f"{words} {schema[key]}"
        for key, words in (
            ("minimum", "at least"),
            ("maximum", "at most"),
            ("minLength", "characters at least"),
            ("maxLength", "characters at most"),
            ("pattern", "as"),
        )
        if key in schema
    ]
    return escape(", ".join([str(kind), *bounds]))


def _default(schema: dict[str, Any]) -> str:
    return f", by default <code>{escape(json.dumps(schema['default']))}</code>" if schema.get("default") is not None else ""


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    """Names, types (HTML already) and what they mean."""
    body = "".join(
        f"<tr><th scope='row'><code>{escape(name)}</code></th><td>{kind}</td><td>{escape(about)}</td></tr>"
        for name, kind, about in rows
    )
    return f"<table>{body}</table>"
