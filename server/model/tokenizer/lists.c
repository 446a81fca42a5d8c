#include "server/model/tokenizer/lists.h"

#include "common/mem.h"

#include <string.h>

void gdfo_ids_deinit(struct gdfo_ids *ids)
{
    gdfo_mem_free(ids->data);
    ids->data = NULL;
    ids->n = 0;
    ids->cap = 0;
}

enum gdfo_status gdfo_ids_add(struct gdfo_ids *ids, int32_t id, struct gdfo_error *err)
{
    void *p = ids->data;
    if (!gdfo_mem_grow(&p, &ids->cap, ids->n + 1, sizeof *ids->data)) {
        return gdfo_error_no_memory(err, "tokenising");
    }
    ids->data = p;
    ids->data[ids->n++] = id;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_text_list_add(struct gdfo_text_list *list, const char *text, size_t n,
                                    struct gdfo_error *err)
{
    void *bytes = list->bytes;
    void *ends = list->ends;
    int ok;
    if (n > GDFO_TEXT_LIST_MAX_BYTES - list->n_bytes || list->n >= GDFO_TEXT_LIST_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "text number %zu makes the list too long: at most %u texts and %zu "
                              "bytes in all",
                              list->n, GDFO_TEXT_LIST_MAX, GDFO_TEXT_LIST_MAX_BYTES);
    }
    ok = gdfo_mem_grow(&bytes, &list->cap_bytes, list->n_bytes + n, 1);
    list->bytes = bytes;
    if (ok) {
        ok = gdfo_mem_grow(&ends, &list->cap, list->n + 1, sizeof *list->ends);
        list->ends = ends;
    }
    if (!ok) {
        return gdfo_error_no_memory(err, "reading tokens");
    }
    if (n > 0) {
        memcpy(list->bytes + list->n_bytes, text, n);
    }
    list->n_bytes += n;
    list->ends[list->n++] = list->n_bytes;
    return GDFO_STATUS_OK;
}

const char *gdfo_text_list_at(const struct gdfo_text_list *list, size_t i, size_t *n)
{
    const size_t start = i > 0 ? list->ends[i - 1] : 0;
    *n = list->ends[i] - start;
    return list->bytes ? list->bytes + start : "";
}

void gdfo_text_list_deinit(struct gdfo_text_list *list)
{
    gdfo_mem_free(list->bytes);
    gdfo_mem_free(list->ends);
    *list = (struct gdfo_text_list){0};
}
