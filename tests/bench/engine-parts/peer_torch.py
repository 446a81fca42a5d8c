#!/usr/bin/env python3
"""peer_torch.py MODEL.gguf: PyTorch as a peer of tests/bench/engine; JSON commands on standard input, one a line.

  {"do": "open", "work": FILE, "way": WAY, "dtype": "float32"|"bfloat16"}    takes up a work
  {"do": "run"}                                                              one pass, timed
  {"do": "lp"}                                                               label log-probabilities [run][label]
  {"do": "memory"}

Ways:
  hf         transformers' LlamaForCausalLM with scaled_dot_product_attention. forward: one batch. suffix, prefix: text
             by text, all candidates of a text as one batch over its expanded cache (prefix: over the candidates' rows).
  whole      the reference implementation of BBT: for each candidate the whole input again, texts padded into one batch.
             Only the first two candidates are run; seconds are scaled to all, for they are all alike.
  lean       written by hand for speed: q, k and v, and gate and up, in one product each; positions of all runs packed
             without padding, `chunk` texts at a time, so that products are large; attention text by text over the
             shared K and V, grouped queries folded into rows; the last layer goes on for scored positions only, and
             only those go through the head.
  leanc      the same with torch.compile over everything but attention.
A number behind a way is its chunk: lean4. Without: all texts at once.
"""
import json
import os
import re
import resource
import sys
import time

TESTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TESTS, 'reference', 'engine'))

import torch                                                              # noqa: E402
import torch.nn.functional as F                                           # noqa: E402
import transformers                                                       # noqa: E402
from make_smollm2_logits import load                                      # noqa: E402
from transformers.cache_utils import DynamicCache                         # noqa: E402

WHOLE_CANDIDATES = 2


# ---- lean: the model by hand ------------------------------------------------------------------------------

def norm(x, w, eps):
    return F.rms_norm(x, w.shape, w, eps)


