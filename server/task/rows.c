#include "common/check.h"
#include "common/mem.h"
#include "server/task/rows_priv.h"

#include <string.h>

#define CHUNK_BYTES ((size_t)256 * 1024)

void gdfo_rows_init(struct gdfo_rows_store *s, size_t kept_max_bytes)
{
    memset(s, 0, sizeof *s);
    s->kept_max_bytes = kept_max_bytes;
}

void gdfo_rows_deinit(struct gdfo_rows_store *s)
{
    for (size_t i = 0; i < s->n_chunks; i++) {
        gdfo_mem_free(s->chunks[i]);
    }
    gdfo_mem_free(s->chunks);
    gdfo_mem_free(s->rows);
    gdfo_mem_free(s->labels);
    gdfo_mem_free(s->by_name);
    gdfo_mem_free(s->n_of_label);
    gdfo_rows_init(s, 0);
}

static enum gdfo_status charge(struct gdfo_rows_store *s, size_t n, struct gdfo_error *err)
{
    if (n > s->kept_max_bytes - s->kept_bytes) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "more than %zu MiB of examples; tuning needs a few thousand rows",
                              s->kept_max_bytes >> 20);
    }
    s->kept_bytes += n;
    return GDFO_STATUS_OK;
}

static enum gdfo_status new_chunk(struct gdfo_rows_store *s, size_t bytes, struct gdfo_error *err)
{
    void *p = s->chunks;
    if (!gdfo_mem_grow(&p, &s->cap_chunks, s->n_chunks + 1, sizeof *s->chunks)) {
        return gdfo_error_no_memory(err, "reading examples");
    }
    s->chunks = p;
    s->chunks[s->n_chunks] = gdfo_mem_array(bytes, 1);
    if (s->chunks[s->n_chunks] == NULL) {
        return gdfo_error_no_memory(err, "reading examples");
    }
    s->n_chunks++;
    s->used = 0;
    s->room = bytes;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_rows_keep(struct gdfo_rows_store *s, const char *bytes, size_t n,
                                const char **out, struct gdfo_error *err)
{
    enum gdfo_status status = charge(s, n + 1, err);
    if (status == GDFO_STATUS_OK && n + 1 > s->room - s->used) {
        status = new_chunk(s, n + 1 > CHUNK_BYTES ? n + 1 : CHUNK_BYTES, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    char *to = s->chunks[s->n_chunks - 1] + s->used;
    memcpy(to, bytes, n); /* the chunk was zeroed: the NUL is there */
    s->used += n + 1;
    *out = to;
    return GDFO_STATUS_OK;
}

/* Where name stands, or would stand, among the sorted labels. */
static size_t label_place(const struct gdfo_rows_store *s, const char *name, size_t n,
                          int *is_there)
{
    size_t low = 0;
    size_t high = s->n_labels;
    *is_there = 0;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const char *have = s->labels[s->by_name[mid]];
        int order = strncmp(have, name, n);
        if (order == 0 && have[n] != '\0') {
            order = 1; /* have is longer than name, so it comes later */
        }
        if (order == 0) {
            *is_there = 1;
            return mid;
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

enum gdfo_status gdfo_rows_label(struct gdfo_rows_store *s, const char *name, size_t n,
                                 uint32_t *label, struct gdfo_error *err)
{
    int is_there = 0;
    size_t place = label_place(s, name, n, &is_there);
    const char *kept = NULL;
    void *labels = s->labels;
    void *by_name = s->by_name;
    if (is_there) {
        *label = s->by_name[place];
        return GDFO_STATUS_OK;
    }
    if (s->n_labels >= GDFO_DATASET_LABELS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "more than %u different labels",
                              GDFO_DATASET_LABELS_MAX);
    }
    enum gdfo_status status = gdfo_rows_keep(s, name, n, &kept, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    int has_room = gdfo_mem_grow(&labels, &s->cap_labels, s->n_labels + 1, sizeof *s->labels);
    s->labels = labels;
    has_room =
        has_room && gdfo_mem_grow(&by_name, &s->cap_by_name, s->n_labels + 1, sizeof *s->by_name);
    s->by_name = by_name;
    if (!has_room) {
        return gdfo_error_no_memory(err, "reading labels");
    }
    memmove(s->by_name + place + 1, s->by_name + place, (s->n_labels - place) * sizeof *s->by_name);
    s->by_name[place] = (uint32_t)s->n_labels;
    s->labels[s->n_labels] = kept;
    *label = (uint32_t)s->n_labels++;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_rows_add(struct gdfo_rows_store *s, const struct gdfo_row *row,
                               struct gdfo_error *err)
{
    void *p = s->rows;
    enum gdfo_status status = charge(s, sizeof *row, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (!gdfo_mem_grow(&p, &s->cap_rows, s->n_rows + 1, sizeof *s->rows)) {
        return gdfo_error_no_memory(err, "reading examples");
    }
    s->rows = p;
    s->rows[s->n_rows++] = *row;
    return GDFO_STATUS_OK;
}

/* The four arrays of a new numbering, made together or not at all. */
struct numbering {
    const char **names;
    uint32_t *by_name, *n_of_label, *map; /* map: old number to new */
};

static void numbering_deinit(struct numbering *m)
{
    gdfo_mem_free(m->names);
    gdfo_mem_free(m->by_name);
    gdfo_mem_free(m->n_of_label);
    gdfo_mem_free(m->map);
}

static enum gdfo_status numbering_init(struct numbering *m, size_t n_old, size_t n_new,
                                       struct gdfo_error *err)
{
    m->names = gdfo_mem_array(n_new + 1, sizeof *m->names);
    m->by_name = gdfo_mem_array(n_new + 1, sizeof *m->by_name);
    m->n_of_label = gdfo_mem_array(n_new + 1, sizeof *m->n_of_label);
    m->map = gdfo_mem_array(n_old + 1, sizeof *m->map);
    if (m->names == NULL || m->by_name == NULL || m->n_of_label == NULL || m->map == NULL) {
        numbering_deinit(m);
        return gdfo_error_no_memory(err, "numbering labels");
    }
    for (size_t i = 0; i < n_new; i++) {
        m->by_name[i] = (uint32_t)i; /* new numbers are in byte order */
    }
    return GDFO_STATUS_OK;
}

/* Moves the store to the new numbering and ends the old one. */
static void numbering_apply(struct gdfo_rows_store *s, struct numbering *m, size_t n_new)
{
    struct numbering old = {s->labels, s->by_name, s->n_of_label, m->map};
    for (size_t i = 0; i < s->n_rows; i++) {
        struct gdfo_row *row = &s->rows[i];
        if (row->label != GDFO_ROW_NO_LABEL) {
            row->label = m->map[row->label];
            m->n_of_label[row->label]++;
        }
    }
    s->labels = m->names;
    s->by_name = m->by_name;
    s->n_of_label = m->n_of_label;
    s->n_labels = n_new;
    s->cap_labels = n_new + 1;
    s->cap_by_name = n_new + 1;
    numbering_deinit(&old);
}

enum gdfo_status gdfo_rows_finish(struct gdfo_rows_store *s, struct gdfo_error *err)
{
    struct numbering m;
    enum gdfo_status status = numbering_init(&m, s->n_labels, s->n_labels, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < s->n_labels; i++) {
        m.names[i] = s->labels[s->by_name[i]];
        m.map[s->by_name[i]] = (uint32_t)i;
    }
    numbering_apply(s, &m, s->n_labels);
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_rows_renumber(struct gdfo_rows_store *s, const struct gdfo_rows_store *like,
                                    struct gdfo_error *err)
{
    struct numbering m;
    enum gdfo_status status = numbering_init(&m, s->n_labels, like->n_labels, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < s->n_labels; i++) {
        GDFO_CHECK(gdfo_rows_find_label(like, s->labels[i], &m.map[i]));
    }
    for (size_t i = 0; i < like->n_labels && status == GDFO_STATUS_OK; i++) {
        status = gdfo_rows_keep(s, like->labels[i], strlen(like->labels[i]), &m.names[i], err);
    }
    if (status != GDFO_STATUS_OK) {
        numbering_deinit(&m);
        return status;
    }
    numbering_apply(s, &m, like->n_labels);
    return GDFO_STATUS_OK;
}

int gdfo_rows_find_label(const struct gdfo_rows_store *s, const char *name, uint32_t *label)
{
    int is_there = 0;
    size_t place = label_place(s, name, strlen(name), &is_there);
    if (is_there) {
        *label = s->by_name[place];
    }
    return is_there;
}
