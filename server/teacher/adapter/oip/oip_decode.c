#include "common/mem.h"
#include "server/teacher/adapter/oip/oip_priv.h"
#include "server/teacher/answer.h"
#include "server/teacher/exchange_write.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_MAX ((size_t)64 << 10) /* JSON in front of raw tensors */

/* One answer: its JSON with poured arrays, and the raw tensors behind it. */
struct reading {
    const struct gdfo_remote_setup *setup;
    const struct gdfo_remote_block *b;
    struct gdfo_json_poured json;
    const char *raw;
    size_t n_raw;
};

struct tensor { /* as FP32 or INT32, as said */
    int is_there;
    const float *values; /* of JSON; NULL: in raw */
    const char *raw;
    size_t n;
};

static double tensor_at(const struct tensor *t, size_t i, int is_int)
{
    if (t->values) {
        return (double)t->values[i];
    }
    if (is_int) {
        int32_t v;
        memcpy(&v, t->raw + 4 * i, sizeof v);
        return v;
    }
    {
        float v;
        memcpy(&v, t->raw + 4 * i, sizeof v);
        return (double)v;
    }
}

/* ---- finding tensors ------------------------------------------------------------------------- */

static int shape_is(const struct gdfo_json *tensor, const uint64_t *want, size_t rank)
{
    const struct gdfo_json *shape = gdfo_answer_get(tensor, "shape", GDFO_JSON_ARRAY);
    if (!shape || gdfo_json_size(shape) != rank) {
        return 0;
    }
    for (size_t i = 0; i < rank; i++) {
        int64_t n = -1;
        if (!gdfo_json_int(gdfo_answer_at(shape, i), &n) || n < 0 || (uint64_t)n != want[i]) {
            return 0;
        }
    }
    return 1;
}

/* Raw bytes stand in the order of the outputs: an output's are behind those of the ones before. */
static int raw_of(const struct reading *r, const struct gdfo_json *wanted, size_t *at, size_t *n)
{
    const struct gdfo_json *list = gdfo_answer_get(r->json.root, "outputs", GDFO_JSON_ARRAY);
    size_t begin = 0;
    for (const struct gdfo_json *t = gdfo_json_first(list); t; t = gdfo_json_next(t)) {
        const struct gdfo_json *p = gdfo_answer_get(t, "parameters", GDFO_JSON_OBJECT);
        int64_t size = 0;
        if (!gdfo_answer_count(p, "binary_data_size", &size)) {
            size = 0;
        }
        if ((uint64_t)size > r->n_raw - begin) {
            return 0;
        }
        if (t == wanted) {
            *at = begin;
            *n = (size_t)size;
            return size > 0;
        }
        begin += (size_t)size;
    }
    return 0;
}

static enum gdfo_verdict find(const struct reading *r, const char *name, const char *type,
                              const uint64_t *shape, size_t rank, struct tensor *out,
                              struct gdfo_error *err)
{
    const struct gdfo_json *list = gdfo_answer_get(r->json.root, "outputs", GDFO_JSON_ARRAY);
    const struct gdfo_json *found = NULL;
    size_t want = 1;
    size_t at = 0;
    size_t n = 0;
    *out = (struct tensor){0};
    for (const struct gdfo_json *t = list ? gdfo_json_first(list) : NULL; t;
         t = gdfo_json_next(t)) {
        const char *is = gdfo_answer_str(t, "name");
        if (is && strcmp(is, name) == 0) {
            if (found) {
                return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "output %s stands twice", name);
            }
            found = t;
        }
    }
    if (!found) {
        return GDFO_VERDICT_OK;
    }
    for (size_t i = 0; i < rank; i++) {
        want *= (size_t)shape[i];
    }
    if (!gdfo_answer_str(found, "datatype") ||
        strcmp(gdfo_answer_str(found, "datatype"), type) != 0 || !shape_is(found, shape, rank)) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD,
                                 "output %s has another shape or type than was asked", name);
    }
    if (raw_of(r, found, &at, &n)) {
        out->raw = r->raw + at;
        out->n = n / 4;
        out->is_there = n == 4 * want;
    } else {
        out->is_there =
            gdfo_json_poured_at(&r->json, gdfo_json_get(found, "data"), &out->values, &out->n) &&
            out->n == want;
    }
    return out->is_there ? GDFO_VERDICT_OK
                         : gdfo_answer_fault(err, GDFO_VERDICT_BAD, "output %s: want %zu numbers",
                                             name, want);
}

/* ---- filling cells --------------------------------------------------------------------------- */

