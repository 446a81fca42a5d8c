#!/usr/bin/env python3
"""make_bert_logits.py: what PyTorch and transformers answer for tiny masked language models.

usage: make_bert_logits.py > bert-logits.json          needs torch and transformers

The models are BertForMaskedLM and RobertaForMaskedLM, two layers, with weights by a formula that
tests/support/tiny_masked.c has too, so that no file of weights is kept: value(name, i) below, name being that of the
tensor. Soft rows are value("rows:" + case, i). Kinds of prompt: "inserted" rows stand in place of word embeddings
(transformers' inputs_embeds), "added" rows are added to the finished embeddings of the ids, behind their norm (BBT).
"""
import json
import sys

import numpy as np
import torch
import transformers

MODELS = {
    'bert': dict(kind='bert', vocab_size=199, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                 max_position_embeddings=64, type_vocab_size=2, hidden_act='gelu', layer_norm_eps=1e-12, pad_token_id=0),
    'roberta': dict(kind='roberta', vocab_size=315, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                    max_position_embeddings=98, type_vocab_size=1, hidden_act='gelu', layer_norm_eps=1e-5, pad_token_id=1),
    'bert-untied': dict(kind='bert', vocab_size=70, hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=40,
                        max_position_embeddings=40, type_vocab_size=1, hidden_act='gelu_new', layer_norm_eps=1e-3, pad_token_id=0,
                        tie_word_embeddings=False),
    'bert-relu': dict(kind='bert', vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=17,
                      max_position_embeddings=33, type_vocab_size=2, hidden_act='relu', layer_norm_eps=1e-12, pad_token_id=0),
}
# (name, model, ids, rows stand at, number of rows, kind, scored position)
CASES = [
    ('short', 'bert', [2, 7, 4, 3], 0, 0, None, 2),
    ('one', 'bert', [4], 0, 0, None, 0),
    ('long', 'bert', [(37 * i + 5) % 199 for i in range(64)], 0, 0, None, 63),
    ('bert-inserted', 'bert', [2, 7, 8, 9, 4, 3], 1, 5, 'inserted', 9),
    ('bert-added', 'bert', [2, 50, 51, 52, 7, 8, 9, 4, 3], 1, 3, 'added', 7),
    ('roberta-short', 'roberta', [0, 270, 264, 291, 4, 286, 2], 0, 0, None, 4),
    ('roberta-long', 'roberta', [(11 * i + 2) % 310 + 5 for i in range(96)], 0, 0, None, 40),
    ('roberta-inserted', 'roberta', [0, 270, 264, 4, 286, 2], 1, 10, 'inserted', 13),
    ('roberta-added', 'roberta', [0] + [100 + i for i in range(50)] + [286, 270, 264, 4, 286, 2], 1, 50, 'added', 54),
    ('untied', 'bert-untied', [2, 7, 30, 69, 4, 3, 11], 0, 0, None, 4),
    ('relu', 'bert-relu', [2, 7, 30, 39, 4, 3, 11, 12, 13], 0, 0, None, 8),
]


def value(name, n):
    h = 2166136261
    for b in name.encode():
        h = (h ^ b) * 16777619 & 0xFFFFFFFF
    x = (np.arange(n, dtype=np.uint64) * 2654435761 + h) & 0xFFFFFFFF
    x ^= x >> np.uint64(15)
    x = x * 2246822519 & 0xFFFFFFFF
    x ^= x >> np.uint64(13)
    x = x * 3266489917 & 0xFFFFFFFF
    x ^= x >> np.uint64(16)
    return (x >> np.uint64(8)).astype(np.float64) / 2 ** 24 - 0.5


def weight(name, shape):
    v = value(name, int(np.prod(shape)))
    if 'norm' in name.lower():
        v = 1 + 0.5 * v if name.endswith('weight') else 0.25 * v
    elif len(shape) == 1:
        v = 0.25 * v
    else:
        v = 2 * v if 'embeddings' in name else 0.5 * v
    return torch.from_numpy(v.astype(np.float32).reshape(shape))


def build(spec):
    spec = dict(spec)
    kind = spec.pop('kind')
    spec.setdefault('tie_word_embeddings', True)
    config, model = ((transformers.BertConfig, transformers.BertForMaskedLM) if kind == 'bert' else
                     (transformers.RobertaConfig, transformers.RobertaForMaskedLM))
    m = model(config(**spec, attn_implementation='eager')).eval()
    with torch.no_grad():
        for name, p in m.named_parameters():
            p.copy_(weight(name, tuple(p.shape)))
    return m


def run(m, name, ids, at, n_rows, kind):
    base = m.base_model
    rows = torch.from_numpy((2 * value('rows:' + name, n_rows * m.config.hidden_size)).astype(np.float32)).reshape(n_rows, m.config.hidden_size)
    x = torch.tensor([ids])
    with torch.no_grad():
        if kind == 'inserted':
            e = base.embeddings.word_embeddings(x)
            e = torch.cat([e[:, :at], rows[None], e[:, at:]], 1)
            return m(inputs_embeds=e, output_hidden_states=True)
        if kind == 'added':
            def add(_module, _inputs, output):
                output = output.clone()
                output[:, at:at + n_rows] += rows
                return output
            hook = base.embeddings.register_forward_hook(add)
            out = m(x, output_hidden_states=True)
            hook.remove()
            return out
        return m(x, output_hidden_states=True)


def main():
    if len(sys.argv) != 1:
        print(__doc__.split('\n')[2], file=sys.stderr)
        return 2
    models = {k: build(v) for k, v in MODELS.items()}
    out = {'versions': {'torch': torch.__version__, 'transformers': transformers.__version__}, 'cases': []}
    for name, model, ids, at, n_rows, kind, scored in CASES:
        o = run(models[model], name, ids, at, n_rows, kind)
        logits = o.logits[0, scored].double()
        hidden = o.hidden_states[-1][0].double()
        out['cases'].append({
            'name': name, 'model': model, 'ids': ids, 'rows_at': at, 'n_rows': n_rows, 'kind': kind or 'none', 'scored': scored,
            'logits': [round(float(v), 6) for v in logits], 'lse': round(float(torch.logsumexp(logits, 0)), 6),
            'mean': [round(float(v), 6) for v in hidden.mean(0)]})
    sys.stdout.write(json.dumps(out, separators=(',', ':')).replace('{"name"', '\n{"name"') + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
