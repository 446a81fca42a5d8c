/*
 * Two bytes of header length (little-endian; 65535: all JSON), then any bytes as the body of POST
 * /v2/models/M/infer. Promises: refused with words, or accepted and then every tensor has what its
 * shape says, numbers are finite, texts are UTF-8, and an answer to it is JSON of no more bytes
 * than announced.
 */
#include "common/check.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/http/oip.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <string.h>

#define ANSWER_MAX ((uint64_t)1 << 20)

static void check_tensor(const struct gdfo_oip_tensor *t, const struct gdfo_oip_row *row)
{
    size_t n = 1;
    if (!t->is_given) {
        GDFO_CHECK(t->n == 0);
        return;
    }
    GDFO_CHECK(t->n_dims >= row->ranks[0] && t->n_dims <= row->ranks[1]);
    for (uint32_t i = 0; i < t->n_dims; i++) {
        const uint32_t most = row->max[row->ranks[1] - t->n_dims + i];
        GDFO_CHECK(most == 0 || t->shape[i] <= most);
        n *= t->shape[i];
    }
    GDFO_CHECK(n == t->n);
    for (size_t i = 0; i < n; i++) {
        GDFO_CHECK(!t->floats || isfinite(t->floats[i]));
        GDFO_CHECK(!t->texts || (t->texts[i].n <= 65536 &&
                                 gdfo_utf8_valid(t->texts[i].s, t->texts[i].n) == t->texts[i].n));
    }
    GDFO_CHECK((t->floats != NULL) + (t->ints != NULL) + (t->texts != NULL) == 1);
}

static void check_answer(const struct gdfo_oip_request *q)
{
    struct gdfo_oip_answer a = {.model = "m", .request = q, .d_model = 3, .vocab = 5};
    const struct gdfo_json_limits limits = {.values = 1000000};
    const uint64_t n_max = gdfo_oip_answer_bytes(&a);
    struct gdfo_json *root = NULL;
    struct gdfo_buf b;
    void *zeros;
    size_t n_json;
    if (n_max > ANSWER_MAX) {
        return;
    }
    zeros = gdfo_mem_array((size_t)n_max, 1);
    GDFO_CHECK(zeros != NULL);
    for (size_t i = 0; i < GDFO_OIP_OUTPUT_COUNT; i++) {
        a.data[i] = zeros;
    }
    gdfo_buf_init(&b, (size_t)n_max);
    n_json = gdfo_oip_answer_write(&a, &b);
    GDFO_CHECK(gdfo_buf_ok(&b));
    GDFO_CHECK(gdfo_json_parse(&root, b.data, n_json > 0 ? n_json : b.len, &limits, NULL) ==
               GDFO_STATUS_OK);
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&b);
    gdfo_mem_free(zeros);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct gdfo_oip_request q;
    struct gdfo_error err = {0};
    size_t n_header;
    enum gdfo_status status;
    if (n < 2) {
        return 0;
    }
    n_header = (size_t)data[0] | (size_t)data[1] << 8;
    n_header = n_header == 65535 ? GDFO_OIP_ALL_JSON : n_header;
    status = gdfo_oip_request_parse(&q, (const char *)data + 2, n - 2, n_header, &err);
    if (status == GDFO_STATUS_OK) {
        for (size_t i = 0; i < GDFO_OIP_INPUT_COUNT; i++) {
            check_tensor(&q.in[i], gdfo_oip_input_row((enum gdfo_oip_input)i));
        }
        GDFO_CHECK(q.in[GDFO_OIP_TEXT].n > 0 && q.n_out <= GDFO_OIP_OUTPUT_COUNT);
        check_answer(&q);
    } else {
        GDFO_CHECK(status == GDFO_STATUS_INVALID || status == GDFO_STATUS_FORMAT);
        GDFO_CHECK(err.text[0] != '\0');
    }
    gdfo_oip_request_deinit(&q);
    return 0;
}
