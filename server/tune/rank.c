#include "server/tune/rank.h"

#include <math.h>
#include <stdint.h>

static int sign(double x)
{
    return (x > 0) - (x < 0);
}

double gdfo_rank_tau(const double *a, const double *b, size_t n)
{
    int64_t agree = 0;
    int64_t untied_a = 0;
    int64_t untied_b = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            double da = a[i] - a[j];
            double db = b[i] - b[j];
            if (isfinite(da) && isfinite(db)) {
                agree += sign(da) * sign(db);
                untied_a += da != 0;
                untied_b += db != 0;
            }
        }
    }
    return untied_a > 0 && untied_b > 0 ? (double)agree / sqrt((double)untied_a * (double)untied_b)
                                        : (double)NAN;
}

double gdfo_rank_cosine(const float *a, const float *b, size_t n)
{
    double dot = 0;
    double aa = 0;
    double bb = 0;
    for (size_t i = 0; i < n; i++) {
        dot += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return aa > 0 && bb > 0 && isfinite(aa + bb) ? dot / (sqrt(aa) * sqrt(bb)) : (double)NAN;
}
