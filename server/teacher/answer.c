#include "server/teacher/answer.h"

#include "common/parse.h"
#include "server/teacher/exchange_write.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX    32 /* teachers.md 2 */
#define VALUES_MAX   20000
#define MEMBERS_MAX  1024       /* of one object: label ids and what stands around them */
#define STRING_MAX   (1u << 20) /* what a model says in an answer is not read */
#define LP_MAX       1e-3       /* a log-probability above this is nonsense */
#define ERROR_VALUES 2000

GDFO_PRINTF(2, 0)
static void set_words(struct gdfo_error *err, const char *fmt, va_list args)
{
    char text[GDFO_ERROR_TEXT_MAX];
    GDFO_IGNORE(vsnprintf(text, sizeof text, fmt, args));
    (void)gdfo_error_set(err, GDFO_STATUS_UPSTREAM, "%s", text);
}

enum gdfo_verdict gdfo_answer_fault(struct gdfo_error *err, enum gdfo_verdict verdict,
                                    const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    set_words(err, fmt, args);
    va_end(args);
    return verdict;
}

/* Why a text was refused, as a verdict. A name that stands twice is JSON, but no answer; what is
 * past a limit was not cut short. */
static enum gdfo_verdict judge_parse(enum gdfo_status status, struct gdfo_error *err)
{
    const int is_json = status == GDFO_STATUS_LIMIT || strstr(err->text, "stands twice") ||
                        strstr(err->text, "more than ") || strstr(err->text, "range of a double");
    struct gdfo_error why = *err;
    return gdfo_answer_fault(err, is_json ? GDFO_VERDICT_BAD : GDFO_VERDICT_RETRY, "%.400s",
                             why.text);
}

static enum gdfo_verdict want_object(const struct gdfo_json *root, struct gdfo_error *err)
{
    return gdfo_json_type(root) == GDFO_JSON_OBJECT
               ? GDFO_VERDICT_OK
               : gdfo_answer_fault(err, GDFO_VERDICT_BAD, "the answer is %s, not an object",
                                   gdfo_json_type_name(gdfo_json_type(root)));
}

enum gdfo_verdict gdfo_answer_json(struct gdfo_json **out, const struct gdfo_exchange_answer *a,
                                   size_t max_values, struct gdfo_error *err)
{
    const struct gdfo_json_limits limits = {.depth = DEPTH_MAX,
                                            .string_bytes = STRING_MAX,
                                            .members = MEMBERS_MAX,
                                            .values =
                                                max_values > VALUES_MAX ? max_values : VALUES_MAX};
    struct gdfo_error why = {0};
    enum gdfo_status status = gdfo_json_parse(out, a->body, a->n, &limits, &why);
    enum gdfo_verdict verdict;
    if (status != GDFO_STATUS_OK) {
        verdict = judge_parse(status, &why);
        return gdfo_answer_fault(err, verdict, "%.400s", why.text);
    }
    verdict = want_object(*out, err);
    if (verdict != GDFO_VERDICT_OK) {
        gdfo_json_destroy(*out);
        *out = NULL;
    }
    return verdict;
}

enum gdfo_verdict gdfo_answer_pour(struct gdfo_json_poured *out, const char *text, size_t n,
                                   size_t max_numbers, struct gdfo_error *err)
{
    const struct gdfo_json_limits limits = {.depth = DEPTH_MAX,
                                            .string_bytes = STRING_MAX,
                                            .members = MEMBERS_MAX,
                                            .values = VALUES_MAX};
    const struct gdfo_json_pour setup = {
        .key = "data", .max_values = max_numbers, .limits = &limits};
    struct gdfo_error why = {0};
    enum gdfo_status status = gdfo_json_pour(out, text, n, &setup, &why);
    if (status != GDFO_STATUS_OK) {
        enum gdfo_verdict verdict = judge_parse(status, &why);
        return gdfo_answer_fault(err, verdict, "%.400s", why.text);
    }
    return want_object(out->root, err);
}

/* Printable text, a blank for a control character, whole characters of UTF-8 alone. */
static void clean(char *out, size_t cap, const char *text)
{
    const size_t n = strlen(text);
    size_t used = 0;
    size_t k = 1;
    for (size_t i = 0; i < n && k > 0; i += k) {
        uint32_t c = 0;
        k = gdfo_utf8_next(text + i, n - i, &c);
        if (k == 0 || used + k >= cap) {
            break;
        }
        if (c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029) {
            out[used++] = ' ';
        } else {
            memcpy(out + used, text + i, k);
            used += k;
        }
    }
    out[used] = '\0';
}

