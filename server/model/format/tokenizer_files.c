#include "server/model/format/tokenizer_files.h"

#include "common/mem.h"
#include "server/model/format/format_priv.h"
#include "server/model/format/tokenizer_files_priv.h"

#include <inttypes.h>
#include <string.h>

#define FILE_MAX_BYTES ((uint64_t)64 << 20)
#define CONFIG_VALUES  65536u

/* ---- the draft --------------------------------------------------------------------------------
 */

enum gdfo_status gdfo_draft_put(struct gdfo_tokenizer_draft *d, int64_t id, const char *text,
                                size_t n, uint8_t type, struct gdfo_error *err)
{
    struct gdfo_draft_token *t;
    if (id < 0 || (uint64_t)id >= d->n_vocab) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "%s has the id %" PRId64 ", accepted 0..%zu",
                              gdfo_format_label("token", text).text, id, d->n_vocab - 1);
    }
    t = &d->tokens[id];
    if (t->text && (t->n != n || memcmp(t->text, text, n) != 0)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "two tokens have the id %" PRId64, id);
    }
    *t = (struct gdfo_draft_token){text, n, type};
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_draft_vocab(struct gdfo_tokenizer_draft *d, const struct gdfo_json *vocab,
                                  struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    if (!vocab || gdfo_json_type(vocab) != GDFO_JSON_OBJECT) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "the vocabulary is not an object from token to id");
    }
    for (const struct gdfo_json *v = gdfo_json_first(vocab); v && status == GDFO_STATUS_OK;
         v = gdfo_json_next(v)) {
        const char *text = gdfo_json_key(v);
        int64_t id = -1;
        if (!gdfo_json_int(v, &id)) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT, "%s has no integer id",
                                  gdfo_format_label("token", text).text);
        }
        status = gdfo_draft_put(d, id, text, strlen(text), GDFO_TOKEN_NORMAL, err);
    }
    return status;
}

/* Id of a token by its text; -1 when there is none. */
static int32_t find(const struct gdfo_tokenizer_draft *d, const char *text)
{
    const size_t n = strlen(text);
    for (size_t i = 0; i < d->n_vocab; i++) {
        if (d->tokens[i].text && d->tokens[i].n == n && memcmp(d->tokens[i].text, text, n) == 0) {
            return (int32_t)i; /* n_vocab <= GDFO_FORMAT_VOCAB_MAX */
        }
    }
    return -1;
}

/* Special tokens by name, and marked, so that text never yields them. */
static enum gdfo_status name_specials(struct gdfo_tokenizer_draft *d, struct gdfo_error *err)
{
    static const char *const bert[] = {"[CLS]", "[SEP]", "[UNK]", "[MASK]", "[PAD]"};
    static const char *const roberta[] = {"<s>", "</s>", "<unk>", "<mask>", "<pad>"};
    const int is_bert = d->spec.kind == GDFO_TOKENIZER_WORDPIECE;
    const char *const *names = is_bert ? bert : roberta;
    int32_t ids[5];
    for (size_t i = 0; i < 5; i++) {
        ids[i] = find(d, names[i]);
        if (ids[i] >= 0) {
            d->tokens[ids[i]].type = i == 2 ? GDFO_TOKEN_UNKNOWN : GDFO_TOKEN_CONTROL;
        } else if (i < 2 || (i == 2 && is_bert)) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT, "the vocabulary has no token \"%s\"",
                                  names[i]);
        }
    }
    d->spec.bos = ids[0];
    d->spec.eos = ids[1];
    d->spec.unk = ids[2];
    d->spec.mask = ids[3];
    d->spec.has_mask = ids[3] >= 0;
    d->spec.add_bos = 1;
    d->spec.add_eos = 1;
    return GDFO_STATUS_OK;
}

static enum gdfo_status make_list(struct gdfo_tokenizer_draft *d, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    d->spec.types = gdfo_mem_array(d->n_vocab, sizeof *d->spec.types);
    if (!d->spec.types) {
        return gdfo_error_no_memory(err, "reading a tokenizer");
    }
    for (size_t i = 0; i < d->n_vocab && status == GDFO_STATUS_OK; i++) {
        const struct gdfo_draft_token *t = &d->tokens[i];
        d->spec.types[i] = t->text ? t->type : GDFO_TOKEN_UNUSED;
        status = gdfo_text_list_add(&d->spec.tokens, t->text ? t->text : "", t->n, err);
    }
    return status;
}

static enum gdfo_status finish(struct gdfo_tokenizer_draft *d, struct gdfo_tokenizer **out,
                               struct gdfo_error *err)
{
    enum gdfo_status status = name_specials(d, err);
    if (status == GDFO_STATUS_OK) {
        status = make_list(d, err);
    }
    return status == GDFO_STATUS_OK ? gdfo_tokenizer_create(out, &d->spec, err) : status;
}