def turn(x, cos, sin):
    """x [positions][heads][d_head], halves as in transformers."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def before(x, w, cos, sin, n_q, n_kv, eps):
    """Input norm, q, k, v, rotation. x [N][d]."""
    qkv = F.linear(norm(x, w['in'], eps), w['qkv']).view(x.shape[0], n_q + 2 * n_kv, -1)
    qk = turn(qkv[:, :n_q + n_kv], cos, sin)
    return qk[:, :n_q], qk[:, n_q:], qkv[:, n_q + n_kv:]


def behind(x, a, w, eps):
    """Output projection and the feed-forward part."""
    x = x + F.linear(a, w['o'])
    g, u = F.linear(norm(x, w['post'], eps), w['gate_up']).chunk(2, -1)
    return x + F.linear(F.silu(g) * u, w['down'])


class Group:
    """Runs of one length and one past: positions first..first+n*length of the pass. past: per layer (k, v) of
    [1 or n][n_kv][past][d_head], or None."""

    def __init__(self, n, length, start, past=None):
        self.n, self.length, self.start, self.past = n, length, start, past


class Lean:
    def __init__(self, hf, dtype, compiled):
        c = hf.config
        self.c, self.dtype, self.eps = c, dtype, c.rms_norm_eps
        self.n_q, self.n_kv = c.num_attention_heads, c.num_key_value_heads
        self.hd = c.hidden_size // self.n_q
        self.layers = []
        for layer in hf.model.layers:
            a, m = layer.self_attn, layer.mlp
            w = {'qkv': torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]), 'o': a.o_proj.weight,
                 'gate_up': torch.cat([m.gate_proj.weight, m.up_proj.weight]), 'down': m.down_proj.weight,
                 'in': layer.input_layernorm.weight, 'post': layer.post_attention_layernorm.weight}
            self.layers.append({k: v.detach().to(dtype).contiguous() for k, v in w.items()})
        self.norm = hf.model.norm.weight.detach().to(dtype)
        self.embed = hf.model.embed_tokens.weight.detach().to(dtype)
        theta = c.rope_parameters['rope_theta']
        angle = torch.outer(torch.arange(2048.), theta ** (-torch.arange(0, self.hd, 2) / self.hd))
        self.cos, self.sin = angle.cos().to(dtype)[:, None], angle.sin().to(dtype)[:, None]
        self.before = torch.compile(before, dynamic=True) if compiled else before
        self.behind = torch.compile(behind, dynamic=True) if compiled else behind

    def attend(self, q, k, v, g, layer):
        """q [n * length][n_q][hd]: grouped queries become rows, so that K and V are never repeated."""
        fold = self.n_q // self.n_kv
        k = k.view(g.n, g.length, self.n_kv, self.hd).transpose(1, 2)
        v = v.view(g.n, g.length, self.n_kv, self.hd).transpose(1, 2)
        if g.past is None:
            q = q.view(g.n, g.length, self.n_q, self.hd).transpose(1, 2)
            a = F.scaled_dot_product_attention(q, k.repeat_interleave(fold, 1), v.repeat_interleave(fold, 1),
                                               is_causal=True)
            return a.transpose(1, 2).reshape(g.n * g.length, -1)
        pk, pv = g.past[layer]
        k = torch.cat([pk.expand(g.n, -1, -1, -1), k], 2)
        v = torch.cat([pv.expand(g.n, -1, -1, -1), v], 2)
        mask = torch.ones(g.length, k.shape[2], dtype=torch.bool).tril(k.shape[2] - g.length).repeat(fold, 1)
        q = q.view(g.n, g.length, self.n_kv, fold, self.hd).permute(0, 2, 3, 1, 4)
        a = F.scaled_dot_product_attention(q.reshape(g.n, self.n_kv, fold * g.length, self.hd), k, v, attn_mask=mask)
        a = a.view(g.n, self.n_kv, fold, g.length, self.hd).permute(0, 3, 1, 2, 4)
        return a.reshape(g.n * g.length, -1)

    def run(self, x, groups, last_only=False, keep=None):
        """x [N][d] of all groups in order. keep: a list that gets each layer's (k, v) [N][n_kv][hd]."""
        at = torch.cat([(g.start + torch.arange(g.length)).repeat(g.n) for g in groups])
        cos, sin = self.cos[at], self.sin[at]
        for i, w in enumerate(self.layers):
            q, k, v = self.before(x, w, cos, sin, self.n_q, self.n_kv, self.eps)
            if keep is not None:
                keep.append((k, v))
                if i + 1 == len(self.layers):
                    return None
            parts, first = [], 0
            for g in groups:
                s = slice(first, first + g.n * g.length)
                parts.append(self.attend(q[s], k[s], v[s], g, i))
                first = s.stop
            a = parts[0] if len(parts) == 1 else torch.cat(parts)
            if last_only and i + 1 == len(self.layers):
                last = torch.cat([torch.full((g.n,), g.length) for g in groups]).cumsum(0) - 1
                x, a = x[last], a[last]
            x = self.behind(x, a, w, self.eps)
        return norm(x, self.norm, self.eps)

    def keys(self, x, n, length):
        """K and V of n runs of this length without a past: per layer (k, v) of [n][n_kv][length][hd]."""
        kept = []
        self.run(x, [Group(n, length, 0)], keep=kept)
        return [tuple(t.view(n, length, self.n_kv, self.hd).transpose(1, 2).contiguous() for t in kv) for kv in kept]


