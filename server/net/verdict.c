#include "server/net/verdict.h"

#include "common/json.h"
#include "common/parse.h"

#include <curl/curl.h>

#include <stdio.h>
#include <string.h>

struct row {
    int first, last; /* statuses */
    enum gdfo_net_verdict verdict;
};

/* First match; what no row names is RETRY. */
static const struct row rows[] = {
    {200, 200, GDFO_NET_OK},    {201, 299, GDFO_NET_BAD},      {300, 399, GDFO_NET_FATAL},
    {401, 403, GDFO_NET_PAUSE}, {407, 407, GDFO_NET_PAUSE},    {408, 408, GDFO_NET_RETRY},
    {425, 425, GDFO_NET_RETRY}, {429, 429, GDFO_NET_THROTTLE}, {498, 498, GDFO_NET_THROTTLE},
    {400, 499, GDFO_NET_FATAL}, {501, 501, GDFO_NET_FATAL},    {503, 503, GDFO_NET_THROTTLE},
    {505, 505, GDFO_NET_FATAL}, {529, 529, GDFO_NET_THROTTLE},
};

/* Parts of error codes that say: no waiting helps, somebody has to pay or to raise a limit. */
static const char *const exhausted[] = {
    "insufficient_quota",   "credit_balance",  "spend_limit", "spending_limit", "billing",
    "insufficient_balance", "payment_required"};

int gdfo_net_header(const struct gdfo_net_answer *answer, const char *name, char *out, size_t cap)
{
    const char *line = answer->headers ? answer->headers : "";
    size_t k = strlen(name);
    while (*line) {
        size_t n = strcspn(line, "\n");
        if (n >= k + 2 && strncmp(line, name, k) == 0 && line[k] == ':' && line[k + 1] == ' ') {
            size_t m = n - k - 2 < cap - 1 ? n - k - 2 : cap - 1;
            memcpy(out, line + k + 2, m);
            out[m] = '\0';
            return 1;
        }
        line += n + (line[n] == '\n');
    }
    return 0;
}

/* ---- the error's code ---- */

static int is_word(const char *s)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    size_t n = strlen(s);
    return n > 0 && n < GDFO_VERDICT_WORD_MAX && strspn(s, letters) == n;
}

/* {"error":{"code":..,"type":..}}, {"error":"word"}, {"code":..}, {"type":..}: the k-th of them. */
static const char *word_at(const struct gdfo_json *root, int k)
{
    static const char *const names[] = {"code", "type", "status"};
    const struct gdfo_json *error;
    const struct gdfo_json *v;
    if (gdfo_json_type(root) != GDFO_JSON_OBJECT) {
        return NULL;
    }
    error = gdfo_json_get(root, "error");
    if (k < 3) {
        v = error && gdfo_json_type(error) == GDFO_JSON_OBJECT ? gdfo_json_get(error, names[k])
                                                               : NULL;
    } else {
        v = k == 3 ? error : gdfo_json_get(root, names[k - 4]);
    }
    return v ? gdfo_json_string(v) : NULL;
}
#define N_WORDS 7

static struct gdfo_json *read_body(const struct gdfo_net_answer *answer)
{
    static const struct gdfo_json_limits limits = {16, GDFO_VERDICT_BODY_MAX, 64, 256};
    struct gdfo_json *root = NULL;
    if (answer->n == 0 || answer->n > GDFO_VERDICT_BODY_MAX) {
        return NULL;
    }
    return gdfo_json_parse(&root, answer->body, answer->n, &limits, NULL) == GDFO_STATUS_OK ? root
                                                                                            : NULL;
}

void gdfo_verdict_word(const struct gdfo_net_answer *answer, char out[GDFO_VERDICT_WORD_MAX])
{
    struct gdfo_json *root = read_body(answer);
    out[0] = '\0';
    for (int k = 0; root && k < N_WORDS && !out[0]; k++) {
        const char *word = word_at(root, k);
        if (word && is_word(word)) {
            (void)snprintf(out, GDFO_VERDICT_WORD_MAX, "%s", word);
        }
    }
    gdfo_json_destroy(root);
}

static int says_exhausted(const char *word)
{
    for (size_t i = 0; i < sizeof exhausted / sizeof *exhausted; i++) {
        if (strstr(word, exhausted[i])) {
            return 1;
        }
    }
    return 0;
}

