#include "server/tune/gallery.h"

#include "common/mem.h"
#include "server/tune/head.h"

#include <math.h>
#include <string.h>

#define HEAD_BYTES_MAX ((size_t)64 << 20)
#define ROWS_MAX       4096u /* soft rows of a prompt */

struct gdfo_gallery_entry {
    uint32_t n_prompt_tokens;
    float *rows; /* owned */
    char *cue;   /* owned, or NULL */
    struct gdfo_head *head;
    float *lp; /* [n_rows][n_labels], owned */
    double loss;
};

static void entry_deinit(struct gdfo_gallery_entry *e)
{
    gdfo_mem_free(e->rows);
    gdfo_mem_free(e->cue);
    gdfo_mem_free(e->lp);
    gdfo_head_destroy(e->head);
    memset(e, 0, sizeof *e);
}

enum gdfo_status gdfo_gallery_init(struct gdfo_gallery *g, size_t n_rows, size_t n_labels,
                                   size_t d_model, const uint32_t *gold, struct gdfo_error *err)
{
    memset(g, 0, sizeof *g);
    g->n_rows = n_rows;
    g->n_labels = n_labels;
    g->d_model = d_model;
    g->gold = gdfo_mem_dup(gold, n_rows * sizeof *gold);
    g->entries = gdfo_mem_array(GDFO_GALLERY_MAX + 1, sizeof *g->entries);
    if (!g->gold || !g->entries) {
        gdfo_gallery_deinit(g);
        return gdfo_error_no_memory(err, "gallery");
    }
    return GDFO_STATUS_OK;
}

void gdfo_gallery_deinit(struct gdfo_gallery *g)
{
    for (size_t i = 0; i < g->n; i++) {
        entry_deinit(&g->entries[i]);
    }
    gdfo_mem_free(g->entries);
    gdfo_mem_free(g->gold);
    memset(g, 0, sizeof *g);
}

/* Mean cross-entropy of [n_rows][n_labels] log-probabilities. */
static double loss_of(const struct gdfo_gallery *g, const float *lp)
{
    double sum = 0;
    for (size_t i = 0; i < g->n_rows; i++) {
        sum -= (double)lp[i * g->n_labels + g->gold[i]];
    }
    return g->n_rows > 0 ? sum / (double)g->n_rows : (double)NAN;
}

/* Puts the entry in its place: ascending loss, equals in the order in which they came. */
static void insert(struct gdfo_gallery *g, const struct gdfo_gallery_entry *e)
{
    size_t at = g->n++;
    while (at > 0 && g->entries[at - 1].loss > e->loss) {
        g->entries[at] = g->entries[at - 1];
        at--;
    }
    g->entries[at] = *e;
    if (g->n > GDFO_GALLERY_MAX) {
        entry_deinit(&g->entries[--g->n]);
    }
}