/* {"error":"words"}, {"error":{"message":"words"}}, {"message":"words"}, {"detail":"words"} */
static const char *find_words(const struct gdfo_json *root)
{
    static const char *const keys[] = {"error", "message", "detail"};
    const struct gdfo_json *nested = gdfo_answer_get(root, "error", GDFO_JSON_OBJECT);
    const char *words = nested ? gdfo_answer_str(nested, "message") : NULL;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && !words; i++) {
        words = gdfo_answer_str(root, keys[i]);
    }
    return words ? words : "";
}

void gdfo_answer_words(const struct gdfo_exchange_answer *a, char *out, size_t cap)
{
    struct gdfo_json *root = NULL;
    out[0] = '\0';
    if (gdfo_answer_json(&root, a, ERROR_VALUES, NULL) == GDFO_VERDICT_OK) {
        clean(out, cap, find_words(root));
        gdfo_json_destroy(root);
    }
}

enum gdfo_status gdfo_answer_refuse(struct gdfo_error *err, const struct gdfo_exchange_answer *a,
                                    const char *fmt, ...)
{
    char ours[200];
    char words[GDFO_ANSWER_WORDS_MAX];
    va_list args;
    va_start(args, fmt);
    GDFO_IGNORE(vsnprintf(ours, sizeof ours, fmt, args));
    va_end(args);
    gdfo_answer_words(a, words, sizeof words);
    return gdfo_error_set(err, GDFO_STATUS_UPSTREAM, "%s (HTTP %d%s%s)", ours, a->status,
                          words[0] ? ": " : "", words);
}

void gdfo_answer_clear(const struct gdfo_remote_block *b, struct gdfo_remote_cells *cells)
{
    const size_t n = gdfo_exchange_values(b);
    for (size_t i = 0; i < n; i++) {
        cells->lp[i] = NAN;
        cells->flags[i] = GDFO_CELL_EXACT;
    }
    cells->usage = (struct gdfo_usage){0};
    cells->request_id[0] = '\0';
}

int gdfo_answer_lp(double said, float *lp, uint8_t *flag)
{
    if (!isfinite(said) || fabs(said) > (double)FLT_MAX || said > LP_MAX) {
        return 0;
    }
    *flag = GDFO_CELL_EXACT;
    *lp = (float)said;
    if (*lp <= GDFO_ANSWER_FLOOR) {
        *lp = GDFO_ANSWER_FLOOR;
        *flag = GDFO_CELL_FLOORED;
    }
    return 1;
}

size_t gdfo_answer_cell(const struct gdfo_remote_block *b, uint32_t prompt, uint32_t example,
                        uint32_t node)
{
    const size_t n_row = gdfo_exchange_values(b) / b->n_prompts / b->n_examples;
    size_t at = ((size_t)prompt * b->n_examples + example) * n_row;
    for (uint32_t k = 0; k < node; k++) {
        at += gdfo_remote_n_asked(b, b->first_node + k);
    }
    return at;
}

const struct gdfo_json *gdfo_answer_get(const struct gdfo_json *v, const char *key,
                                        enum gdfo_json_type type)
{
    const struct gdfo_json *m =
        v && gdfo_json_type(v) == GDFO_JSON_OBJECT ? gdfo_json_get(v, key) : NULL;
    return m && gdfo_json_type(m) == type ? m : NULL;
}

const char *gdfo_answer_str(const struct gdfo_json *v, const char *key)
{
    const struct gdfo_json *m = gdfo_answer_get(v, key, GDFO_JSON_STRING);
    return m ? gdfo_json_string(m) : NULL;
}

int gdfo_answer_count(const struct gdfo_json *v, const char *key, int64_t *out)
{
    const struct gdfo_json *m = gdfo_answer_get(v, key, GDFO_JSON_NUMBER);
    int64_t n = 0;
    if (!m || !gdfo_json_int(m, &n) || n < 0) {
        return 0;
    }
    *out = n;
    return 1;
}

const struct gdfo_json *gdfo_answer_at(const struct gdfo_json *array, size_t i)
{
    const struct gdfo_json *v = array ? gdfo_json_first(array) : NULL;
    while (v && i-- > 0) {
        v = gdfo_json_next(v);
    }
    return v;
}

void gdfo_answer_copy(char *out, size_t cap, const char *text)
{
    size_t n = 0;
    for (; text && text[n] != '\0' && n + 1 < cap; n++) {
        out[n] = text[n] > 0x20 - 1 && text[n] < 0x7F ? text[n] : '?';
    }
    out[n] = '\0';
}

void gdfo_answer_id(const struct gdfo_exchange_answer *a, const struct gdfo_json *root,
                    struct gdfo_remote_cells *cells)
{
    const char *id = a->header ? a->header(a, "x-request-id") : NULL;
    gdfo_answer_copy(cells->request_id, sizeof cells->request_id,
                     id && *id ? id : gdfo_answer_str(root, "id"));
}
