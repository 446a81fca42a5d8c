/*
 * Any bytes as the head of a request: "METHOD TARGET VERSION", then "name:value" lines. Promises:
 * whatever is refused has an answer of the contract's shape; a request that is let in has one host
 * of ours, one reading of its length and a route; no decoded segment can leave its place.
 */
#include "common/check.h"
#include "common/json.h"
#include "common/mem.h"
#include "server/http/request.h"
#include "server/http/router.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static const struct gdfo_http_deps deps; /* nothing: no head may ask the layers below */

/* The next piece up to the separator, ended by a NUL in place. */
static char *cut(char **at, char separator)
{
    char *start = *at;
    char *end = strchr(start, separator);
    if (end) {
        *end = '\0';
        *at = end + 1;
    } else {
        *at = start + strlen(start);
    }
    return start;
}

static void add_headers(struct gdfo_request *r, char *at)
{
    while (*at) {
        char *line = cut(&at, '\n');
        char *value = line;
        char *name = cut(&value, ':');
        gdfo_request_header(r, name, strlen(name), value, strlen(value));
    }
}

static void check_refusal(struct gdfo_request *r)
{
    struct gdfo_json *v = NULL;
    GDFO_CHECK(r->answer.http_status >= 400 && r->answer.http_status < 500);
    GDFO_CHECK(gdfo_buf_ok(&r->answer.body));
    GDFO_CHECK(gdfo_json_parse(&v, r->answer.body.data, r->answer.body.len, NULL, NULL) ==
               GDFO_STATUS_OK);
    GDFO_CHECK(gdfo_json_get(v, "error") != NULL);
    GDFO_CHECK(gdfo_json_string(gdfo_json_get(v, "error")) || gdfo_json_get(v, "errors"));
    gdfo_json_destroy(v);
}

static void check_let_in(const struct gdfo_request *r)
{
    GDFO_CHECK(r->route && r->framing.n_host == 1);
    GDFO_CHECK(r->framing.n_length + r->framing.n_transfer <= 1);
    for (size_t i = 0; i < r->target.n_segments; i++) {
        const char *s = r->target.segments[i];
        GDFO_CHECK(*s && !strpbrk(s, "/\\") && strcmp(s, "..") != 0 && strcmp(s, ".") != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct gdfo_http_config cfg = gdfo_http_config_default();
    char *text = gdfo_mem_array(n + 1, 1);
    char *at = text;
    struct gdfo_request *r = gdfo_request_create(&cfg, &deps, 8787);
    struct gdfo_request_head head = {.header_bytes = n};
    char *line;
    GDFO_CHECK(text && r);
    if (n > 0) {
        memcpy(text, data, n);
    }
    line = cut(&at, '\n');
    head.method = cut(&line, ' ');
    gdfo_request_set_target(r, cut(&line, ' '));
    head.version = line;
    add_headers(r, at);
    gdfo_request_begin(r, &head);
    if (r->answer.is_ready) {
        check_refusal(r);
    } else {
        check_let_in(r);
    }
    gdfo_request_destroy(r);
    gdfo_mem_free(text);
    return 0;
}
