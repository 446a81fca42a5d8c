/*
 * Any bytes as the answer of an Open Inference Protocol server. The first byte says to what: 0..2
 * the steps of a probe, 3 a request in JSON, else one in binary form whose JSON has as many bytes
 * as the next two say. Promise: what is taken is a finite log-probability in every cell.
 */
#include "common/check.h"
#include "server/teacher/exchange.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static char header_bytes[24];

static const char *header(const struct gdfo_exchange_answer *a, const char *name)
{
    (void)a;
    return header_bytes[0] && strcmp(name, "inference-header-content-length") == 0 ? header_bytes
                                                                                   : NULL;
}

static void fuzz_decode(const struct gdfo_remote_ops *ops, const struct gdfo_remote_setup *setup,
                        const struct gdfo_exchange_answer *a)
{
    static const struct gdfo_label_ids forms[2] = {{{7, 8}, 2}, {{9}, 1}};
    static const struct gdfo_text bodies[2] = {{"a", 1}, {"b", 1}};
    const struct gdfo_score_req req = {.n_prompts = 1,
                                       .position = GDFO_POSITION_SUFFIX,
                                       .bodies = bodies,
                                       .n_examples = 2,
                                       .forms = forms,
                                       .n_forms = 2,
                                       .want_hidden = 1};
    struct gdfo_trie trie;
    struct gdfo_remote_block b = {.req = &req, .trie = &trie, .n_prompts = 1, .n_examples = 2};
    float lp[6];
    float hidden[6];
    uint8_t flags[6];
    struct gdfo_remote_cells cells = {.lp = lp, .flags = flags, .hidden = hidden};
    struct gdfo_error err = {0};
    GDFO_CHECK(gdfo_trie_init(&trie, forms, 2, &err) == GDFO_STATUS_OK);
    b.n_nodes = trie.n_nodes;
    if (ops->decode(setup, &b, a, &cells, &err) == GDFO_VERDICT_OK) {
        for (int i = 0; i < 6; i++) {
            GDFO_CHECK(isfinite(lp[i]) && lp[i] <= 1e-3F && isfinite(hidden[i]));
        }
        GDFO_CHECK(cells.usage.tokens_in >= 0 && cells.usage.tokens_cached >= 0);
    } else {
        GDFO_CHECK(err.text[0] != '\0');
    }
    gdfo_trie_deinit(&trie);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct gdfo_remote_ops *ops = gdfo_remote_find("oip");
    const int options = 0;
    struct gdfo_remote_profile profile = {.model = "m", .d_model = 3};
    const struct gdfo_remote_setup setup = {&options, "m", &profile, NULL};
    struct gdfo_exchange_answer a = {.status = 200, .header = header};
    struct gdfo_error err = {0};
    char nothing = '\0';
    if (n < 3) {
        return 0;
    }
    header_bytes[0] = '\0';
    a.body = n > 3 ? (const char *)data + 3 : &nothing;
    a.n = n - 3;
    if (data[0] < 3) {
        if (ops->probe_decode(&setup, data[0], &a, &profile, &err) != GDFO_STATUS_OK) {
            GDFO_CHECK(err.text[0] != '\0');
        }
        return 0;
    }
    if (data[0] > 3) {
        (void)snprintf(header_bytes, sizeof header_bytes, "%u", data[1] + 256U * data[2]);
    }
    fuzz_decode(ops, &setup, &a);
    return 0;
}
