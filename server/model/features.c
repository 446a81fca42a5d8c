#include "server/model/features.h"

#include "common/mem.h"
#include "server/model/forward_priv.h"

/* The mean in double, in the order of the positions: a run's bits are its own. */
static void mean_rows(const float *x, size_t n, size_t d, double *sums, float *out)
{
    for (size_t i = 0; i < d; i++) {
        sums[i] = 0;
    }
    for (size_t t = 0; t < n; t++) {
        for (size_t i = 0; i < d; i++) {
            sums[i] += (double)x[t * d + i];
        }
    }
    for (size_t i = 0; i < d; i++) {
        out[i] = (float)(sums[i] / (double)n);
    }
}

struct room {
    float *hidden; /* [n_hidden][d_model] */
    double *sums;  /* [d_model] */
    size_t n_hidden;
};

/* As many runs from the first as have room for their hidden states, one at least. */
static enum gdfo_status run_some(struct gdfo_forward *f, const struct gdfo_run *runs, size_t n_runs,
                                 const struct room *room, float *out, size_t *n_done,
                                 struct gdfo_error *err)
{
    const size_t d = gdfo_model_config(f->model)->d_model;
    struct gdfo_run some[64];
    size_t n = 0;
    size_t n_rows = 0;
    size_t at = 0;
    enum gdfo_status status;
    while (n < n_runs && n < 64) {
        some[n] = runs[n];
        some[n].scored = GDFO_SCORED_ALL;
        n_rows += gdfo_forward_n_scored(&some[n], 1);
        if (n > 0 && n_rows > room->n_hidden) {
            break;
        }
        n++;
    }
    status = gdfo_forward_run(f, some, n, room->hidden, err);
    for (size_t i = 0; status == GDFO_STATUS_OK && i < n; i++) {
        const size_t n_own = gdfo_forward_n_scored(&some[i], 1);
        mean_rows(room->hidden + at * d, n_own, d, room->sums, out + i * d);
        at += n_own;
    }
    *n_done = n;
    return status;
}

enum gdfo_status gdfo_features_mean(struct gdfo_forward *f, const struct gdfo_run *runs,
                                    size_t n_runs, float *out, struct gdfo_error *err)
{
    const size_t d = gdfo_model_config(f->model)->d_model;
    struct room room = {.n_hidden = f->sizes.positions_max};
    enum gdfo_status status = GDFO_STATUS_OK;
    size_t n_some = 0;
    room.hidden = gdfo_mem_array(room.n_hidden * d, sizeof *room.hidden);
    room.sums = gdfo_mem_array(d, sizeof *room.sums);
    if (!room.hidden || !room.sums) {
        status = gdfo_error_no_memory(err, "features");
    }
    for (size_t i = 0; i < n_runs && status == GDFO_STATUS_OK; i += n_some) {
        status = run_some(f, runs + i, n_runs - i, &room, out + i * d, &n_some, err);
    }
    gdfo_mem_free(room.hidden);
    gdfo_mem_free(room.sums);
    return status;
}
