#include "server/model/train/train_priv.h"

#include <string.h>

static uint32_t n_body(const struct gdfo_student_item *it)
{
    return it->kv ? 0 : it->body.n;
}

/* Own positions of an item whose parts were checked. */
static uint32_t n_own(const struct gdfo_student_item *it)
{
    return it->n_rows + n_body(it) + it->cue.n;
}

static enum gdfo_status check_ids(const struct gdfo_student *s, const char *what, uint32_t number,
                                  const struct gdfo_student_text *t, struct gdfo_error *err)
{
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->ids[i] < 0 || (uint32_t)t->ids[i] >= s->net->config.vocab) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "item %u: %s id %d: want 0..%u", number,
                                  what, t->ids[i], s->net->config.vocab - 1);
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_kv(const struct gdfo_student *s, enum gdfo_student_position position,
                                 const struct gdfo_student_kv *kv, uint32_t number,
                                 struct gdfo_error *err)
{
    if (position != GDFO_STUDENT_SUFFIX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "item %u: a cached text needs the suffix position", number);
    }
    if (kv->net != s->net) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "item %u: the cached text is another student's", number);
    }
    if (kv->version != s->version) {
        return gdfo_error_set(err, GDFO_STATUS_STATE,
                              "item %u: the cached text is older than the weights", number);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_lengths(const struct gdfo_student *s,
                                      const struct gdfo_student_item *it, uint32_t number,
                                      struct gdfo_error *err)
{
    uint64_t own = (uint64_t)it->n_rows + n_body(it) + it->cue.n;
    uint64_t all = own + (it->kv ? it->kv->n : 0);
    if (it->cue.n < 1) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "item %u: the cue is empty", number);
    }
    if (own > s->opts.max_positions || all > s->opts.max_sequence) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "item %u has %llu positions, %llu of its own: want at most %u and %u",
                              number, (unsigned long long)all, (unsigned long long)own,
                              s->opts.max_sequence, s->opts.max_positions);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_item(const struct gdfo_student *s,
                                   const struct gdfo_student_batch *batch, uint32_t number,
                                   struct gdfo_error *err)
{
    const struct gdfo_student_item *it = &batch->items[number];
    enum gdfo_status st = check_lengths(s, it, number, err);
    if (st == GDFO_STATUS_OK && it->kv) {
        st = check_kv(s, batch->position, it->kv, number, err);
    }
    if (st == GDFO_STATUS_OK && it->n_rows > 0 && !it->rows) {
        st = gdfo_error_set(err, GDFO_STATUS_INVALID, "item %u: %u soft rows, but none given",
                            number, it->n_rows);
    }
    if (st == GDFO_STATUS_OK && !it->kv) {
        st = check_ids(s, "body", number, &it->body, err);
    }
    return st == GDFO_STATUS_OK ? check_ids(s, "cue", number, &it->cue, err) : st;
}

enum gdfo_status gdfo_pack_check(const struct gdfo_student *s,
                                 const struct gdfo_student_batch *batch, struct gdfo_error *err)
{
    enum gdfo_status st = gdfo_columns_check(s, batch->columns, err);
    if (st == GDFO_STATUS_OK && batch->n_items < 1) {
        st = gdfo_error_set(err, GDFO_STATUS_INVALID, "the batch is empty");
    }
    for (uint32_t i = 0; i < batch->n_items && st == GDFO_STATUS_OK; i++) {
        st = check_item(s, batch, i, err);
    }
    return st;
}

uint32_t gdfo_pack_fit(const struct gdfo_student *s, const struct gdfo_student_batch *batch,
                       uint32_t first)
{
    uint32_t n = 0;
    uint64_t positions = 0;
    while (first + n < batch->n_items && n < s->opts.max_items) {
        positions += n_own(&batch->items[first + n]);
        if (positions > s->opts.max_positions) {
            break;
        }
        n++;
    }
    return n;
}

/* Where the next position of each kind goes. */
struct cursor {
    struct gdfo_student *s;
    size_t scored, adapted, body; /* packed rows */
    uint32_t order;
    uint32_t pos; /* in the item's sequence */
};

static void put(struct cursor *c, size_t *packed, const float *input)
{
    struct gdfo_student *s = c->s;
    size_t C = s->net->config.d_model;
    memcpy(s->net->x + *packed * C, input, C * sizeof *input);
    s->order[c->order++] = (uint32_t)*packed;
    s->pos[(*packed)++] = c->pos++;
}

static const float *embedding(const struct gdfo_student *s, int32_t id)
{
    return s->net->embed + (size_t)id * s->net->config.d_model;
}

static void put_body(struct cursor *c, const struct gdfo_student_text *body)
{
    for (uint32_t i = 0; i < body->n; i++) {
        put(c, &c->body, embedding(c->s, body->ids[i]));
    }
}

static void put_rows(struct cursor *c, const struct gdfo_student_item *it, uint32_t *first)
{
    *first = (uint32_t)c->adapted;
    for (uint32_t i = 0; i < it->n_rows; i++) {
        put(c, &c->adapted, it->rows + (size_t)i * c->s->net->config.d_model);
    }
}

static void put_item(struct cursor *c, const struct gdfo_student_batch *batch, uint32_t number,
                     uint32_t *row_first)
{
    const struct gdfo_student_item *it = &batch->items[number];
    c->pos = it->kv ? it->kv->n : 0;
    if (batch->position == GDFO_STUDENT_PREFIX) {
        put_rows(c, it, row_first);
        put_body(c, &it->body);
    } else {
        if (!it->kv) {
            put_body(c, &it->body);
        }
        put_rows(c, it, row_first);
    }
    for (uint32_t i = 0; i + 1 < it->cue.n; i++) {
        put(c, &c->adapted, embedding(c->s, it->cue.ids[i]));
    }
    put(c, &c->scored, embedding(c->s, it->cue.ids[it->cue.n - 1]));
}

void gdfo_pack_items(struct gdfo_student *s, const struct gdfo_student_batch *batch, uint32_t first,
                     uint32_t n)
{
    struct cursor c = {.s = s};
    struct gdfo_pack *p = &s->pack;
    p->n_scored = n;
    p->n_adapted = 0;
    p->n_positions = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct gdfo_student_item *it = &batch->items[first + i];
        p->n_adapted += (size_t)it->n_rows + it->cue.n;
        p->n_positions += n_own(it);
    }
    c.adapted = n;
    c.body = p->n_adapted;
    for (uint32_t i = 0; i < n; i++) {
        const struct gdfo_student_item *it = &batch->items[first + i];
        s->spans[i] = (struct gdfo_pack_span){.first = c.order, .n = n_own(it), .kv = it->kv};
        put_item(&c, batch, first + i, &s->row_first[i]);
    }
    p->n_spans = n;
}

void gdfo_pack_texts(struct gdfo_student *s, const struct gdfo_student_text *texts, size_t n)
{
    struct cursor c = {.s = s};
    for (size_t i = 0; i < n; i++) {
        s->spans[i] = (struct gdfo_pack_span){.first = c.order, .n = texts[i].n};
        c.pos = 0;
        put_body(&c, &texts[i]);
    }
    s->pack.n_scored = 0;
    s->pack.n_adapted = 0;
    s->pack.n_positions = c.body;
    s->pack.n_spans = n;
}
