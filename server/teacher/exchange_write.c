#include "server/teacher/exchange_write.h"

#include "common/mem.h"
#include "common/parse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_ROOM ((size_t)64 << 10) /* around the numbers of an answer */

/* Unreserved characters of RFC 3986 stay; a '/' inside a name does not. */
static int is_unreserved(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != '\0' && strchr("-._~", c));
}

static void add_encoded(struct gdfo_buf *path, const char *name)
{
    for (; *name != '\0'; name++) {
        const unsigned char c = (unsigned char)*name;
        if (is_unreserved(c)) {
            gdfo_buf_addc(path, *name);
        } else {
            gdfo_buf_addf(path, "%%%02X", c);
        }
    }
}

static enum gdfo_status put_path(struct gdfo_exchange *out, const char *path, const char *name,
                                 struct gdfo_error *err)
{
    const char *hole = strstr(path, "%s");
    struct gdfo_buf whole;
    enum gdfo_status status = GDFO_STATUS_OK;
    gdfo_buf_init(&whole, sizeof out->path - 1);
    gdfo_buf_addn(&whole, path, hole ? (size_t)(hole - path) : strlen(path));
    if (hole) {
        add_encoded(&whole, name);
        gdfo_buf_add(&whole, hole + 2);
    }
    if (gdfo_buf_ok(&whole)) {
        memcpy(out->path, whole.data, whole.len + 1);
    } else {
        status =
            gdfo_error_set(err, GDFO_STATUS_LIMIT,
                           "the model's name has %zu bytes, too many for a path", strlen(name));
    }
    gdfo_buf_deinit(&whole);
    return status;
}

enum gdfo_status gdfo_exchange_start(struct gdfo_exchange *out, const char *method,
                                     const char *path, const char *name, struct gdfo_error *err)
{
    out->method = method;
    out->n_headers = 0;
    out->tokens = 0;
    out->answer_max = GDFO_EXCHANGE_ANSWER_MAX;
    gdfo_buf_reset(&out->body);
    if (put_path(out, path, name, err) != GDFO_STATUS_OK) {
        return GDFO_STATUS_LIMIT;
    }
    return strcmp(method, "POST") == 0
               ? gdfo_exchange_add_header(out, "content-type", "application/json", err)
               : GDFO_STATUS_OK;
}

enum gdfo_status gdfo_exchange_add_header(struct gdfo_exchange *out, const char *name,
                                          const char *value, struct gdfo_error *err)
{
    size_t i = 0;
    while (i < out->n_headers && strcmp(out->headers[i].name, name) != 0) {
        i++;
    }
    if (i == GDFO_EXCHANGE_HEADERS_MAX || strlen(value) >= sizeof out->headers[0].value) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "header %s does not fit", name);
    }
    out->headers[i].name = name;
    GDFO_IGNORE(snprintf(out->headers[i].value, sizeof out->headers[i].value, "%s", value));
    out->n_headers += i == out->n_headers;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_exchange_end(struct gdfo_exchange *out, size_t n_values, size_t bytes_each,
                                   struct gdfo_error *err)
{
    if (!gdfo_buf_ok(&out->body)) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "a request of more than %zu bytes",
                              out->body.max);
    }
    if (n_values > (GDFO_EXCHANGE_ANSWER_MAX - ANSWER_ROOM) / bytes_each) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "a request whose answer has %zu numbers",
                              n_values);
    }
    out->answer_max = ANSWER_ROOM + n_values * bytes_each;
    return GDFO_STATUS_OK;
}

static int is_text(struct gdfo_text t)
{
    return t.n == 0 || gdfo_utf8_valid(t.s, t.n) == t.n;
}

static enum gdfo_status check_texts(const struct gdfo_remote_block *b, struct gdfo_error *err)
{
    const struct gdfo_score_req *r = b->req;
    for (uint32_t i = b->first_example; i < b->first_example + b->n_examples; i++) {
        if (!is_text(r->bodies[i])) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "text %u is not UTF-8", i);
        }
    }
    for (uint32_t i = b->first_prompt; r->text_prompts && i < b->first_prompt + b->n_prompts; i++) {
        if (!is_text(r->text_prompts[i])) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "prompt %u is not UTF-8", i);
        }
    }
    return is_text(r->cue) ? GDFO_STATUS_OK
                           : gdfo_error_set(err, GDFO_STATUS_INVALID, "the cue is not UTF-8");
}

