#include "common/mem.h"
#include "server/model/train/train_priv.h"

static enum gdfo_status check_text(const struct gdfo_student *s, const struct gdfo_student_text *t,
                                   size_t number, struct gdfo_error *err)
{
    if (t->n < 1 || t->n > s->opts.max_positions || t->n > s->opts.max_sequence) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "text %zu has %u positions: want 1..%u",
                              number, t->n,
                              s->opts.max_positions < s->opts.max_sequence ? s->opts.max_positions
                                                                           : s->opts.max_sequence);
    }
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->ids[i] < 0 || (uint32_t)t->ids[i] >= s->net->config.vocab) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "text %zu: id %d: want 0..%u", number,
                                  t->ids[i], s->net->config.vocab - 1);
        }
    }
    return GDFO_STATUS_OK;
}

static struct gdfo_student_kv *create_kv(const struct gdfo_student *s, uint32_t n)
{
    struct gdfo_student_kv *kv = gdfo_mem_array(1, sizeof *kv);
    if (kv) {
        kv->net = s->net;
        kv->version = s->version;
        kv->n = n;
        kv->data = gdfo_mem_aligned(2 * (size_t)n * s->net->config.n_layers,
                                    s->net->kv_dim * sizeof *kv->data);
    }
    if (kv && !kv->data) {
        gdfo_mem_free(kv);
        kv = NULL;
    }
    return kv;
}

void gdfo_student_kv_destroy(struct gdfo_student_kv *kv)
{
    if (kv) {
        gdfo_mem_free(kv->data);
        gdfo_mem_free(kv);
    }
}

/* Texts from first on that go into one piece. */
static size_t fit(const struct gdfo_student *s, const struct gdfo_student_text *texts, size_t first,
                  size_t n)
{
    size_t end = first;
    uint64_t positions = 0;
    while (end < n && end - first < s->opts.max_items) {
        positions += texts[end].n;
        if (positions > s->opts.max_positions) {
            break;
        }
        end++;
    }
    return end - first;
}

enum gdfo_status gdfo_student_text_kv(struct gdfo_student *s, const struct gdfo_student_text *texts,
                                      size_t n, struct gdfo_student_kv **kv, struct gdfo_error *err)
{
    enum gdfo_status st = GDFO_STATUS_OK;
    size_t made = 0;
    size_t piece;
    for (size_t i = 0; i < n && st == GDFO_STATUS_OK; i++) {
        st = check_text(s, &texts[i], i, err);
    }
    while (st == GDFO_STATUS_OK && made < n) {
        kv[made] = create_kv(s, texts[made].n);
        st = kv[made] ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "cached text");
        made += kv[made] != NULL;
    }
    for (size_t first = 0; first < n && st == GDFO_STATUS_OK; first += piece) {
        piece = fit(s, texts, first, n);
        gdfo_pack_texts(s, texts + first, piece);
        s->net->ops->forward(s->net, &s->pack);
        for (size_t i = 0; i < piece; i++) {
            s->net->ops->copy_kv(s->net, &s->pack, i, kv[first + i]->data);
        }
    }
    while (st != GDFO_STATUS_OK && made > 0) {
        gdfo_student_kv_destroy(kv[--made]);
        kv[made] = NULL;
    }
    return st;
}
