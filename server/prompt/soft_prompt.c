#include "common/rng.h"
#include "server/prompt/prompt.h"

#include <math.h>
#include <string.h>

double gdfo_embedding_std(const struct gdfo_embedding *e)
{
    size_t n = e->vocab * e->d_model;
    double mean = 0;
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        mean += (double)e->rows[i];
    }
    mean /= (double)(n ? n : 1);
    for (size_t i = 0; i < n; i++) {
        double d = (double)e->rows[i] - mean;
        squares += d * d;
    }
    return sqrt(squares / (double)(n ? n : 1));
}

static enum gdfo_status check_ids(const struct gdfo_embedding *e, const int32_t *ids, size_t n,
                                  struct gdfo_error *err)
{
    if (n == 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "soft prompt: no tokens to start from");
    }
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= e->vocab) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "token id %d: want 0..%zu", (int)ids[i],
                                  e->vocab - 1);
        }
    }
    return GDFO_STATUS_OK;
}

static void put_row(float *rows, size_t row, const struct gdfo_embedding *e, size_t id)
{
    memcpy(rows + row * e->d_model, e->rows + id * e->d_model, e->d_model * sizeof *rows);
}

enum gdfo_status gdfo_soft_prompt_from_ids(float *rows, size_t n_prompt_tokens,
                                           const struct gdfo_embedding *e, const int32_t *ids,
                                           size_t n_ids, struct gdfo_error *err)
{
    enum gdfo_status status = check_ids(e, ids, n_ids, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    for (size_t r = 0; r < n_prompt_tokens; r++) {
        put_row(rows, r, e, (size_t)ids[r % n_ids]);
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_soft_prompt_from_vocab(float *rows, size_t n_prompt_tokens,
                                             const struct gdfo_embedding *e,
                                             const struct gdfo_prompt_words *words, uint64_t seed,
                                             struct gdfo_error *err)
{
    struct gdfo_rng rng = gdfo_rng_stream(seed, "soft_prompt");
    const int32_t *ids = words ? words->ids : NULL;
    size_t n = ids ? words->n : e->vocab;
    enum gdfo_status status;
    if (n == 0 || n > UINT32_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "soft prompt: no tokens to draw from");
    }
    status = ids ? check_ids(e, ids, n, err) : GDFO_STATUS_OK;
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    for (size_t r = 0; r < n_prompt_tokens; r++) {
        size_t pick = gdfo_rng_below(&rng, (uint32_t)n);
        put_row(rows, r, e, ids ? (size_t)ids[pick] : pick);
    }
    return GDFO_STATUS_OK;
}

void gdfo_soft_prompt_zeros(float *rows, size_t n_prompt_tokens, size_t d_model)
{
    memset(rows, 0, n_prompt_tokens * d_model * sizeof *rows);
}