class LeanWork:
    def __init__(self, net, work, chunk):
        self.net, self.w = net, work
        self.chunk = chunk or max(1, len(work['texts']))
        e = net.embed
        self.texts = [e[torch.tensor(t)] for t in work['texts']]
        self.cue = e[torch.tensor(work['cue'], dtype=torch.long)]
        self.rows = torch.stack([e[[(1000 * c + 37 * p + 11) % len(e) for p in range(work['rows'])]]
                                 for c in range(work['candidates'])]) if work['candidates'] else None
        getattr(self, 'make_' + work['layout'])()

    def make_forward(self):
        n, length = len(self.texts), len(self.texts[0])
        past, start = None, 0
        if self.w['past']:                        # all of one length: one batch
            start = len(self.w['past'][0])
            past = self.net.keys(self.net.embed[torch.tensor(self.w['past'])].view(n * start, -1), n, start)
        self.passes = []
        for i in range(0, n, self.chunk):
            j = min(i + self.chunk, n)
            own = past and [(k[i:j], v[i:j]) for k, v in past]
            self.passes.append((torch.cat(self.texts[i:j]), [Group(j - i, length, start, own)]))

    def make_suffix(self):
        c = self.w['candidates']
        own = torch.cat([self.rows, self.cue.expand(c, -1, -1)], 1)
        groups = [Group(c, own.shape[1], len(t), self.net.keys(t, 1, len(t))) for t in self.texts]
        x = own.reshape(-1, own.shape[-1])
        self.passes = [(x.repeat(len(groups[i:i + self.chunk]), 1), groups[i:i + self.chunk])
                       for i in range(0, len(groups), self.chunk)]

    def make_prefix(self):
        c = self.w['candidates']
        own = [torch.cat([t, self.cue]).expand(c, -1, -1).reshape(-1, t.shape[1]) for t in self.texts]
        groups = [Group(c, len(t) + len(self.cue), self.w['rows']) for t in self.texts]
        self.passes = [(torch.cat(own[i:i + self.chunk]), groups[i:i + self.chunk])
                       for i in range(0, len(groups), self.chunk)]

    def run(self):
        if self.w['layout'] == 'prefix':
            past = self.net.keys(self.rows.reshape(-1, self.rows.shape[-1]), *self.rows.shape[:2])
            for _, groups in self.passes:
                for g in groups:
                    g.past = past
        scored = self.w['layout'] != 'forward'
        hidden = torch.cat([self.net.run(x, groups, last_only=scored) for x, groups in self.passes])
        if not scored:
            return hidden
        return self.score(hidden).view(len(self.texts), self.w['candidates'], -1).transpose(0, 1)

    def score(self, hidden):
        """Over the full vocabulary, 64 states at a time: the logits stay in the cache."""
        return torch.cat([torch.log_softmax(F.linear(h, self.net.embed).float(), -1)[:, self.w['labels']]
                          for h in hidden.split(64)])

    def lp(self, out):
        if self.w['layout'] != 'forward':
            return out.flatten()
        return self.score(out[torch.tensor([len(t) for t in self.texts]).cumsum(0) - 1]).flatten()


# ---- transformers -----------------------------------------------------------------------------------------

