#include "common/json.h"
#include "common/mem.h"
#include "server/http/oip_priv.h"

#include <stdio.h>
#include <string.h>

#define TENSORS_MAX 8 /* of a request, named inputs or outputs */

static const struct gdfo_oip_row inputs[GDFO_OIP_INPUT_COUNT] = {
    [GDFO_OIP_SOFT_PROMPT] = {"soft_prompt", GDFO_OIP_FP32, {2, 3}, {64, 512, 0}},
    [GDFO_OIP_TEXT] = {"text", GDFO_OIP_BYTES, {1, 1}, {256}},
    [GDFO_OIP_CUE] = {"cue", GDFO_OIP_BYTES, {1, 1}, {1}},
    [GDFO_OIP_LABEL_IDS] = {"label_ids", GDFO_OIP_INT32, {1, 1}, {256}},
    [GDFO_OIP_LABEL_PREFIX_IDS] = {"label_prefix_ids",
                                   GDFO_OIP_INT32,
                                   {2, 2},
                                   {256, GDFO_LABEL_IDS_MAX}},
};

static const struct gdfo_oip_row outputs[GDFO_OIP_OUTPUT_COUNT] = {
    [GDFO_OIP_LABEL_LOGPROBS] = {"label_logprobs", GDFO_OIP_FP32, {2, 3}, {0}},
    [GDFO_OIP_LOGITS] = {"logits", GDFO_OIP_FP32, {2, 3}, {0}},
    [GDFO_OIP_HIDDEN] = {"hidden", GDFO_OIP_FP32, {2, 3}, {0}},
    [GDFO_OIP_TOKENS_USED] = {"tokens_used", GDFO_OIP_INT32, {1, 1}, {0}},
    [GDFO_OIP_TOKENS_CACHED] = {"tokens_cached", GDFO_OIP_INT32, {1, 1}, {0}},
};

const struct gdfo_oip_row *gdfo_oip_input_row(enum gdfo_oip_input i)
{
    return &inputs[i];
}

const struct gdfo_oip_row *gdfo_oip_output_row(enum gdfo_oip_output o)
{
    return &outputs[o];
}

const char *gdfo_oip_type_name(enum gdfo_oip_type type)
{
    static const char *const names[] = {"FP32", "INT32", "BYTES"};
    return names[type];
}

/* What is being read. */
struct reader {
    struct gdfo_oip_request *q;
    const char *body;
    struct gdfo_oip_span spans[GDFO_OIP_SPANS_MAX];
    size_t n_spans;
    size_t at, end; /* of the binary tensors that are not taken yet */
    int is_binary;
    int binary_output; /* binary_data_output of the request */
    struct gdfo_error *err;
};

static enum gdfo_status refuse(struct reader *r, const char *what, const char *want)
{
    return gdfo_error_set(r->err, GDFO_STATUS_INVALID, "%.80s; want %s", what, want);
}

static int is_one_of(const char *key, const char *words)
{
    const char *p = strstr(words, key);
    const size_t n = strlen(key);
    for (; p && n > 0; p = strstr(p + 1, key)) {
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0')) {
            return 1;
        }
    }
    return 0;
}

/* An object whose members are among words; NULL is one without any. */
static enum gdfo_status check_object(struct reader *r, const struct gdfo_json *v, const char *where,
                                     const char *words)
{
    if (v && gdfo_json_type(v) != GDFO_JSON_OBJECT) {
        return gdfo_error_set(r->err, GDFO_STATUS_INVALID, "%s is %s; want an object", where,
                              gdfo_json_type_name(gdfo_json_type(v)));
    }
    for (const struct gdfo_json *m = v ? gdfo_json_first(v) : NULL; m; m = gdfo_json_next(m)) {
        if (!is_one_of(gdfo_json_key(m), words)) {
            return gdfo_error_set(r->err, GDFO_STATUS_INVALID,
                                  "%s has a member '%.60s'; this contract knows: %s", where,
                                  gdfo_json_key(m), words);
        }
    }
    return GDFO_STATUS_OK;
}

static const char *text_of(const struct gdfo_json *object, const char *key)
{
    const struct gdfo_json *v = object ? gdfo_json_get(object, key) : NULL;
    const char *s = v ? gdfo_json_string(v) : NULL;
    return s ? s : "";
}

/* ---- a tensor -------------------------------------------------------------------------------- */

