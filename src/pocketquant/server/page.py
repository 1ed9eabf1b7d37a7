"""The page at `/`: a text, a voice, and the sound as it comes."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from pocketquant.config import catalog
from pocketquant.model.tts import TTSModel
from pocketquant.report.charts import element
from pocketquant.report.document import document


def page(model: TTSModel) -> str:
    """The page for a model, as one HTML document that loads nothing but speech."""
    style, script = (
        files(__package__).joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
    )
    sections = (
        element(
            "header",
            element("p", "pocketquant", cls="eyebrow"),
            element("h1", "Text to speech"),
            element("p", f"Model: {element('b', escape(model.language or model.origin))}", cls="lead"),
            element("p", escape(catalog.DEMO_NOTE), cls="note") if model.language == catalog.DEMO else "",
        ),
        element(
            "form",
            element(
                "label",
                "Text",
                element("textarea", escape(model.default_text), name="text", rows=6, required="required"),
            ),
            element("label", "Voice", _voices(model)),
            _recording() if model.has_voice_cloning else "",
            element(
                "p",
                element("button", "Speak", type="submit"),
                element("button", "Stop", type="button", id="stop", disabled="disabled"),
                element("output", "", id="state", role="status"),
                cls="buttons",
            ),
            element("audio", id="again", controls="controls", hidden="hidden"),
            id="speak",
        ),
    )
    return document("pocketquant", sections, style=style, script=script, server=True)


def _voices(model: TTSModel) -> str:
    """The voices to choose from, by name; the first one is the server's own."""
    names = () if model.language is None else catalog.voices_of(model.language)
    options = (element("option", escape(name), value=name) for name in names)
    return element("select", element("option", "the server's default", value=""), *options, name="voice_url")


def _recording() -> str:
    field = element("input", type="file", name="voice_wav", accept="audio/*,.safetensors")
    return element("label", "... or a recording to clone, or an exported voice", field)
