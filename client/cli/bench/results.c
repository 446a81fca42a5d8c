#include "client/cli/bench/results.h"

#include "client/cli/render.h"
#include "common/file.h"
#include "common/json_write.h"
#include "common/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX_BYTES ((size_t)512 << 20)
#define FORMAT_NUMBER  1 /* of the file; another one is refused */

static const struct gdfo_json_limits file_limits = {.values = 50000000};

static const char *const state_names[] = {"none", "submitted", "done", "failed"};

const char *gdfo_bench_state_name(enum gdfo_bench_state state)
{
    return state_names[state];
}

/* ---- rows ---- */

void gdfo_bench_results_init(struct gdfo_bench_results *r)
{
    *r = (struct gdfo_bench_results){0};
}

void gdfo_bench_results_deinit(struct gdfo_bench_results *r)
{
    gdfo_mem_free(r->rows);
    gdfo_mem_free(r->baselines);
    gdfo_bench_results_init(r);
}

struct gdfo_bench_result *gdfo_bench_results_find(const struct gdfo_bench_results *r,
                                                  const char *key)
{
    for (size_t i = 0; i < r->n; i++) {
        if (strcmp(r->rows[i].key, key) == 0) {
            return &r->rows[i];
        }
    }
    return NULL;
}

static void empty_row(struct gdfo_bench_result *row)
{
    const double nan = (double)NAN;
    const struct gdfo_bench_course unknown = {nan, nan, nan};
    *row = (struct gdfo_bench_result){.evals = nan,
                                      .queries = nan,
                                      .dev_queries = nan,
                                      .calls = nan,
                                      .tokens = nan,
                                      .seconds = nan,
                                      .student_seconds = nan,
                                      .dev = nan,
                                      .cosine = unknown,
                                      .tau = unknown};
}

struct gdfo_bench_result *gdfo_bench_results_put(struct gdfo_bench_results *r, const char *key,
                                                 const char *digest)
{
    struct gdfo_bench_result *row = gdfo_bench_results_find(r, key);
    void *rows = r->rows;
    if (!row) {
        if (!gdfo_mem_grow(&rows, &r->cap, r->n + 1, sizeof *r->rows)) {
            return NULL;
        }
        r->rows = rows;
        row = &r->rows[r->n++];
    }
    empty_row(row);
    (void)snprintf(row->key, sizeof row->key, "%s", key);
    (void)snprintf(row->digest, sizeof row->digest, "%s", digest);
    return row;
}

struct gdfo_bench_baseline *gdfo_bench_results_baseline(const struct gdfo_bench_results *r,
                                                        const char *key, const char *variant)
{
    for (size_t i = 0; i < r->n_baselines; i++) {
        if (strcmp(r->baselines[i].key, key) == 0 &&
            strcmp(r->baselines[i].score.variant, variant) == 0) {
            return &r->baselines[i];
        }
    }
    return NULL;
}

struct gdfo_bench_baseline *gdfo_bench_results_put_baseline(struct gdfo_bench_results *r,
                                                            const char *key, const char *variant)
{
    struct gdfo_bench_baseline *b = gdfo_bench_results_baseline(r, key, variant);
    void *baselines = r->baselines;
    if (!b) {
        if (!gdfo_mem_grow(&baselines, &r->cap_baselines, r->n_baselines + 1,
                           sizeof *r->baselines)) {
            return NULL;
        }
        r->baselines = baselines;
        b = &r->baselines[r->n_baselines++];
    }
    *b = (struct gdfo_bench_baseline){.score = {.accuracy = (double)NAN, .loss = (double)NAN}};
    (void)snprintf(b->key, sizeof b->key, "%s", key);
    (void)snprintf(b->score.variant, sizeof b->score.variant, "%s", variant);
    return b;
}

const struct gdfo_bench_score *gdfo_bench_result_score(const struct gdfo_bench_result *row,
                                                       const char *variant)
{
    for (size_t i = 0; i < row->n_scores; i++) {
        if (strcmp(row->scores[i].variant, variant) == 0) {
            return &row->scores[i];
        }
    }
    return NULL;
}

/* ---- reading ---- */

static void take_text(const struct gdfo_json *object, const char *key, char *out, size_t size)
{
    const char *text = gdfo_cli_text_at(object, key);
    (void)snprintf(out, size, "%s", text ? text : "");
}

