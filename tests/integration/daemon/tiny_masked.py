"""A tiny random RoBERTa as a Hugging Face folder: the model of tests/support/tiny_masked.c, by the same formula."""
import array
import json
import os
import shutil
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
TOKENIZERS = os.path.join(HERE, '..', '..', 'reference', 'engine', 'masked')
D, FF, LAYERS, HEADS, VOCAB, POSITIONS = 32, 64, 2, 4, 315, 98
CONFIG = {'architectures': ['RobertaForMaskedLM'], 'model_type': 'roberta', 'vocab_size': VOCAB, 'hidden_size': D,
          'num_hidden_layers': LAYERS, 'num_attention_heads': HEADS, 'intermediate_size': FF, 'hidden_act': 'gelu',
          'max_position_embeddings': POSITIONS, 'type_vocab_size': 1, 'layer_norm_eps': 1e-5, 'pad_token_id': 1,
          'bos_token_id': 0, 'eos_token_id': 2, 'hidden_dropout_prob': 0.1, 'tie_word_embeddings': True}


def values(name, n):
    h = 2166136261
    for b in name.encode():
        h = (h ^ b) * 16777619 & 0xFFFFFFFF
    for i in range(n):
        x = i * 2654435761 + h & 0xFFFFFFFF
        x ^= x >> 15
        x = x * 2246822519 & 0xFFFFFFFF
        x ^= x >> 13
        x = x * 3266489917 & 0xFFFFFFFF
        x ^= x >> 16
        yield (x >> 8) / 2 ** 24 - 0.5


def weight(name, shape):
    n = shape[0] * (shape[1] if len(shape) > 1 else 1)
    scale, shift = (2 if 'embeddings' in name else 0.5, 0) if len(shape) > 1 else (0.25, 0)
    if 'norm' in name.lower():
        scale, shift = (0.5, 1) if name.endswith('weight') else (0.25, 0)
    return array.array('f', (shift + scale * v for v in values(name, n))).tobytes()


def shapes():
    def pair(name, rows, columns=None):
        yield name + '.weight', [rows, columns] if columns else [rows]
        yield name + '.bias', [rows]
    yield 'roberta.embeddings.word_embeddings.weight', [VOCAB, D]
    yield 'roberta.embeddings.position_embeddings.weight', [POSITIONS, D]
    yield 'roberta.embeddings.token_type_embeddings.weight', [1, D]
    yield from pair('roberta.embeddings.LayerNorm', D)
    for i in range(LAYERS):
        layer = 'roberta.encoder.layer.%d.' % i
        for part in ('query', 'key', 'value'):
            yield from pair(layer + 'attention.self.' + part, D, D)
        yield from pair(layer + 'attention.output.dense', D, D)
        yield from pair(layer + 'attention.output.LayerNorm', D)
        yield from pair(layer + 'intermediate.dense', FF, D)
        yield from pair(layer + 'output.dense', D, FF)
        yield from pair(layer + 'output.LayerNorm', D)
    yield from pair('lm_head.dense', D, D)
    yield from pair('lm_head.layer_norm', D)
    yield 'lm_head.bias', [VOCAB]


def write(folder):
    os.makedirs(folder)
    head, data = {'__metadata__': {'format': 'pt'}}, b''
    for name, shape in shapes():
        raw = weight(name, shape)
        head[name] = {'dtype': 'F32', 'shape': shape, 'data_offsets': [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    text += b' ' * (-len(text) % 8)
    with open(os.path.join(folder, 'model.safetensors'), 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + data)
    with open(os.path.join(folder, 'config.json'), 'w', encoding='utf-8') as f:
        json.dump(CONFIG, f)
    for name in ('vocab.json', 'merges.txt'):
        shutil.copy(os.path.join(TOKENIZERS, 'roberta', name), os.path.join(folder, name))
