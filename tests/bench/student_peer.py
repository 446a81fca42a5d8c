#!/usr/bin/env python3
"""student_peer.py: the step of bench_student_step in PyTorch, written for speed; used by student-step.

usage: student_peer.py MODEL.gguf adapter|full [LAYERS] [STEPS] [VARIANT]    prints one JSON object as bench_student_step does

The same work: 32 texts of 24 tokens, 10 soft rows and a cue of 4 behind each text, two labels, KL to the same made-up
answers, AdamW (fused) of the same parameters. A plain functional llama rather than transformers' modules: weights of
q, k, v and of gate, up merged into one matrix, adapters that share an input multiplied by one A, keys and values of the texts
cached (adapter), scaled_dot_product_attention with grouped queries, no padding (all texts have one length), the
last layer asked at the scored position only, only label rows of the head, frozen weights without gradients.

Variants: f32; bf16 (frozen weights, activations and products in bfloat16, what trains is kept in float32 and cast for
each product); bf16-pure (what trains, its gradients and moments in bfloat16 as well: fast, but AdamW then loses
small steps); each may end in -compile (torch.compile, needs a C++ compiler).
"""
import json
import math
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), 'tests', 'reference', 'engine'))

import torch                                                              # noqa: E402
import torch.nn.functional as F                                           # noqa: E402
from make_smollm2_logits import load                                      # noqa: E402