static void take_course(const struct gdfo_json *row, const char *key, struct gdfo_bench_course *out)
{
    const struct gdfo_json *v = gdfo_json_get(row, key);
    if (v) {
        out->first = gdfo_cli_number_at(v, "first");
        out->last = gdfo_cli_number_at(v, "last");
        out->mean = gdfo_cli_number_at(v, "mean");
    }
}

static void take_score(const struct gdfo_json *v, struct gdfo_bench_score *out)
{
    double n = gdfo_cli_number_at(v, "n");
    take_text(v, "variant", out->variant, sizeof out->variant);
    take_text(v, "why", out->why, sizeof out->why);
    take_text(v, "test", out->test, sizeof out->test);
    out->accuracy = gdfo_cli_number_at(v, "accuracy");
    out->loss = gdfo_cli_number_at(v, "loss");
    out->n = n >= 0 ? (int64_t)n : 0;
}

static enum gdfo_bench_state state_of(const char *name)
{
    for (size_t i = 0; name && i < sizeof state_names / sizeof state_names[0]; i++) {
        if (strcmp(state_names[i], name) == 0) {
            return (enum gdfo_bench_state)i;
        }
    }
    return GDFO_BENCH_STATE_NONE;
}

static void take_row(const struct gdfo_json *v, struct gdfo_bench_result *row)
{
    const struct gdfo_json *scores = gdfo_json_get(v, "scores");
    row->state = state_of(gdfo_cli_text_at(v, "status"));
    take_text(v, "job", row->job, sizeof row->job);
    take_text(v, "why", row->why, sizeof row->why);
    row->evals = gdfo_cli_number_at(v, "evals");
    row->queries = gdfo_cli_number_at(v, "queries");
    row->dev_queries = gdfo_cli_number_at(v, "dev_queries");
    row->calls = gdfo_cli_number_at(v, "calls");
    row->tokens = gdfo_cli_number_at(v, "tokens");
    row->seconds = gdfo_cli_number_at(v, "seconds");
    row->student_seconds = gdfo_cli_number_at(v, "student_seconds");
    row->dev = gdfo_cli_number_at(v, "dev");
    take_course(v, "cosine_student", &row->cosine);
    take_course(v, "tau_student", &row->tau);
    for (const struct gdfo_json *s = scores ? gdfo_json_first(scores) : NULL;
         s && row->n_scores < GDFO_BENCH_VARIANTS_MAX; s = gdfo_json_next(s)) {
        take_score(s, &row->scores[row->n_scores++]);
    }
}

