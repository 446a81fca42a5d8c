#include "server/task/split.h"

#include "common/mem.h"
#include "common/rng.h"
#include "server/task/quote.h"

#include <string.h>

enum part { PART_NONE, PART_TRAIN, PART_DEV };

struct draw {
    const struct gdfo_dataset *d;
    const struct gdfo_split_opts *opts;
    double share;           /* of dev, after auto was resolved */
    uint32_t *rows;         /* [n of the largest label] */
    unsigned char *part_of; /* [n rows] */
};

static enum gdfo_status too_few(struct gdfo_error *err, const struct gdfo_dataset *d, size_t label,
                                const char *want, unsigned n)
{
    size_t have = gdfo_dataset_n_of_label(d, label);
    gdfo_error_set(err, GDFO_STATUS_INVALID, "label %s has %zu example%s; %s needs %u",
                   gdfo_task_quote(gdfo_dataset_label(d, label)).s, have, have == 1 ? "" : "s",
                   want, n);
    gdfo_error_at(err, "", "too_few_examples");
    return GDFO_STATUS_INVALID;
}

/* How many rows of a label take part. */
static size_t n_drawn(const struct draw *w, size_t label)
{
    return w->opts->k_shot > 0 ? w->opts->k_shot : gdfo_dataset_n_of_label(w->d, label);
}

/* How many of n rows are set aside: the share, rounded, but at least one on either side. */
static size_t n_aside(double share, size_t n)
{
    size_t k = (size_t)(share * (double)n + 0.5);
    if (share <= 0) {
        return 0;
    }
    k = k < 1 ? 1 : k;
    return k > n - 1 ? n - 1 : k;
}

static enum gdfo_status check(struct draw *w, struct gdfo_split *out, struct gdfo_error *err)
{
    size_t n_labels = gdfo_dataset_n_labels(w->d);
    w->share = w->opts->dev_split;
    if (w->share < 0) {
        w->share = GDFO_SPLIT_AUTO_SHARE;
        for (size_t c = 0; c < n_labels; c++) {
            out->is_dev_off |= n_drawn(w, c) < GDFO_SPLIT_AUTO_ROWS_MIN;
        }
        w->share = out->is_dev_off ? 0 : w->share;
    }
    for (size_t c = 0; c < n_labels; c++) {
        if (gdfo_dataset_n_of_label(w->d, c) < w->opts->k_shot) {
            return too_few(err, w->d, c, "k_shot", w->opts->k_shot);
        }
        if (gdfo_dataset_n_of_label(w->d, c) == 0) {
            return too_few(err, w->d, c, "training", 1);
        }
        if (w->share > 0 && n_drawn(w, c) < 2) {
            return too_few(err, w->d, c, "dev_split", 2);
        }
    }
    return GDFO_STATUS_OK;
}

/* One stream for both draws of a label: the first rows of a shuffled list take part, the first of
 * those select. */
static void draw_label(struct draw *w, struct gdfo_rng *rng, uint32_t label)
{
    size_t n = 0;
    size_t take = n_drawn(w, label);
    size_t aside = n_aside(w->share, take);
    for (size_t i = 0; i < gdfo_dataset_size(w->d); i++) {
        if (gdfo_dataset_row(w->d, i)->label == label) {
            w->rows[n++] = (uint32_t)i;
        }
    }
    gdfo_rng_shuffle(rng, w->rows, n);
    for (size_t i = 0; i < take; i++) {
        w->part_of[w->rows[i]] = i < take - aside ? PART_TRAIN : PART_DEV;
    }
}

static enum gdfo_status collect(const struct draw *w, struct gdfo_split *out,
                                struct gdfo_error *err)
{
    size_t n = gdfo_dataset_size(w->d);
    out->train = gdfo_mem_array(n, sizeof *out->train);
    out->dev = gdfo_mem_array(n, sizeof *out->dev);
    if (out->train == NULL || out->dev == NULL) {
        return gdfo_error_no_memory(err, "drawing examples");
    }
    for (size_t i = 0; i < n; i++) {
        if (w->part_of[i] == PART_TRAIN) {
            out->train[out->n_train++] = (uint32_t)i;
        } else if (w->part_of[i] == PART_DEV) {
            out->dev[out->n_dev++] = (uint32_t)i;
        }
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_split_draw(struct gdfo_split *out, const struct gdfo_dataset *d,
                                 const struct gdfo_split_opts *opts, struct gdfo_error *err)
{
    struct draw w = {.d = d, .opts = opts};
    struct gdfo_rng rng = gdfo_rng_stream(opts->seed, "split");
    memset(out, 0, sizeof *out);
    enum gdfo_status status = check(&w, out, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    w.rows = gdfo_mem_array(gdfo_dataset_size(d), sizeof *w.rows);
    w.part_of = gdfo_mem_array(gdfo_dataset_size(d), 1);
    if (w.rows == NULL || w.part_of == NULL) {
        status = gdfo_error_no_memory(err, "drawing examples");
    }
    for (size_t c = 0; c < gdfo_dataset_n_labels(d) && status == GDFO_STATUS_OK; c++) {
        draw_label(&w, &rng, (uint32_t)c);
    }
    if (status == GDFO_STATUS_OK) {
        status = collect(&w, out, err);
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_split_deinit(out);
    }
    gdfo_mem_free(w.rows);
    gdfo_mem_free(w.part_of);
    return status;
}

void gdfo_split_deinit(struct gdfo_split *s)
{
    gdfo_mem_free(s->train);
    gdfo_mem_free(s->dev);
    memset(s, 0, sizeof *s);
}
