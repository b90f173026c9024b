"""From a template and what it shows to a page."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from phi_assets.emulator.studio import flow, words
from phi_assets.emulator.workspace.context import Emulator

_FOLDER = Path(__file__).parent / "templates"
STYLE, SCRIPT = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("studio.css", "studio.js"))

_TEMPLATES = Environment(
    loader=PackageLoader("phi_assets.emulator.studio"),
    autoescape=True,  # logs, tags and answers are other people's texts
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    name: getattr(words, name)
    for name in ("ago", "asset_label", "clock_time", "duration", "number", "plain", "size", "tone")
}
_TEMPLATES.globals |= {"flow": flow, "style": Markup(STYLE), "script": Markup(SCRIPT)}  # noqa: S704 - files of ours


def page(request: Request, template: str, *, live: float = 0, status: int = 200, **shown: Any) -> Response:
    """The page; with `live` it renews itself every so many seconds."""
    emulator: Emulator = request.app.state.emulator
    text = _TEMPLATES.get_template(template).render(emulator=emulator, path=request.url.path, live=live, **shown)
    return HTMLResponse(text, status_code=status)


def content_hash(text: str) -> str:
    """How a content security policy names an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