class HfWork:
    def __init__(self, model, work):
        self.model, self.w = model, work
        self.embed = model.model.embed_tokens.weight.detach()
        c = work['candidates']
        self.texts = [self.embed[torch.tensor(t)] for t in work['texts']]
        self.cue = self.embed[torch.tensor(work['cue'], dtype=torch.long)]
        self.rows = torch.stack([self.embed[[(1000 * i + 37 * p + 11) % len(self.embed) for p in range(work['rows'])]]
                                 for i in range(c)]) if c else None
        if work['layout'] == 'suffix':
            self.own = torch.cat([self.rows, self.cue.expand(c, -1, -1)], 1)
            self.caches = [self.keys(t[None]) for t in self.texts]
        elif work['past']:
            self.caches = self.keys(self.embed[torch.tensor(work['past'])])

    def keys(self, embeds):
        cache = DynamicCache()
        self.model.model(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
        return [(layer.keys, layer.values) for layer in cache.layers]

    def states(self, embeds, layers, n):
        cache = DynamicCache()
        for i, (k, v) in enumerate(layers or []):
            cache.update(k.expand(n, -1, -1, -1), v.expand(n, -1, -1, -1), i)
        return self.model.model(inputs_embeds=embeds, past_key_values=cache, use_cache=True).last_hidden_state

    def score(self, hidden):
        return torch.log_softmax((hidden @ self.embed.T).float(), -1)[:, self.w['labels']]

    def run(self):
        c = self.w['candidates']
        if self.w['layout'] == 'forward':
            return self.states(torch.stack(self.texts), self.w['past'] and self.caches, len(self.texts))
        if self.w['layout'] == 'suffix':
            out = [self.score(self.states(self.own, layers, c)[:, -1]) for layers in self.caches]
        else:
            rows = self.keys(self.rows)
            out = [self.score(self.states(torch.cat([t, self.cue]).expand(c, -1, -1), rows, c)[:, -1])
                   for t in self.texts]
        return torch.stack(out, 1)

    def lp(self, out):
        return (self.score(out[:, -1]) if self.w['layout'] == 'forward' else out).flatten()


class WholeWork(HfWork):
    """Prompt, text and cue for each candidate again, texts padded on the left."""

    def __init__(self, model, work):
        super().__init__(model, dict(work, layout='whole'))
        self.layout = work['layout']
        longest = max(map(len, self.texts)) + work['rows'] + len(work['cue'])
        self.mask = torch.tensor([[0] * (longest - len(t) - work['rows'] - len(work['cue'])) +
                                  [1] * (len(t) + work['rows'] + len(work['cue'])) for t in self.texts])
        self.at = (self.mask.cumsum(1) - 1).clamp(min=0)

    def run(self):
        out = []
        for rows in self.rows[:WHOLE_CANDIDATES]:
            whole = [torch.cat([t, rows, self.cue] if self.layout == 'suffix' else [rows, t, self.cue])
                     for t in self.texts]
            x = torch.stack([F.pad(t, (0, 0, self.mask.shape[1] - len(t), 0)) for t in whole])
            h = self.model.model(inputs_embeds=x, attention_mask=self.mask, position_ids=self.at).last_hidden_state
            out.append(self.score(h[:, -1]))
        return torch.stack(out)

    def scale(self):
        return self.w['candidates'] / WHOLE_CANDIDATES

    def lp(self, out):
        return out.flatten()


# ---- commands ---------------------------------------------------------------------------------------------

class Peer:
    def __init__(self, path):
        self.hf = {torch.float32: load(path)}
        self.hf[torch.float32].set_attn_implementation('sdpa')
        self.path, self.nets, self.works = path, {}, {}

    def model(self, dtype):
        if dtype not in self.hf:
            self.hf[dtype] = load(self.path).to(dtype)
            self.hf[dtype].set_attn_implementation('sdpa')
        return self.hf[dtype]

    def net(self, dtype, compiled):
        key = (dtype, compiled)
        if key not in self.nets:
            self.nets[key] = Lean(self.hf[torch.float32], dtype, compiled)
        return self.nets[key]

    def open(self, work, way, dtype):
        key = (work, way, dtype)
        if key not in self.works:
            with open(work, encoding='utf-8') as f:
                w = json.load(f)
            kind, chunk = re.fullmatch(r'([a-z]+)(\d*)', way).groups()
            dtype = getattr(torch, dtype)
            if kind in ('lean', 'leanc'):
                self.works[key] = LeanWork(self.net(dtype, kind == 'leanc'), w, int(chunk or 0))
            else:
                self.works[key] = {'hf': HfWork, 'whole': WholeWork}[kind](self.model(dtype), w)
        self.work, self.out = self.works[key], None
        return {}

    def run(self):
        self.out = None
        start, cpu = time.perf_counter(), time.process_time()
        self.out = self.work.run()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        scale = self.work.scale() if hasattr(self.work, 'scale') else 1
        return {'seconds': seconds * scale, 'cpu': cpu * scale}

    def lp(self):
        return {'lp': [float(x) for x in self.work.lp(self.out)]}

    def memory(self):
        return {'peak_bytes': 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


def main():
    peer = Peer(sys.argv[1])
    print(json.dumps({'versions': 'PyTorch %s, transformers %s' % (torch.__version__, transformers.__version__),
                      'threads': torch.get_num_threads(), 'isa': torch.backends.cpu.get_cpu_capability()}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        with torch.inference_mode():
            answer = getattr(peer, command.pop('do'))(**command)
        print(json.dumps(answer), flush=True)


if __name__ == '__main__':
    main()
