#ifndef GDFO_SERVER_TASK_ROWS_PRIV_H
#define GDFO_SERVER_TASK_ROWS_PRIV_H

#include "server/task/dataset.h"

/*
 * The growing side of a data set: texts in chunks, rows in one array, labels interned. Only
 * dataset.c uses it. Labels are numbered in order of appearance until gdfo_rows_finish sorts them.
 */
struct gdfo_rows_store {
    char **chunks;
    size_t n_chunks, cap_chunks;
    size_t used, room;     /* of the last chunk */
    size_t kept_max_bytes; /* ceiling of all below, and what is used of it */
    size_t kept_bytes;

    struct gdfo_row *rows;
    size_t n_rows, cap_rows;

    const char **labels; /* by number */
    uint32_t *by_name;   /* numbers in byte order of the names */
    size_t n_labels, cap_labels, cap_by_name;
    uint32_t *n_of_label; /* made by gdfo_rows_finish */
};

void gdfo_rows_init(struct gdfo_rows_store *s, size_t kept_max_bytes);
void gdfo_rows_deinit(struct gdfo_rows_store *s);

/* Copies n bytes and a NUL; *out borrowed until the store ends. LIMIT past the ceiling. */
GDFO_MUST_USE enum gdfo_status gdfo_rows_keep(struct gdfo_rows_store *s, const char *bytes,
                                              size_t n, const char **out, struct gdfo_error *err);

/* The number of a label, made when new. LIMIT past GDFO_DATASET_LABELS_MAX. */
GDFO_MUST_USE enum gdfo_status gdfo_rows_label(struct gdfo_rows_store *s, const char *name,
                                               size_t n, uint32_t *label, struct gdfo_error *err);

/* Appends a row whose strings are kept already. */
GDFO_MUST_USE enum gdfo_status gdfo_rows_add(struct gdfo_rows_store *s, const struct gdfo_row *row,
                                             struct gdfo_error *err);

/* Renumbers labels into byte order and counts their rows. */
GDFO_MUST_USE enum gdfo_status gdfo_rows_finish(struct gdfo_rows_store *s, struct gdfo_error *err);

/* Takes over the labels of another finished store, which must hold all of this one's. */
GDFO_MUST_USE enum gdfo_status gdfo_rows_renumber(struct gdfo_rows_store *s,
                                                  const struct gdfo_rows_store *like,
                                                  struct gdfo_error *err);

/* 1 and *label when the finished store has a label of that name. */
int gdfo_rows_find_label(const struct gdfo_rows_store *s, const char *name, uint32_t *label);

#endif
