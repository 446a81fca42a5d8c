/*
 * DESIGN: tokenizer.json describes a pipeline; we compute two of them, BERT's and RoBERTa's. So
 * every part of the file must be the one that we compute, and anything else is refused by name
 * rather than ignored: a tokenizer that is nearly right is wrong.
 */
#include "common/mem.h"
#include "server/model/format/format_priv.h"
#include "server/model/format/tokenizer_files_priv.h"

#include <stdio.h>
#include <string.h>

static const struct gdfo_json *member(const struct gdfo_json *o, const char *key)
{
    const struct gdfo_json *v =
        o && gdfo_json_type(o) == GDFO_JSON_OBJECT ? gdfo_json_get(o, key) : NULL;
    return v && gdfo_json_type(v) != GDFO_JSON_NULL ? v : NULL;
}

/* The word of a member; "" when missing. */
static const char *word(const struct gdfo_json *o, const char *key)
{
    const struct gdfo_json *v = member(o, key);
    const char *s = v ? gdfo_json_string(v) : NULL;
    return s ? s : "";
}

/* A switch; fallback when missing or null. */
static int flag(const struct gdfo_json *o, const char *key, int fallback)
{
    const struct gdfo_json *v = member(o, key);
    int is_set = fallback;
    return v && gdfo_json_bool(v, &is_set) ? is_set : fallback;
}

static enum gdfo_status refuse(const char *what, const char *got, const char *want,
                               struct gdfo_error *err)
{
    return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "%s is not read, accepted %s",
                          gdfo_format_label(what, got).text, want);
}

/* Members that must be missing, null, empty or false. */
static enum gdfo_status refuse_set(const struct gdfo_json *o, const char *const *keys, size_t n,
                                   struct gdfo_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct gdfo_json *v = member(o, keys[i]);
        int is_set = 1;
        if (v && !(gdfo_json_bool(v, &is_set) && !is_set) &&
            !(gdfo_json_string(v) && gdfo_json_string(v)[0] == '\0')) {
            return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                                  "a tokenizer with \"%s\" is not read", keys[i]);
        }
    }
    return GDFO_STATUS_OK;
}

/* ---- WordPiece --------------------------------------------------------------------------------
 */

static enum gdfo_status check_wordpiece(const struct gdfo_json *model, struct gdfo_error *err)
{
    const struct gdfo_json *most = member(model, "max_input_chars_per_word");
    int64_t n = 100;
    if (member(model, "continuing_subword_prefix") &&
        strcmp(word(model, "continuing_subword_prefix"), "##") != 0) {
        return refuse("continuing_subword_prefix", word(model, "continuing_subword_prefix"),
                      "\"##\"", err);
    }
    if (member(model, "unk_token") && strcmp(word(model, "unk_token"), "[UNK]") != 0) {
        return refuse("unk_token", word(model, "unk_token"), "\"[UNK]\"", err);
    }
    if (most && (!gdfo_json_int(most, &n) || n != 100)) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "max_input_chars_per_word is not read, accepted 100");
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status draft_wordpiece(struct gdfo_tokenizer_draft *d,
                                        const struct gdfo_json *root, struct gdfo_error *err)
{
    const struct gdfo_json *normalizer = member(root, "normalizer");
    const struct gdfo_json *pre = member(root, "pre_tokenizer");
    d->spec.kind = GDFO_TOKENIZER_WORDPIECE;
    if (strcmp(word(normalizer, "type"), "BertNormalizer") != 0) {
        return refuse("normalizer", word(normalizer, "type"), "\"BertNormalizer\"", err);
    }
    if (strcmp(word(pre, "type"), "BertPreTokenizer") != 0) {
        return refuse("pre_tokenizer", word(pre, "type"), "\"BertPreTokenizer\"", err);
    }
    if (!flag(normalizer, "clean_text", 1)) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "\"clean_text\" false is not read, accepted true");
    }
    d->spec.lower_case = flag(normalizer, "lowercase", 1);
    d->spec.strip_accents = flag(normalizer, "strip_accents", d->spec.lower_case);
    d->spec.split_cjk = flag(normalizer, "handle_chinese_chars", 1);
    return check_wordpiece(member(root, "model"), err);
}

/* ---- byte-level BPE ---------------------------------------------------------------------------
 */

/* "left right", or ["left", "right"]. */
static enum gdfo_status add_merge(struct gdfo_text_list *merges, const struct gdfo_json *v,
                                  struct gdfo_buf *joined, struct gdfo_error *err)
{
    const char *text = gdfo_json_string(v);
    const struct gdfo_json *left = gdfo_json_type(v) == GDFO_JSON_ARRAY ? gdfo_json_first(v) : NULL;
    const struct gdfo_json *right = left ? gdfo_json_next(left) : NULL;
    if (!text &&
        (!right || gdfo_json_next(right) || !gdfo_json_string(left) || !gdfo_json_string(right))) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "merge %zu is neither a string nor two strings", merges->n);
    }
    gdfo_buf_reset(joined);
    gdfo_buf_add(joined, text ? text : gdfo_json_string(left));
    if (!text) {
        gdfo_buf_addc(joined, ' ');
        gdfo_buf_add(joined, gdfo_json_string(right));
    }
    return gdfo_buf_ok(joined) ? gdfo_text_list_add(merges, joined->data, joined->len, err)
                               : gdfo_error_no_memory(err, "reading a tokenizer");
}

