"""The OpenAPI document as one HTML page, without a script and without another host."""

import base64
import hashlib
import json
from html import escape
from typing import Any

from dispatchd.api.openapi import error_codes, openai_codes

Json = dict[str, Any]

_STYLE = """
:root{color-scheme:light dark;--line:#d0d7de;--soft:#f3f5f7;--ink:#1b1f24;--page:#fff;--dim:#57606a;
--mark:#0550ae}
@media(prefers-color-scheme:dark){:root{--line:#30363d;--soft:#161b22;--ink:#e6edf3;--page:#0d1117;
--dim:#9198a1;--mark:#79c0ff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1rem;font:16px/1.5 system-ui,sans-serif;
color:var(--ink);background:var(--page);overflow-wrap:anywhere}
h1{margin:.5rem 0}h2{margin:2rem 0 .5rem}h3{margin:1rem 0 .25rem;font-size:1rem}
p{margin:.25rem 0}a{color:var(--mark)}code,pre{font:.875em/1.5 ui-monospace,monospace}
.dim{color:var(--dim)}nav a{margin-right:1rem}
details{border:1px solid var(--line);border-radius:6px;margin:.5rem 0}
details>div{padding:0 .75rem .75rem}
summary{padding:.6rem .75rem;cursor:pointer}summary b{color:var(--mark);text-transform:uppercase}
dl{margin:0}dt{margin-top:.5rem}dd{margin:0 0 0 1rem}
pre{background:var(--soft);padding:.75rem;border-radius:6px;white-space:pre-wrap;margin:.25rem 0}
"""
_KEYED = "<p>Users that have an API key send it: <code>Authorization: Bearer …</code></p>"
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)


def page(document: Json) -> str:
    """The whole page."""
    info = document["info"]
    groups = [tag["name"] for tag in document["tags"]]
    links = [(name.lower(), name) for name in groups] + [("errors", "Errors"), ("types", "Types")]
    nav = "".join(f'<a href="#{name}">{text}</a>' for name, text in links)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>"
        f'<h1>{escape(info["title"])} API <span class="dim">{escape(info["version"])}</span></h1>'
        f'<p>{escape(info["description"])} <a href="/openapi.json">openapi.json</a></p>'
        f"<nav>{nav}</nav><main>"
        f"{''.join(_group(document, name) for name in groups)}"
        f"{_errors()}{_types(document['components']['schemas'])}</main></body></html>"
    )


def _group(document: Json, name: str) -> str:
    routes = [
        _route(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if name in operation["tags"]
    ]
    return f'<h2 id="{name.lower()}">{name}</h2>{"".join(routes)}'


def _route(method: str, path: str, operation: Json) -> str:
    about = f"<p>{_prose(operation['description'])}</p>" if "description" in operation else ""
    about += _KEYED if "security" in operation else ""
    return (
        f"<details><summary><b>{method}</b> <code>{escape(path)}</code> –"
        f" {escape(operation['summary'])}</summary><div>{about}"
        f"{_list('Parameters', [_parameter(each) for each in operation['parameters']])}"
        f"{_body(operation)}"
        f"{_list('Replies', [_reply(*each) for each in operation['responses'].items()])}"
        "</div></details>"
    )


def _list(title: str, rows: list[str]) -> str:
    return f"<h3>{title}</h3><dl>{''.join(rows)}</dl>" if rows else ""


def _parameter(parameter: Json) -> str:
    need = "required" if parameter["required"] else "optional"
    return (
        f'<dt><code>{escape(parameter["name"])}</code> <span class="dim">{parameter["in"]}, {need}'
        f"</span></dt><dd>{_prose(parameter['description'])} {_schema(parameter['schema'])}</dd>"
    )


def _body(operation: Json) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    rows = [f"<dt>{kind}</dt><dd>{_schema(each['schema'])}</dd>" for kind, each in content.items()]
    return _list("Body", rows)


def _reply(status: str, reply: Json) -> str:
    content = "; ".join(
        f'<span class="dim">{kind}</span> {_schema(each["schema"])}'
        for kind, each in reply["content"].items()
    )
    headers = "".join(
        f"<br><code>{name}</code>: {_prose(header['description'])}"
        for name, header in reply.get("headers", {}).items()
    )
    return f"<dt><b>{status}</b> {escape(reply['description'])}</dt><dd>{content}{headers}</dd>"


def _schema(schema: Json) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#type-{name}"><code>{name}</code></a>'
    return f"<code>{escape(json.dumps(schema, ensure_ascii=False))}</code>"


def _errors() -> str:
    return (
        f'<h2 id="errors">Errors</h2><dl>{_codes(error_codes())}</dl>'
        f"<h3>Of OpenAI's routes</h3><dl>{_codes(openai_codes())}</dl>"
    )


def _codes(rows: list[tuple[str, int, str, str]]) -> str:
    return "".join(
        f"<dt><b>{status}</b> <code>{code}</code></dt><dd>{_prose(meaning)}{_hint(hint)}</dd>"
        for code, status, meaning, hint in rows
    )


def _hint(hint: str) -> str:
    return f'<br><span class="dim">Hint: {escape(hint)}.</span>' if hint else ""


def _types(schemas: dict[str, Json]) -> str:
    shown = [
        f'<h3 id="type-{name}">{name}</h3>'
        f"<pre>{escape(json.dumps(schema, indent=2, ensure_ascii=False))}</pre>"
        for name, schema in sorted(schemas.items())
    ]
    return f'<h2 id="types">Types</h2>{"".join(shown)}'


def _prose(text: str) -> str:
    """Text with what stands between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