enum gdfo_status gdfo_gallery_add(struct gdfo_gallery *g, const struct gdfo_picture *picture,
                                  struct gdfo_error *err)
{
    struct gdfo_gallery_entry e = {.n_prompt_tokens = picture->n_prompt_tokens};
    size_t n_floats = (size_t)picture->n_prompt_tokens * g->d_model;
    enum gdfo_status status;
    e.loss = loss_of(g, picture->lp);
    if (!isfinite(e.loss)) {
        return GDFO_STATUS_OK;
    }
    status = gdfo_head_copy(&e.head, picture->head, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    e.lp = gdfo_mem_dup(picture->lp, g->n_rows * g->n_labels * sizeof *e.lp);
    e.rows = n_floats > 0 ? gdfo_mem_dup(picture->rows, n_floats * sizeof *e.rows) : NULL;
    e.cue = gdfo_mem_dup_str(picture->cue);
    if (!e.lp || (n_floats > 0 && !e.rows) || (picture->cue && !e.cue)) {
        entry_deinit(&e);
        return gdfo_error_no_memory(err, "gallery");
    }
    insert(g, &e);
    return GDFO_STATUS_OK;
}

/* ---- seats ----------------------------------------------------------------------------------- */

const float *gdfo_gallery_votes(const struct gdfo_gallery *g, size_t i)
{
    return g->entries[i].lp;
}

int gdfo_gallery_is_plain(const struct gdfo_gallery *g, size_t i)
{
    return g->entries[i].n_prompt_tokens == 0 && !g->entries[i].cue;
}

enum gdfo_status gdfo_gallery_seat(const struct gdfo_gallery *g, size_t i,
                                   struct gdfo_artefact_member *m, struct gdfo_error *err)
{
    const struct gdfo_gallery_entry *e = &g->entries[i];
    size_t n_floats = (size_t)e->n_prompt_tokens * g->d_model;
    m->n_prompt_tokens = e->n_prompt_tokens;
    m->rows = gdfo_mem_dup(e->rows, n_floats * sizeof *m->rows);
    m->cue = gdfo_mem_dup_str(e->cue);
    return m->rows && (m->cue || !e->cue) ? gdfo_head_copy(&m->head, e->head, err)
                                          : gdfo_error_no_memory(err, "committee");
}

/* ---- bytes ----------------------------------------------------------------------------------- */

void gdfo_gallery_save(const struct gdfo_gallery *g, struct gdfo_buf *out)
{
    struct gdfo_buf head;
    gdfo_buf_init(&head, HEAD_BYTES_MAX);
    gdfo_buf_u32(out, (unsigned)g->n);
    for (size_t i = 0; i < g->n; i++) {
        const struct gdfo_gallery_entry *e = &g->entries[i];
        gdfo_buf_u32(out, e->n_prompt_tokens);
        gdfo_buf_addn(out, e->rows, (size_t)e->n_prompt_tokens * g->d_model * sizeof *e->rows);
        gdfo_buf_addn(out, e->lp, g->n_rows * g->n_labels * sizeof *e->lp);
        gdfo_buf_u32(out, e->cue != NULL);
        gdfo_buf_block(out, e->cue ? e->cue : "", e->cue ? strlen(e->cue) : 0);
        gdfo_head_save(e->head, &head);
        out->is_broken |= head.is_broken;
        gdfo_buf_block(out, head.data, head.len);
        gdfo_buf_reset(&head);
    }
    gdfo_buf_deinit(&head);
}

static enum gdfo_status corrupt(struct gdfo_error *err)
{
    return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "gallery: cut short");
}

static enum gdfo_status load_cue(struct gdfo_gallery_entry *e, struct gdfo_span *in,
                                 struct gdfo_error *err)
{
    uint32_t has_cue = gdfo_span_u32(in);
    size_t n = 0;
    const void *bytes = gdfo_span_block(in, &n);
    if (!bytes || has_cue > 1) {
        return corrupt(err);
    }
    if (has_cue) {
        e->cue = gdfo_mem_array(n + 1, 1);
        if (!e->cue) {
            return gdfo_error_no_memory(err, "gallery");
        }
        memcpy(e->cue, bytes, n);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status load_entry(const struct gdfo_gallery *g, struct gdfo_gallery_entry *e,
                                   struct gdfo_span *in, struct gdfo_error *err)
{
    size_t n_lp = g->n_rows * g->n_labels;
    size_t n_floats, n = 0;
    const void *bytes;
    enum gdfo_status status;
    e->n_prompt_tokens = gdfo_span_u32(in);
    if (e->n_prompt_tokens > ROWS_MAX) {
        return corrupt(err);
    }
    n_floats = e->n_prompt_tokens * g->d_model;
    e->rows = n_floats > 0 ? gdfo_mem_array(n_floats, sizeof *e->rows) : NULL;
    e->lp = gdfo_mem_array(n_lp, sizeof *e->lp);
    if (!e->lp || (n_floats > 0 && !e->rows)) {
        return gdfo_error_no_memory(err, "gallery");
    }
    (void)gdfo_span_copy(in, e->rows, n_floats * sizeof *e->rows);
    (void)gdfo_span_copy(in, e->lp, n_lp * sizeof *e->lp);
    status = load_cue(e, in, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    bytes = gdfo_span_block(in, &n);
    status = bytes ? gdfo_head_load(&e->head, bytes, n, err) : corrupt(err);
    e->loss = loss_of(g, e->lp);
    return status;
}

enum gdfo_status gdfo_gallery_load(struct gdfo_gallery *g, struct gdfo_span *in,
                                   struct gdfo_error *err)
{
    uint32_t n = gdfo_span_u32(in);
    while (g->n > 0) {
        entry_deinit(&g->entries[--g->n]);
    }
    if (!gdfo_span_ok(in) || n > GDFO_GALLERY_MAX) {
        return corrupt(err);
    }
    for (uint32_t i = 0; i < n; i++) {
        enum gdfo_status status = load_entry(g, &g->entries[i], in, err);
        g->n = i + 1;
        if (status != GDFO_STATUS_OK) {
            return status;
        }
    }
    return GDFO_STATUS_OK;
}
