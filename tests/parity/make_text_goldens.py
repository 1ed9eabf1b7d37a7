"""Writes tests/model/text_golden.json: what the official package makes of some texts.

    python tests/parity/make_text_goldens.py

Needs the official package (pocket-tts 4.0.1). The everyday tests compare with the file and need nothing.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from text_samples import HAND_WRITTEN, RULE_SETS, plain_tokenizer, texts, unigram_json  # noqa: E402


def main() -> None:
    logging.disable()  # the official warnings about long chunks
    from pocket_tts.models.text_chunking import prepare_text_prompt, split_into_best_sentences
    from pocket_tts.modules.text_conditioner import build_tokenizer

    with tempfile.TemporaryDirectory() as folder:
        json_path, model_path = Path(folder) / "tokenizer.json", Path(folder) / "tokenizer.model"
        json_path.write_bytes(unigram_json())
        model_path.write_bytes(plain_tokenizer())
        tokenizers = {
            "tokenizers": build_tokenizer(4000, str(json_path), "tokenizers"),
            "sentencepiece": build_tokenizer(1000, str(model_path), "sentencepiece"),
        }

    rows: list[dict[str, Any]] = []
    for number, text in enumerate([*HAND_WRITTEN, *texts(60, seed=11)]):
        if len(text) > 400:
            continue
        name, rules = list(RULE_SETS.items())[number % len(RULE_SETS)]
        limit = (50, 20, 8)[number % 3]
        arguments = tuple(rules.values())
        row: dict[str, Any] = {"text": text, "rules": name, "max_tokens": limit}
        try:
            row["prepared"] = list(prepare_text_prompt(text, *arguments))
            row |= {
                kind: split_into_best_sentences(tokenizer, text, limit, *arguments)
                for kind, tokenizer in tokenizers.items()
            }
        except ValueError:
            row["prepared"] = None
        rows.append(row)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (TESTS / "model/text_golden.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
