#include "server/tune/incumbent.h"

#include "common/mem.h"

#include <string.h>

enum gdfo_status gdfo_incumbent_init(struct gdfo_incumbent *i, size_t n_rows_floats, size_t n_lp,
                                     size_t n_anchors, struct gdfo_error *err)
{
    memset(i, 0, sizeof *i);
    i->n_rows_floats = n_rows_floats;
    i->n_lp = n_lp;
    i->n_anchors = n_anchors;
    i->rows = gdfo_mem_array(n_rows_floats, sizeof *i->rows);
    i->lp = gdfo_mem_array(n_lp, sizeof *i->lp);
    i->anchors = gdfo_mem_array(n_anchors, sizeof *i->anchors);
    if (!i->rows || !i->lp || !i->anchors) {
        return gdfo_error_no_memory(err, "incumbent");
    }
    return GDFO_STATUS_OK;
}

void gdfo_incumbent_deinit(struct gdfo_incumbent *i)
{
    gdfo_mem_free(i->rows);
    gdfo_mem_free(i->lp);
    gdfo_mem_free(i->anchors);
    memset(i, 0, sizeof *i);
}

void gdfo_incumbent_set(struct gdfo_incumbent *i, const float *rows,
                        const struct gdfo_evaluation *e, size_t at, double loss)
{
    if (i->n_rows_floats > 0) {
        memcpy(i->rows, rows, i->n_rows_floats * sizeof *rows);
    }
    memcpy(i->lp, e->lp + at * i->n_lp, i->n_lp * sizeof *i->lp);
    if (i->n_anchors > 0) {
        memcpy(i->anchors, e->anchors + at * i->n_anchors, i->n_anchors * sizeof *i->anchors);
    }
    i->loss = loss;
    i->is_set = 1;
    i->is_checked = 0;
}

void gdfo_incumbent_save(const struct gdfo_incumbent *i, struct gdfo_buf *out)
{
    gdfo_buf_u32(out, (unsigned)(i->is_set | i->is_checked << 1));
    gdfo_buf_f64(out, i->loss);
    gdfo_buf_addn(out, i->rows, i->n_rows_floats * sizeof *i->rows);
    gdfo_buf_addn(out, i->lp, i->n_lp * sizeof *i->lp);
    gdfo_buf_addn(out, i->anchors, i->n_anchors * sizeof *i->anchors);
}

int gdfo_incumbent_load(struct gdfo_incumbent *i, struct gdfo_span *s)
{
    uint32_t flags = gdfo_span_u32(s);
    i->is_set = (int)(flags & 1);
    i->is_checked = (int)(flags >> 1 & 1);
    i->loss = gdfo_span_f64(s);
    (void)gdfo_span_copy(s, i->rows, i->n_rows_floats * sizeof *i->rows);
    (void)gdfo_span_copy(s, i->lp, i->n_lp * sizeof *i->lp);
    (void)gdfo_span_copy(s, i->anchors, i->n_anchors * sizeof *i->anchors);
    return gdfo_span_ok(s);
}
