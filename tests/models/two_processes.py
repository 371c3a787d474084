"""Trains small towers and a small adapter, alone or under torchrun, and writes losses and weights."""

import sys

import numpy as np
import torch

from recsys.config import AdapterConfig, LoraConfig, TowerConfig
from recsys.data.sequences import Sequences
from recsys.models import devices
from recsys.models.adapter import train_adapter
from recsys.models.devices import team
from recsys.models.encoder.backbone import add_lora, load_backbone
from recsys.models.encoder.tokens import embed_catalogue, tokenize
from recsys.models.towers.training import train_towers
from recsys.models.towers.whitening import text_features

devices.has_cpu_bf16 = lambda: False  # in fp32, so that the order of sums hardly shows
with team() as joined:
    texts = [f"{kind} number {number}" for kind in ("red wine", "running shoe") for number in range(8)]
    train = Sequences.from_lists([[(user * 3 + step) % 16 for step in range(3 + user % 4)] for user in range(20)])
    config = AdapterConfig(lora=LoraConfig(rank=4), items_per_round=16, rounds=3)
    towers = TowerConfig(dimensions=16, batch_tokens=64, dropout=0.0)
    backbone = add_lora(load_backbone(config.lora.base, torch.device("cpu")), config.lora, seed=0)
    tokens = tokenize(backbone, texts, 16)
    frozen = embed_catalogue(backbone, tokens)
    run = train_towers(text_features([frozen])[0], train, 16, towers, 0, epochs=3)
    records = train_adapter(backbone, tokens, train, config, towers, 0, run.towers, frozen)
    if joined.rank == 0:
        weights = [weight.detach().flatten() for weight in backbone.model.parameters() if weight.requires_grad]
        np.savez(
            sys.argv[1],
            processes=joined.size,
            tower_losses=[record["loss"] for record in run.history],
            adapter_losses=[record["loss"] for record in records],
            lora=torch.cat(weights).numpy(),
        )
