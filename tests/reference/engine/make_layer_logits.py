#!/usr/bin/env python3
"""make_layer_logits.py: what PyTorch and transformers answer when rows are added before every layer (BBTv2).

usage: make_layer_logits.py SHARED > layer-logits.json     needs torch and transformers; SHARED: folder with models/

Forward pre-hooks add rows to the hidden states of the prompt's positions before the layers of a case. Models: the
stories model of the shared folder through LlamaForCausalLM, and two tiny masked ones of make_bert_logits.py. Rows at the
input are value("rows:" + case, i), those of deeper layers value("layers:" + case, i), scaled. Beside the logits: of what
enters each listed layer, rows not yet added, the mean over positions and the deviation of all numbers after five rounds
of clipping to mean +- 3 deviations, as BBTv2 takes it (numpy).
"""
import json
import sys

import numpy as np
import torch
import transformers

from make_bert_logits import MODELS, build, value

# (name, model, ids, rows stand at, number of rows, kind, layers, scored position)
CASES = [
    ('llama-prefix', 'llama', [1, 403, 407, 261, 378, 290, 411], 0, 3, 'inserted', [1, 2, 3, 4], 9),
    ('llama-suffix', 'llama', [1, 403, 407, 261, 378, 290, 411], 5, 4, 'inserted', [1, 3], 10),
    ('llama-last', 'llama', [1, 403, 407], 3, 2, 'inserted', [4], 4),
    ('bert-deep', 'bert', [2, 7, 30, 69, 4, 3, 11], 1, 5, 'inserted', [1], 9),
    ('bert-deep-added', 'bert', [2, 50, 51, 52, 7, 30, 4, 3], 1, 3, 'added', [1], 6),
    ('roberta-deep-added', 'roberta', [0] + [100 + i for i in range(20)] + [286, 270, 264, 4, 286, 2], 1, 20, 'added', [1], 24),
]
SCALE = {'llama': 1.0, 'bert': 2.0, 'roberta': 2.0}


def rows_of(prefix, name, scale, *shape):
    return torch.from_numpy((scale * value(prefix + name, int(np.prod(shape)))).astype(np.float32)).reshape(shape)


def clipped_std(x):
    x = x.numpy().astype(np.float64).reshape(-1)
    mean, std = x.mean(), x.std()
    for _ in range(5):
        x = np.clip(x, mean - 3 * std, mean + 3 * std)
        mean, std = x.mean(), x.std()
    return float(std)


def run(m, model, name, ids, at, n_rows, kind, layers):
    base = m.base_model
    d = m.config.hidden_size
    blocks = base.layers if model == 'llama' else base.encoder.layer
    words = base.embed_tokens if model == 'llama' else base.embeddings.word_embeddings
    rows = rows_of('rows:', name, SCALE[model], n_rows, d)
    deep = rows_of('layers:', name, SCALE[model], len(layers), n_rows, d)
    seen = {}
    hooks = []

    def adder(layer, added):
        def add(_module, inputs):
            x = inputs[0].clone()
            seen[layer] = x[0].clone()
            x[:, at:at + n_rows] += added
            return (x,) + inputs[1:]
        return add
    for layer, added in zip(layers, deep):
        hooks.append(blocks[layer].register_forward_pre_hook(adder(layer, added)))
    if kind == 'added':
        def add_first(_module, _inputs, output):
            output = output.clone()
            output[:, at:at + n_rows] += rows
            return output
        hooks.append(base.embeddings.register_forward_hook(add_first))
    x = torch.tensor([ids])
    with torch.no_grad():
        if kind == 'inserted':
            e = words(x)
            out = m(inputs_embeds=torch.cat([e[:, :at], rows[None], e[:, at:]], 1))
        else:
            out = m(x)
    for h in hooks:
        h.remove()
    return out, [seen[layer] for layer in layers]


def main():
    if len(sys.argv) != 2:
        print(__doc__.split('\n')[2], file=sys.stderr)
        return 2
    here = sys.argv[1] + '/models/stories260K/stories260K.derived'
    config = transformers.LlamaConfig(**json.load(open(here + '.config.json')), attn_implementation='eager')
    llama = transformers.LlamaForCausalLM(config).eval()
    from safetensors.torch import load_file
    left = llama.load_state_dict(load_file(here + '.safetensors'), strict=False)
    assert not left.unexpected_keys and all('lm_head' in k or 'inv_freq' in k for k in left.missing_keys), left
    llama.tie_weights()
    models = {'llama': llama, 'bert': build(MODELS['bert']), 'roberta': build(MODELS['roberta'])}
    out = {'versions': {'torch': torch.__version__, 'transformers': transformers.__version__, 'numpy': np.__version__}, 'cases': []}
    for name, model, ids, at, n_rows, kind, layers, scored in CASES:
        o, seen = run(models[model], model, name, ids, at, n_rows, kind, layers)
        out['cases'].append({
            'name': name, 'model': model, 'ids': ids, 'rows_at': at, 'n_rows': n_rows, 'kind': kind, 'layers': layers,
            'scale': SCALE[model], 'scored': scored, 'logits': [round(float(v), 6) for v in o.logits[0, scored].double()],
            'enter_mean': [[round(float(v), 7) for v in s.double().mean(0)] for s in seen],
            'enter_std': [round(clipped_std(s), 8) for s in seen]})
    sys.stdout.write(json.dumps(out, separators=(',', ':')).replace('{"name"', '\n{"name"') + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
