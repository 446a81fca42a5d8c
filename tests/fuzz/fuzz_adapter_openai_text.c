/*
 * Any bytes as the answer of a text-only teacher. The first byte picks the route (its value modulo
 * 3), whether the probe found log-probabilities (bit 4), whether the answer is a probe's (bit 5)
 * and whether its status is 200 (bit 6 clear). Promises: an answer that is taken fills every value
 * with a finite number that is a log-probability and a flag of ours; one that is not has words; a
 * probe that is whole knows its kind of score.
 */
#include "common/check.h"
#include "common/mem.h"
#include "server/teacher/exchange.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <string.h>

#define N_FORMS 3

static const char *no_header(const struct gdfo_exchange_answer *a, const char *name)
{
    (void)a;
    (void)name;
    return NULL;
}

static void probe(const struct gdfo_remote_ops *ops, const struct gdfo_remote_setup *setup,
                  const struct gdfo_exchange_answer *a, struct gdfo_remote_profile *profile)
{
    for (uint32_t step = 0; step < 3; step++) {
        struct gdfo_error err = {0};
        const enum gdfo_status status = ops->probe_decode(setup, step, a, profile, &err);
        GDFO_CHECK(status == GDFO_STATUS_OK || err.text[0] != '\0');
        GDFO_CHECK(strlen(profile->model) < sizeof profile->model);
        GDFO_CHECK(profile->score == 0 ||
                   (profile->max_cells == 1 && profile->soft == GDFO_SOFT_NONE));
    }
}

static void decode(const struct gdfo_remote_ops *ops, const struct gdfo_remote_setup *setup,
                   const struct gdfo_exchange_answer *a)
{
    static const struct gdfo_label_ids ids[N_FORMS] = {{{7}, 1}, {{3}, 1}, {{9}, 1}};
    static const struct gdfo_text words[N_FORMS] = {{" great", 6}, {" bad", 4}, {"\xC3\xA9", 2}};
    static const struct gdfo_text body = {"A film.", 7};
    const struct gdfo_score_req req = {.n_prompts = 1,
                                       .position = GDFO_POSITION_PREFIX,
                                       .bodies = &body,
                                       .n_examples = 1,
                                       .forms = ids,
                                       .n_forms = N_FORMS,
                                       .form_texts = words};
    struct gdfo_trie trie;
    struct gdfo_error err = {0};
    float lp[N_FORMS];
    uint8_t flags[N_FORMS];
    uint8_t truncated[1] = {0};
    struct gdfo_remote_cells cells = {.lp = lp, .flags = flags, .truncated = truncated};
    const struct gdfo_remote_block block = {
        .req = &req, .trie = &trie, .n_prompts = 1, .n_examples = 1, .n_nodes = 1};
    enum gdfo_verdict v;
    GDFO_CHECK(gdfo_trie_init(&trie, ids, N_FORMS, &err) == GDFO_STATUS_OK);
    v = ops->decode(setup, &block, a, &cells, &err);
    GDFO_CHECK(v == GDFO_VERDICT_OK || v == GDFO_VERDICT_RETRY || v == GDFO_VERDICT_BAD);
    GDFO_CHECK(v == GDFO_VERDICT_OK || err.text[0] != '\0');
    for (int i = 0; v == GDFO_VERDICT_OK && i < N_FORMS; i++) {
        GDFO_CHECK(isfinite(lp[i]) && lp[i] <= 1e-2F && flags[i] <= GDFO_CELL_HARD);
    }
    GDFO_CHECK(cells.usage.tokens_in >= 0 && cells.usage.tokens_out >= 0 &&
               cells.usage.tokens_cached <= cells.usage.tokens_in);
    GDFO_CHECK(strlen(cells.request_id) < sizeof cells.request_id && truncated[0] <= 1);
    gdfo_trie_deinit(&trie);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const apis[] = {"chat", "completions", "llamacpp"};
    const struct gdfo_remote_ops *ops = gdfo_remote_find("openai-text");
    const unsigned kind = n > 0 ? data[0] : 0;
    const size_t n_body = n > 0 ? n - 1 : 0;
    char *body = gdfo_mem_array(n_body + 1, 1);
    void *options = ops ? gdfo_mem_array(1, ops->options_bytes) : NULL;
    struct gdfo_remote_profile profile = {.soft = GDFO_SOFT_NONE};
    const struct gdfo_remote_setup setup = {options, "m", &profile, NULL};
    const struct gdfo_exchange_answer a = {
        .status = kind & 0x40 ? 400 : 200, .body = body, .n = n_body, .header = no_header};
    GDFO_CHECK(body && options);
    if (n_body > 0) {
        memcpy(body, data + 1, n_body);
    }
    gdfo_opt_defaults(ops->options, options);
    GDFO_CHECK(gdfo_opt_set_text(ops->options, options, "api", apis[(kind & 0xF) % 3], NULL) ==
               GDFO_STATUS_OK);
    if (kind & 0x20) {
        probe(ops, &setup, &a, &profile);
    } else {
        profile.score = kind & 0x10 ? GDFO_SCORE_TOPK : GDFO_SCORE_HARD;
        decode(ops, &setup, &a);
        profile =
            (struct gdfo_remote_profile){.soft = GDFO_SOFT_NONE}; /* score not known: all is read */
        decode(ops, &setup, &a);
    }
    gdfo_mem_free(options);
    gdfo_mem_free(body);
    return 0;
}