/* ---- the files --------------------------------------------------------------------------------
 */

static enum gdfo_status read_text(const struct gdfo_reader *r, struct gdfo_buf *text,
                                  struct gdfo_error *err)
{
    char *bytes;
    enum gdfo_status status;
    gdfo_buf_init(text, FILE_MAX_BYTES + 1);
    if (r->size > FILE_MAX_BYTES) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "%" PRIu64 " bytes, at most %" PRIu64,
                              r->size, FILE_MAX_BYTES);
    }
    bytes = gdfo_mem_array((size_t)r->size + 1, 1);
    if (!bytes) {
        return gdfo_error_no_memory(err, "reading a tokenizer");
    }
    status = gdfo_reader_at(r, 0, bytes, (size_t)r->size, err);
    if (status == GDFO_STATUS_OK) {
        gdfo_buf_addn(text, bytes, (size_t)r->size);
        status = gdfo_buf_ok(text) ? status : gdfo_error_no_memory(err, "reading a tokenizer");
    }
    gdfo_mem_free(bytes);
    return status;
}

/* n_values: of the whole file; an object of the vocabulary may be as long as the vocabulary. */
static enum gdfo_status read_json(const struct gdfo_reader *r, size_t n_values,
                                  struct gdfo_json **root, struct gdfo_error *err)
{
    struct gdfo_json_limits limits = {.depth = 16, .values = n_values, .members = n_values};
    struct gdfo_buf text;
    enum gdfo_status status = read_text(r, &text, err);
    limits.string_bytes = text.len + 1;
    if (status == GDFO_STATUS_OK) {
        status = gdfo_json_parse(root, text.data ? text.data : "", text.len, &limits, err);
    }
    gdfo_buf_deinit(&text);
    return status;
}

static enum gdfo_status name(const struct gdfo_reader *r, const char *plain, struct gdfo_error *err,
                             enum gdfo_status status)
{
    return status == GDFO_STATUS_OK || !err
               ? status
               : gdfo_error_prefix(err, "%s", r->name ? r->name : plain);
}

/* The next line of text from *at on, without its end; 0 when there is none left. */
static int next_line(const struct gdfo_buf *text, size_t *at, const char **line, size_t *n)
{
    const char *end;
    if (*at >= text->len) {
        return 0;
    }
    *line = text->data + *at;
    end = memchr(*line, '\n', text->len - *at);
    *n = end ? (size_t)(end - *line) : text->len - *at;
    *at += *n + 1;
    *n -= *n > 0 && (*line)[*n - 1] == '\r';
    return 1;
}

static enum gdfo_status draft_lines(struct gdfo_tokenizer_draft *d, const struct gdfo_buf *text,
                                    struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    const char *line = NULL;
    size_t at = 0;
    size_t n = 0;
    for (int64_t id = 0; status == GDFO_STATUS_OK && next_line(text, &at, &line, &n); id++) {
        if (id >= (int64_t)d->n_vocab) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                                  "more lines than the %zu tokens of the vocabulary", d->n_vocab);
        }
        status = gdfo_draft_put(d, id, line, n, GDFO_TOKEN_NORMAL, err);
    }
    return status;
}

