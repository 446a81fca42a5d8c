#ifndef GDFO_SERVER_MODEL_LAYER_ROWS_H
#define GDFO_SERVER_MODEL_LAYER_ROWS_H

#include <stddef.h>
#include <stdint.h>

/*
 * Prompts deeper than the input (BBTv2, method.md 2): before layer ids[k], counted from 0, own
 * position first + i of a run gets rows[k][i] added to its hidden state. What stands at the input
 * is a run's pieces. Plain borrowed data; any thread.
 */
struct gdfo_layer_rows {
    const float *rows;   /* [n_layers][n][d_model] */
    const uint32_t *ids; /* [n_layers], ascending, from 1 */
    uint32_t n_layers;
    size_t first, n; /* own positions of the run */
};

struct gdfo_layer_trace { /* hidden states on their way into layers */
    const uint32_t *ids;  /* [n_ids], ascending, from 1 */
    uint32_t n_ids;
    float *out; /* [n_ids][positions][d_model] */
};

struct gdfo_pass;

/* For a family, between two layers: hands out the hidden states of rows row..row+n-1 of the pack
 * where a trace wants them, then adds the rows of this layer. Nothing to do in most passes. */
void gdfo_pass_enter_layer(const struct gdfo_pass *pass, size_t d_model, size_t layer, size_t row,
                           size_t n);

#endif
