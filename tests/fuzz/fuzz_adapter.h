#ifndef GDFO_TESTS_FUZZ_FUZZ_ADAPTER_H
#define GDFO_TESTS_FUZZ_FUZZ_ADAPTER_H

#include "common/check.h"
#include "common/opt.h"
#include "server/teacher/exchange.h"
#include "server/teacher/exchange_write.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/*
 * Any bytes as the answer of a teacher's server. The first four choose what was asked: decode or a
 * step of the probe, the route, the status or the length of the JSON in front of binary tensors.
 * Promises: an answer that passes has a finite number for every value that was asked, each at most
 * 1e-3, and counts that are not negative; one that does not has words.
 */
#define FUZZ_HEAD   4
#define FUZZ_VALUES 64

struct fuzz_case {
    struct gdfo_score_req req;
    struct gdfo_trie trie;
    struct gdfo_remote_block block;
    struct gdfo_remote_profile profile;
    struct gdfo_remote_setup setup;
    char options[512];
    char header[16];
};

static const char *fuzz_header(const struct gdfo_exchange_answer *a, const char *name)
{
    const struct fuzz_case *c = a->headers;
    return c->header[0] && strcmp(name, "inference-header-content-length") == 0 ? c->header : NULL;
}

/* Two prompts where the route takes them, two texts, three label forms on two nodes, an anchor. */
static void fuzz_build(struct fuzz_case *c, int is_single)
{
    static const float rows[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    static const struct gdfo_text bodies[2] = {{"good", 4}, {"bad", 3}};
    static const struct gdfo_text words[3] = {{" great", 6}, {" bad", 4}, {" awful", 6}};
    static const struct gdfo_label_ids many[3] = {{{3}, 1}, {{4}, 1}, {{4, 5}, 2}};
    static const struct gdfo_label_ids single[3] = {{{3}, 1}, {{4}, 1}, {{4}, 1}};
    static const int32_t anchors[1] = {6};
    struct gdfo_error err = {0};
    c->req = (struct gdfo_score_req){.rows = rows,
                                     .n_prompts = c->profile.takes_many ? 2 : 1,
                                     .n_prompt_tokens = 2,
                                     .d_model = 3,
                                     .position = GDFO_POSITION_PREFIX,
                                     .bodies = bodies,
                                     .n_examples = is_single ? 1 : 2,
                                     .cue = {" it", 3},
                                     .forms = is_single ? single : many,
                                     .n_forms = 3,
                                     .form_texts = words,
                                     .anchor_ids = anchors,
                                     .n_anchors = is_single ? 0 : 1,
                                     .want_hidden = c->profile.has_hidden};
    GDFO_CHECK(gdfo_trie_init(&c->trie, c->req.forms, 3, &err) == GDFO_STATUS_OK);
    c->block = (struct gdfo_remote_block){.req = &c->req,
                                          .trie = &c->trie,
                                          .n_prompts = c->req.n_prompts,
                                          .n_examples = c->req.n_examples,
                                          .n_nodes = c->trie.n_nodes};
}

static void fuzz_decode(struct fuzz_case *c, const struct gdfo_remote_ops *ops,
                        const struct gdfo_exchange_answer *a, int is_single)
{
    float lp[FUZZ_VALUES], hidden[FUZZ_VALUES];
    uint8_t flags[FUZZ_VALUES], truncated[2] = {0, 0};
    struct gdfo_remote_cells cells = {
        .lp = lp, .flags = flags, .hidden = hidden, .truncated = truncated};
    struct gdfo_error err = {0};
    enum gdfo_verdict verdict;
    size_t n;
    fuzz_build(c, is_single);
    n = gdfo_exchange_values(&c->block);
    GDFO_CHECK(n <= FUZZ_VALUES);
    verdict = ops->decode(&c->setup, &c->block, a, &cells, &err);
    GDFO_CHECK(verdict == GDFO_VERDICT_OK || verdict == GDFO_VERDICT_RETRY ||
               verdict == GDFO_VERDICT_BAD);
    GDFO_CHECK((verdict == GDFO_VERDICT_OK) == (err.text[0] == '\0'));
    for (size_t i = 0; verdict == GDFO_VERDICT_OK && i < n; i++) {
        GDFO_CHECK(isfinite(lp[i]) && lp[i] <= 1.01e-3F && flags[i] <= GDFO_CELL_HARD);
    }
    for (size_t i = 0; verdict == GDFO_VERDICT_OK && c->req.want_hidden && i < 3; i++) {
        GDFO_CHECK(isfinite(hidden[i]));
    }
    GDFO_CHECK(cells.usage.tokens_in >= 0 && cells.usage.tokens_cached >= 0 &&
               cells.usage.tokens_out >= 0);
    gdfo_trie_deinit(&c->trie);
}

static void fuzz_probe(struct fuzz_case *c, const struct gdfo_remote_ops *ops,
                       const struct gdfo_exchange_answer *a, uint32_t step)
{
    struct gdfo_error err = {0};
    const enum gdfo_status status = ops->probe_decode(&c->setup, step, a, &c->profile, &err);
    GDFO_CHECK(status == GDFO_STATUS_OK || err.text[0] != '\0');
    GDFO_CHECK(memchr(c->profile.model, '\0', sizeof c->profile.model) &&
               memchr(c->profile.server, '\0', sizeof c->profile.server) &&
               memchr(c->profile.layout, '\0', sizeof c->profile.layout));
}

/* set(c, kind): route, options and shape for a kind 0..15; returns 1 for one cell of words. */
static inline int fuzz_adapter(const char *name, const uint8_t *data, size_t n,
                               int (*set)(struct fuzz_case *c, unsigned kind))
{
    const struct gdfo_remote_ops *ops = gdfo_remote_find(name);
    struct fuzz_case c;
    struct gdfo_exchange_answer a = {.status = 200, .header = fuzz_header, .headers = &c};
    int is_single;
    memset(&c, 0, sizeof c);
    if (n < FUZZ_HEAD) {
        return 0;
    }
    GDFO_CHECK(ops && ops->options_bytes <= sizeof c.options);
    gdfo_opt_defaults(ops->options, c.options);
    c.profile.d_model = 3;
    c.setup = (struct gdfo_remote_setup){.options = c.options, .model = "m", .profile = &c.profile};
    a.body = (const char *)data + FUZZ_HEAD;
    a.n = n - FUZZ_HEAD;
    is_single = set(&c, data[1] & 15);
    if (data[0] & 1) {
        static const int statuses[] = {200, 400, 404, 500};
        a.status = statuses[data[2] & 3];
        fuzz_probe(&c, ops, &a, data[0] >> 1 & 15);
    } else {
        if (data[0] & 2) {
            snprintf(c.header, sizeof c.header, "%u", data[2] | (unsigned)data[3] << 8);
        }
        fuzz_decode(&c, ops, &a, is_single);
    }
    return 0;
}

#endif