enum gdfo_status gdfo_exchange_check(const struct gdfo_remote_block *b, struct gdfo_error *err)
{
    const struct gdfo_score_req *r = b->req;
    const size_t n_floats = gdfo_score_req_prompt_floats(r);
    if (r->is_added || r->n_layer_ids > 0) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "a teacher over HTTP takes rows at its input alone");
    }
    for (uint32_t p = 0; p < b->n_prompts; p++) {
        const float *rows = gdfo_exchange_rows(b, p);
        for (size_t i = 0; i < n_floats; i++) {
            if (!isfinite(rows[i])) { /* it would spoil other requests of the server too */
                return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                      "number %zu of prompt %u is not finite", i,
                                      b->first_prompt + p);
            }
        }
    }
    return check_texts(b, err);
}

size_t gdfo_exchange_cells(const struct gdfo_remote_block *b)
{
    return (size_t)b->n_prompts * b->n_examples * b->n_nodes;
}

size_t gdfo_exchange_values(const struct gdfo_remote_block *b)
{
    size_t n = 0;
    for (uint32_t k = b->first_node; k < b->first_node + b->n_nodes; k++) {
        n += gdfo_remote_n_asked(b, k);
    }
    return n * b->n_prompts * b->n_examples;
}

const float *gdfo_exchange_rows(const struct gdfo_remote_block *b, uint32_t prompt)
{
    const size_t n = gdfo_score_req_prompt_floats(b->req);
    return n > 0 ? b->req->rows + (b->first_prompt + prompt) * n : NULL;
}

static size_t find_id(const struct gdfo_ids *ids, int32_t id)
{
    size_t i = 0;
    while (i < ids->n && ids->data[i] != id) {
        i++;
    }
    return i;
}

/* The ids of one node that are not in the list yet. */
static enum gdfo_status add_asked(const struct gdfo_remote_block *b, uint32_t node,
                                  struct gdfo_ids *out, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (uint32_t i = 0; i < gdfo_remote_n_asked(b, node) && status == GDFO_STATUS_OK; i++) {
        const int32_t id = gdfo_remote_asked(b, node, i);
        if (find_id(out, id) == out->n) {
            status = gdfo_ids_add(out, id, err);
        }
    }
    return status;
}

enum gdfo_status gdfo_exchange_union(const struct gdfo_remote_block *b, struct gdfo_ids *out,
                                     struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (uint32_t k = b->first_node; k < b->first_node + b->n_nodes && status == GDFO_STATUS_OK;
         k++) {
        status = add_asked(b, k, out, err);
    }
    return status;
}

void gdfo_exchange_put_ids(struct gdfo_json_writer *w, const char *key, const int32_t *ids,
                           size_t n)
{
    gdfo_json_open(w, key, '[');
    for (size_t i = 0; i < n; i++) {
        gdfo_json_put_int(w, NULL, ids[i]);
    }
    gdfo_json_close(w, ']');
}

enum gdfo_status gdfo_exchange_sample_init(struct gdfo_exchange_sample *s, uint32_t n_rows,
                                           uint32_t d_model, const char *text,
                                           struct gdfo_error *err)
{
    memset(s, 0, sizeof *s);
    s->rows = gdfo_mem_array((size_t)n_rows * d_model + 1, sizeof *s->rows);
    if (!s->rows) {
        return gdfo_error_no_memory(err, "a probe");
    }
    s->body = (struct gdfo_text){text, strlen(text)};
    s->asked[0] = 1;
    s->asked[1] = 2;
    s->trie.n_nodes = 1;
    s->trie.nodes[0].asked = s->asked;
    s->trie.nodes[0].n_asked = 2;
    s->req = (struct gdfo_score_req){.rows = s->rows,
                                     .n_prompts = 1,
                                     .n_prompt_tokens = n_rows,
                                     .d_model = d_model,
                                     .position = GDFO_POSITION_PREFIX,
                                     .bodies = &s->body,
                                     .n_examples = 1,
                                     .cue = {"", 0}};
    s->block = (struct gdfo_remote_block){
        .req = &s->req, .trie = &s->trie, .n_prompts = 1, .n_examples = 1, .n_nodes = 1};
    return GDFO_STATUS_OK;
}

void gdfo_exchange_sample_deinit(struct gdfo_exchange_sample *s)
{
    gdfo_mem_free(s->rows);
    memset(s, 0, sizeof *s);
}
