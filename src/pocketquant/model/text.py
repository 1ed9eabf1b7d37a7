"""Text to the pieces of text that the model speaks one after the other.

The model was trained on single sentences: a capital letter, a few words, a full stop. `prepare` gives a text
that form, `split` cuts a long one at the ends of its sentences and packs them into chunks of at most
`max_tokens` tokens. Both follow the official package (`pocket_tts.models.text_chunking`, 4.0.1) to the
letter, because text that reaches the model in another form is spoken worse; tests/parity/test_text_parity.py
compares them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from pocketquant.config.schema import ModelConfig
from pocketquant.errors import TextError
from pocketquant.model.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

SENTENCE_END = ".!?…"
WEAK_MARKS = ",;:-–—"
CLOSERS = "\"'”’)]»"

# Tokenized once per text to learn which tokens end a sentence or a clause. The first token is dropped in both
# cases: it carries the word-start mark, which a mark inside a sentence does not have.
_SENTENCE_MARKS = ".!...?"
_CLAUSE_MARKS = ",;:"

_MARK_AFTER_SENTENCE_END = re.compile(rf"([{SENTENCE_END}])\s*[,;:]")


@dataclass(frozen=True)
class TextRules:
    """What a model wants done to its text; the fields are those of the official YAML config."""

    pad_with_spaces_for_short_inputs: bool = False
    remove_semicolons: bool = False
    append_terminal_punctuation: bool = True
    capitalize_first_letter: bool = True
    replace_characters: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, config: ModelConfig) -> TextRules:
        """The rules that a model's config states."""
        return cls(
            config.pad_with_spaces_for_short_inputs,
            config.remove_semicolons,
            config.append_terminal_punctuation,
            config.capitalize_first_letter,
            dict(config.replace_characters),
        )


class PreparedText(NamedTuple):
    """A text as the model wants it, and how many frames to go on for once it has signalled its end."""

    text: str
    frames_after_eos: int


def prepare(text: str, rules: TextRules) -> PreparedText:
    """Give `text` the form of the training sentences.

    Characters that the model never saw are replaced, line breaks become spaces, the first letter a capital
    and the last mark a full stop (each as the rules say). Texts of up to four words get three frames after
    the end of speech, longer ones a single frame: short ones are otherwise cut off.

    Raises:
        TextError: nothing is left to be spoken.
    """
    text = text.strip()
    if rules.replace_characters:
        text = _replace_characters(text, rules.replace_characters)
    if not text:
        raise TextError("the text is empty; give at least one word to speak")
    text = text.replace("\n", " ").replace("\r", " ").replace("  ", " ")
    if rules.remove_semicolons:
        text = text.replace(";", ",")
    frames_after_eos = 3 if len(text.split()) <= 4 else 1

    if rules.capitalize_first_letter and not text[0].isupper():
        text = text[0].upper() + text[1:]
    if rules.append_terminal_punctuation:
        text = _end_with_full_stop(text)
    if rules.pad_with_spaces_for_short_inputs and len(text.split()) < 5:
        text = 8 * " " + text  # some models stumble over a prompt of very few tokens
    return PreparedText(text, frames_after_eos)


def _replace_characters(text: str, replacements: Mapping[str, str]) -> str:
    """Replace single characters and squeeze white space.

    Where quotes are deleted, `"Really?", she said` has become `Really?, she said`: the comma goes as well.
    """
    text = text.translate({ord(old): new for old, new in replacements.items()})
    return _MARK_AFTER_SENTENCE_END.sub(r"\1", " ".join(text.split()))


def _end_with_full_stop(text: str) -> str:
    """End `text` with a mark that ends a sentence; closing quotes and brackets may follow it.

    A weak mark at the end (comma, colon, dash) gives way to the full stop, which then stands before the
    closers. Elsewhere it is put after them: a lone quote behind a full stop would become a sentence of its
    own.
    """
    spoken = text.rstrip(CLOSERS + " ")
    if not spoken or spoken.endswith(tuple(SENTENCE_END)):
        return text
    if spoken.endswith(tuple(WEAK_MARKS)):
        closers = text[len(spoken) :].strip()
        return spoken.rstrip(WEAK_MARKS + " ") + "." + closers
    return text + "."


class _Piece(NamedTuple):
    tokens: int
    text: str


