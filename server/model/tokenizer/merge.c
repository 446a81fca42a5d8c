#include "common/mem.h"
#include "server/model/tokenizer/merge_priv.h"

struct gdfo_merge_candidate {
    double key;
    uint32_t left, right;
    uint32_t n; /* bytes of both when found: any later join of either makes it differ */
    int32_t id;
};

void gdfo_merge_deinit(struct gdfo_merge *m)
{
    gdfo_mem_free(m->symbols);
    gdfo_mem_free(m->heap);
    *m = (struct gdfo_merge){0};
}

enum gdfo_status gdfo_merge_add(struct gdfo_merge *m, uint32_t start, uint32_t n, int32_t id,
                                struct gdfo_error *err)
{
    void *p = m->symbols;
    const uint32_t at = (uint32_t)m->n_symbols;
    if (!gdfo_mem_grow(&p, &m->cap_symbols, m->n_symbols + 1, sizeof *m->symbols)) {
        return gdfo_error_no_memory(err, "tokenising");
    }
    m->symbols = p;
    m->symbols[at] = (struct gdfo_merge_symbol){.start = start,
                                                .n = n,
                                                .prev = at > 0 ? at - 1 : GDFO_MERGE_END,
                                                .next = GDFO_MERGE_END,
                                                .id = id};
    if (at > 0) {
        m->symbols[at - 1].next = at;
    }
    m->n_symbols++;
    return GDFO_STATUS_OK;
}

static int before(const struct gdfo_merge_candidate *a, const struct gdfo_merge_candidate *b)
{
    return a->key < b->key || (!(b->key < a->key) && a->left < b->left);
}

static void push(struct gdfo_merge *m, struct gdfo_merge_candidate c)
{
    size_t at = m->n_heap++;
    while (at > 0 && before(&c, &m->heap[(at - 1) / 2])) {
        m->heap[at] = m->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    m->heap[at] = c;
}

static struct gdfo_merge_candidate pop(struct gdfo_merge *m)
{
    const struct gdfo_merge_candidate top = m->heap[0];
    const struct gdfo_merge_candidate last = m->heap[--m->n_heap];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= m->n_heap) {
            break;
        }
        if (child + 1 < m->n_heap && before(&m->heap[child + 1], &m->heap[child])) {
            child++;
        }
        if (!before(&m->heap[child], &last)) {
            break;
        }
        m->heap[at] = m->heap[child];
        at = child;
    }
    m->heap[at] = last;
    return top;
}

static void offer(struct gdfo_merge *m, uint32_t left, uint32_t right, gdfo_merge_find *find,
                  const void *ctx)
{
    struct gdfo_merge_found found = {0};
    const struct gdfo_merge_symbol *l;
    const struct gdfo_merge_symbol *r;
    if (left == GDFO_MERGE_END || right == GDFO_MERGE_END) {
        return;
    }
    l = &m->symbols[left];
    r = &m->symbols[right];
    if (find(ctx, l, r, &found)) {
        push(m, (struct gdfo_merge_candidate){found.key, left, right, l->n + r->n, found.id});
    }
}

static int is_stale(const struct gdfo_merge *m, const struct gdfo_merge_candidate *c)
{
    const struct gdfo_merge_symbol *l = &m->symbols[c->left];
    const struct gdfo_merge_symbol *r = &m->symbols[c->right];
    return l->n == 0 || r->n == 0 || l->n + r->n != c->n; /* lengths only grow, or become 0 */
}

static void join(struct gdfo_merge *m, const struct gdfo_merge_candidate *c)
{
    struct gdfo_merge_symbol *l = &m->symbols[c->left];
    struct gdfo_merge_symbol *r = &m->symbols[c->right];
    l->n += r->n;
    l->id = c->id;
    l->next = r->next;
    r->n = 0;
    if (l->next != GDFO_MERGE_END) {
        m->symbols[l->next].prev = c->left;
    }
}

enum gdfo_status gdfo_merge_run(struct gdfo_merge *m, gdfo_merge_find *find, const void *ctx,
                                struct gdfo_error *err)
{
    void *p = m->heap;
    /* One candidate per neighbourhood at first and two per join: never more than three per symbol.
     */
    if (!gdfo_mem_grow(&p, &m->cap_heap, 3 * m->n_symbols, sizeof *m->heap)) {
        return gdfo_error_no_memory(err, "tokenising");
    }
    m->heap = p;
    m->n_heap = 0;
    for (uint32_t i = 0; i + 1 < m->n_symbols; i++) {
        offer(m, i, i + 1, find, ctx);
    }
    while (m->n_heap > 0) {
        const struct gdfo_merge_candidate c = pop(m);
        if (!is_stale(m, &c)) {
            join(m, &c);
            offer(m, m->symbols[c.left].prev, c.left, find, ctx);
            offer(m, c.left, m->symbols[c.left].next, find, ctx);
        }
    }
    return GDFO_STATUS_OK;
}
