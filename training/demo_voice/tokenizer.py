"""The tokenizer: sentencepiece pieces of phonemes, with rules that turn words into them."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import hibari
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from .layout import PIECES, prepare_text
from .pronunciation import LETTERS, WORD, make_rules, write_rules


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, required=True, help="work folder (sentences.txt, words.txt)")


def run(args: argparse.Namespace) -> None:
    """Write tokenizer.model. Marks stay pieces of their own: the package splits texts there."""
    lines = sorted({prepare_text(line) for line in (args.work / "sentences.txt").read_text().splitlines()})
    words = set(WORD.findall(" ".join(lines))) | set((args.work / "words.txt").read_text().split())
    rules = make_rules(words, hibari.Hibari().g2p)
    path = args.work / "tokenizer.model"
    with tempfile.NamedTemporaryFile(suffix=".tsv") as file:
        write_rules(rules, Path(file.name))
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_prefix=str(path.with_suffix("")),
            vocab_size=PIECES,
            hard_vocab_limit=False,
            model_type="unigram",
            character_coverage=1.0,
            normalization_rule_tsv=file.name,
            max_sentencepiece_length=4,
            required_chars="".join(LETTERS.values()) + ".,?!",
            bos_id=-1,
            eos_id=-1,
            num_threads=2,
            minloglevel=2,
        )
    path.with_suffix(".vocab").unlink()
    forget_paths(path)
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    print(f"{len(rules)} rules, {model.vocab_size()} pieces, {path.stat().st_size / 1e6:.2f} MB")


def forget_paths(path: Path) -> None:
    """Take out of a tokenizer file where its parts lay when it was trained."""
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(path.read_bytes())
    model.trainer_spec.ClearField("model_prefix")
    model.normalizer_spec.ClearField("normalization_rule_tsv")
    path.write_bytes(model.SerializeToString())
