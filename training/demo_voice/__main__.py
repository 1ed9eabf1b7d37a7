"""`python -m training.demo_voice STEP ...`: one step of the training."""

from __future__ import annotations

import argparse
import importlib
import sys

STEPS = {
    "text": "collect the sentences",
    "tokenizer": "train the tokenizer on them",
    "audio": "let the teacher speak them",
    "features": "learn what the latents are",
    "decoder": "train latents -> sound",
    "encoder": "train sound -> latents",
    "lm": "train text -> latents",
    "adopt": "go on from an exported voice",
    "export": "write the files that are loaded",
    "evaluate": "measure word error rates",
}
MODULES = {"decoder": "codec", "encoder": "codec"}


def main() -> None:
    program = "python -m training.demo_voice"
    step, *rest = sys.argv[1:] or ["--help"]
    if step not in STEPS:
        parser = argparse.ArgumentParser(
            program,
            description=__doc__,
            epilog="\n".join(f"{name:10} {what}" for name, what in STEPS.items()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("step", choices=list(STEPS), metavar="STEP")
        parser.parse_args([step])
        return
    # Only the wanted step is imported: each needs other packages.
    module = importlib.import_module(f".{MODULES.get(step, step)}", __package__)
    parser = argparse.ArgumentParser(
        f"{program} {step}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    module.run(parser.parse_args(rest, argparse.Namespace(step=step)))


if __name__ == "__main__":
    main()
