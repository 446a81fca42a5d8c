#!/usr/bin/env python3
"""make_smollm2_logits.py MODEL.gguf > smollm2-logits.json

What PyTorch and transformers answer for SmolLM2 when they read the same GGUF file as our engine: the
logits behind three short prompts, at a fixed list of token ids, with the log-sum-exp and the largest
over the whole vocabulary. test_forward_smollm2.c holds our numbers against these.

The file is read by the `gguf` package and every tensor dequantised to float32; q and k are put back from
GGUF's order (adjacent pairs) into that of transformers (halves). Needs: pip install torch transformers gguf.
"""
import json
import platform
import re
import sys

import gguf
import numpy as np
import torch
import transformers

PROMPTS = {                                  # ids by the smollm tokenizer, written out
    'The movie was great. It was': [504, 7704, 436, 1109, 30, 657, 436],
    'Once upon a time': [6403, 1980, 253, 655],
    'one token': [1],
    'forty ids without sense': [(1237 * i + 11) % 49152 for i in range(40)],
}
IDS = sorted({0, 1, 2, 28, 30, 198, 216, 253, 260, 284, 288, 314, 327, 351, 355, 411, 436, 441, 506, 527, 540,
              665, 685, 732, 787, 1010, 1047, 1098, 1123, 1250, 1365, 1500, 1776, 2000, 2241, 2500, 2944, 3000,
              3407, 3625, 4000, 4096, 4719, 5000, 6000, 7000, 8191, 9000, 10000, 12345, 15000, 17000, 20000,
              23456, 25000, 28000, 30000, 32767, 35000, 40000, 45000, 47000, 49000, 49151})


def tensors(reader):
    return {t.name: torch.from_numpy(np.array(gguf.dequantize(t.data, t.tensor_type), dtype=np.float32))
            for t in reader.tensors}


def number(reader, key):
    return reader.fields[key].contents()


def halves(w, n_heads):
    """GGUF row h*hd + 2i + p is the original row h*hd + p*hd/2 + i."""
    rows, cols = w.shape
    return w.reshape(n_heads, rows // n_heads // 2, 2, cols).transpose(1, 2).reshape(rows, cols).contiguous()


def load(path):
    reader = gguf.GGUFReader(path)
    t = tensors(reader)
    heads, kv = number(reader, 'llama.attention.head_count'), number(reader, 'llama.attention.head_count_kv')
    config = transformers.LlamaConfig(
        vocab_size=t['token_embd.weight'].shape[0], hidden_size=number(reader, 'llama.embedding_length'),
        intermediate_size=number(reader, 'llama.feed_forward_length'),
        num_hidden_layers=number(reader, 'llama.block_count'), num_attention_heads=heads,
        num_key_value_heads=kv, rms_norm_eps=number(reader, 'llama.attention.layer_norm_rms_epsilon'),
        max_position_embeddings=number(reader, 'llama.context_length'),
        rope_parameters={'rope_type': 'default', 'rope_theta': number(reader, 'llama.rope.freq_base')},
        tie_word_embeddings='output.weight' not in t, attn_implementation='eager')
    state = {'model.embed_tokens.weight': t['token_embd.weight'], 'model.norm.weight': t['output_norm.weight'],
             'lm_head.weight': t.get('output.weight', t['token_embd.weight'])}
    for i in range(config.num_hidden_layers):
        a, b = 'blk.%d.' % i, 'model.layers.%d.' % i
        state[b + 'self_attn.q_proj.weight'] = halves(t[a + 'attn_q.weight'], heads)
        state[b + 'self_attn.k_proj.weight'] = halves(t[a + 'attn_k.weight'], kv)
        for ours, theirs in (('attn_v', 'self_attn.v_proj'), ('attn_output', 'self_attn.o_proj'),
                             ('ffn_gate', 'mlp.gate_proj'), ('ffn_up', 'mlp.up_proj'), ('ffn_down', 'mlp.down_proj'),
                             ('attn_norm', 'input_layernorm'), ('ffn_norm', 'post_attention_layernorm')):
            state['%s%s.weight' % (b, theirs)] = t['%s%s.weight' % (a, ours)]
    model = transformers.LlamaForCausalLM(config).float().eval()
    model.load_state_dict(state, strict=True)
    return model


def case(model, name, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1].double()
    return {'name': name, 'tokens': ids, 'logits': [float('%.9g' % logits[i]) for i in IDS],
            'log_sum_exp': float(torch.logsumexp(logits, 0)), 'argmax': int(logits.argmax())}


def main():
    model = load(sys.argv[1])
    out = {'made_by': 'tests/reference/engine/make_smollm2_logits.py', 'model': 'SmolLM2-135M-Instruct.Q4_1.gguf',
           'versions': {'python': platform.python_version(), 'torch': torch.__version__,
                        'transformers': transformers.__version__, 'gguf': gguf_version(), 'numpy': np.__version__},
           'ids': IDS, 'cases': [case(model, *p) for p in PROMPTS.items()]}
    lines = json.dumps(out, indent=1)
    print(re.sub(r'(?<=[\[,])\n\s+(?=[-\d])|(?<=\d)\n\s+(?=\])', ' ', lines))     # arrays of numbers on one line


def gguf_version():
    import importlib.metadata
    return importlib.metadata.version('gguf')


if __name__ == '__main__':
    main()
