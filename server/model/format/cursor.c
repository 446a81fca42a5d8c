#include "server/model/format/cursor.h"

#include "common/mem.h"
#include "common/parse.h"

#include <inttypes.h>
#include <string.h>

#define WINDOW_BYTES 65536u

enum gdfo_status gdfo_cursor_init(struct gdfo_cursor *c, const struct gdfo_reader *reader,
                                  struct gdfo_error *err)
{
    *c = (struct gdfo_cursor){.reader = *reader};
    c->window = gdfo_mem_array(WINDOW_BYTES, 1);
    return c->window ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "reading a model file");
}

void gdfo_cursor_deinit(struct gdfo_cursor *c)
{
    gdfo_mem_free(c->window);
    c->window = NULL;
    c->window_len = 0;
}

uint64_t gdfo_cursor_left(const struct gdfo_cursor *c)
{
    return c->reader.size - c->at;
}

enum gdfo_status gdfo_cursor_need(const struct gdfo_cursor *c, uint64_t count, uint64_t each,
                                  const char *what, struct gdfo_error *err)
{
    const uint64_t left = gdfo_cursor_left(c);
    if (count > left / each) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s: %" PRIu64 " of at least %" PRIu64
                              " bytes each, but the file ends after %" PRIu64 " more bytes",
                              what, count, each, left);
    }
    return GDFO_STATUS_OK;
}

/* Fills the window from c->at on. */
static enum gdfo_status refill(struct gdfo_cursor *c, struct gdfo_error *err)
{
    const uint64_t left = gdfo_cursor_left(c);
    const size_t n = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
    enum gdfo_status status = gdfo_reader_at(&c->reader, c->at, c->window, n, err);
    c->window_at = c->at;
    c->window_len = status == GDFO_STATUS_OK ? n : 0;
    return status;
}

enum gdfo_status gdfo_cursor_bytes(struct gdfo_cursor *c, void *out, size_t n, const char *what,
                                   struct gdfo_error *err)
{
    unsigned char *to = out;
    enum gdfo_status status = gdfo_cursor_need(c, n, 1, what, err);
    while (status == GDFO_STATUS_OK && n > 0) {
        const uint64_t skip = c->at - c->window_at;
        if (c->at >= c->window_at && skip < c->window_len) {
            const size_t have = c->window_len - (size_t)skip;
            const size_t take = n < have ? n : have;
            memcpy(to, c->window + skip, take);
            to += take;
            n -= take;
            c->at += take;
        } else {
            status = refill(c, err);
        }
    }
    return status;
}

enum gdfo_status gdfo_cursor_u32(struct gdfo_cursor *c, uint32_t *out, const char *what,
                                 struct gdfo_error *err)
{
    unsigned char b[4];
    enum gdfo_status status = gdfo_cursor_bytes(c, b, sizeof b, what, err);
    if (status == GDFO_STATUS_OK) {
        *out = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    }
    return status;
}

enum gdfo_status gdfo_cursor_u64(struct gdfo_cursor *c, uint64_t *out, const char *what,
                                 struct gdfo_error *err)
{
    uint32_t low = 0;
    uint32_t high = 0;
    enum gdfo_status status = gdfo_cursor_u32(c, &low, what, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_cursor_u32(c, &high, what, err);
    }
    if (status == GDFO_STATUS_OK) {
        *out = (uint64_t)high << 32 | low;
    }
    return status;
}

static enum gdfo_status check_text(const struct gdfo_buf *b, const char *what,
                                   struct gdfo_error *err)
{
    const size_t valid = gdfo_utf8_valid(b->data, b->len);
    const char *nul = b->len > 0 ? memchr(b->data, '\0', b->len) : NULL;
    if (valid != b->len) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s: a string is not UTF-8 from its byte %zu on", what, valid);
    }
    if (nul) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "%s: a string has a NUL at its byte %zu",
                              what, (size_t)(nul - b->data));
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_cursor_text(struct gdfo_cursor *c, struct gdfo_buf *b, uint64_t max,
                                  const char *what, struct gdfo_error *err)
{
    char part[4096];
    uint64_t n = 0;
    enum gdfo_status status = gdfo_cursor_u64(c, &n, what, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (n > max) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "%s: a string of %" PRIu64 " bytes, at most %" PRIu64, what, n, max);
    }
    status = gdfo_cursor_need(c, n, 1, what, err);
    gdfo_buf_reset(b);
    while (status == GDFO_STATUS_OK && n > 0) {
        const size_t take = n < sizeof part ? (size_t)n : sizeof part;
        status = gdfo_cursor_bytes(c, part, take, what, err);
        if (status == GDFO_STATUS_OK) {
            gdfo_buf_addn(b, part, take);
            n -= take;
        }
    }
    if (status == GDFO_STATUS_OK && !gdfo_buf_ok(b)) {
        return gdfo_error_no_memory(err, what);
    }
    return status == GDFO_STATUS_OK ? check_text(b, what, err) : status;
}
