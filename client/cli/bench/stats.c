#include "client/cli/bench/stats.h"

#include <math.h>

struct gdfo_stats gdfo_stats_of(const double *values, size_t n)
{
    struct gdfo_stats s = {0, (double)NAN, (double)NAN, (double)NAN};
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < n; i++) {
        if (isfinite(values[i])) {
            sum += values[i];
            s.n++;
        }
    }
    if (s.n == 0) {
        return s;
    }
    s.mean = sum / (double)s.n;
    for (size_t i = 0; i < n; i++) {
        if (isfinite(values[i])) {
            squares += (values[i] - s.mean) * (values[i] - s.mean);
        }
    }
    if (s.n > 1) {
        s.sd = sqrt(squares / (double)(s.n - 1));
        s.se = s.sd / sqrt((double)s.n);
    }
    return s;
}

struct gdfo_stats_paired gdfo_stats_paired(const double *a, const double *b, size_t n)
{
    struct gdfo_stats_paired p = {0, (double)NAN, (double)NAN, (double)NAN};
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < n; i++) {
        if (isfinite(a[i] - b[i])) {
            sum += a[i] - b[i];
            p.n++;
        }
    }
    if (p.n == 0) {
        return p;
    }
    p.mean = sum / (double)p.n;
    for (size_t i = 0; i < n; i++) {
        if (isfinite(a[i] - b[i])) {
            squares += (a[i] - b[i] - p.mean) * (a[i] - b[i] - p.mean);
        }
    }
    if (p.n > 1) {
        p.sd = sqrt(squares / (double)(p.n - 1));
        p.t_half = gdfo_stats_t_quantile(0.975, (double)(p.n - 1)) * p.sd / sqrt((double)p.n);
    }
    return p;
}

/*
 * The continued fraction of the incomplete beta function (Abramowitz and Stegun 26.5.8), by Lentz's
 * method. Converges fast for x < (a + 1) / (a + b + 2).
 */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1.0, d = 1.0 - (a + b) * x / (a + 1.0), h;
    d = 1.0 / (fabs(d) < tiny ? tiny : d);
    h = d;
    for (int m = 1; m < 500; m++) {
        double even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        double step;
        d = 1.0 + even * d;
        c = 1.0 + even / c;
        d = 1.0 / (fabs(d) < tiny ? tiny : d);
        h *= d * (fabs(c) < tiny ? tiny : c);
        d = 1.0 + odd * d;
        c = 1.0 + odd / c;
        d = 1.0 / (fabs(d) < tiny ? tiny : d);
        step = d * (fabs(c) < tiny ? tiny : c);
        h *= step;
        if (fabs(step - 1.0) < 1e-15) {
            break;
        }
    }
    return h;
}

/* The regularised incomplete beta function I_x(a, b). */
static double beta_share(double a, double b, double x)
{
    double front;
    if (x <= 0.0 || x >= 1.0) {
        return x <= 0.0 ? 0.0 : 1.0;
    }
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1.0) / (a + b + 2.0) ? front * beta_fraction(a, b, x) / a
                                         : 1.0 - front * beta_fraction(b, a, 1.0 - x) / b;
}

/* How much of the distribution lies above t > 0. */
static double t_tail(double t, double df)
{
    return 0.5 * beta_share(df / 2.0, 0.5, df / (df + t * t));
}

double gdfo_stats_t_quantile(double p, double df)
{
    double low = 0.0, high = 2.0;
    if (!(p > 0.5 && p < 1.0) || !(df >= 1.0)) {
        return (double)NAN;
    }
    while (t_tail(high, df) > 1.0 - p && high < 1e12) {
        high *= 2.0;
    }
    for (int i = 0; i < 200 && high - low > 1e-13 * high; i++) {
        double middle = 0.5 * (low + high);
        if (t_tail(middle, df) > 1.0 - p) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return 0.5 * (low + high);
}
