#!/usr/bin/env python3
"""make_cma_vectors.py: state of pycma after every tell, for what shared/vectors/cma-vectors.json lacks.

usage: make_cma_vectors.py > cma-extra.json        needs cma 4.4.0 and numpy

Runs: two-point step size (tpa), diagonal covariance, a lazy eigendecomposition every 3 generations, and
points from outside whose long steps are cut. The diagonal run uses pycma's GaussDiagonalSampler with the
learning rates of Ros and Hansen (PPSN 2008): those of the full matrix times (N + 2)/3, and with the length of a
step measured in the distribution that was sampled, as its full sampler does (the diagonal one has already decayed it).
purecma with its own lazy decomposition stands here because the shared vectors decompose in every generation.
"""
import json
import random
import sys
import warnings

import cma
import numpy as np
from cma import purecma
from cma.sampler import GaussDiagonalSampler

warnings.simplefilter('ignore')


def elli(x):
    n = len(x)
    return float(sum(1e6 ** (i / (n - 1)) * v * v for i, v in enumerate(x)))


def rosen(x):
    return float(sum(100 * (x[i] ** 2 - x[i + 1]) ** 2 + (x[i] - 1) ** 2 for i in range(len(x) - 1)))


class Separable(GaussDiagonalSampler):
    def parameters(self, mueff=None, lam=None):
        p = GaussDiagonalSampler.parameters(self, mueff, lam)
        boost = (self.dimension + 2) / 3
        c1 = min(1, p['c1'] * boost)
        return dict(c1=c1, cmu=min(1 - c1, p['cmu'] * boost))

    def sample(self, *args, **kwargs):
        self.sampled = self.C.copy()
        return GaussDiagonalSampler.sample(self, *args, **kwargs)

    def norm(self, x):
        return sum(np.asarray(x) ** 2 / self.sampled) ** 0.5


def state(es, diagonal):
    out = dict(mean=list(es.mean), sigma=float(es.sigma), ps=list(es.adapt_sigma.ps), pc=list(es.pc))
    out['variances' if diagonal else 'C'] = es.sm.C.tolist()
    return out


def run(name, f, x0, sigma0, popsize, generations, ours, options, outside=False, diagonal=False):
    opts = dict(popsize=popsize, seed=11, verbose=-9, conditioncov_alleviate=False)
    es = cma.CMAEvolutionStrategy(x0, sigma0, dict(opts, **options))
    if diagonal:        # pycma finishes the negative weights only for its own full sampler
        p = es.sm.parameters(es.sp.weights.mueff, es.sp.weights.lambda_)
        es.sp.weights.finalize_negative_weights(es.N, p['c1'], p['cmu'])
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(generations):
        X = es.ask()
        if outside:     # not what was sampled: pycma cuts their steps
            X = [es.mean + es.sigma * rng.normal(size=es.N) * rng.choice([0.3, 1, 4]) for _ in X]
        F = [f(x) for x in X]
        es.tell(X, F)
        rows.append(dict(X=[list(x) for x in X], f=F, after=state(es, diagonal)))
    return dict(impl='cma.CMAEvolutionStrategy', name=name, x0=list(x0), sigma0=sigma0, N=len(x0),
                params={'lambda': popsize}, options=ours, outside=outside, generations=rows)


def run_purecma(name, f, x0, sigma0, popsize, generations):
    random.seed(5)
    es = purecma.CMAES(list(x0), sigma0, popsize=popsize)
    rows = []
    for _ in range(generations):
        X = es.ask()
        F = [f(x) for x in X]
        es.tell(X, F)
        after = dict(mean=list(es.xmean), sigma=es.sigma, ps=list(es.ps), pc=list(es.pc), C=[list(row) for row in es.C])
        rows.append(dict(X=X, f=F, after=after))
    return dict(impl='purecma', name=name, x0=list(x0), sigma0=sigma0, N=len(x0), params={'lambda': popsize},
                options={}, outside=False, generations=rows)


def main():
    runs = [
        run('tpa', rosen, [0.3] * 8, 0.5, 12, 30, {'step_size': 'tpa'},
            {'AdaptSigma': cma.sigma_adaptation.CMAAdaptSigmaTPA}),
        run('diagonal', elli, [1.0] * 6, 1.0, 10, 30, {'covariance': 'diagonal'},
            {'CMA_sampler': Separable}, diagonal=True),
        run('lazy', elli, [1.0] * 6, 1.0, 10, 20, {'eigen_gap': '3'}, {'updatecovwait': 3}),
        run('outside', elli, [1.0] * 5, 1.0, 8, 20, {'active': 'false'}, {'CMA_active': False}, outside=True),
        run_purecma('purecma-lazy', elli, [1.0] * 6, 1.0, 8, 20),
    ]
    json.dump(dict(source='cma %s' % cma.__version__, numpy=np.__version__, licence='BSD-3-Clause (pycma LICENSE)',
                   runs=runs), sys.stdout, separators=(',', ':'))
    print()


if __name__ == '__main__':
    main()
