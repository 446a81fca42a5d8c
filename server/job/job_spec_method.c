#include "common/mem.h"
#include "server/job/job_spec_priv.h"

#include <stdio.h>
#include <string.h>

#define PREFIX_BYTES 160

/* ---- budget, early stop, evaluation
 * -------------------------------------------------------------- */

static void parse_exhausted(struct gdfo_job_spec *s, const struct gdfo_json *b, const char *prefix,
                            struct gdfo_job_spec_check *c)
{
    char word[16] = "finish";
    gdfo_job_spec_text(c, b, prefix, "on_exhausted", word, sizeof word);
    s->fails_on_exhausted = strcmp(word, "fail") == 0;
    if (strcmp(word, "pause") == 0) {
        gdfo_job_spec_report(
            c, prefix, "on_exhausted", "not_supported",
            "on_exhausted \"pause\" is not supported by this build; want finish or fail");
    } else if (strcmp(word, "finish") != 0 && !s->fails_on_exhausted) {
        gdfo_job_spec_report(c, prefix, "on_exhausted", "invalid_value", "want finish or fail");
    }
}

static void parse_budget(struct gdfo_job_spec *s, const struct gdfo_json *b, const char *prefix,
                         struct gdfo_job_spec_check *c)
{
    static const char *const known[] = {"evals",      "queries",      "tokens_in",    "tokens_out",
                                        "usd_micros", "wall_seconds", "on_exhausted", NULL};
    struct gdfo_job_spec_range evals = {1, 10000000};
    struct gdfo_job_spec_range queries = {1, 10000000000};
    struct gdfo_job_spec_range any = {1, 9007199254740992};
    if (!b) {
        return;
    }
    gdfo_job_spec_members(c, b, prefix, known, NULL);
    gdfo_job_spec_int(c, b, prefix, "evals", evals, &s->head.budget_evals);
    gdfo_job_spec_int(c, b, prefix, "queries", queries, &s->head.budget_queries);
    gdfo_job_spec_int(c, b, prefix, "tokens_in", any, &s->head.budget_tokens_in);
    gdfo_job_spec_int(c, b, prefix, "tokens_out", any, &s->head.budget_tokens_out);
    gdfo_job_spec_int(c, b, prefix, "usd_micros", any, &s->head.budget_usd_micros);
    gdfo_job_spec_int(c, b, prefix, "wall_seconds", evals, &s->head.budget_wall_seconds);
    parse_exhausted(s, b, prefix, c);
}

static void get_number(struct gdfo_job_spec_check *c, const struct gdfo_json *o, const char *prefix,
                       const char *key, double max, double *out)
{
    const struct gdfo_json *v = gdfo_json_get(o, key);
    double x;
    char detail[96];
    if (!v || gdfo_json_type(v) == GDFO_JSON_NULL) {
        return;
    }
    if (gdfo_json_number(v, &x) && x >= 0 && x <= max) {
        *out = x;
        return;
    }
    (void)snprintf(detail, sizeof detail, "want a number 0..%g", max);
    gdfo_job_spec_report(c, prefix, key, "invalid_value", detail);
}

static void parse_early_stop(struct gdfo_job_spec *s, const struct gdfo_json *e, const char *prefix,
                             struct gdfo_job_spec_check *c)
{
    static const char *const known[] = {"metric", "patience", "min_delta", NULL};
    static const char *const later[] = {"target", NULL};
    struct gdfo_job_spec_range range = {1, 1000};
    char metric[32] = "loss_dev";
    if (!e) {
        return;
    }
    gdfo_job_spec_members(c, e, prefix, known, later);
    gdfo_job_spec_text(c, e, prefix, "metric", metric, sizeof metric);
    if (strcmp(metric, "loss_dev") != 0) {
        gdfo_job_spec_report(c, prefix, "metric", "not_supported",
                             "early_stop.metric: this build has loss_dev");
    }
    s->early_stop.is_on = 1;
    s->early_stop.patience = 5;
    gdfo_job_spec_int(c, e, prefix, "patience", range, &s->early_stop.patience);
    get_number(c, e, prefix, "min_delta", 1e6, &s->early_stop.min_delta);
}

