#include "server/num/spread.h"

#include <math.h>

struct spread {
    double mean, std;
};

static struct spread measure(const float *x, size_t n)
{
    struct spread s = {0, 0};
    for (size_t i = 0; i < n; i++) {
        s.mean += (double)x[i];
    }
    s.mean /= (double)(n > 0 ? n : 1);
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - s.mean;
        s.std += d * d;
    }
    s.std = sqrt(s.std / (double)(n > 0 ? n : 1));
    return s;
}

double gdfo_spread_clipped(float *x, size_t n, int n_rounds)
{
    struct spread s = measure(x, n);
    for (int round = 0; round < n_rounds; round++) {
        const float least = (float)(s.mean - 3 * s.std);
        const float most = (float)(s.mean + 3 * s.std);
        for (size_t i = 0; i < n; i++) {
            x[i] = x[i] < least ? least : x[i] > most ? most : x[i];
        }
        s = measure(x, n);
    }
    return s.std;
}
