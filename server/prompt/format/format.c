#include "server/prompt/format/format.h"

#include "common/mem.h"
#include "common/parse.h"
#include "server/prompt/format/format_priv.h"
#include "server/prompt/prompt.h"

#include <math.h>
#include <string.h>

size_t gdfo_prompt_bytes(const struct gdfo_prompt *p)
{
    return p->n_prompt_tokens * p->d_model * sizeof *p->rows; /* bounds: 4096 x 65536 x 4 */
}

const char *gdfo_prompt_position_name(enum gdfo_prompt_position position)
{
    return position == GDFO_PROMPT_POSITION_SUFFIX ? "suffix" : "prefix";
}

int gdfo_prompt_position_parse(const char *name, enum gdfo_prompt_position *out)
{
    if (!name || (strcmp(name, "prefix") != 0 && strcmp(name, "suffix") != 0)) {
        return 0;
    }
    *out = name[0] == 's' ? GDFO_PROMPT_POSITION_SUFFIX : GDFO_PROMPT_POSITION_PREFIX;
    return 1;
}

static int is_shape(uint64_t n_prompt_tokens, uint64_t d_model)
{
    return n_prompt_tokens >= 1 && n_prompt_tokens <= GDFO_PROMPT_TOKENS_MAX && d_model >= 1 &&
           d_model <= GDFO_PROMPT_WIDTH_MAX;
}

enum gdfo_status gdfo_prompt_json(struct gdfo_json **out, const char *text, size_t n,
                                  struct gdfo_error *err)
{
    static const struct gdfo_json_limits limits = {
        .depth = 16, .string_bytes = GDFO_PROMPT_JSON_MAX_BYTES, .members = 4096, .values = 200000};
    enum gdfo_status status = gdfo_json_parse(out, text, n, &limits, err);
    if (status == GDFO_STATUS_OK && gdfo_json_type(*out) != GDFO_JSON_OBJECT) {
        gdfo_json_destroy(*out);
        *out = NULL;
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "want a JSON object");
    }
    return status;
}

static enum gdfo_status check_about(const char *about, struct gdfo_error *err)
{
    struct gdfo_json *root = NULL;
    enum gdfo_status status;
    if (!about) {
        return GDFO_STATUS_OK;
    }
    if (strlen(about) > GDFO_PROMPT_JSON_MAX_BYTES / 2) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "prompt: about of %zu bytes, at most %zu",
                              strlen(about), GDFO_PROMPT_JSON_MAX_BYTES / 2);
    }
    status = gdfo_prompt_json(&root, about, strlen(about), err);
    gdfo_json_destroy(root);
    if (status == GDFO_STATUS_FORMAT || status == GDFO_STATUS_LIMIT) {
        (void)gdfo_error_prefix(err, "prompt: about");
        return GDFO_STATUS_INVALID;
    }
    return status;
}

enum gdfo_status gdfo_prompt_check(const struct gdfo_prompt *p, struct gdfo_error *err)
{
    const char *cue = p->cue ? p->cue : "";
    if (!is_shape(p->n_prompt_tokens, p->d_model)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "prompt of %zu x %zu: want 1..%d x 1..%d",
                              p->n_prompt_tokens, p->d_model, GDFO_PROMPT_TOKENS_MAX,
                              GDFO_PROMPT_WIDTH_MAX);
    }
    for (size_t i = 0; i < (1 + p->n_layers) * p->n_prompt_tokens * p->d_model; i++) {
        if (!isfinite(p->rows[i])) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "prompt: number %zu of row %zu is not finite", i % p->d_model,
                                  i / p->d_model);
        }
    }
    if (strlen(cue) > GDFO_PROMPT_JSON_MAX_BYTES / 8 ||
        gdfo_utf8_valid(cue, strlen(cue)) != strlen(cue)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "prompt: cue is too long or not UTF-8");
    }
    return check_about(p->about, err);
}

enum gdfo_status gdfo_prompt_check_shallow(const struct gdfo_prompt *p, const char *format,
                                           struct gdfo_error *err)
{
    return p->n_layers > 0
               ? gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                                "%s has rows for the input alone; this prompt adds rows before %zu "
                                "more layers and means nothing without them: want json or "
                                "safetensors",
                                format, p->n_layers)
               : GDFO_STATUS_OK;
}

enum gdfo_status gdfo_prompt_shape(struct gdfo_prompt *p, int64_t n_prompt_tokens, int64_t d_model,
                                   uint64_t n_bytes, struct gdfo_error *err)
{
    if (n_prompt_tokens < 0 || d_model < 0 ||
        !is_shape((uint64_t)n_prompt_tokens, (uint64_t)d_model)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "prompt of %lld x %lld: want 1..%d x 1..%d",
                              (long long)n_prompt_tokens, (long long)d_model,
                              GDFO_PROMPT_TOKENS_MAX, GDFO_PROMPT_WIDTH_MAX);
    }
    p->n_prompt_tokens = (size_t)n_prompt_tokens;
    p->d_model = (size_t)d_model;
    if (gdfo_prompt_bytes(p) != n_bytes) {
        return gdfo_error_set(
            err, GDFO_STATUS_FORMAT, "prompt of %zu x %zu needs %zu bytes, the file has %llu",
            p->n_prompt_tokens, p->d_model, gdfo_prompt_bytes(p), (unsigned long long)n_bytes);
    }
    return GDFO_STATUS_OK;
}

/* Copies text behind the block's cursor and moves it on. */
static const char *put_text(char **at, const char *text)
{
    char *start = *at;
    size_t n = strlen(text) + 1;
    memcpy(start, text, n);
    *at += n;
    return start;
}

enum gdfo_status gdfo_prompt_finish(struct gdfo_prompt_file *out, const struct gdfo_prompt *p,
                                    const unsigned char *rows, struct gdfo_error *err)
{
    struct gdfo_prompt made = *p;
    const char *cue = p->cue ? p->cue : "";
    const char *about = p->about ? p->about : "{}";
    size_t n_bytes = gdfo_prompt_bytes(p);
    float *memory = gdfo_mem_array(n_bytes + strlen(cue) + strlen(about) + 2, 1);
    char *at;
    if (!memory) {
        return gdfo_error_no_memory(err, "a prompt");
    }
    memcpy(memory, rows, n_bytes);
    for (size_t i = 0; i < p->n_prompt_tokens * p->d_model; i++) {
        if (!isfinite(memory[i])) {
            gdfo_mem_free(memory);
            return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                                  "prompt: number %zu of row %zu is not finite", i % p->d_model,
                                  i / p->d_model);
        }
    }
    at = (char *)memory + n_bytes;
    made.rows = memory;
    made.cue = put_text(&at, cue);
    made.about = put_text(&at, about);
    out->prompt = made;
    out->memory = memory;
    return GDFO_STATUS_OK;
}

void gdfo_prompt_file_deinit(struct gdfo_prompt_file *f)
{
    gdfo_mem_free(f->memory);
    *f = (struct gdfo_prompt_file){0};
}