/* A switch of tokenizer_config.json; missing or null leaves *out. */
static enum gdfo_status read_switch(const struct gdfo_json *root, const char *key, int *out,
                                    struct gdfo_error *err)
{
    const struct gdfo_json *v = gdfo_json_get(root, key);
    if (v && gdfo_json_type(v) != GDFO_JSON_NULL && !gdfo_json_bool(v, out)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "\"%s\" is %s, wanted true or false", key,
                              gdfo_json_type_name(gdfo_json_type(v)));
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_switches(struct gdfo_tokenizer_spec *spec, const struct gdfo_reader *r,
                                      struct gdfo_error *err)
{
    struct gdfo_json *root = NULL;
    enum gdfo_status status;
    spec->lower_case = 1;
    spec->split_cjk = 1;
    spec->strip_accents = 1;
    if (!r) {
        return GDFO_STATUS_OK;
    }
    status = read_json(r, CONFIG_VALUES, &root, err);
    if (status == GDFO_STATUS_OK) {
        status = read_switch(root, "do_lower_case", &spec->lower_case, err);
    }
    if (status == GDFO_STATUS_OK) {
        spec->strip_accents = spec->lower_case; /* unless it says otherwise */
        status = read_switch(root, "strip_accents", &spec->strip_accents, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = read_switch(root, "tokenize_chinese_chars", &spec->split_cjk, err);
    }
    gdfo_json_destroy(root);
    return name(r, "tokenizer_config.json", err, status);
}

static enum gdfo_status from_vocab_txt(struct gdfo_tokenizer_draft *d,
                                       const struct gdfo_tokenizer_files *files,
                                       struct gdfo_tokenizer **out, struct gdfo_error *err)
{
    struct gdfo_buf text;
    enum gdfo_status status = read_text(files->vocab_txt, &text, err);
    d->spec.kind = GDFO_TOKENIZER_WORDPIECE;
    if (status == GDFO_STATUS_OK) {
        status = draft_lines(d, &text, err);
    }
    status = name(files->vocab_txt, "vocab.txt", err, status);
    if (status == GDFO_STATUS_OK) {
        status = read_switches(&d->spec, files->config, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = name(files->vocab_txt, "vocab.txt", err, finish(d, out, err));
    }
    gdfo_buf_deinit(&text);
    return status;
}

static enum gdfo_status read_merges(struct gdfo_tokenizer_spec *spec, const struct gdfo_reader *r,
                                    struct gdfo_error *err)
{
    struct gdfo_buf text;
    enum gdfo_status status = read_text(r, &text, err);
    const char *line = NULL;
    size_t at = 0;
    size_t n = 0;
    while (status == GDFO_STATUS_OK && next_line(&text, &at, &line, &n)) {
        if (n == 0 || (spec->merges.n == 0 && n >= 8 && memcmp(line, "#version", 8) == 0)) {
            continue;
        }
        status = gdfo_text_list_add(&spec->merges, line, n, err);
    }
    gdfo_buf_deinit(&text);
    return name(r, "merges.txt", err, status);
}

static enum gdfo_status from_vocab_json(struct gdfo_tokenizer_draft *d,
                                        const struct gdfo_tokenizer_files *files,
                                        struct gdfo_tokenizer **out, struct gdfo_error *err)
{
    struct gdfo_json *root = NULL;
    enum gdfo_status status = read_json(files->vocab_json, d->n_vocab + 1, &root, err);
    d->spec.kind = GDFO_TOKENIZER_GPT2;
    if (status == GDFO_STATUS_OK) {
        status = gdfo_draft_vocab(d, root, err);
    }
    status = name(files->vocab_json, "vocab.json", err, status);
    if (status == GDFO_STATUS_OK) {
        status = read_merges(&d->spec, files->merges_txt, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = name(files->vocab_json, "vocab.json", err, finish(d, out, err));
    }
    gdfo_json_destroy(root);
    return status;
}

/* A merge is one string, or an array of two: at most three values each; at most one merge a token.
 */
static enum gdfo_status from_tokenizer_json(struct gdfo_tokenizer_draft *d,
                                            const struct gdfo_tokenizer_files *files,
                                            struct gdfo_tokenizer **out, struct gdfo_error *err)
{
    struct gdfo_json *root = NULL;
    enum gdfo_status status =
        read_json(files->tokenizer_json, 8 * d->n_vocab + CONFIG_VALUES, &root, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_draft_from_json(d, root, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = finish(d, out, err);
    }
    gdfo_json_destroy(root);
    return name(files->tokenizer_json, "tokenizer.json", err, status);
}

int gdfo_tokenizer_files_any(const struct gdfo_tokenizer_files *f)
{
    return f->tokenizer_json || f->vocab_txt || (f->vocab_json && f->merges_txt);
}

enum gdfo_status gdfo_tokenizer_files_read(struct gdfo_tokenizer **out,
                                           const struct gdfo_tokenizer_files *files, size_t n_vocab,
                                           struct gdfo_error *err)
{
    struct gdfo_tokenizer_draft d = {.n_vocab = n_vocab};
    enum gdfo_status status;
    if (!gdfo_tokenizer_files_any(files)) {
        return gdfo_error_set(err, GDFO_STATUS_NOT_FOUND,
                              "no tokenizer: want tokenizer.json, or vocab.txt, or vocab.json and "
                              "merges.txt");
    }
    if (n_vocab < 1 || n_vocab > GDFO_FORMAT_VOCAB_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "a vocabulary of %zu, accepted 1..%u",
                              n_vocab, GDFO_FORMAT_VOCAB_MAX);
    }
    d.tokens = gdfo_mem_array(n_vocab, sizeof *d.tokens);
    if (!d.tokens) {
        return gdfo_error_no_memory(err, "reading a tokenizer");
    }
    if (files->tokenizer_json) {
        status = from_tokenizer_json(&d, files, out, err);
    } else if (files->vocab_txt) {
        status = from_vocab_txt(&d, files, out, err);
    } else {
        status = from_vocab_json(&d, files, out, err);
    }
    gdfo_mem_free(d.tokens);
    gdfo_tokenizer_spec_deinit(&d.spec);
    return status;
}
