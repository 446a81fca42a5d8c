#ifndef GDFO_SERVER_HTTP_PAGING_H
#define GDFO_SERVER_HTTP_PAGING_H

#include "common/json_write.h"
#include "server/http/request.h"

/* Lists (service.md 1.6): after, limit and order of the query; object, data, has_more, first_id and
 * last_id of the answer. */

/* 0 after faults. *page borrows from the request. */
int gdfo_paging_read(struct gdfo_request *r, size_t default_limit, struct gdfo_store_page *page);

/* Opens {"object":"list","data":[ and closes it with what was written between. first and last may
 * be NULL. */
struct gdfo_json_writer gdfo_paging_open(struct gdfo_request *r);
void gdfo_paging_close(struct gdfo_json_writer *w, const char *first, const char *last,
                       int has_more);

#endif
