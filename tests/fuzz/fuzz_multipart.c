/*
 * Any bytes as a multipart body with the boundary XyZ; the first two bytes say where it is cut.
 * Promise: the cuts change neither the verdict nor one byte of what the sink hears.
 */
#include "common/buf.h"
#include "common/check.h"
#include "server/http/multipart.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define HEARD_MAX ((size_t)4 << 20)

static enum gdfo_status on_part(void *ctx, const char *name, const char *filename,
                                struct gdfo_error *err)
{
    (void)err;
    gdfo_buf_addf(ctx, "[%s|%s]", name, filename ? filename : "");
    return GDFO_STATUS_OK;
}

static enum gdfo_status on_data(void *ctx, const char *bytes, size_t n, struct gdfo_error *err)
{
    (void)err;
    GDFO_CHECK(n > 0);
    gdfo_buf_addn(ctx, bytes, n);
    return GDFO_STATUS_OK;
}

static enum gdfo_status on_end(void *ctx, struct gdfo_error *err)
{
    (void)err;
    gdfo_buf_add(ctx, ";");
    return GDFO_STATUS_OK;
}

static enum gdfo_status feed(const char *body, size_t n, size_t piece, struct gdfo_buf *heard)
{
    const struct gdfo_multipart_sink sink = {heard, on_part, on_data, on_end};
    struct gdfo_multipart *m = NULL;
    enum gdfo_status status = gdfo_multipart_create(&m, "XyZ", &sink, NULL);
    GDFO_CHECK(status == GDFO_STATUS_OK);
    for (size_t at = 0; at < n && status == GDFO_STATUS_OK; at += piece) {
        status = gdfo_multipart_add(m, body + at, n - at < piece ? n - at : piece, NULL);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_multipart_end(m, NULL);
    }
    gdfo_multipart_destroy(m);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct gdfo_buf whole, cut;
    size_t piece;
    const char *body = (const char *)data + 2;
    if (n < 3) {
        return 0;
    }
    piece = 1 + (data[0] | (size_t)data[1] << 8) % 300;
    n -= 2;
    gdfo_buf_init(&whole, HEARD_MAX);
    gdfo_buf_init(&cut, HEARD_MAX);
    GDFO_CHECK(feed(body, n, n, &whole) == feed(body, n, piece, &cut));
    GDFO_CHECK(whole.len == cut.len && memcmp(whole.data, cut.data, whole.len) == 0);
    gdfo_buf_deinit(&whole);
    gdfo_buf_deinit(&cut);
    return 0;
}
