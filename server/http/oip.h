#ifndef GDFO_SERVER_HTTP_OIP_H
#define GDFO_SERVER_HTTP_OIP_H

#include "common/buf.h"
#include "server/teacher/teacher.h"

/*
 * The bodies of POST /v2/models/M/infer: the Open Inference Protocol (KServe v2) with its binary
 * tensor extension, as contract gdfo-scorer/1 uses it (teachers.md 3.2). Pure: bytes in, a request
 * out; an answer in, bytes out. The `data` arrays of a JSON body are lifted out of it and poured
 * into buffers by a scanner of ours, flat or nested; what is left is small and goes through
 * common/json.h. Any thread.
 *
 *   struct gdfo_oip_request q;
 *   status = gdfo_oip_request_parse(&q, body, n, GDFO_OIP_ALL_JSON, &err);
 *   ... q.in[GDFO_OIP_SOFT_PROMPT].floats ...
 *   gdfo_oip_answer_write(&(struct gdfo_oip_answer){.request = &q, ...}, &buf);
 *   gdfo_oip_request_deinit(&q);
 */
#define GDFO_OIP_CONTRACT         "gdfo-scorer/1"
#define GDFO_OIP_JSON_MAX_BYTES   ((size_t)4 << 20)
#define GDFO_OIP_BINARY_MAX_BYTES ((size_t)64 << 20)
#define GDFO_OIP_HEADER_MAX_BYTES ((size_t)64 << 10) /* JSON in front of binary tensors */
#define GDFO_OIP_ALL_JSON         SIZE_MAX
#define GDFO_OIP_OFF                                                                               \
    "this daemon serves no models; start it with --serve.models=NAME (GET /v1/students lists "     \
    "them)"

enum gdfo_oip_input {
    GDFO_OIP_SOFT_PROMPT,
    GDFO_OIP_TEXT,
    GDFO_OIP_CUE,
    GDFO_OIP_LABEL_IDS,
    GDFO_OIP_LABEL_PREFIX_IDS,
    GDFO_OIP_INPUT_COUNT
};

enum gdfo_oip_output {
    GDFO_OIP_LABEL_LOGPROBS,
    GDFO_OIP_LOGITS,
    GDFO_OIP_HIDDEN,
    GDFO_OIP_TOKENS_USED,
    GDFO_OIP_TOKENS_CACHED,
    GDFO_OIP_OUTPUT_COUNT
};

enum gdfo_oip_type { GDFO_OIP_FP32, GDFO_OIP_INT32, GDFO_OIP_BYTES };

/* A row of the contract: what a tensor is called and how it may look. */
struct gdfo_oip_row {
    const char *name;
    enum gdfo_oip_type type;
    uint32_t ranks[2]; /* least and most dimensions of an input */
    uint32_t max[3];   /* of each dimension of the largest rank; 0: the model says */
};
const struct gdfo_oip_row *gdfo_oip_input_row(enum gdfo_oip_input i);
const struct gdfo_oip_row *gdfo_oip_output_row(enum gdfo_oip_output o);
const char *gdfo_oip_type_name(enum gdfo_oip_type type); /* "FP32" */

struct gdfo_oip_tensor { /* one of floats, ints and texts, owned; NULL when n is 0 */
    int is_given;
    uint32_t n_dims, shape[3];
    size_t n; /* elements */
    float *floats;
    int32_t *ints;
    struct gdfo_text *texts; /* into bytes */
    char *bytes;
};

struct gdfo_oip_want {
    enum gdfo_oip_output which;
    int is_binary;
};

struct gdfo_oip_request {
    char id[257];
    int has_id;
    enum gdfo_position position; /* prefix when there are no rows to place */
    struct gdfo_oip_tensor in[GDFO_OIP_INPUT_COUNT];
    struct gdfo_oip_want out[GDFO_OIP_OUTPUT_COUNT]; /* in the order asked */
    size_t n_out;
    size_t n_bytes; /* of all tensors */
};

/*
 * n_header: bytes of the JSON in front of binary tensors (Inference-Header-Content-Length), or
 * GDFO_OIP_ALL_JSON. Everything is checked but what only the model knows: its width and its ids.
 *
 *   out      caller's storage, ended by gdfo_oip_request_deinit also on failure
 *   errors   INVALID, FORMAT (code invalid_json), LIMIT never: too much is INVALID and names the
 *            ceiling
 */
GDFO_MUST_USE enum gdfo_status gdfo_oip_request_parse(struct gdfo_oip_request *out,
                                                      const char *body, size_t n, size_t n_header,
                                                      struct gdfo_error *err);
void gdfo_oip_request_deinit(struct gdfo_oip_request *q);

struct gdfo_oip_answer {
    const char *model;
    const struct gdfo_oip_request *request; /* whose outputs are written */
    uint32_t d_model, vocab, n_truncated;
    const void *data[GDFO_OIP_OUTPUT_COUNT]; /* row-major, of the output's type; NULL: not asked */
};

/* Appends the body. Returns the bytes of its JSON when binary tensors follow, else 0. Failures show
 * in gdfo_buf_ok. */
size_t gdfo_oip_answer_write(const struct gdfo_oip_answer *a, struct gdfo_buf *out);

/* Bytes that answer would take at most, before anything is computed. */
uint64_t gdfo_oip_answer_bytes(const struct gdfo_oip_answer *a);

#endif