/* The result is always judged on the dev rows: that is how it became the result. */
static void check_final(const struct gdfo_json *final, const char *prefix,
                        struct gdfo_job_spec_check *c)
{
    int is_final = 1;
    if (!gdfo_json_bool(final, &is_final)) {
        gdfo_job_spec_report(c, prefix, "final", "invalid_value", "want true or false");
    } else if (!is_final) {
        gdfo_job_spec_report(c, prefix, "final", "not_supported",
                             "final false is not supported by this build");
    }
}

static void parse_evaluation(struct gdfo_job_spec *s, const struct gdfo_json *e, const char *prefix,
                             struct gdfo_job_spec_check *c)
{
    static const char *const known[] = {"every_queries", "select", "dev_split", "final", NULL};
    struct gdfo_job_spec_range range = {1, 1000000000};
    char select[16] = "dev-loss";
    const struct gdfo_json *final;
    s->evaluation.dev_split = -1.0;
    if (!e) {
        return;
    }
    gdfo_job_spec_members(c, e, prefix, known, NULL);
    gdfo_job_spec_int(c, e, prefix, "every_queries", range, &s->evaluation.every_queries);
    gdfo_job_spec_text(c, e, prefix, "select", select, sizeof select);
    s->evaluation.select_by_metric = strcmp(select, "dev-metric") == 0;
    if (!s->evaluation.select_by_metric && strcmp(select, "dev-loss") != 0) {
        gdfo_job_spec_report(c, prefix, "select", "invalid_value", "want dev-metric or dev-loss");
    }
    get_number(c, e, prefix, "dev_split", 0.5, &s->evaluation.dev_split);
    final = gdfo_json_get(e, "final");
    if (final && gdfo_json_type(final) != GDFO_JSON_NULL) {
        check_final(final, prefix, c);
    }
}

/* ---- the method object -------------------------------------------------------------------------
 */

static void on_option_fault(void *ctx, const char *pointer, const char *code, const char *detail)
{
    gdfo_job_spec_report(ctx, pointer, "", code, detail);
}

