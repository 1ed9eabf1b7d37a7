"""The language model (text -> latents): the official FlowLMModel with an LSD head.

The sequence is laid out as at inference: [bos_before_voice, text, BOS, latents]. Losses:

* head, one step from noise to latent: energy score;
* head at all times, on a share of the frames: flow matching and self-distillation;
* phonemes: a linear probe (no part of the model) must read the spoken phonemes from the transformer's output;
* end of speech: cross entropy, positive from the first silent frame on;
* guided attention: one head in two layers must look at the text that is being spoken, which the corpus knows from
  the teacher's durations. It makes a tiny model find the alignment within minutes.

At inference the model hears itself, not the teacher: so its input latents are noisy, some are missing, and in most
batches a random share of them are its own one-step predictions.
"""

from __future__ import annotations

import argparse

import torch
from pocket_tts.models.flow_lm import FlowLMModel
from torch import Tensor, nn
from torch.nn import functional

from .batches import NO_PHONE, Batch, Batches
from .corpus import FOR_LM, Corpus
from .features import latents_of, load_coder
from .forwards import predict_latents
from .layout import build_model, make_config
from .losses import energy_score, flow_losses, jump
from .run import Run, add_run_arguments, device_of
from .teacher import PHONE_IDS, PHONES

GUIDES = ((1, 0), (3, 0))  # (layer, head) that are told where to look
OWN_NOISE = 0.55  # largest noise that own predictions start from; inference at temperature 0 starts from none
FLOW_EVERY = 3  # batches; the flow losses are the dearest, and inference takes one step anyway
CONSTANT_DEVIATION = 0.02  # of the latents' constant dimension, which has none


class LanguageModelLoss:
    """Sum of the losses above for a batch, and each of them for the report."""

    def __init__(self, flow_lm: FlowLMModel, probe: nn.Module, args: argparse.Namespace) -> None:
        self.lm, self.probe, self.args, self.batches = flow_lm, probe, args, 0

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        at = torch.arange(batch.latents.shape[1], device=batch.latents.device)[None]
        real = at < batch.n_frames[:, None]
        amp = torch.autocast(batch.latents.device.type, torch.bfloat16)
        heard = self._disturbed(batch.latents)
        # Counted, not drawn: parallel processes wait for the slowest.
        if self.batches * self.args.own % 1 < self.args.own:
            with torch.no_grad(), amp:
                heard = self._partly_own(batch, heard, real)
        with amp:
            outputs, mass = self._predict(batch, heard, guides=True)
            condition, latents = outputs[real], batch.latents[real]
            energy = energy_score(self.lm.flow_net, condition, latents)
            named = self.probe(condition).float().view(-1, PHONE_IDS)
        phones = functional.cross_entropy(named, batch.phones[real].flatten(), ignore_index=NO_PHONE)
        silent = (at >= batch.n_speech[:, None])[real].float()
        # Few frames are silent: count them double.
        eos = functional.binary_cross_entropy_with_logits(
            self.lm.out_eos(condition)[:, 0], silent, pos_weight=silent.new_tensor(2.0)
        )
        guide = -torch.stack([m[real].clamp(min=-8).mean() for m in mass]).mean()
        loss = energy + 0.5 * phones + 0.3 * guide + 0.2 * eos
        values = {"energy": energy, "phones": phones, "guide": guide, "eos": eos}
        self.batches += 1
        if self.batches % FLOW_EVERY == 1:
            part = torch.rand(len(condition), device=condition.device) < self.args.flow
            matching, distillation = flow_losses(self.lm.flow_net, condition[part], latents[part])
            loss = loss + 0.5 * FLOW_EVERY * (matching + distillation)
            values |= {"flow": matching, "lsd": distillation}
        return loss, values

    def _predict(self, batch: Batch, heard: Tensor, guides: bool) -> tuple[Tensor, list[Tensor]]:
        allowed = batch.allowed if guides else None
        return predict_latents(
            self.lm, batch.tokens, batch.n_tokens, heard, batch.n_frames, GUIDES if guides else (), allowed
        )

    def _disturbed(self, latents: Tensor) -> Tensor:
        """Noise of random strength a row, and a random share of the frames zeroed."""
        strength, lost = torch.rand(2, len(latents), 1, 1, device=latents.device)
        noisy: Tensor = latents + self.args.noise * strength * torch.randn_like(latents)
        return noisy.where(torch.rand_like(latents[..., :1]) > self.args.lost * lost, 0.0)

    def _partly_own(self, batch: Batch, heard: Tensor, real: Tensor) -> Tensor:
        """A random share of a row's frames, a fifth at least, replaced by what the model predicts for them."""
        outputs, _ = self._predict(batch, heard, guides=False)
        strength, share = torch.rand(2, len(heard), 1, 1, device=heard.device)
        noise = OWN_NOISE * strength * torch.randn_like(heard)
        own = torch.zeros_like(heard)
        own[real] = jump(self.lm.flow_net, outputs[real], noise[real])
        return torch.where(torch.rand_like(heard[..., :1]) < 0.2 + 0.8 * share, own, heard)


def make_optimizers(
    flow_lm: FlowLMModel, probe: nn.Module, args: argparse.Namespace
) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the transformer's matrices, AdamW for all else."""
    matrices: list[nn.Parameter] = []
    rest = list(probe.parameters())
    for name, parameter in flow_lm.named_parameters():
        is_matrix = name.startswith("transformer.layers") and parameter.dim() == 2
        (matrices if is_matrix else rest).append(parameter)
    return [
        torch.optim.AdamW(rest, lr=args.lr, betas=(0.9, 0.98), weight_decay=0.02),
        torch.optim.Muon(matrices, lr=1.5 * args.lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_arguments(parser, lr=1e-3, batch=48)
    parser.add_argument("--own", type=float, default=0.7, help="share of batches that hear own predictions")
    parser.add_argument("--noise", type=float, default=0.7, help="largest noise on the latents it hears")
    parser.add_argument("--lost", type=float, default=0.15, help="largest share of latents it does not hear")
    parser.add_argument("--flow", type=float, default=0.08, help="share of frames with flow losses")
    parser.add_argument("--sampling", type=float, default=0.2, help="share of sentences cut at random")


def run(args: argparse.Namespace) -> None:
    """Train on all shards."""
    device = device_of(args)
    corpus, tokenizer = Corpus.of(args.work, FOR_LM), args.work / "tokenizer.model"
    latents = latents_of(corpus, load_coder(args.work))
    flow_lm = build_model(make_config(args.size, tokenizer)).flow_lm
    del flow_lm.speaker_proj_weight  # there is no voice cloning
    deviation = latents.std(0)
    deviation[-1] = CONSTANT_DEVIATION
    flow_lm.emb_mean.copy_(latents.mean(0))
    flow_lm.emb_std.copy_(deviation)
    flow_lm.to(device).train()
    probe = nn.Linear(flow_lm.dim, PHONES * PHONE_IDS).to(device)
    training = Run(args, "flow_lm", flow_lm, make_optimizers(flow_lm, probe, args), probe)
    # A resumed model keeps the statistics of its first corpus.
    latents = (latents - flow_lm.emb_mean.cpu()) / flow_lm.emb_std.cpu()
    batches = iter(Batches(corpus, latents, tokenizer, args.batch, args.sampling))
    loss = LanguageModelLoss(flow_lm, probe, args)
    while training.goes_on():
        training.step(*loss(next(batches).to(device)))
