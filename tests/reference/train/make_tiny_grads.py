#!/usr/bin/env python3
"""Makes tiny_grads.h: losses and gradients of a tiny llama by PyTorch autograd, for test_student_torch.c.

usage: make_tiny_grads.py > tiny_grads.h       needs torch and transformers (their versions go into the header)

The network is transformers' own LlamaForCausalLM in double, fed with inputs_embeds; adapters are forward hooks.
Weights come from value() below, which the C test repeats to the bit. The optimiser's numbers come from
torch.optim.AdamW under a LambdaLR. GGUF's order of q and k rows (adjacent pairs) is made from and back to
transformers' (halves) by to_hf() and from_hf().
"""
import sys

import torch
import transformers

C, HEADS, KV, D, F, V, LAYERS = 16, 4, 2, 4, 24, 32, 2
RANK, SCALE = 2, 1.5
LINEARS = ('q', 'k', 'v', 'o', 'gate', 'up', 'down')
SIZES = dict(q=(HEADS * D, C), k=(KV * D, C), v=(KV * D, C), o=(C, HEADS * D), gate=(F, C), up=(F, C), down=(C, F))
N_ROWS = 3
BODIES = [[1, 5, 7, 2, 28], [1, 9], [1, 13, 17, 19]]
CUES = [[8, 9, 10], [8, 9, 10], [21]]
LABELS = [[3], [14, 15], [26]]
GOLD = [0, 2, 1]
TEACHER = [[-0.25, -2.0, -4.0], [-3.0, -0.5, -1.5], [-1.0, -1.125, -1.25]]
W, TAU = 0.5, 2.0


def value(tensor, i):
    """Uniform in [-0.5, 0.5), exact in float32."""
    h = (i * 2654435761 + tensor * 40503 * 65537 + 12345) & 0xffffffff
    h ^= h >> 15
    h = h * 2246822519 & 0xffffffff
    h ^= h >> 13
    return (h >> 8) / 2**24 - 0.5


def tensor(number, *shape):
    n = 1
    for s in shape:
        n *= s
    return torch.tensor([value(number, i) for i in range(n)], dtype=torch.float64).reshape(shape)