def split(text: str, tokenizer: Tokenizer, max_tokens: int, rules: TextRules) -> list[str]:
    """Prepare `text` and cut it into chunks to be spoken one after the other.

    A chunk is a run of whole sentences of at most `max_tokens` tokens together. A sentence that alone is
    longer is cut at its commas, semicolons and colons; where it has none it stays whole (and a warning is
    logged: the model may skip words). A full stop between two digits ends nothing.

    Raises:
        TextError: nothing is left to be spoken.
    """
    tokens = tokenizer.encode(prepare(text, rules).text.strip())
    sentence_ends = set(tokenizer.encode(_SENTENCE_MARKS)[1:])
    clause_ends = set(tokenizer.encode(_CLAUSE_MARKS)[1:])

    pieces: list[_Piece] = []
    starts = [at for at in _starts(tokens, sentence_ends) if not _inside_number(tokens, at, tokenizer)]
    for sentence in _cut(tokens, starts, tokenizer):
        pieces += _clauses(sentence, clause_ends, tokenizer) if sentence.tokens > max_tokens else [sentence]
    chunks = _pack(pieces, max_tokens)

    for chunk in chunks:
        count = len(tokenizer.encode(chunk))
        if count > max_tokens:
            logger.warning(
                "%d tokens in one go (limit %d), words may get lost: %.50s...", count, max_tokens, chunk
            )
    return chunks


def _starts(tokens: Sequence[int], ends: Collection[int]) -> Iterator[int]:
    """Where a segment starts: at each token that follows a run of `ends` (never at 0)."""
    for at, (before, token) in enumerate(pairwise(tokens), start=1):
        if before in ends and token not in ends:
            yield at


def _cut(tokens: Sequence[int], starts: Sequence[int], tokenizer: Tokenizer) -> list[_Piece]:
    edges = [0, *starts, len(tokens)]
    return [_Piece(end - start, tokenizer.decode(tokens[start:end])) for start, end in pairwise(edges)]


def _clauses(sentence: _Piece, clause_ends: Collection[int], tokenizer: Tokenizer) -> list[_Piece]:
    """Cut a long sentence at its weak marks; one without any stays as it is."""
    tokens = tokenizer.encode(sentence.text.strip())
    starts = list(_starts(tokens, clause_ends))
    return _cut(tokens, starts, tokenizer) if starts else [sentence]


def _pack(pieces: Sequence[_Piece], max_tokens: int) -> list[str]:
    """Join neighbours as long as they have at most `max_tokens` tokens together."""
    chunks: list[str] = []
    chunk = _Piece(0, "")
    for piece in pieces:
        if not chunk.text:
            chunk = piece
        elif chunk.tokens + piece.tokens <= max_tokens:
            chunk = _Piece(chunk.tokens + piece.tokens, f"{chunk.text} {piece.text}")
        else:
            chunks.append(chunk.text.strip())
            chunk = piece
    if chunk.text:
        chunks.append(chunk.text.strip())
    return chunks


def _inside_number(tokens: Sequence[int], at: int, tokenizer: Tokenizer) -> bool:
    """Whether the full stop before token `at` stands between two digits, as in `3.5`."""
    after = _decode_from(tokens, at, tokenizer)
    if not after[:1].isdigit():
        return False
    before = _decode_until(tokens, at, tokenizer)
    return before[-1:] == "." and before[-2:-1].isdigit()


# The official package decodes everything before and after each full stop to see one or two characters, which
# takes minutes for a book. A few tokens tell the same, provided that no run of byte tokens is cut: the bytes
# of one character only have a meaning together.
_PEEK = 4


def _decode_from(tokens: Sequence[int], start: int, tokenizer: Tokenizer) -> str:
    """Decoded text that begins as `tokens[start:]` does, at least one character if there is one."""
    end = start + _PEEK
    while end < len(tokens):
        if not tokenizer.is_byte(tokens[end]) and (text := tokenizer.decode(tokens[start:end])):
            return text
        end += 1
    return tokenizer.decode(tokens[start:])


def _decode_until(tokens: Sequence[int], end: int, tokenizer: Tokenizer) -> str:
    """Decoded text that ends as `tokens[:end]` does, at least two characters if there are as many."""
    start = end - _PEEK
    while start > 0:
        # A decoder drops the space before a first word: with three characters two are beyond doubt.
        if not tokenizer.is_byte(tokens[start - 1]) and len(text := tokenizer.decode(tokens[start:end])) >= 3:
            return text
        start -= 1
    return tokenizer.decode(tokens[:end])
