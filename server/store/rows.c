#include "server/store/row_priv.h"

#include <string.h>

static void drop_all(const struct gdfo_rows *rows, size_t n)
{
    while (rows->drop && n > 0) {
        rows->drop((char *)rows->out + --n * rows->row_bytes);
    }
}

enum gdfo_status gdfo_query_rows(struct gdfo_query *q, const struct gdfo_rows *rows, size_t *n,
                                 int *has_more, struct gdfo_error *err)
{
    int has_row = 0;
    size_t k = 0;
    enum gdfo_status status = gdfo_query_row(q, &has_row, err);
    while (status == GDFO_STATUS_OK && has_row && k < rows->limit) {
        char *row = (char *)rows->out + k * rows->row_bytes;
        memset(row, 0, rows->row_bytes);
        status = rows->read(q, row, err);
        k++;
        if (status == GDFO_STATUS_OK) {
            status = gdfo_query_row(q, &has_row, err);
        }
    }
    gdfo_query_end(q);
    if (status != GDFO_STATUS_OK) {
        drop_all(rows, k);
        return status;
    }
    *n = k;
    *has_more = has_row;
    return status;
}

enum gdfo_status gdfo_query_only(struct gdfo_query *q, const struct gdfo_rows *row,
                                 const char *what, struct gdfo_error *err)
{
    size_t n = 0;
    int has_more = 0;
    enum gdfo_status status = gdfo_query_rows(q, row, &n, &has_more, err);
    if (status == GDFO_STATUS_OK && n == 0) {
        status = gdfo_error_set(err, GDFO_STATUS_NOT_FOUND, "no such %s", what);
    }
    return status;
}
