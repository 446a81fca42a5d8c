#include "server/http/paging.h"

#include "server/http/respond.h"

#include <string.h>

int gdfo_paging_read(struct gdfo_request *r, size_t default_limit, struct gdfo_store_page *page)
{
    const char *order = gdfo_target_param(&r->target, "order");
    int64_t limit = (int64_t)default_limit;
    int is_good = gdfo_request_int_param(r, "limit", 1, GDFO_STORE_LIST_MAX, &limit);
    *page = (struct gdfo_store_page){.after = gdfo_target_param(&r->target, "after"),
                                     .limit = (size_t)limit};
    if (order && strcmp(order, "asc") != 0 && strcmp(order, "desc") != 0) {
        gdfo_respond_fault(r, "/order", "invalid_value", "order is '%.40s'; want asc or desc",
                           order);
        is_good = 0;
    }
    page->is_ascending = order && strcmp(order, "asc") == 0;
    if (page->after && strlen(page->after) >= GDFO_STORE_NAME_BYTES) {
        gdfo_respond_fault(r, "/after", "invalid_value", "after is too long to be an id");
        is_good = 0;
    }
    return is_good;
}

struct gdfo_json_writer gdfo_paging_open(struct gdfo_request *r)
{
    struct gdfo_json_writer w = gdfo_respond_json(r, 200);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "object", "list");
    gdfo_json_open(&w, "data", '[');
    return w;
}

void gdfo_paging_close(struct gdfo_json_writer *w, const char *first, const char *last,
                       int has_more)
{
    gdfo_json_close(w, ']');
    gdfo_json_put_bool(w, "has_more", has_more);
    gdfo_json_put_str(w, "first_id", first);
    gdfo_json_put_str(w, "last_id", last);
    gdfo_json_close(w, '}');
}