/* Where each value of one prompt and example stands among the block's ids. */
static void place_ids(const struct gdfo_remote_block *b, const struct gdfo_ids *ids, size_t *places)
{
    size_t at = 0;
    for (uint32_t k = b->first_node; k < b->first_node + b->n_nodes; k++) {
        for (uint32_t i = 0; i < gdfo_remote_n_asked(b, k); i++) {
            size_t j = 0;
            while (j < ids->n && ids->data[j] != gdfo_remote_asked(b, k, i)) {
                j++;
            }
            places[at++] = j;
        }
    }
}

/* One text's values at one node: n of them, from place on. */
static int pour_node(const struct tensor *t, size_t row, const size_t *place, uint32_t n, float *lp,
                     uint8_t *flags)
{
    int is_good = 1;
    for (uint32_t i = 0; i < n; i++) {
        is_good &= gdfo_answer_lp(tensor_at(t, row + place[i], 0), &lp[i], &flags[i]);
    }
    return is_good;
}

static enum gdfo_verdict pour_lp(const struct gdfo_remote_block *b, const struct tensor *t,
                                 size_t n_ids, const size_t *places,
                                 struct gdfo_remote_cells *cells, struct gdfo_error *err)
{
    const size_t n_pairs = (size_t)b->n_prompts * b->n_examples;
    size_t at = 0;
    for (size_t pair = 0; pair < n_pairs; pair++) {
        const size_t *place = places;
        for (uint32_t k = 0; k < b->n_nodes; k++) {
            const size_t row = (pair * b->n_nodes + k) * n_ids;
            const uint32_t n = gdfo_remote_n_asked(b, b->first_node + k);
            if (!pour_node(t, row, place, n, cells->lp + at, cells->flags + at)) {
                return gdfo_answer_fault(err, GDFO_VERDICT_BAD,
                                         "label_logprobs: a number is no log-probability");
            }
            place += n;
            at += n;
        }
    }
    return GDFO_VERDICT_OK;
}

static enum gdfo_verdict take_lp(const struct reading *r, struct gdfo_remote_cells *cells,
                                 struct gdfo_error *err)
{
    const struct gdfo_remote_block *b = r->b;
    struct gdfo_ids ids = {0};
    const size_t n_values = gdfo_exchange_values(b) / b->n_prompts / b->n_examples;
    size_t *places = gdfo_mem_array(n_values, sizeof *places);
    const int many = r->setup->profile->takes_many;
    uint64_t shape[3] = {b->n_prompts, gdfo_oip_n_texts(b), 0};
    struct tensor t;
    enum gdfo_verdict v = GDFO_VERDICT_RETRY;
    if (places && gdfo_exchange_union(b, &ids, err) == GDFO_STATUS_OK) {
        shape[2] = ids.n;
        v = find(r, "label_logprobs", "FP32", many ? shape : shape + 1, many ? 3 : 2, &t, err);
        if (v == GDFO_VERDICT_OK && !t.is_there) {
            v = gdfo_answer_fault(err, GDFO_VERDICT_BAD, "there is no output label_logprobs");
        }
        if (v == GDFO_VERDICT_OK) {
            place_ids(b, &ids, places);
            v = pour_lp(b, &t, ids.n, places, cells, err);
        }
    }
    gdfo_ids_deinit(&ids);
    gdfo_mem_free(places);
    return v;
}

/* At the root alone: what stands behind a label's first token is the label's own. */
static enum gdfo_verdict take_hidden(const struct reading *r, struct gdfo_remote_cells *cells,
                                     struct gdfo_error *err)
{
    const struct gdfo_remote_block *b = r->b;
    const size_t d = r->setup->profile->d_model;
    const int many = r->setup->profile->takes_many;
    const uint64_t shape[3] = {b->n_prompts, gdfo_oip_n_texts(b), d};
    struct tensor t;
    enum gdfo_verdict v =
        find(r, "hidden", "FP32", many ? shape : shape + 1, many ? 3 : 2, &t, err);
    if (v == GDFO_VERDICT_OK && !t.is_there) {
        v = gdfo_answer_fault(err, GDFO_VERDICT_BAD, "there is no output hidden");
    }
    for (size_t i = 0; v == GDFO_VERDICT_OK && i < (size_t)b->n_prompts * b->n_examples * d; i++) {
        const size_t pair = i / d;
        const double said = tensor_at(&t, pair * b->n_nodes * d + i % d, 0);
        if (!isfinite(said)) {
            return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "hidden: a number is not finite");
        }
        cells->hidden[i] = (float)said;
    }
    return v;
}

