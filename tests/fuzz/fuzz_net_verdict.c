/*
 * Any bytes as a teacher's answer: "STATUS\n", header lines, a blank line, the body. Promises: the
 * verdict is one of ours and OK stands for 200 alone; no wait is negative or longer than the cap;
 * the error's word holds identifier characters only.
 */
#include "common/check.h"
#include "common/mem.h"
#include "server/net/verdict.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static int status_of(const char *text)
{
    int status = 0;
    for (; *text >= '0' && *text <= '9' && status < 1000; text++) {
        status = status * 10 + (*text - '0');
    }
    return status;
}

/* Ends the text at the next mark and returns what is behind it. */
static char *cut(char *text, const char *mark)
{
    char *end = strstr(text, mark);
    if (!end) {
        return text + strlen(text);
    }
    *end = '\0';
    return end + strlen(mark);
}

static void check_word(const struct gdfo_net_answer *a)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    char word[GDFO_VERDICT_WORD_MAX];
    gdfo_verdict_word(a, word);
    GDFO_CHECK(strlen(word) < sizeof word && strspn(word, letters) == strlen(word));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = gdfo_mem_array(n + 1, 1);
    struct gdfo_net_answer a = {0};
    enum gdfo_net_verdict verdict;
    char *headers;
    char *body;
    int64_t wait;
    char value[16];
    GDFO_CHECK(text);
    if (n > 0) {
        memcpy(text, data, n);
    }
    headers = cut(text, "\n");
    body = cut(headers, "\n\n");
    a.status = status_of(text);
    a.headers = headers;
    a.body = body;
    a.n = (size_t)(text + n - body);
    verdict = gdfo_verdict_of(&a);
    GDFO_CHECK(verdict <= GDFO_NET_BAD && (verdict == GDFO_NET_OK) == (a.status == 200));
    wait = gdfo_verdict_wait_ms(&a, 1700000000000);
    GDFO_CHECK(wait >= 0 && wait <= GDFO_VERDICT_WAIT_MAX_MS);
    wait = gdfo_verdict_duration_ms(headers);
    GDFO_CHECK(wait >= -1 && wait <= GDFO_VERDICT_WAIT_MAX_MS);
    GDFO_CHECK(!gdfo_net_header(&a, "retry-after", value, sizeof value) ||
               strlen(value) < sizeof value);
    check_word(&a);
    gdfo_mem_free(text);
    return 0;
}
