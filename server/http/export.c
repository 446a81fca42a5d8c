#include "server/http/export.h"

#include "common/json.h"
#include "common/json_write.h"
#include "server/prompt/format/format.h"

#include <stdio.h>
#include <string.h>

#define TAR_BLOCK      512
#define TAR_CHECK_AT   148
#define TAR_CHECK_SIZE 8

enum export_format { EXPORT_GDFO, EXPORT_JSON, EXPORT_SAFETENSORS, EXPORT_PEFT, EXPORT_END };

static const char *const names[EXPORT_END] = {"gdfo", "json", "safetensors", "peft"};
static const struct gdfo_export kinds[EXPORT_END] = {
    {"application/octet-stream", "gdfo"},
    {"application/json", "json"},
    {"application/octet-stream", "safetensors"},
    {"application/x-tar", "tar"},
};

static const char *position_name(enum gdfo_prompt_position position)
{
    return position == GDFO_PROMPT_POSITION_PREFIX ? "prefix" : "suffix";
}

static void write_json(const struct gdfo_prompt *p, struct gdfo_buf *out)
{
    struct gdfo_json_writer w = gdfo_json_writer(out);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "object", "prompt");
    gdfo_json_put_int(&w, "n_prompt_tokens", (int64_t)p->n_prompt_tokens);
    gdfo_json_put_int(&w, "d_model", (int64_t)p->d_model);
    gdfo_json_put_str(&w, "position", position_name(p->position));
    gdfo_json_put_bool(&w, "bos_before_soft", p->bos_before_soft);
    gdfo_json_put_str(&w, "cue", p->cue ? p->cue : "");
    gdfo_json_put_raw(&w, "about", p->about ? p->about : "{}");
    gdfo_json_open(&w, "rows", '[');
    for (size_t i = 0; i < p->n_prompt_tokens; i++) {
        gdfo_json_open(&w, NULL, '[');
        for (size_t j = 0; j < p->d_model; j++) {
            gdfo_json_put_num(&w, NULL, (double)p->rows[i * p->d_model + j]);
        }
        gdfo_json_close(&w, ']');
    }
    gdfo_json_close(&w, ']');
    gdfo_json_close(&w, '}');
}

/* One plain file in ustar: no owner, no time, so that the same prompt is the same bytes. */
static void add_to_tar(struct gdfo_buf *out, const char *name, const struct gdfo_buf *bytes)
{
    static const char zeros[TAR_BLOCK];
    char head[TAR_BLOCK] = {0};
    unsigned sum = 0;
    (void)snprintf(head, 100, "%s", name);
    memcpy(head + 100,
           "0000644\0"
           "0000000\0"
           "0000000\0",
           24);
    (void)snprintf(head + 124, 12, "%011llo", (unsigned long long)bytes->len);
    memcpy(head + 136, "00000000000\0", 12);
    memset(head + TAR_CHECK_AT, ' ', TAR_CHECK_SIZE);
    head[156] = '0';
    memcpy(head + 257,
           "ustar\0"
           "00",
           8);
    for (size_t i = 0; i < sizeof head; i++) {
        sum += (unsigned char)head[i];
    }
    (void)snprintf(head + TAR_CHECK_AT, TAR_CHECK_SIZE, "%06o", sum);
    gdfo_buf_addn(out, head, sizeof head);
    gdfo_buf_addn(out, bytes->data, bytes->len);
    gdfo_buf_addn(out, zeros, (TAR_BLOCK - bytes->len % TAR_BLOCK) % TAR_BLOCK);
}

static void end_tar(struct gdfo_buf *out)
{
    static const char zeros[2 * TAR_BLOCK];
    gdfo_buf_addn(out, zeros, sizeof zeros);
}

static size_t count_at(const struct gdfo_json *about, const char *key)
{
    const struct gdfo_json *v = gdfo_json_get(about, key);
    int64_t n = 0;
    return v && gdfo_json_int(v, &n) && n > 0 ? (size_t)n : 0;
}

