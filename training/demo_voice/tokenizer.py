"""The tokenizer: sentencepiece pieces of the prepared training sentences."""

from __future__ import annotations

import argparse
from pathlib import Path

import sentencepiece

from .layout import PIECES, prepare_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, required=True, help="work folder (sentences.txt)")


def run(args: argparse.Namespace) -> None:
    """Write tokenizer.model. Punctuation and digits stay pieces of their own: the package splits texts there."""
    lines = sorted({prepare_text(line) for line in (args.work / "sentences.txt").read_text().splitlines()})
    prefix = args.work / "tokenizer"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(prefix),
        vocab_size=PIECES,
        hard_vocab_limit=False,
        model_type="unigram",
        character_coverage=1.0,
        normalization_rule_name="identity",
        split_digits=True,
        max_sentencepiece_length=8,
        user_defined_symbols=[".", ",", "?", "!", "-"],
        required_chars="abcdefghijklmnopqrstuvwxyz0123456789'",
        bos_id=-1,
        eos_id=-1,
        num_threads=2,
        minloglevel=2,
    )
    prefix.with_suffix(".vocab").unlink()
    model = sentencepiece.SentencePieceProcessor(model_file=str(prefix.with_suffix(".model")))
    print(f"{model.vocab_size()} pieces")