def to_hf(w, heads):
    return w.reshape(heads, D // 2, 2, -1).transpose(1, 2).reshape(w.shape)


def from_hf(w, heads):
    return w.reshape(heads, 2, D // 2, -1).transpose(1, 2).reshape(w.shape)


def build():
    config = transformers.LlamaConfig(
        hidden_size=C, intermediate_size=F, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=KV, vocab_size=V, rms_norm_eps=1e-5, max_position_embeddings=64, head_dim=D,
        rope_parameters={'rope_type': 'default', 'rope_theta': 10000.0}, tie_word_embeddings=False,
        attn_implementation='eager')
    model = transformers.LlamaForCausalLM(config).double().eval()
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(tensor(0, V, C))
        model.lm_head.weight.copy_(tensor(1, V, C))
        model.model.norm.weight.copy_(1 + 0.5 * tensor(2, C))
        for l in range(LAYERS):
            layer = model.model.layers[l]
            layer.input_layernorm.weight.copy_(1 + 0.5 * tensor(100 * (l + 1), C))
            layer.post_attention_layernorm.weight.copy_(1 + 0.5 * tensor(100 * (l + 1) + 1, C))
            for i, name in enumerate(LINEARS):
                w = tensor(100 * (l + 1) + 2 + i, *SIZES[name])
                w = to_hf(w, HEADS if name == 'q' else KV) if name in 'qk' else w
                linear(layer, name).weight.copy_(w)
    return model


def linear(layer, name):
    part = layer.self_attn if name in 'qkvo' else layer.mlp
    return getattr(part, name + '_proj')


class Adapters:
    """y += SCALE * b (a x) where self.mask is set, on every linear."""

    def __init__(self, model):
        self.mask, self.a, self.b, self.hooks = None, {}, {}, []
        for l in range(LAYERS):
            for i, name in enumerate(LINEARS):
                out, into = SIZES[name]
                number = 100 * (l + 1) + 20 + 2 * i
                b = 0.5 * tensor(number + 1, out, RANK)
                b = to_hf(b, HEADS if name == 'q' else KV) if name in 'qk' else b
                self.a[l, name] = (0.5 * tensor(number, RANK, into)).requires_grad_()
                self.b[l, name] = b.requires_grad_()
                hook = self.hook(l, name)
                self.hooks.append(linear(model.model.layers[l], name).register_forward_hook(hook))

    def hook(self, l, name):
        def run(_module, args, y):
            return y + SCALE * self.mask[None, :, None] * (args[0] @ self.a[l, name].T @ self.b[l, name].T)
        return run

    def remove(self):
        for h in self.hooks:
            h.remove()


def scores(model, rows, i, position, adapters=None):
    embed = model.model.embed_tokens.weight
    body, cue = embed[BODIES[i]].detach(), embed[CUES[i]].detach()
    parts = (rows, body, cue) if position == 'prefix' else (body, rows, cue)
    if adapters:
        adapters.mask = torch.cat([torch.full((len(p),), float(p is not body), dtype=torch.float64) for p in parts])
    logits = model(inputs_embeds=torch.cat(parts)[None]).logits[0, -1]
    return torch.stack([torch.logsumexp(logits[ids], 0) for ids in LABELS])


def distill_loss(model, position, adapters=None):
    loss = 0
    for i in range(len(BODIES)):
        s = scores(model, tensor(10 + i, N_ROWS, C), i, position, adapters)
        ce = -torch.log_softmax(s, 0)[GOLD[i]]
        t = torch.log_softmax(torch.tensor(TEACHER[i], dtype=torch.float64) / TAU, 0)
        kl = (t.exp() * (t - torch.log_softmax(s / TAU, 0))).sum()
        loss = loss + ((1 - W) * ce + W * TAU**2 * kl) / len(BODIES)
    return loss


def emit(name, values):
    flat = [float(x) for x in torch.as_tensor(values).detach().reshape(-1)]
    print('static const double %s[] = {' % name)
    for k in range(0, len(flat), 6):
        print('    ' + ', '.join('%.10g' % x for x in flat[k:k + 6]) + ',')
    print('};')
    return name, len(flat)


def full(model):
    loss = distill_loss(model, 'suffix')
    loss.backward()
    rows = [emit('full_loss', loss), emit('full_out_norm', model.model.norm.weight.grad)]
    for l in range(LAYERS):
        layer = model.model.layers[l]
        rows.append(emit('full_%d_attn_norm' % l, layer.input_layernorm.weight.grad))
        rows.append(emit('full_%d_ffn_norm' % l, layer.post_attention_layernorm.weight.grad))
        for name in LINEARS:
            g = linear(layer, name).weight.grad
            g = from_hf(g, HEADS if name == 'q' else KV) if name in 'qk' else g
            rows.append(emit('full_%d_%s' % (l, name), g))
    return rows


def adapter(model):
    adapters = Adapters(model)
    loss = distill_loss(model, 'suffix', adapters)
    loss.backward()
    rows = [emit('adapter_loss', loss)]
    for l in range(LAYERS):
        for name in LINEARS:
            g = adapters.b[l, name].grad
            g = from_hf(g, HEADS if name == 'q' else KV) if name in 'qk' else g
            rows.append(emit('adapter_%d_%s_a' % (l, name), adapters.a[l, name].grad))
            rows.append(emit('adapter_%d_%s_b' % (l, name), g))
    adapters.remove()
    return rows


def prompt(model, position):
    rows = tensor(10, N_ROWS, C).requires_grad_()
    loss = sum(-torch.log_softmax(scores(model, rows, i, position), 0)[GOLD[i]] for i in range(len(BODIES)))
    loss = loss / len(BODIES)
    loss.backward()
    return [emit('%s_loss' % position, loss), emit('%s_rows' % position, rows.grad)]


def adamw():
    """8 elements, 10 steps, warm-up 3, total 10: step k (from 1) has rate lr k/3, then lr (10-k)/7."""
    x = tensor(50, 8).requires_grad_()
    opt = torch.optim.AdamW([x], lr=0.05, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.1)
    rate = torch.optim.lr_scheduler.LambdaLR(opt, lambda k: (k + 1) / 3 if k < 3 else (10 - k - 1) / 7)
    out = []
    for k in range(10):
        x.grad = tensor(60 + k, 8)
        opt.step()
        rate.step()
        out.append(x.detach().clone())
    return [emit('adamw_params', torch.stack(out))]


def main():
    torch.manual_seed(0)
    print('/* clang-format off */')
    print('/* Made by make_tiny_grads.py: torch %s, transformers %s, Python %s. Do not edit. */'
          % (torch.__version__, transformers.__version__, sys.version.split()[0]))
    print('#ifndef GDFO_TESTS_REFERENCE_TRAIN_TINY_GRADS_H')
    print('#define GDFO_TESTS_REFERENCE_TRAIN_TINY_GRADS_H')
    print('#include <stddef.h>')
    model = build()
    rows = full(model)
    model.zero_grad()
    rows += adapter(model) + prompt(model, 'prefix') + prompt(model, 'suffix') + adamw()
    print('static const struct tiny_tensor { const char *name; size_t n; const double *x; } tiny_tensors[] = {')
    for name, n in rows:
        print('    {"%s", %d, %s},' % (name, n, name))
    print('};')
    print('#endif')


if __name__ == '__main__':
    main()