/* What PEFT's configuration says beside the rows; the job wrote it into the prompt's about. */
static struct gdfo_prompt_peft peft_of(const struct gdfo_json *about)
{
    const struct gdfo_json *teacher = gdfo_json_get(about, "teacher");
    struct gdfo_prompt_peft peft = {.n_heads = count_at(about, "n_heads"),
                                    .n_layers = count_at(about, "n_layers")};
    if (teacher && gdfo_json_type(teacher) == GDFO_JSON_OBJECT) {
        peft.n_heads = peft.n_heads ? peft.n_heads : count_at(teacher, "n_heads");
        peft.n_layers = peft.n_layers ? peft.n_layers : count_at(teacher, "n_layers");
        teacher = gdfo_json_get(teacher, "name");
    }
    peft.base_model = teacher ? gdfo_json_string(teacher) : NULL;
    return peft;
}

static enum gdfo_status write_peft(const struct gdfo_prompt *p, struct gdfo_buf *out,
                                   struct gdfo_error *err)
{
    const struct gdfo_json_limits limits = {.members = 4096, .values = 1000000};
    const char *text = p->about ? p->about : "{}";
    struct gdfo_json *about = NULL;
    struct gdfo_buf model, config;
    struct gdfo_prompt_peft peft;
    enum gdfo_status status = gdfo_json_parse(&about, text, strlen(text), &limits, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_buf_init(&model, GDFO_PROMPT_FILE_MAX_BYTES);
    gdfo_buf_init(&config, GDFO_PROMPT_JSON_MAX_BYTES);
    peft = peft_of(about);
    status = gdfo_prompt_write_peft(p, &peft, &model, &config, err);
    if (status == GDFO_STATUS_OK) {
        add_to_tar(out, "adapter_config.json", &config);
        add_to_tar(out, "adapter_model.safetensors", &model);
        end_tar(out);
    }
    gdfo_buf_deinit(&model);
    gdfo_buf_deinit(&config);
    gdfo_json_destroy(about);
    return status;
}

static enum gdfo_status write_as(enum export_format format, const struct gdfo_prompt *p,
                                 struct gdfo_buf *out, struct gdfo_error *err)
{
    switch (format) {
    case EXPORT_JSON: write_json(p, out); return GDFO_STATUS_OK;
    case EXPORT_SAFETENSORS: return gdfo_prompt_write_safetensors(p, out, err);
    case EXPORT_PEFT: return write_peft(p, out, err);
    case EXPORT_GDFO:
    case EXPORT_END: break;
    }
    return gdfo_error_set(err, GDFO_STATUS_STATE, "no such export");
}

static enum gdfo_status find_format(const char *name, enum export_format *out,
                                    struct gdfo_error *err)
{
    enum gdfo_status status;
    for (int i = 0; i < EXPORT_END; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (enum export_format)i;
            return GDFO_STATUS_OK;
        }
    }
    status = strcmp(name, "pt") == 0 || strcmp(name, "gguf") == 0 || strcmp(name, "request") == 0
                 ? GDFO_STATUS_UNSUPPORTED
                 : GDFO_STATUS_INVALID;
    (void)gdfo_error_set(err, status, "format is '%.40s'; want gdfo, json, safetensors or peft",
                         name);
    gdfo_error_at(err, "/format", NULL);
    return status;
}

enum gdfo_status gdfo_export_prompt(const char *format, const struct gdfo_buf *stored,
                                    struct gdfo_buf *out, struct gdfo_export *how,
                                    struct gdfo_error *err)
{
    enum export_format kind = EXPORT_GDFO;
    struct gdfo_prompt_file file;
    enum gdfo_status status = find_format(format, &kind, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    *how = kinds[kind];
    if (kind == EXPORT_GDFO) {
        gdfo_buf_addn(out, stored->data, stored->len);
        return GDFO_STATUS_OK;
    }
    status = gdfo_prompt_read_gdfo(&file, stored->data, stored->len, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = write_as(kind, &file.prompt, out, err);
    gdfo_prompt_file_deinit(&file);
    return status;
}