static enum gdfo_status read_dimension(struct reader *r, const struct gdfo_json *v,
                                       struct gdfo_oip_tensor *t)
{
    int64_t n = -1;
    if (!gdfo_json_int(v, &n) || n < 0 || n > INT32_MAX) {
        return refuse(r, "a shape has a member that is no count",
                      "integers of 0 or more, such as [2, 64]");
    }
    t->shape[t->n_dims++] = (uint32_t)n;
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_shape(struct reader *r, const struct gdfo_oip_row *row,
                                    struct gdfo_oip_tensor *t)
{
    const uint32_t missing = row->ranks[1] - t->n_dims; /* a prompt alone has no candidates */
    t->n = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) {
        const uint32_t most = row->max[missing + i];
        if (most > 0 && t->shape[i] > most) {
            return gdfo_error_set(r->err, GDFO_STATUS_INVALID,
                                  "dimension %u of the shape is %u; this daemon takes at most %u",
                                  i, t->shape[i], most);
        }
        if (!gdfo_size_mul(&t->n, t->n, t->shape[i]) || t->n > GDFO_OIP_BINARY_MAX_BYTES / 4) {
            return gdfo_error_set(r->err, GDFO_STATUS_INVALID,
                                  "the shape has more elements than fit into %zu bytes",
                                  GDFO_OIP_BINARY_MAX_BYTES);
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_shape(struct reader *r, const struct gdfo_oip_row *row,
                                   const struct gdfo_json *v, struct gdfo_oip_tensor *t)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    size_t n = v && gdfo_json_type(v) == GDFO_JSON_ARRAY ? gdfo_json_size(v) : 0;
    if (n < row->ranks[0] || n > row->ranks[1]) {
        return gdfo_error_set(r->err, GDFO_STATUS_INVALID,
                              "shape has %zu dimensions; want an array of %u%s", n, row->ranks[0],
                              row->ranks[1] > row->ranks[0] ? " or 3" : "");
    }
    for (const struct gdfo_json *d = gdfo_json_first(v); d && status == GDFO_STATUS_OK;
         d = gdfo_json_next(d)) {
        status = read_dimension(r, d, t);
    }
    return status == GDFO_STATUS_OK ? check_shape(r, row, t) : status;
}

static enum gdfo_status read_binary(struct reader *r, const struct gdfo_oip_row *row,
                                    const struct gdfo_json *size, struct gdfo_oip_tensor *t)
{
    int64_t n = -1;
    enum gdfo_status status;
    if (!gdfo_json_int(size, &n) || n < 0) {
        return refuse(r, "binary_data_size is no count", "the tensor's bytes");
    }
    if (!r->is_binary || (uint64_t)n > r->end - r->at) {
        return gdfo_error_set(r->err, GDFO_STATUS_INVALID,
                              "binary_data_size is %lld, and %zu bytes are left behind the JSON; "
                              "want the header Inference-Header-Content-Length and all bytes",
                              (long long)n, r->end - r->at);
    }
    status = gdfo_oip_unpack(t, row->type, r->body + r->at, (size_t)n, r->err);
    r->at += (size_t)n;
    return status;
}

static enum gdfo_status read_data(struct reader *r, const struct gdfo_oip_row *row,
                                  const struct gdfo_json *v, struct gdfo_oip_tensor *t)
{
    const struct gdfo_json *parameters = gdfo_json_get(v, "parameters");
    const struct gdfo_json *size =
        parameters ? gdfo_json_get(parameters, "binary_data_size") : NULL;
    const struct gdfo_json *data = gdfo_json_get(v, "data");
    int64_t span = -1;
    enum gdfo_status status =
        check_object(r, parameters, "parameters of the input", "binary_data_size");
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if ((size != NULL) == (data != NULL)) {
        return refuse(r, size ? "both data and binary_data_size" : "no data",
                      "data, or parameters with binary_data_size");
    }
    if (size) {
        return read_binary(r, row, size, t);
    }
    if (!gdfo_json_int(data, &span) || span < 0 || (size_t)span >= r->n_spans) {
        return refuse(r, "data cannot be read", "the member names inputs and data without escapes");
    }
    return gdfo_oip_pour(t, row->type, r->body, r->spans[span], r->err);
}

static enum gdfo_status read_input(struct reader *r, const struct gdfo_json *v)
{
    const char *name = text_of(v, "name");
    struct gdfo_oip_tensor *t;
    const struct gdfo_oip_row *row;
    size_t i = 0;
    enum gdfo_status status = check_object(r, v, "an input", "name shape datatype data parameters");
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    while (i < GDFO_OIP_INPUT_COUNT && strcmp(inputs[i].name, name) != 0) {
        i++;
    }
    if (i == GDFO_OIP_INPUT_COUNT) {
        return gdfo_error_set(r->err, GDFO_STATUS_INVALID,
                              "input '%.60s'; this model has soft_prompt, text, cue, label_ids and "
                              "label_prefix_ids",
                              name);
    }
    t = &r->q->in[i];
    row = &inputs[i];
    if (t->is_given) {
        return gdfo_error_set(r->err, GDFO_STATUS_INVALID, "input %s is given twice", name);
    }
    t->is_given = 1;
    status = strcmp(text_of(v, "datatype"), gdfo_oip_type_name(row->type)) == 0
                 ? read_shape(r, row, gdfo_json_get(v, "shape"), t)
                 : gdfo_error_set(r->err, GDFO_STATUS_INVALID, "datatype is '%.20s'; want %s",
                                  text_of(v, "datatype"), gdfo_oip_type_name(row->type));
    if (status == GDFO_STATUS_OK) {
        status = read_data(r, row, v, t);
    }
    r->q->n_bytes += 4 * t->n;
    for (size_t k = 0; status == GDFO_STATUS_OK && t->texts && k < t->n; k++) {
        r->q->n_bytes += t->texts[k].n;
    }
    return status == GDFO_STATUS_OK ? status : gdfo_error_prefix(r->err, "input %s", name);
}

/* ---- the rest -------------------------------------------------------------------------------- */

static enum gdfo_status add_output(struct reader *r, size_t which, int is_binary)
{
    struct gdfo_oip_request *q = r->q;
    for (size_t i = 0; i < q->n_out; i++) {
        if (q->out[i].which == (enum gdfo_oip_output)which) {
            return gdfo_error_set(r->err, GDFO_STATUS_INVALID, "output %s is asked twice",
                                  outputs[which].name);
        }
    }
    if (which == GDFO_OIP_LOGITS && !is_binary) {
        return gdfo_error_set(r->err, GDFO_STATUS_INVALID,
                              "output logits comes in binary only; want "
                              "\"parameters\":{\"binary_data\":true}");
    }
    q->out[q->n_out++] = (struct gdfo_oip_want){(enum gdfo_oip_output)which, is_binary};
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_output(struct reader *r, const struct gdfo_json *v)
{
    const struct gdfo_json *parameters = v ? gdfo_json_get(v, "parameters") : NULL;
    const struct gdfo_json *binary = parameters ? gdfo_json_get(parameters, "binary_data") : NULL;
    int is_binary = r->binary_output;
    size_t i = 0;
    enum gdfo_status status = check_object(r, v, "an output", "name parameters");
    if (status == GDFO_STATUS_OK) {
        status = check_object(r, parameters, "parameters of an output", "binary_data");
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (binary && !gdfo_json_bool(binary, &is_binary)) {
        return refuse(r, "binary_data is no boolean", "true or false");
    }
    while (i < GDFO_OIP_OUTPUT_COUNT && strcmp(outputs[i].name, text_of(v, "name")) != 0) {
        i++;
    }
    return i < GDFO_OIP_OUTPUT_COUNT
               ? add_output(r, i, is_binary)
               : gdfo_error_set(r->err, GDFO_STATUS_INVALID,
                                "output '%.60s'; this model has label_logprobs, logits, hidden, "
                                "tokens_used and tokens_cached",
                                text_of(v, "name"));
}

/* Every member of an array of at most TENSORS_MAX. */
static enum gdfo_status read_list(struct reader *r, const struct gdfo_json *list, const char *name,
                                  enum gdfo_status (*read)(struct reader *,
                                                           const struct gdfo_json *))
{
    enum gdfo_status status = GDFO_STATUS_OK;
    if (!list || gdfo_json_type(list) != GDFO_JSON_ARRAY || gdfo_json_size(list) > TENSORS_MAX) {
        return gdfo_error_set(r->err, GDFO_STATUS_INVALID,
                              "%s is missing or no short array; want at most %d objects", name,
                              TENSORS_MAX);
    }
    for (const struct gdfo_json *v = gdfo_json_first(list); v && status == GDFO_STATUS_OK;
         v = gdfo_json_next(v)) {
        status = read(r, v);
    }
    return status;
}

/* Without a list: what is small, and logits and hidden states only when named. */
static enum gdfo_status read_outputs(struct reader *r, const struct gdfo_json *root)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    const struct gdfo_json *list = gdfo_json_get(root, "outputs");
    if (list && gdfo_json_type(list) == GDFO_JSON_ARRAY && gdfo_json_size(list) > 0) {
        return read_list(r, list, "outputs", read_output);
    }
    if (r->q->in[GDFO_OIP_LABEL_IDS].is_given) {
        status = add_output(r, GDFO_OIP_LABEL_LOGPROBS, r->binary_output);
    }
    if (status == GDFO_STATUS_OK) {
        status = add_output(r, GDFO_OIP_TOKENS_USED, r->binary_output);
    }
    return status == GDFO_STATUS_OK ? add_output(r, GDFO_OIP_TOKENS_CACHED, r->binary_output)
                                    : status;
}

static enum gdfo_status read_position(struct reader *r, const struct gdfo_json *parameters)
{
    const char *position = text_of(parameters, "position");
    const int is_needed = r->q->in[GDFO_OIP_SOFT_PROMPT].n > 0;
    r->q->position = GDFO_POSITION_PREFIX;
    if (strcmp(position, "suffix") == 0) {
        r->q->position = GDFO_POSITION_SUFFIX;
    } else if (strcmp(position, "prefix") != 0 &&
               (is_needed || (parameters && gdfo_json_get(parameters, "position")))) {
        return gdfo_error_set(r->err, GDFO_STATUS_INVALID,
                              "parameters.position is '%.20s'; want prefix (rows, text, cue) or "
                              "suffix (text, rows, cue)",
                              position);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_parameters(struct reader *r, const struct gdfo_json *root)
{
    const struct gdfo_json *p = gdfo_json_get(root, "parameters");
    const struct gdfo_json *binary = p ? gdfo_json_get(p, "binary_data_output") : NULL;
    enum gdfo_status status =
        check_object(r, p, "parameters", "contract position binary_data_output");
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (p && gdfo_json_get(p, "contract") &&
        strcmp(text_of(p, "contract"), GDFO_OIP_CONTRACT) != 0) {
        return gdfo_error_set(r->err, GDFO_STATUS_INVALID,
                              "parameters.contract is '%.40s'; this daemon speaks %s",
                              text_of(p, "contract"), GDFO_OIP_CONTRACT);
    }
    if (binary && !gdfo_json_bool(binary, &r->binary_output)) {
        return refuse(r, "binary_data_output is no boolean", "true or false");
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_id(struct reader *r, const struct gdfo_json *root)
{
    const struct gdfo_json *v = gdfo_json_get(root, "id");
    const char *id = v ? gdfo_json_string(v) : "";
    if (!id || strlen(id) >= sizeof r->q->id) {
        return refuse(r, "id is no text, or longer than 256 bytes", "a text, or none");
    }
    r->q->has_id = v != NULL;
    (void)snprintf(r->q->id, sizeof r->q->id, "%s", id);
    return GDFO_STATUS_OK;
}

/* -1 ends a row: behind it stands nothing else. */
static enum gdfo_status check_prefixes(struct reader *r, const struct gdfo_oip_tensor *t)
{
    const uint32_t width = t->shape[1];
    for (size_t i = 0; t->is_given && i < t->n; i++) {
        if (t->ints[i] < -1 || (i % width > 0 && t->ints[i - 1] == -1 && t->ints[i] != -1)) {
            return gdfo_error_set(r->err, GDFO_STATUS_INVALID,
                                  "label_prefix_ids has %d at element %zu; want token ids, then -1 "
                                  "to the end of the row",
                                  t->ints[i], i);
        }
    }
    return GDFO_STATUS_OK;
}

/* What the tensors must be to each other. */
static enum gdfo_status check_together(struct reader *r)
{
    const struct gdfo_oip_tensor *in = r->q->in;
    const struct gdfo_oip_tensor *rows = &in[GDFO_OIP_SOFT_PROMPT];
    const struct gdfo_oip_tensor *prefixes = &in[GDFO_OIP_LABEL_PREFIX_IDS];
    if (!rows->is_given || (rows->n_dims == 3 && rows->shape[0] == 0)) {
        return refuse(r, "input soft_prompt is missing, or of no candidate",
                      "[P,H] or [C,P,H]; P may be 0");
    }
    if (!in[GDFO_OIP_TEXT].is_given || in[GDFO_OIP_TEXT].n == 0) {
        return refuse(r, "input text is missing or empty", "1..256 texts");
    }
    if (in[GDFO_OIP_CUE].is_given && in[GDFO_OIP_CUE].n != 1) {
        return refuse(r, "input cue has not one element", "shape [1], or no cue");
    }
    if (prefixes->is_given && prefixes->shape[0] != in[GDFO_OIP_TEXT].n) {
        return gdfo_error_set(r->err, GDFO_STATUS_INVALID,
                              "label_prefix_ids has %u rows for %zu texts; want one each",
                              prefixes->shape[0], in[GDFO_OIP_TEXT].n);
    }
    for (size_t i = 0; i < r->q->n_out; i++) {
        if (r->q->out[i].which == GDFO_OIP_LABEL_LOGPROBS && in[GDFO_OIP_LABEL_IDS].n == 0) {
            return refuse(r,
                          "output label_logprobs without label_ids: this daemon has no labels "
                          "of its own",
                          "input label_ids");
        }
    }
    return check_prefixes(r, prefixes);
}

static enum gdfo_status read_root(struct reader *r, const struct gdfo_json *root)
{
    enum gdfo_status status = check_object(r, root, "the request", "id parameters inputs outputs");
    if (status == GDFO_STATUS_OK) {
        status = read_id(r, root);
    }
    if (status == GDFO_STATUS_OK) {
        status = read_parameters(r, root);
    }
    if (status == GDFO_STATUS_OK) {
        status = read_list(r, gdfo_json_get(root, "inputs"), "inputs", read_input);
    }
    if (status == GDFO_STATUS_OK && r->at != r->end) {
        status = gdfo_error_set(r->err, GDFO_STATUS_INVALID,
                                "%zu bytes stand behind the last binary tensor; want none",
                                r->end - r->at);
    }
    if (status == GDFO_STATUS_OK) {
        status = read_position(r, gdfo_json_get(root, "parameters"));
    }
    if (status == GDFO_STATUS_OK) {
        status = read_outputs(r, root);
    }
    return status == GDFO_STATUS_OK ? check_together(r) : status;
}

enum gdfo_status gdfo_oip_request_parse(struct gdfo_oip_request *out, const char *body, size_t n,
                                        size_t n_header, struct gdfo_error *err)
{
    struct reader r = {.q = out, .body = body, .is_binary = n_header != GDFO_OIP_ALL_JSON};
    const size_t n_json = r.is_binary ? n_header : n;
    struct gdfo_json *root = NULL;
    char *reduced;
    enum gdfo_status status;
    memset(out, 0, sizeof *out);
    r.err = err;
    r.at = n_json;
    r.end = n;
    if (n_json > n ||
        n_json > (r.is_binary ? GDFO_OIP_HEADER_MAX_BYTES : GDFO_OIP_JSON_MAX_BYTES)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "%zu bytes of JSON in a body of %zu; at most %zu in front of binary "
                              "tensors, and %zu without them",
                              n_json, n, GDFO_OIP_HEADER_MAX_BYTES, GDFO_OIP_JSON_MAX_BYTES);
    }
    reduced = gdfo_mem_array(n_json + 1, 1);
    if (!reduced) {
        return gdfo_error_no_memory(err, "reading a request");
    }
    if (n_json > 0) {
        memcpy(reduced, body, n_json);
    }
    r.n_spans = gdfo_oip_lift(reduced, n_json, r.spans);
    status = gdfo_json_parse(&root, reduced, n_json, NULL, err);
    if (status == GDFO_STATUS_OK) {
        status = read_root(&r, root);
    }
    gdfo_json_destroy(root);
    gdfo_mem_free(reduced);
    return status;
}

void gdfo_oip_request_deinit(struct gdfo_oip_request *q)
{
    for (size_t i = 0; i < GDFO_OIP_INPUT_COUNT; i++) {
        gdfo_mem_free(q->in[i].floats);
        gdfo_mem_free(q->in[i].ints);
        gdfo_mem_free(q->in[i].texts);
        gdfo_mem_free(q->in[i].bytes);
    }
    memset(q->in, 0, sizeof q->in);
}