/* One number for each text, over all prompts: the server's bill. */
static enum gdfo_verdict take_tokens(const struct reading *r, const char *name, int64_t *out,
                                     struct gdfo_error *err)
{
    const uint64_t shape[1] = {gdfo_oip_n_texts(r->b)};
    struct tensor t;
    enum gdfo_verdict v = find(r, name, "INT32", shape, 1, &t, err);
    for (size_t i = 0; v == GDFO_VERDICT_OK && t.is_there && i < t.n; i++) {
        const double said = tensor_at(&t, i, 1);
        if (!(said >= 0 && said <= 1e9)) {
            return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "%s: a number below 0 or past 1e9",
                                     name);
        }
        *out += (int64_t)said;
    }
    return v;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static enum gdfo_verdict open_answer(struct reading *r, const struct gdfo_exchange_answer *a,
                                     struct gdfo_error *err)
{
    const char *length = a->header ? a->header(a, "inference-header-content-length") : NULL;
    size_t n_json = a->n;
    if (length) {
        char *end = NULL;
        const unsigned long long n = strtoull(length, &end, 10);
        if (length[0] < '0' || length[0] > '9' || *end != '\0' || n > HEADER_MAX) {
            return gdfo_answer_fault(err, GDFO_VERDICT_BAD,
                                     "inference-header-content-length is no size");
        }
        if (n > a->n) {
            return gdfo_answer_fault(err, GDFO_VERDICT_RETRY, "the answer ends in its header");
        }
        n_json = (size_t)n;
    }
    r->raw = a->body + n_json;
    r->n_raw = a->n - n_json;
    return gdfo_answer_pour(&r->json, a->body, n_json, a->n, err);
}

static enum gdfo_verdict check_names(const struct reading *r, struct gdfo_error *err)
{
    char id[GDFO_OIP_ID_BYTES];
    const char *said = gdfo_answer_str(r->json.root, "id");
    const char *model = gdfo_answer_str(r->json.root, "model_name");
    gdfo_oip_block_id(r->b, id);
    if (!said || strcmp(said, id) != 0) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "the answer has another request's id");
    }
    if (model && r->setup->profile->model[0] && strcmp(model, r->setup->profile->model) != 0) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "the answer is of another model");
    }
    return GDFO_VERDICT_OK;
}

/* All raw bytes belong to an output: a cut answer has fewer. */
static enum gdfo_verdict check_raw(const struct reading *r, struct gdfo_error *err)
{
    const struct gdfo_json *list = gdfo_answer_get(r->json.root, "outputs", GDFO_JSON_ARRAY);
    uint64_t sum = 0;
    for (const struct gdfo_json *t = list ? gdfo_json_first(list) : NULL; t;
         t = gdfo_json_next(t)) {
        int64_t size = 0;
        if (gdfo_answer_count(gdfo_answer_get(t, "parameters", GDFO_JSON_OBJECT),
                              "binary_data_size", &size)) {
            sum += (uint64_t)size;
        }
    }
    return sum == r->n_raw
               ? GDFO_VERDICT_OK
               : gdfo_answer_fault(err, sum > r->n_raw ? GDFO_VERDICT_RETRY : GDFO_VERDICT_BAD,
                                   "the answer's tensors have %zu bytes; it says %llu", r->n_raw,
                                   (unsigned long long)sum);
}

enum gdfo_verdict gdfo_oip_decode(const struct gdfo_remote_setup *setup,
                                  const struct gdfo_remote_block *b,
                                  const struct gdfo_exchange_answer *a,
                                  struct gdfo_remote_cells *cells, struct gdfo_error *err)
{
    struct reading r = {.setup = setup, .b = b};
    enum gdfo_verdict v = open_answer(&r, a, err);
    gdfo_answer_clear(b, cells);
    if (v == GDFO_VERDICT_OK) {
        v = check_names(&r, err);
    }
    if (v == GDFO_VERDICT_OK) {
        v = check_raw(&r, err);
    }
    if (v == GDFO_VERDICT_OK) {
        v = take_lp(&r, cells, err);
    }
    if (v == GDFO_VERDICT_OK && b->req->want_hidden && cells->hidden) {
        v = take_hidden(&r, cells, err);
    }
    if (v == GDFO_VERDICT_OK) {
        v = take_tokens(&r, "tokens_used", &cells->usage.tokens_in, err);
    }
    if (v == GDFO_VERDICT_OK) {
        v = take_tokens(&r, "tokens_cached", &cells->usage.tokens_cached, err);
    }
    if (v == GDFO_VERDICT_OK) {
        cells->usage.tokens_out = (int64_t)b->n_prompts * gdfo_oip_n_texts(b);
        gdfo_answer_id(a, r.json.root, cells);
    }
    gdfo_json_poured_deinit(&r.json);
    return v;
}