/* Any of the body's words: some servers put the account into type, others into code. */
static int is_exhausted(const struct gdfo_net_answer *answer)
{
    struct gdfo_json *root = read_body(answer);
    int is = 0;
    for (int k = 0; root && k < N_WORDS && !is; k++) {
        const char *word = word_at(root, k);
        is = word && is_word(word) && says_exhausted(word);
    }
    gdfo_json_destroy(root);
    return is;
}

enum gdfo_net_verdict gdfo_verdict_of(const struct gdfo_net_answer *answer)
{
    if (answer->status == 429 && is_exhausted(answer)) {
        return GDFO_NET_PAUSE;
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (answer->status >= rows[i].first && answer->status <= rows[i].last) {
            return rows[i].verdict;
        }
    }
    return GDFO_NET_RETRY;
}

/* ---- waits ---- */

/* A number at the text's start, digits and one point; returns what is behind, NULL for none. */
static const char *number(const char *s, double *out)
{
    char digits[32];
    size_t n = strspn(s, "0123456789.");
    if (n == 0 || n >= sizeof digits || s[0] == '.') {
        return NULL;
    }
    memcpy(digits, s, n);
    digits[n] = '\0';
    return gdfo_parse_f64(digits, out) ? s + n : NULL;
}

static int64_t to_ms(double ms)
{
    if (!(ms > 0)) {
        return 0;
    }
    return ms >= GDFO_VERDICT_WAIT_MAX_MS ? GDFO_VERDICT_WAIT_MAX_MS : (int64_t)(ms + 0.999);
}

/* The unit's milliseconds and its letters; 0 when there is no such unit. */
static double unit_ms(const char *s, size_t *n)
{
    *n = 1;
    switch (*s) {
    case 'h': return 3600000.0;
    case 's': return 1000.0;
    case 'm': *n = s[1] == 's' ? 2 : 1; return s[1] == 's' ? 1.0 : 60000.0;
    default: return 0.0;
    }
}

int64_t gdfo_verdict_duration_ms(const char *text)
{
    double sum = 0;
    const char *s = text;
    while (*s) {
        double v = 0;
        double unit;
        size_t n = 0;
        const char *behind = number(s, &v);
        if (!behind) {
            return -1;
        }
        if (!*behind && s == text) {
            return to_ms(v * 1000.0);
        }
        unit = unit_ms(behind, &n);
        if (unit == 0.0) {
            return -1;
        }
        sum += v * unit;
        s = behind + n;
    }
    return s == text ? -1 : to_ms(sum);
}

/* Seconds or a date; negative numbers and other text are no hint. */
static int64_t retry_after_ms(const char *text, int64_t wall_ms)
{
    double seconds = 0;
    const char *behind = number(text, &seconds);
    time_t date;
    if (behind) {
        return *behind ? 0 : to_ms(seconds * 1000.0);
    }
    if (strspn(text, "0123456789") == strlen(text) && *text) {
        return GDFO_VERDICT_WAIT_MAX_MS; /* more digits than a number of ours holds */
    }
    date = strchr(text, ':') && text[0] >= 'A' && text[0] <= 'Z' ? curl_getdate(text, NULL) : -1;
    return date < 0 ? 0 : to_ms((double)date * 1000.0 - (double)wall_ms);
}

static int64_t at_least(int64_t wait_ms, int64_t more_ms)
{
    return more_ms > wait_ms ? more_ms : wait_ms;
}

int64_t gdfo_verdict_wait_ms(const struct gdfo_net_answer *answer, int64_t wall_ms)
{
    static const char *const resets[] = {"x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"};
    char text[64];
    double ms = 0;
    int64_t wait = 0;
    if (gdfo_net_header(answer, "retry-after-ms", text, sizeof text)) {
        const char *behind = number(text, &ms);
        wait = behind && !*behind ? to_ms(ms) : 0;
    }
    if (wait == 0 && gdfo_net_header(answer, "retry-after", text, sizeof text)) {
        wait = retry_after_ms(text, wall_ms);
    }
    if (wait > 0) {
        return wait; /* said outright; the reset of a window is a guess */
    }
    for (size_t i = 0; i < 2; i++) {
        if (gdfo_net_header(answer, resets[i], text, sizeof text)) {
            wait = at_least(wait, gdfo_verdict_duration_ms(text));
        }
    }
    return wait;
}
