#ifndef GDFO_TESTS_UNIT_MODEL_GGUF_JUDGE_H
#define GDFO_TESTS_UNIT_MODEL_GGUF_JUDGE_H

#include "server/model/format/format.h"
#include "tests/support/gguf_maker.h"
#include "tests/support/test.h"

#include <string.h>

/* How a made GGUF file is judged: taken, or refused with a status and exact words. */
/* ---- how a file is judged ---------------------------------------------------------------------
 */

static enum gdfo_status open_bytes(const struct gdfo_buf *b, struct gdfo_error *err)
{
    struct gdfo_model_file *f = NULL;
    struct gdfo_reader r = gdfo_reader_memory(b->data, b->len, "x.gguf");
    const enum gdfo_status status = gdfo_model_file_open(&f, &r, NULL, err);
    assert_int_equal(f != NULL, status == GDFO_STATUS_OK);
    gdfo_model_file_destroy(f);
    return status;
}

/* Builds, opens and ends m. */
static void accepted(struct gdfo_test_gguf *m)
{
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    gdfo_test_gguf_build(m, &b);
    gdfo_test_ok(open_bytes(&b, &err), &err);
    gdfo_buf_deinit(&b);
    gdfo_test_gguf_deinit(m);
}

static void refused(struct gdfo_test_gguf *m, enum gdfo_status status, const char *words)
{
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    enum gdfo_status got;
    gdfo_test_gguf_build(m, &b);
    got = open_bytes(&b, &err);
    if (got != status || strncmp(err.text, "x.gguf: ", 8) != 0 ||
        strcmp(err.text + 8, words) != 0) {
        print_error("got  %s: %s\nwant %s: x.gguf: %s\n", gdfo_status_name(got), err.text,
                    gdfo_status_name(status), words);
        fail();
    }
    gdfo_buf_deinit(&b);
    gdfo_test_gguf_deinit(m);
}

#endif
