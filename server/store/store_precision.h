#ifndef GDFO_SERVER_STORE_STORE_PRECISION_H
#define GDFO_SERVER_STORE_STORE_PRECISION_H

#include "server/store/store.h"

/* How faithful a model's precisions were found (tune/faithful.h), kept for ever: one row for each
 * model file, engine and precision. NaN where a number could not be had. */
struct gdfo_store_precision {
    char precision[8]; /* f32, bf16, int8 */
    double lp_max, lp_mean, agreement, tau;
    int64_t ms;          /* how long its answers took */
    int64_t measured_at; /* read only */
};

struct gdfo_store_precision_key {
    const char *model_sha256; /* hex */
    const char *engine;       /* build and kernels of this precision */
};

/* NOT_FOUND when it was never measured under this key. */
GDFO_MUST_USE enum gdfo_status gdfo_store_precision_get(struct gdfo_store *s,
                                                        const struct gdfo_store_precision_key *key,
                                                        const char *precision,
                                                        struct gdfo_store_precision *out,
                                                        struct gdfo_error *err);

/* All rows in one transaction, keys[i] for rows[i]; what stood there before is replaced. */
GDFO_MUST_USE enum gdfo_status gdfo_store_precision_put(struct gdfo_store *s,
                                                        const struct gdfo_store_precision_key *keys,
                                                        const struct gdfo_store_precision *rows,
                                                        size_t n, struct gdfo_error *err);

#endif
