/*
 * Any bytes as a JSON document. Promises: refused with a byte offset inside the text, or accepted
 * and then valid UTF-8 that, printed by us, reads back and prints to the very same text.
 */
#include "common/check.h"
#include "common/json.h"
#include "common/json_write.h"
#include "common/parse.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define PRINTED_MAX ((size_t)16 << 20)

static void print(const struct gdfo_json *v, struct gdfo_buf *out)
{
    struct gdfo_json_writer w;
    gdfo_buf_init(out, PRINTED_MAX);
    w = gdfo_json_writer(out);
    gdfo_json_put_node(&w, NULL, v);
    GDFO_CHECK(gdfo_buf_ok(out));
}

/* Every object: each key finds the member it stands on, for keys are unique. */
static void check_keys(const struct gdfo_json *v)
{
    for (const struct gdfo_json *c = gdfo_json_first(v); c; c = gdfo_json_next(c)) {
        if (gdfo_json_type(v) == GDFO_JSON_OBJECT) {
            GDFO_CHECK(gdfo_json_get(v, gdfo_json_key(c)) == c);
        }
        check_keys(c);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *text = (const char *)data;
    struct gdfo_json *v = NULL;
    struct gdfo_json *again = NULL;
    struct gdfo_error err = {0};
    struct gdfo_buf once, twice;
    if (gdfo_json_parse(&v, text, n, NULL, &err) != GDFO_STATUS_OK) {
        GDFO_CHECK(v == NULL && err.text[0] != '\0');
        return 0;
    }
    GDFO_CHECK(gdfo_utf8_valid(text, n) == n);
    GDFO_CHECK(memchr(text, '\0', n) == NULL);
    check_keys(v);
    print(v, &once);
    GDFO_CHECK(gdfo_json_parse(&again, once.data, once.len, NULL, &err) == GDFO_STATUS_OK);
    print(again, &twice);
    GDFO_CHECK(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
    gdfo_buf_deinit(&once);
    gdfo_buf_deinit(&twice);
    gdfo_json_destroy(v);
    gdfo_json_destroy(again);
    return 0;
}