static enum gdfo_status draft_merges(struct gdfo_tokenizer_draft *d, const struct gdfo_json *merges,
                                     struct gdfo_error *err)
{
    struct gdfo_buf joined;
    enum gdfo_status status = GDFO_STATUS_OK;
    if (!merges || gdfo_json_type(merges) != GDFO_JSON_ARRAY) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "\"merges\" is no array");
    }
    gdfo_buf_init(&joined, GDFO_TEXT_LIST_MAX_BYTES);
    for (const struct gdfo_json *v = gdfo_json_first(merges); v && status == GDFO_STATUS_OK;
         v = gdfo_json_next(v)) {
        status = add_merge(&d->spec.merges, v, &joined, err);
    }
    gdfo_buf_deinit(&joined);
    return status;
}

static enum gdfo_status draft_bpe(struct gdfo_tokenizer_draft *d, const struct gdfo_json *root,
                                  struct gdfo_error *err)
{
    static const char *const of_model[] = {"dropout", "continuing_subword_prefix",
                                           "end_of_word_suffix", "byte_fallback", "ignore_merges"};
    static const char *const of_pre[] = {"add_prefix_space"};
    const struct gdfo_json *model = member(root, "model");
    const struct gdfo_json *pre = member(root, "pre_tokenizer");
    enum gdfo_status status;
    d->spec.kind = GDFO_TOKENIZER_GPT2;
    if (member(root, "normalizer")) {
        return refuse("normalizer", word(member(root, "normalizer"), "type"),
                      "none in front of byte-level BPE", err);
    }
    if (strcmp(word(pre, "type"), "ByteLevel") != 0 || !flag(pre, "use_regex", 1)) {
        return refuse("pre_tokenizer", word(pre, "type"), "\"ByteLevel\" with its own pattern",
                      err);
    }
    status = refuse_set(pre, of_pre, 1, err);
    if (status == GDFO_STATUS_OK) {
        status = refuse_set(model, of_model, sizeof of_model / sizeof of_model[0], err);
    }
    return status == GDFO_STATUS_OK ? draft_merges(d, member(model, "merges"), err) : status;
}

/* ---- both -------------------------------------------------------------------------------------
 */

/* What stands around a text must be our one token in front and one behind. */
static enum gdfo_status check_ends(const struct gdfo_json *root, struct gdfo_error *err)
{
    const struct gdfo_json *post = member(root, "post_processor");
    const char *type = word(post, "type");
    const struct gdfo_json *single = member(post, "single");
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        return GDFO_STATUS_OK;
    }
    if (strcmp(type, "TemplateProcessing") == 0 && single && gdfo_json_size(single) == 3) {
        const struct gdfo_json *first = gdfo_json_first(single);
        const struct gdfo_json *last = gdfo_json_next(gdfo_json_next(first));
        if (member(first, "SpecialToken") && member(last, "SpecialToken")) {
            return GDFO_STATUS_OK;
        }
    }
    return refuse("post_processor", type,
                  "one special token in front of a text and one behind it (BertProcessing, "
                  "RobertaProcessing, TemplateProcessing)",
                  err);
}

static enum gdfo_status draft_added(struct gdfo_tokenizer_draft *d, const struct gdfo_json *root,
                                    struct gdfo_error *err)
{
    const struct gdfo_json *added = member(root, "added_tokens");
    enum gdfo_status status = GDFO_STATUS_OK;
    for (const struct gdfo_json *v = added ? gdfo_json_first(added) : NULL;
         v && status == GDFO_STATUS_OK; v = gdfo_json_next(v)) {
        const char *text = word(v, "content");
        const struct gdfo_json *id = member(v, "id");
        int64_t n = -1;
        if (text[0] == '\0' || !id || !gdfo_json_int(id, &n)) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                                  "an added token without \"content\" or \"id\"");
        }
        status = gdfo_draft_put(d, n, text, strlen(text),
                                flag(v, "special", 0) ? GDFO_TOKEN_CONTROL : GDFO_TOKEN_USER, err);
    }
    return status;
}

enum gdfo_status gdfo_draft_from_json(struct gdfo_tokenizer_draft *d, const struct gdfo_json *root,
                                      struct gdfo_error *err)
{
    const struct gdfo_json *model = member(root, "model");
    const char *type = word(model, "type");
    enum gdfo_status status;
    if (!model) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "\"model\" is missing");
    }
    if (type[0] == '\0') { /* older files do not say */
        type = member(model, "merges") ? "BPE" : "WordPiece";
    }
    if (strcmp(type, "WordPiece") == 0) {
        status = draft_wordpiece(d, root, err);
    } else if (strcmp(type, "BPE") == 0) {
        status = draft_bpe(d, root, err);
    } else {
        return refuse("tokenizer model", type, "\"WordPiece\" and \"BPE\"", err);
    }
    if (status == GDFO_STATUS_OK) {
        status = check_ends(root, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_draft_vocab(d, member(model, "vocab"), err);
    }
    return status == GDFO_STATUS_OK ? draft_added(d, root, err) : status;
}
