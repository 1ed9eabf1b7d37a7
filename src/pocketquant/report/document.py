"""One HTML file that stands alone: its style and script are inside, and its policy lets nothing else in.

All pages look alike: page.css is in each of them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files


def document(
    title: str,
    sections: Sequence[str],
    *,
    style: str = "",
    script: str = "",
    media: bool = False,
    server: bool = False,
) -> str:
    """The whole page as text (UTF-8).

    Args:
        title: of the window, plain text.
        sections: HTML of the body, in order; empty ones are left out.
        style: CSS besides the shared one.
        script: JavaScript, if any.
        media: whether the page holds pictures and sound as `data:` addresses.
        server: whether the script may ask the server that the page came from.
    """
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8") + style
    policy = f"default-src 'none'; style-src {_hash(style)}; base-uri 'none'"
    if script:
        policy += f"; script-src {_hash(script)}"
    if media:
        policy += "; img-src data:; media-src data:"
    if server:
        policy += "; connect-src 'self'; media-src blob:"
    body = "\n".join((*filter(None, sections), *([f"<script>{script}</script>"] if script else [])))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{escape(policy, quote=True)}">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def _hash(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"
