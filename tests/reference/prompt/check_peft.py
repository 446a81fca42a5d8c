#!/usr/bin/env python3
"""check_peft.py: does peft itself load this PROMPT_TUNING folder, and does it mean what we mean?

usage: check_peft.py FOLDER [--rows FILE]      needs peft, torch, transformers and safetensors

Loads FOLDER on a tiny random llama of the right width and compares
  - the prompt embeddings that peft holds with the tensor in the file, and with FILE (raw float32) when given;
  - the logits of peft's model with those of the bare model fed with our layout: rows, then the text.
Prints "ok" and exits 0, or says what differs and exits 1.
"""
import argparse
import json
import os
import sys

import numpy as np
import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import LlamaConfig, LlamaForCausalLM

MODEL, CONFIG = 'adapter_model.safetensors', 'adapter_config.json'


def fail(words):
    print('check_peft: %s' % words, file=sys.stderr)
    sys.exit(1)


def tiny_llama(width, heads):
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=64, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=512,
        pad_token_id=0, bos_token_id=1, eos_token_id=2)).eval()


def stored_rows(folder):
    with safe_open(os.path.join(folder, MODEL), 'pt') as f:
        if list(f.keys()) != ['prompt_embeddings'] or f.metadata() != {'format': 'pt'}:
            fail('tensors %s, metadata %s' % (list(f.keys()), f.metadata()))
        return f.get_tensor('prompt_embeddings')


def largest(a, b):
    if a.shape != b.shape:
        fail('shapes %s and %s' % (tuple(a.shape), tuple(b.shape)))
    return float((a - b).abs().max())


def check_embeddings(model, rows, given):
    held = model.prompt_encoder[model.active_adapter].embedding.weight.detach()
    if largest(held, rows) != 0:
        fail('peft holds other embeddings than the file')
    if given and largest(torch.from_numpy(np.fromfile(given, '<f4').reshape(rows.shape)), rows) != 0:
        fail('%s holds other rows than the folder' % given)


def check_meaning(model, base, rows):
    ids = torch.tensor([[1, 5, 9, 33, 7]])
    with torch.no_grad():
        have = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1]
        text = base.get_input_embeddings()(ids)
        want = base(inputs_embeds=torch.cat([rows[None], text], 1)).logits[0, -1]
    if largest(have, want) > 1e-4 * float(want.abs().max()):
        fail('peft gives other logits than rows before the text: %g' % largest(have, want))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('folder')
    ap.add_argument('--rows')
    a = ap.parse_args()
    if sorted(os.listdir(a.folder)) != [CONFIG, MODEL]:
        fail('%s holds %s' % (a.folder, sorted(os.listdir(a.folder))))
    config = json.load(open(os.path.join(a.folder, CONFIG), encoding='utf-8'))
    rows = stored_rows(a.folder)
    base = tiny_llama(config['token_dim'], config['num_attention_heads'])
    model = PeftModel.from_pretrained(base, a.folder).eval()
    check_embeddings(model, rows, a.rows)
    check_meaning(model, model.get_base_model(), rows)
    print('ok')


if __name__ == '__main__':
    main()