N_TEXTS, N_IDS, N_ROWS = 32, 24, 10
CUE, LABELS = [30, 657, 436, 253], [1109, 13321]
RANK, SCALE, LR = 8, 2.0, 1e-4
VARIANTS = ('f32', 'bf16', 'bf16-pure', 'f32-compile', 'bf16-compile', 'bf16-pure-compile')
PRODUCTS = ('qkv', 'o', 'gateup', 'down')


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class Peer:
    def __init__(self, path, mode, n_layers, variant):
        model = load(path)
        self.mode, self.variant = mode, variant
        self.low = torch.bfloat16 if variant.startswith('bf16') else torch.float32
        c = model.config
        self.heads, self.kv_heads, self.eps = c.num_attention_heads, c.num_key_value_heads, c.rms_norm_eps
        self.d_head = c.hidden_size // self.heads
        self.sizes = [self.heads * self.d_head] + 2 * [self.kv_heads * self.d_head]
        self.embed = model.model.embed_tokens.weight.detach()
        layers = [self.weights(y) for y in model.model.layers[:n_layers]]
        norm = model.model.norm.weight.detach().clone()
        base = float(c.rope_parameters['rope_theta'])
        self.make_tables(base)
        self.make_work()
        self.trains(layers, norm)
        self.kv = self.cache() if mode == 'adapter' else None
        fused = torch.optim.AdamW(self.params, lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, fused=True)
        self.optimiser = fused
        self.run = torch.compile(self.loss) if variant.endswith('-compile') else self.loss

    @staticmethod
    def weights(y):
        a, m = y.self_attn, y.mlp
        return {k: v.detach().clone() for k, v in {
            'qkv': torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]), 'o': a.o_proj.weight,
            'gateup': torch.cat([m.gate_proj.weight, m.up_proj.weight]), 'down': m.down_proj.weight,
            'norm1': y.input_layernorm.weight, 'norm2': y.post_attention_layernorm.weight}.items()}

    def make_tables(self, base):
        angle = torch.arange(N_IDS + N_ROWS + len(CUE))[:, None] * base ** (
            -torch.arange(0, self.d_head, 2).double() / self.d_head)
        angle = torch.cat((angle, angle), -1)
        self.cos, self.sin = angle.cos().to(self.low), angle.sin().to(self.low)

    def make_work(self):
        ids = torch.tensor([[100 + (i * 131 + j * 17) % 4000 for j in range(N_IDS)] for i in range(N_TEXTS)])
        rows = torch.tensor([(37 * p + 11) % self.embed.shape[0] for p in range(N_ROWS)])
        self.text = self.embed[ids].to(self.low)
        own = self.embed[torch.cat((rows, torch.tensor(CUE)))].expand(N_TEXTS, -1, -1).to(self.low)
        self.input = own.contiguous() if self.mode == 'adapter' else torch.cat((self.text, own), 1)
        p = [0.1 + 0.08 * (i * 7 % 11) for i in range(N_TEXTS)]
        self.teacher = torch.tensor([[math.log(x), math.log(1 - x)] for x in p])
        self.head = self.embed[torch.tensor(LABELS)].to(self.low)

    def trains(self, layers, norm):
        kept = torch.bfloat16 if 'pure' in self.variant else torch.float32
        self.frozen = [{k: v.to(self.low) for k, v in y.items()} for y in layers]
        self.norm = norm.to(self.low)
        self.adapters = [None] * len(layers)
        if self.mode == 'adapter':
            torch.manual_seed(1)
            self.adapters = [{k: self.adapter(y[k], k, kept) for k in PRODUCTS} for y in layers]
            self.params = [p for y in self.adapters for a, b in y.values() for p in [a] + b]
        else:
            self.full = [{k: v.to(kept).requires_grad_() for k, v in y.items()} for y in layers]
            self.full_norm = norm.to(kept).requires_grad_()
            self.params = [p for y in self.full for p in y.values()] + [self.full_norm]

    def adapter(self, w, name, kept):
        """One A for all products of an input, a B for each of them."""
        parts = {'qkv': self.sizes, 'gateup': [w.shape[0] // 2] * 2}.get(name, [w.shape[0]])
        a = torch.randn(RANK * len(parts), w.shape[1]) / math.sqrt(w.shape[1])
        return (a.to(kept).requires_grad_(), [torch.zeros(n, RANK, dtype=kept, requires_grad=True) for n in parts])

    def linear(self, x, w, adapter):
        y = F.linear(x, w)
        if adapter is None:
            return y
        a, bs = adapter
        u = F.linear(x, a.to(self.low)) * SCALE
        ys = [F.linear(part, b.to(self.low)) for part, b in zip(u.split(RANK, -1), bs)]
        return y + (torch.cat(ys, -1) if len(ys) > 1 else ys[0])

    def layer(self, x, y, ad, past, first, is_last, keep=None):
        n, t, width = x.shape
        ad = ad or {}
        h = F.rms_norm(x, (width,), y['norm1'], self.eps)
        q, k, v = self.linear(h, y['qkv'], ad.get('qkv')).split(self.sizes, -1)
        cos, sin = self.cos[first:first + t], self.sin[first:first + t]
        k = rotate(k.view(n, t, self.kv_heads, -1).transpose(1, 2), cos, sin)
        v = v.view(n, t, self.kv_heads, -1).transpose(1, 2)
        if keep is not None:
            keep.append((k, v))
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        q = q.view(n, t, self.heads, -1).transpose(1, 2)
        if is_last:                                                      # the scored position alone asks
            q, x, cos, sin = q[:, :, -1:], x[:, -1:], cos[-1:], sin[-1:]
        q = rotate(q, cos, sin)
        mask = None
        if not is_last:
            mask = torch.ones(t, k.shape[2], dtype=torch.bool).tril(k.shape[2] - t)
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        x = x + self.linear(a.transpose(1, 2).reshape(n, x.shape[1], -1), y['o'], ad.get('o'))
        h = F.rms_norm(x, (width,), y['norm2'], self.eps)
        gate, up = self.linear(h, y['gateup'], ad.get('gateup')).chunk(2, -1)
        return x + self.linear(F.silu(gate) * up, y['down'], ad.get('down'))

    def cache(self):
        keep, x = [], self.text
        with torch.no_grad():
            for y in self.frozen:
                x = self.layer(x, y, None, None, 0, False, keep)
        return [(k.contiguous(), v.contiguous()) for k, v in keep]

    def loss(self):
        x, first = self.input, N_IDS if self.kv else 0
        layers, norm = self.frozen, self.norm
        if self.mode == 'full':
            layers = [{k: v.to(self.low) for k, v in y.items()} for y in self.full]
            norm = self.full_norm.to(self.low)
        for i, y in enumerate(layers):
            x = self.layer(x, y, self.adapters[i], self.kv[i] if self.kv else None, first, i + 1 == len(layers))
        x = F.rms_norm(x[:, -1], (x.shape[-1],), norm, self.eps)
        return F.kl_div(F.log_softmax(F.linear(x, self.head).float(), -1), self.teacher, log_target=True,
                        reduction='batchmean')

    def step(self):
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.run()
        loss.backward()
        self.optimiser.step()
        return loss.item()


def measure(peer, n):
    out = {'seconds': [], 'cpu': [], 'loss': []}
    for _ in range(n):
        start, cpu = time.perf_counter(), time.process_time()
        out['loss'].append(peer.step())
        out['seconds'].append(time.perf_counter() - start)
        out['cpu'].append(time.process_time() - cpu)
    return out


def main():
    path, mode = sys.argv[1], sys.argv[2]
    n_layers, steps = int(sys.argv[3]) if len(sys.argv) > 3 else 6, int(sys.argv[4]) if len(sys.argv) > 4 else 10
    variant = sys.argv[5] if len(sys.argv) > 5 else 'f32'
    torch.set_num_threads(int(os.environ.get('PEER_THREADS') or os.cpu_count()))
    peer = Peer(path, mode, n_layers, variant)
    print(json.dumps({'torch': torch.__version__, 'variant': variant, 'trainable': sum(p.numel() for p in peer.params),
                      **measure(peer, steps)}))


if __name__ == '__main__':
    sys.exit(main())