static enum gdfo_status parse_options(struct gdfo_job_spec *s, const struct gdfo_json *inner,
                                      const char *prefix, struct gdfo_job_spec_check *c,
                                      struct gdfo_error *err)
{
    char at[PREFIX_BYTES];
    struct gdfo_error why = {0};
    size_t before = c->n_faults;
    (void)snprintf(at, sizeof at, "%s/hyperparameters", prefix);
    s->options = gdfo_mem_array(1, s->ops->options_bytes);
    if (!s->options) {
        return gdfo_error_no_memory(err, "options");
    }
    gdfo_opt_defaults(s->ops->opts, s->options);
    GDFO_IGNORE(gdfo_opt_set_json(s->ops->opts, s->options,
                                  gdfo_job_spec_object(c, inner, prefix, "hyperparameters"), at,
                                  on_option_fault, c));
    if (c->n_faults == before && s->ops->check &&
        s->ops->check(s->options, &why) != GDFO_STATUS_OK) {
        gdfo_job_spec_report(c, at, "", "invalid_value", why.text);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status parse_task(struct gdfo_job_spec *s, const struct gdfo_json *inner,
                                   const char *prefix, struct gdfo_job_spec_check *c,
                                   struct gdfo_error *err)
{
    char at[PREFIX_BYTES];
    size_t before = c->n_faults;
    enum gdfo_status status;
    (void)snprintf(at, sizeof at, "%s/task", prefix);
    status = gdfo_task_spec_parse(&s->task, gdfo_job_spec_object(c, inner, prefix, "task"), at,
                                  on_option_fault, c, err);
    if (status == GDFO_STATUS_INVALID && c->n_faults > before) {
        return GDFO_STATUS_OK; /* told in full already */
    }
    if (status == GDFO_STATUS_OK) {
        s->has_task = 1;
        s->head.examples = s->task.examples;
        s->head.validation_examples = s->task.validation_examples;
    }
    return status;
}

static enum gdfo_status parse_inner(struct gdfo_job_spec *s, const struct gdfo_json *inner,
                                    const char *prefix, struct gdfo_job_spec_check *c,
                                    struct gdfo_error *err)
{
    static const char *const known[] = {"task",       "student",    "hyperparameters", "budget",
                                        "early_stop", "evaluation", "max_inflight",    NULL};
    static const char *const later[] = {"cache", NULL};
    static const char *const resolved[] = {"task",         "student",    "hyperparameters",
                                           "budget",       "early_stop", "evaluation",
                                           "max_inflight", "resolved",   NULL};
    struct gdfo_job_spec_range inflight = {1, 1024};
    char at[PREFIX_BYTES];
    enum gdfo_status status;
    if (inner) {
        gdfo_job_spec_members(c, inner, prefix, s->ops->resolves_to ? resolved : known, later);
    }
    gdfo_job_spec_text(c, inner, prefix, "student", s->head.student, sizeof s->head.student);
    gdfo_job_spec_int(c, inner, prefix, "max_inflight", inflight, &s->max_inflight);
    (void)snprintf(at, sizeof at, "%s/budget", prefix);
    parse_budget(s, gdfo_job_spec_object(c, inner, prefix, "budget"), at, c);
    (void)snprintf(at, sizeof at, "%s/early_stop", prefix);
    parse_early_stop(s, gdfo_job_spec_object(c, inner, prefix, "early_stop"), at, c);
    (void)snprintf(at, sizeof at, "%s/evaluation", prefix);
    parse_evaluation(s, gdfo_job_spec_object(c, inner, prefix, "evaluation"), at, c);
    status = parse_options(s, inner, prefix, c, err);
    return status == GDFO_STATUS_OK ? parse_task(s, inner, prefix, c, err) : status;
}

/* type and its own member only: a member for another type beside it would be money spent otherwise
 * than meant. */
static void check_siblings(const struct gdfo_json *method, const char *type,
                           struct gdfo_job_spec_check *c)
{
    for (const struct gdfo_json *v = gdfo_json_first(method); v; v = gdfo_json_next(v)) {
        const char *key = gdfo_json_key(v);
        char detail[160];
        if (strcmp(key, "type") != 0 && strcmp(key, type) != 0) {
            (void)snprintf(detail, sizeof detail, "%.60s is not a member beside type \"%.16s\"",
                           key, type);
            gdfo_job_spec_report(c, "/method", key, "unknown_field", detail);
        }
    }
}

enum gdfo_status gdfo_job_spec_parse_method(struct gdfo_job_spec *s, const struct gdfo_json *method,
                                            struct gdfo_job_spec_check *c, struct gdfo_error *err)
{
    char prefix[64];
    char detail[160];
    (void)snprintf(s->head.method, sizeof s->head.method, "auto");
    if (method) {
        gdfo_job_spec_text(c, method, "/method", "type", s->head.method, sizeof s->head.method);
        check_siblings(method, s->head.method, c);
    }
    s->ops = gdfo_method_find(s->head.method);
    if (!s->ops) {
        (void)snprintf(detail, sizeof detail,
                       "method type \"%s\" is not one of auto, gdfo, bbt, bbtv2, bbt-rgb, dfwe, "
                       "head, random",
                       s->head.method);
        gdfo_job_spec_report(c, "/method", "type", "invalid_value", detail);
        return GDFO_STATUS_OK;
    }
    (void)snprintf(prefix, sizeof prefix, "/method/%s", s->head.method);
    return parse_inner(s,
                       method ? gdfo_job_spec_object(c, method, "/method", s->head.method) : NULL,
                       prefix, c, err);
}

/* ---- and back ----------------------------------------------------------------------------------
 */

static void put_cap(struct gdfo_json_writer *w, const char *key, int64_t cap)
{
    if (cap > 0) {
        gdfo_json_put_int(w, key, cap);
    }
}

static void write_budget(const struct gdfo_job_spec *s, struct gdfo_json_writer *w)
{
    gdfo_json_open(w, "budget", '{');
    put_cap(w, "evals", s->head.budget_evals);
    put_cap(w, "queries", s->head.budget_queries);
    put_cap(w, "tokens_in", s->head.budget_tokens_in);
    put_cap(w, "tokens_out", s->head.budget_tokens_out);
    put_cap(w, "usd_micros", s->head.budget_usd_micros);
    put_cap(w, "wall_seconds", s->head.budget_wall_seconds);
    gdfo_json_put_str(w, "on_exhausted", s->fails_on_exhausted ? "fail" : "finish");
    gdfo_json_close(w, '}');
}

static void write_rules(const struct gdfo_job_spec *s, struct gdfo_json_writer *w)
{
    if (s->early_stop.is_on) {
        gdfo_json_open(w, "early_stop", '{');
        gdfo_json_put_str(w, "metric", "loss_dev");
        gdfo_json_put_int(w, "patience", s->early_stop.patience);
        gdfo_json_put_num(w, "min_delta", s->early_stop.min_delta);
        gdfo_json_close(w, '}');
    } else {
        gdfo_json_put_null(w, "early_stop");
    }
    gdfo_json_open(w, "evaluation", '{');
    put_cap(w, "every_queries", s->evaluation.every_queries);
    gdfo_json_put_str(w, "select", s->evaluation.select_by_metric ? "dev-metric" : "dev-loss");
    if (s->evaluation.dev_split >= 0) {
        gdfo_json_put_num(w, "dev_split", s->evaluation.dev_split);
    }
    gdfo_json_put_bool(w, "final", 1);
    gdfo_json_close(w, '}');
}

void gdfo_job_spec_write_method(const struct gdfo_job_spec *s, struct gdfo_json_writer *w,
                                const char *key)
{
    gdfo_json_open(w, key, '{');
    gdfo_json_put_str(w, "type", s->head.method);
    gdfo_json_open(w, s->head.method, '{');
    if (s->ops->resolves_to) {
        gdfo_json_put_str(w, "resolved", s->ops->resolves_to);
    }
    gdfo_json_open(w, "task", '{');
    gdfo_task_spec_write_json(&s->task, w);
    gdfo_json_close(w, '}');
    gdfo_json_put_str(w, "student", s->head.student[0] ? s->head.student : NULL);
    gdfo_json_open(w, "hyperparameters", '{');
    gdfo_opt_write_json(s->ops->opts, s->options, w);
    gdfo_json_close(w, '}');
    write_budget(s, w);
    write_rules(s, w);
    if (s->max_inflight > 0) {
        gdfo_json_put_int(w, "max_inflight", s->max_inflight);
    }
    gdfo_json_close(w, '}');
    gdfo_json_close(w, '}');
}

size_t gdfo_job_spec_caps(const struct gdfo_job_spec_head *head,
                          struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX])
{
    const struct gdfo_store_cap all[] = {
        {.unit = GDFO_STORE_EVALS, .cap = head->budget_evals},
        {.unit = GDFO_STORE_QUERIES, .cap = head->budget_queries},
        {.unit = GDFO_STORE_TOKENS_IN, .cap = head->budget_tokens_in},
        {.unit = GDFO_STORE_TOKENS_OUT, .cap = head->budget_tokens_out},
        {.unit = GDFO_STORE_USD_MICROS, .cap = head->budget_usd_micros},
        {.unit = GDFO_STORE_WALL_MS, .cap = head->budget_wall_seconds * 1000},
    };
    size_t n = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].cap > 0) {
            caps[n++] = all[i];
        }
    }
    return n;
}
