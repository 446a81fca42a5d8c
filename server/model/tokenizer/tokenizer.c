#include "server/model/tokenizer/tokenizer.h"

#include "common/mem.h"
#include "common/parse.h"
#include "server/model/tokenizer/tokenizer_priv.h"
#include "server/model/tokenizer/unicode_priv.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void gdfo_tokenizer_spec_deinit(struct gdfo_tokenizer_spec *spec)
{
    gdfo_text_list_deinit(&spec->tokens);
    gdfo_text_list_deinit(&spec->merges);
    gdfo_mem_free(spec->types);
    gdfo_mem_free(spec->scores);
    *spec = (struct gdfo_tokenizer_spec){0};
}

static uint8_t type_of(const struct gdfo_tokenizer *t, size_t id)
{
    return t->spec.types ? t->spec.types[id] : GDFO_TOKEN_NORMAL;
}

/* ---- the vocabulary by text -------------------------------------------------------------------
 */

static int compare_text(const char *a, size_t n_a, const char *b, size_t n_b)
{
    const size_t n = n_a < n_b ? n_a : n_b;
    const int order = n > 0 ? memcmp(a, b, n) : 0;
    return order ? order : (n_a > n_b) - (n_a < n_b);
}

static int by_text(const void *a, const void *b)
{
    const struct gdfo_vocab_entry *x = a;
    const struct gdfo_vocab_entry *y = b;
    const int order = compare_text(x->text, x->n, y->text, y->n);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

int32_t gdfo_vocab_find(const struct gdfo_tokenizer *t, const char *text, size_t n)
{
    size_t low = 0;
    size_t high = t->n_entries;
    if (n > t->n_longest) {
        return -1;
    }
    while (low < high) { /* the first entry that is not before the text */
        const size_t mid = low + (high - low) / 2;
        if (compare_text(t->entries[mid].text, t->entries[mid].n, text, n) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low < t->n_entries && compare_text(t->entries[low].text, t->entries[low].n, text, n) == 0) {
        return t->entries[low].id;
    }
    return -1;
}

/* Text becomes normal and user-defined tokens only: never control, unknown, unused or byte ones. */
static enum gdfo_status index_vocab(struct gdfo_tokenizer *t, struct gdfo_error *err)
{
    t->entries = gdfo_mem_array(t->spec.tokens.n, sizeof *t->entries);
    if (!t->entries) {
        return gdfo_error_no_memory(err, "building a tokenizer");
    }
    for (size_t i = 0; i < t->spec.tokens.n; i++) {
        const uint8_t type = type_of(t, i);
        size_t n = 0;
        const char *text = gdfo_text_list_at(&t->spec.tokens, i, &n);
        if (n > 0 && (type == GDFO_TOKEN_NORMAL || type == GDFO_TOKEN_USER)) {
            t->entries[t->n_entries++] =
                (struct gdfo_vocab_entry){text, (uint32_t)n, (int32_t)i}; /* n <= LIST_MAX */
            t->n_longest = n > t->n_longest ? (uint32_t)n : t->n_longest;
        }
    }
    qsort(t->entries, t->n_entries, sizeof *t->entries, by_text);
    return GDFO_STATUS_OK;
}

/* ---- life -------------------------------------------------------------------------------------
 */

static enum gdfo_status check_id(const char *what, int32_t id, size_t n_vocab,
                                 struct gdfo_error *err)
{
    if (id < -1 || (id >= 0 && (size_t)id >= n_vocab)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "the %s id is %" PRId32 ", accepted 0..%zu, or -1 for none", what, id,
                              n_vocab - 1);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_spec(const struct gdfo_tokenizer_spec *s, struct gdfo_error *err)
{
    enum gdfo_status status;
    if (s->kind == GDFO_TOKENIZER_NONE || s->tokens.n < 1) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "a tokenizer needs a kind and tokens");
    }
    for (size_t i = 0; s->types && i < s->tokens.n; i++) {
        if (s->types[i] < GDFO_TOKEN_NORMAL || s->types[i] > GDFO_TOKEN_BYTE) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT, "token %zu has type %d, accepted 1..6",
                                  i, s->types[i]);
        }
    }
    for (size_t i = 0; s->scores && i < s->tokens.n; i++) {
        if (!isfinite(s->scores[i])) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT, "the score of token %zu is not finite",
                                  i);
        }
    }
    status = check_id("BOS", s->bos, s->tokens.n, err);
    if (status == GDFO_STATUS_OK) {
        status = check_id("EOS", s->eos, s->tokens.n, err);
    }
    if (status == GDFO_STATUS_OK && s->has_mask) {
        status = check_id("mask", s->mask, s->tokens.n, err);
    }
    if (status == GDFO_STATUS_OK && s->kind == GDFO_TOKENIZER_WORDPIECE) {
        status = check_id("unknown", s->unk, s->tokens.n, err);
    }
    if (status == GDFO_STATUS_OK && ((s->add_bos && s->bos < 0) || (s->add_eos && s->eos < 0))) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "%s is to be added, but has no id",
                              s->bos < 0 && s->add_bos ? "BOS" : "EOS");
    }
    return status;
}

