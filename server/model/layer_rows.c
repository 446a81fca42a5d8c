#include "server/model/layer_rows.h"

#include "server/model/family/family.h"

#include <string.h>

/* Place of a layer in an ascending list, n_ids when it is not there. */
static uint32_t find(const uint32_t *ids, uint32_t n_ids, size_t layer)
{
    uint32_t k = 0;
    while (k < n_ids && ids[k] != layer) {
        k++;
    }
    return k;
}

static void add_rows(const struct gdfo_pass *pass, size_t d_model, size_t layer, size_t row)
{
    const struct gdfo_pass_layer_row *at = &pass->layer_rows[row];
    const struct gdfo_layer_rows *of = at->of;
    uint32_t k = of ? find(of->ids, of->n_layers, layer) : 0;
    float *x = pass->x + row * d_model;
    const float *added;
    if (!of || k == of->n_layers) {
        return;
    }
    added = of->rows + (k * of->n + at->i) * d_model;
    for (size_t i = 0; i < d_model; i++) {
        x[i] += added[i];
    }
}

void gdfo_pass_enter_layer(const struct gdfo_pass *pass, size_t d_model, size_t layer, size_t row,
                           size_t n)
{
    const struct gdfo_layer_trace *t = pass->trace;
    uint32_t k = t ? find(t->ids, t->n_ids, layer) : 0;
    if (t && k < t->n_ids) {
        memcpy(t->out + (k * pass->n + row) * d_model, pass->x + row * d_model,
               n * d_model * sizeof *t->out);
    }
    for (size_t r = row; pass->layer_rows && r < row + n; r++) {
        add_rows(pass, d_model, layer, r);
    }
}