static enum gdfo_status take_rows(struct gdfo_bench_results *r, const struct gdfo_json *root,
                                  struct gdfo_error *err)
{
    const struct gdfo_json *cells = gdfo_json_get(root, "cells");
    const struct gdfo_json *baselines = gdfo_json_get(root, "baselines");
    for (const struct gdfo_json *v = cells ? gdfo_json_first(cells) : NULL; v;
         v = gdfo_json_next(v)) {
        const char *key = gdfo_cli_text_at(v, "key"), *digest = gdfo_cli_text_at(v, "digest");
        struct gdfo_bench_result *row =
            key ? gdfo_bench_results_put(r, key, digest ? digest : "") : NULL;
        if (key && !row) {
            return gdfo_error_no_memory(err, "the results");
        }
        if (row) {
            take_row(v, row);
        }
    }
    for (const struct gdfo_json *v = baselines ? gdfo_json_first(baselines) : NULL; v;
         v = gdfo_json_next(v)) {
        const char *key = gdfo_cli_text_at(v, "key"), *variant = gdfo_cli_text_at(v, "variant");
        struct gdfo_bench_baseline *b =
            key && variant ? gdfo_bench_results_put_baseline(r, key, variant) : NULL;
        if (b) {
            take_text(v, "digest", b->digest, sizeof b->digest);
            take_text(v, "job", b->job, sizeof b->job);
            take_score(v, &b->score);
        }
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_bench_results_load(struct gdfo_bench_results *r, const char *path,
                                         struct gdfo_error *err)
{
    struct gdfo_buf text;
    struct gdfo_json *root = NULL;
    enum gdfo_status status;
    if (access(path, F_OK) != 0) {
        return GDFO_STATUS_OK;
    }
    gdfo_buf_init(&text, FILE_MAX_BYTES);
    status = gdfo_file_read(path, &text, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_json_parse(&root, text.data ? text.data : "", text.len, &file_limits, err);
    }
    if (status == GDFO_STATUS_OK && (int)gdfo_cli_number_at(root, "format") != FORMAT_NUMBER) {
        status = gdfo_error_set(err, GDFO_STATUS_FORMAT, "no results of gdfo bench, format %d",
                                FORMAT_NUMBER);
    }
    if (status == GDFO_STATUS_OK) {
        status = take_rows(r, root, err);
    } else {
        (void)gdfo_error_prefix(err, "%s", path);
    }
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&text);
    return status;
}

/* ---- writing ---- */

static void put_count(struct gdfo_json_writer *w, const char *key, double v)
{
    if (isfinite(v)) {
        gdfo_json_put_int(w, key, (int64_t)v);
    } else {
        gdfo_json_put_null(w, key);
    }
}

static void put_course(struct gdfo_json_writer *w, const char *key,
                       const struct gdfo_bench_course *c)
{
    if (!isfinite(c->mean)) {
        gdfo_json_put_null(w, key);
        return;
    }
    gdfo_json_open(w, key, '{');
    gdfo_json_put_num(w, "first", c->first);
    gdfo_json_put_num(w, "last", c->last);
    gdfo_json_put_num(w, "mean", c->mean);
    gdfo_json_close(w, '}');
}

static void put_score(struct gdfo_json_writer *w, const struct gdfo_bench_score *s)
{
    gdfo_json_put_str(w, "variant", s->variant);
    gdfo_json_put_num(w, "accuracy", s->accuracy);
    gdfo_json_put_num(w, "loss", s->loss);
    gdfo_json_put_int(w, "n", s->n);
    gdfo_json_put_str(w, "test", s->test);
    if (s->why[0]) {
        gdfo_json_put_str(w, "why", s->why);
    }
}

static void put_row(struct gdfo_json_writer *w, const struct gdfo_bench_result *row)
{
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "key", row->key);
    gdfo_json_put_str(w, "digest", row->digest);
    gdfo_json_put_str(w, "status", gdfo_bench_state_name(row->state));
    gdfo_json_put_str(w, "job", row->job[0] ? row->job : NULL);
    gdfo_json_put_str(w, "why", row->why[0] ? row->why : NULL);
    put_count(w, "evals", row->evals);
    put_count(w, "queries", row->queries);
    put_count(w, "dev_queries", row->dev_queries);
    put_count(w, "calls", row->calls);
    put_count(w, "tokens", row->tokens);
    gdfo_json_put_num(w, "seconds", row->seconds);
    gdfo_json_put_num(w, "student_seconds", row->student_seconds);
    gdfo_json_put_num(w, "dev", row->dev);
    put_course(w, "cosine_student", &row->cosine);
    put_course(w, "tau_student", &row->tau);
    gdfo_json_open(w, "scores", '[');
    for (size_t i = 0; i < row->n_scores; i++) {
        gdfo_json_open(w, NULL, '{');
        put_score(w, &row->scores[i]);
        gdfo_json_close(w, '}');
    }
    gdfo_json_close(w, ']');
    gdfo_json_close(w, '}');
}

static void put_baseline(struct gdfo_json_writer *w, const struct gdfo_bench_baseline *b)
{
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "key", b->key);
    gdfo_json_put_str(w, "digest", b->digest);
    gdfo_json_put_str(w, "job", b->job);
    put_score(w, &b->score);
    gdfo_json_close(w, '}');
}

enum gdfo_status gdfo_bench_results_save(const struct gdfo_bench_results *r, const char *plan,
                                         const char *path, struct gdfo_error *err)
{
    struct gdfo_buf b;
    struct gdfo_json_writer w;
    enum gdfo_status status;
    gdfo_buf_init(&b, FILE_MAX_BYTES);
    w = gdfo_json_writer(&b);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "object", "gdfo.bench");
    gdfo_json_put_int(&w, "format", FORMAT_NUMBER);
    gdfo_json_put_str(&w, "plan", plan);
    gdfo_json_open(&w, "cells", '[');
    for (size_t i = 0; i < r->n; i++) {
        put_row(&w, &r->rows[i]);
    }
    gdfo_json_close(&w, ']');
    gdfo_json_open(&w, "baselines", '[');
    for (size_t i = 0; i < r->n_baselines; i++) {
        put_baseline(&w, &r->baselines[i]);
    }
    gdfo_json_close(&w, ']');
    gdfo_json_close(&w, '}');
    gdfo_buf_addc(&b, '\n');
    status = gdfo_buf_ok(&b) ? gdfo_file_write(path, b.data, b.len, err)
                             : gdfo_error_no_memory(err, "the results");
    gdfo_buf_deinit(&b);
    return status;
}