static enum gdfo_status prepare(struct gdfo_tokenizer *t, struct gdfo_error *err)
{
    enum gdfo_status status = check_spec(&t->spec, err);
    if (status == GDFO_STATUS_OK) {
        status = index_vocab(t, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < 256; i++) {
        t->byte_ids[i] = -1;
    }
    if (t->spec.kind == GDFO_TOKENIZER_WORDPIECE) {
        return gdfo_wordpiece_prepare(t, err);
    }
    return t->spec.kind == GDFO_TOKENIZER_SPM ? gdfo_spm_prepare(t, err) : gdfo_bpe_prepare(t, err);
}

enum gdfo_status gdfo_tokenizer_create(struct gdfo_tokenizer **out,
                                       struct gdfo_tokenizer_spec *spec, struct gdfo_error *err)
{
    enum gdfo_status status;
    struct gdfo_tokenizer *t = gdfo_mem_array(1, sizeof *t);
    if (!t) {
        gdfo_tokenizer_spec_deinit(spec);
        return gdfo_error_no_memory(err, "building a tokenizer");
    }
    t->spec = *spec;
    *spec = (struct gdfo_tokenizer_spec){0};
    status = prepare(t, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_tokenizer_destroy(t);
        return status;
    }
    *out = t;
    return GDFO_STATUS_OK;
}

void gdfo_tokenizer_destroy(struct gdfo_tokenizer *t)
{
    if (t) {
        gdfo_tokenizer_spec_deinit(&t->spec);
        gdfo_mem_free(t->rules);
        gdfo_mem_free(t->entries);
        gdfo_mem_free(t);
    }
}

/* ---- use --------------------------------------------------------------------------------------
 */

static enum gdfo_status encode(const struct gdfo_tokenizer *t, const char *text, size_t n_bytes,
                               int is_first, struct gdfo_ids *out, struct gdfo_error *err)
{
    size_t valid;
    if (n_bytes > GDFO_TOKENIZER_TEXT_MAX_BYTES) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "a text of %zu bytes, at most %u", n_bytes,
                              GDFO_TOKENIZER_TEXT_MAX_BYTES);
    }
    valid = n_bytes > 0 ? gdfo_utf8_valid(text, n_bytes) : 0;
    if (valid != n_bytes) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "the text is not UTF-8 from its byte %zu on", valid);
    }
    if (n_bytes == 0) {
        return GDFO_STATUS_OK;
    }
    if (t->spec.kind == GDFO_TOKENIZER_SPM) {
        struct gdfo_spm_text spm = {text, n_bytes, is_first && t->spec.add_space_prefix};
        return gdfo_spm_encode(t, &spm, out, err);
    }
    return t->spec.kind == GDFO_TOKENIZER_WORDPIECE
               ? gdfo_wordpiece_encode(t, text, n_bytes, out, err)
               : gdfo_bpe_encode(t, text, n_bytes, out, err);
}

enum gdfo_status gdfo_tokenizer_encode(const struct gdfo_tokenizer *t, const char *text,
                                       size_t n_bytes, struct gdfo_ids *out, struct gdfo_error *err)
{
    return encode(t, text, n_bytes, 1, out, err);
}

enum gdfo_status gdfo_tokenizer_encode_after(const struct gdfo_tokenizer *t, const char *text,
                                             size_t n_bytes, struct gdfo_ids *out,
                                             struct gdfo_error *err)
{
    return encode(t, text, n_bytes, 0, out, err);
}

enum gdfo_status gdfo_tokenizer_decode(const struct gdfo_tokenizer *t, const int32_t *ids, size_t n,
                                       struct gdfo_buf *out, struct gdfo_error *err)
{
    for (size_t i = 0; i < n; i++) {
        size_t n_text = 0;
        const char *text;
        if (ids[i] < 0 || (size_t)ids[i] >= t->spec.tokens.n) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "id %" PRId32 " is no token, accepted 0..%zu", ids[i],
                                  t->spec.tokens.n - 1);
        }
        text = gdfo_text_list_at(&t->spec.tokens, (size_t)ids[i], &n_text);
        if (t->spec.kind == GDFO_TOKENIZER_SPM) {
            gdfo_spm_decode(t, ids[i], out);
        } else if (t->spec.kind == GDFO_TOKENIZER_WORDPIECE) {
            gdfo_wordpiece_decode(text, n_text, out);
        } else {
            gdfo_bpe_decode(text, n_text, out);
        }
    }
    if (!gdfo_buf_ok(out)) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "the text of %zu ids exceeds %zu bytes", n,
                              out->max);
    }
    return GDFO_STATUS_OK;
}

size_t gdfo_tokenizer_vocab(const struct gdfo_tokenizer *t)
{
    return t->spec.tokens.n;
}

int32_t gdfo_tokenizer_bos(const struct gdfo_tokenizer *t)
{
    return t->spec.add_bos ? t->spec.bos : -1;
}

int32_t gdfo_tokenizer_eos(const struct gdfo_tokenizer *t)
{
    return t->spec.eos;
}

int32_t gdfo_tokenizer_end(const struct gdfo_tokenizer *t)
{
    return t->spec.add_eos ? t->spec.eos : -1;
}

int32_t gdfo_tokenizer_mask(const struct gdfo_tokenizer *t)
{
    return t->spec.has_mask ? t->spec.mask : -1;
}

int gdfo_tokenizer_mask_eats_blank(const struct gdfo_tokenizer *t)
{
    return t->spec.kind != GDFO_TOKENIZER_WORDPIECE;
}

int gdfo_tokenizer_is_control(const struct gdfo_tokenizer *t, int32_t id)
{
    uint8_t type;
    if (id < 0 || (size_t)id >= t->spec.tokens.n) {
        return 0;
    }
    type = type_of(t, (size_t)id);
    return type == GDFO_TOKEN_CONTROL || type == GDFO_TOKEN_UNKNOWN || type == GDFO_TOKEN_UNUSED;
}

const char *gdfo_tokenizer_unicode_version(void)
{
    return gdfo_unicode_version;
}
