#ifndef GDFO_SERVER_HTTP_UPLOAD_H
#define GDFO_SERVER_HTTP_UPLOAD_H

#include "server/http/request.h"
#include "server/store/store_file.h"

/*
 * The body of POST /v1/files on its way: the file part goes to the store as it comes, the few
 * fields beside it are kept. Faults of the form are noted on the request (respond.h) at the end.
 */
struct gdfo_upload;

/* INVALID when the content type has no boundary. */
GDFO_MUST_USE enum gdfo_status gdfo_upload_create(struct gdfo_upload **out, struct gdfo_request *r,
                                                  struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_upload_add(struct gdfo_upload *u, const char *bytes, size_t n,
                                               struct gdfo_error *err);
void gdfo_upload_destroy(struct gdfo_upload *u); /* takes back what was not finished */

/*
 * The whole body is in: makes the content durable and fills in the row to add.
 *
 *   file     filename and purpose borrowed until gdfo_upload_destroy()
 *   errors   INVALID after faults were noted; FORMAT for a body cut short; the store's
 */
GDFO_MUST_USE enum gdfo_status gdfo_upload_finish(struct gdfo_upload *u,
                                                  struct gdfo_store_file_new *file,
                                                  struct gdfo_error *err);

/* The last path component without control characters, "upload" when nothing is left; out has
 * GDFO_STORE_FILENAME_BYTES. 0 when it is longer than 255 bytes or not UTF-8. */
int gdfo_upload_filename(const char *given, char *out);

#endif
