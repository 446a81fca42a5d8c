#ifndef GDFO_SERVER_HTTP_RESPOND_H
#define GDFO_SERVER_HTTP_RESPOND_H

#include "common/json_write.h"
#include "server/http/request.h"

/*
 * Answers. A handler ends with exactly one of these; what is wrong with a request is collected
 * first (gdfo_respond_fault) and then answered whole (service.md 1.1.4, 1.2).
 */
#define GDFO_ANSWER_MAX_BYTES ((size_t)64 << 20)

/* Starts a JSON answer and returns its writer. */
struct gdfo_json_writer gdfo_respond_json(struct gdfo_request *r, int http_status);

/* Starts an answer of other bytes, to be added to the buffer that is returned. */
struct gdfo_buf *gdfo_respond_bytes(struct gdfo_request *r, const char *content_type);

/* Answers with a file's content; takes ownership of reader. */
void gdfo_respond_reader(struct gdfo_request *r, const struct gdfo_reader *reader);

/* Content-Disposition: attachment, with what a quoted string may not hold replaced. */
void gdfo_respond_attachment(struct gdfo_request *r, const char *filename);

/* An answer without a body (304). */
void gdfo_respond_empty(struct gdfo_request *r, int http_status);

/* Notes one fault; code is of common/wire.h. At most 100 are kept. */
GDFO_PRINTF(4, 5)
void gdfo_respond_fault(struct gdfo_request *r, const char *pointer, const char *code,
                        const char *fmt, ...);

/* As the callbacks of common/opt.h and server/job/job_spec.h want it; ctx is the request. */
void gdfo_respond_on_fault(void *ctx, const char *pointer, const char *code, const char *detail);

/* 1 when faults were noted; the answer with all of them is ready then. */
int gdfo_respond_faults(struct gdfo_request *r);

/* One fault, answered at once. */
GDFO_PRINTF(4, 5)
void gdfo_respond_refuse(struct gdfo_request *r, const char *pointer, const char *code,
                         const char *fmt, ...);

/* A failure from below. The words of a 5xx that is ours go to the log alone: they may name paths.
 */
void gdfo_respond_error(struct gdfo_request *r, const struct gdfo_error *err);

#endif
