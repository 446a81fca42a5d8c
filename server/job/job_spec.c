#include "server/job/job_spec.h"

#include "common/mem.h"
#include "server/job/job_spec_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define POINTER_BYTES 256
#define DETAIL_BYTES  256

void gdfo_job_spec_report(struct gdfo_job_spec_check *c, const char *prefix, const char *key,
                          const char *code, const char *detail)
{
    char pointer[POINTER_BYTES];
    (void)snprintf(pointer, sizeof pointer, "%s%s%s", prefix, key[0] ? "/" : "", key);
    c->n_faults++;
    c->fault(c->ctx, pointer, code, detail);
}

static int is_listed(const char *const *names, const char *name)
{
    for (; names && *names; names++) {
        if (strcmp(*names, name) == 0) {
            return 1;
        }
    }
    return 0;
}

void gdfo_job_spec_members(struct gdfo_job_spec_check *c, const struct gdfo_json *object,
                           const char *prefix, const char *const *known, const char *const *later)
{
    for (const struct gdfo_json *v = gdfo_json_first(object); v; v = gdfo_json_next(v)) {
        const char *key = gdfo_json_key(v);
        char detail[DETAIL_BYTES];
        if (is_listed(known, key)) {
            continue;
        }
        if (is_listed(later, key)) {
            if (gdfo_json_type(v) != GDFO_JSON_NULL) {
                (void)snprintf(detail, sizeof detail, "%s is not supported by this build", key);
                gdfo_job_spec_report(c, prefix, key, "not_supported", detail);
            }
            continue;
        }
        (void)snprintf(detail, sizeof detail, "%.100s is not a member here", key);
        gdfo_job_spec_report(c, prefix, key, "unknown_field", detail);
    }
}

static const struct gdfo_json *present(const struct gdfo_json *object, const char *key)
{
    const struct gdfo_json *v = object ? gdfo_json_get(object, key) : NULL;
    return v && gdfo_json_type(v) != GDFO_JSON_NULL ? v : NULL;
}

static void report_type(struct gdfo_job_spec_check *c, const struct gdfo_json *v,
                        const char *prefix, const char *key, const char *want)
{
    char detail[DETAIL_BYTES];
    (void)snprintf(detail, sizeof detail, "%.64s is %s; want %.120s", key,
                   gdfo_json_type_name(gdfo_json_type(v)), want);
    gdfo_job_spec_report(c, prefix, key, "invalid_value", detail);
}

void gdfo_job_spec_int(struct gdfo_job_spec_check *c, const struct gdfo_json *object,
                       const char *prefix, const char *key, struct gdfo_job_spec_range range,
                       int64_t *out)
{
    const struct gdfo_json *v = present(object, key);
    int64_t got;
    double number;
    char detail[DETAIL_BYTES];
    if (!v) {
        return;
    }
    if (gdfo_json_int(v, &got) && got >= range.min && got <= range.max) {
        *out = got;
        return;
    }
    if (gdfo_json_number(v, &number)) {
        (void)snprintf(detail, sizeof detail, "%s is %.17g; want an integer %" PRId64 "..%" PRId64,
                       key, number, range.min, range.max);
        gdfo_job_spec_report(c, prefix, key, "invalid_value", detail);
    } else {
        (void)snprintf(detail, sizeof detail, "an integer %" PRId64 "..%" PRId64, range.min,
                       range.max);
        report_type(c, v, prefix, key, detail);
    }
}

void gdfo_job_spec_text(struct gdfo_job_spec_check *c, const struct gdfo_json *object,
                        const char *prefix, const char *key, char *out, size_t out_bytes)
{
    const struct gdfo_json *v = present(object, key);
    const char *s = v ? gdfo_json_string(v) : NULL;
    char detail[DETAIL_BYTES];
    if (!v) {
        return;
    }
    if (!s) {
        report_type(c, v, prefix, key, "a string");
    } else if (s[0] == '\0' || strlen(s) >= out_bytes) {
        (void)snprintf(detail, sizeof detail, "%s has %zu bytes; want 1..%zu", key, strlen(s),
                       out_bytes - 1);
        gdfo_job_spec_report(c, prefix, key, "invalid_value", detail);
    } else {
        (void)snprintf(out, out_bytes, "%s", s);
    }
}

const struct gdfo_json *gdfo_job_spec_object(struct gdfo_job_spec_check *c,
                                             const struct gdfo_json *object, const char *prefix,
                                             const char *key)
{
    const struct gdfo_json *v = present(object, key);
    if (v && gdfo_json_type(v) != GDFO_JSON_OBJECT) {
        report_type(c, v, prefix, key, "an object");
        return NULL;
    }
    return v;
}

/* ---- the body ----------------------------------------------------------------------------------
 */

static void parse_suffix(struct gdfo_job_spec *s, const struct gdfo_json *body,
                         struct gdfo_job_spec_check *c)
{
    gdfo_job_spec_text(c, body, "", "suffix", s->head.suffix, sizeof s->head.suffix);
    for (const char *p = s->head.suffix; *p; p++) {
        if (!((*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') ||
              *p == '.' || *p == '_' || *p == '-')) {
            gdfo_job_spec_report(
                c, "", "suffix", "invalid_value",
                "suffix may hold letters, digits, dot, underscore and hyphen only");
            return;
        }
    }
}

static void parse_metadata(struct gdfo_job_spec *s, const struct gdfo_json *body,
                           struct gdfo_job_spec_check *c)
{
    const struct gdfo_json *object = gdfo_job_spec_object(c, body, "", "metadata");
    if (!object) {
        return;
    }
    if (gdfo_json_size(object) > 16) {
        gdfo_job_spec_report(c, "", "metadata", "invalid_value",
                             "metadata holds more than 16 pairs");
        return;
    }
    for (const struct gdfo_json *v = gdfo_json_first(object); v; v = gdfo_json_next(v)) {
        struct gdfo_job_spec_pair *pair = &s->head.metadata[s->head.n_metadata];
        const char *key = gdfo_json_key(v);
        const char *value = gdfo_json_string(v);
        if (key[0] == '\0' || strlen(key) >= sizeof pair->key || !value ||
            strlen(value) >= sizeof pair->value) {
            gdfo_job_spec_report(c, "/metadata", key, "invalid_value",
                                 "want a key of 1..64 bytes and a string of at most 512 bytes");
            continue;
        }
        (void)snprintf(pair->key, sizeof pair->key, "%s", key);
        (void)snprintf(pair->value, sizeof pair->value, "%s", value);
        s->head.n_metadata++;
    }
}

static const char *const openai_names[] = {"n_epochs", "batch_size", "learning_rate_multiplier",
                                           NULL};

/* OpenAI's three mean nothing to a black-box teacher: taken as they are and reported back. */
static void parse_openai_hyper(struct gdfo_job_spec *s, const struct gdfo_json *body,
                               struct gdfo_job_spec_check *c)
{
    const struct gdfo_json *object = gdfo_job_spec_object(c, body, "", "hyperparameters");
    for (size_t i = 0; i < 3; i++) {
        const struct gdfo_json *v = object ? present(object, openai_names[i]) : NULL;
        double number = 0;
        const char *text = v ? gdfo_json_string(v) : NULL;
        (void)snprintf(s->openai_hyper[i], sizeof s->openai_hyper[i], "\"auto\"");
        if (v && gdfo_json_number(v, &number)) {
            (void)snprintf(s->openai_hyper[i], sizeof s->openai_hyper[i], "%.17g", number);
        } else if (v && (!text || strcmp(text, "auto") != 0)) {
            gdfo_job_spec_report(c, "/hyperparameters", openai_names[i], "invalid_value",
                                 "want a number or \"auto\"");
        }
    }
    if (object) {
        gdfo_job_spec_members(c, object, "/hyperparameters", openai_names, NULL);
    }
}

static void parse_integrations(const struct gdfo_json *body, struct gdfo_job_spec_check *c)
{
    const struct gdfo_json *v = present(body, "integrations");
    if (v && (gdfo_json_type(v) != GDFO_JSON_ARRAY || gdfo_json_size(v) > 0)) {
        gdfo_job_spec_report(c, "", "integrations", "not_supported",
                             "integrations: want null or []");
    }
}

static void parse_head(struct gdfo_job_spec *s, const struct gdfo_json *body,
                       struct gdfo_job_spec_check *c)
{
    static const char *const known[] = {
        "model", "training_file", "validation_file", "method",       "seed", "suffix",
        "name",  "metadata",      "hyperparameters", "integrations", NULL};
    static const char *const later[] = {"project", "priority", "estimate_id", "notify", NULL};
    struct gdfo_job_spec_range seeds = {0, INT32_MAX};
    gdfo_job_spec_members(c, body, "", known, later);
    gdfo_job_spec_text(c, body, "", "model", s->head.model, sizeof s->head.model);
    if (!present(body, "model")) {
        gdfo_job_spec_report(c, "", "model", "missing_field",
                             "model: the name of a teacher is required");
    }
    gdfo_job_spec_text(c, body, "", "training_file", s->head.training_file,
                       sizeof s->head.training_file);
    gdfo_job_spec_text(c, body, "", "validation_file", s->head.validation_file,
                       sizeof s->head.validation_file);
    gdfo_job_spec_text(c, body, "", "name", s->head.name, sizeof s->head.name);
    s->head.has_seed = present(body, "seed") != NULL;
    gdfo_job_spec_int(c, body, "", "seed", seeds, &s->head.seed);
    parse_suffix(s, body, c);
    parse_metadata(s, body, c);
    parse_openai_hyper(s, body, c);
    parse_integrations(body, c);
}

/* The inline rows as they stand in the body, whether or not the task around them is right. */
static const struct gdfo_json *inline_rows(const struct gdfo_job_spec *s,
                                           const struct gdfo_json *body, const char *key)
{
    const struct gdfo_json *v = present(body, "method");
    const char *const path[] = {s->head.method, "task", key};
    for (size_t i = 0; v && i < 3; i++) {
        v = gdfo_json_type(v) == GDFO_JSON_OBJECT ? present(v, path[i]) : NULL;
    }
    return v;
}

static void check_sources(const struct gdfo_job_spec *s, const struct gdfo_json *body,
                          struct gdfo_job_spec_check *c)
{
    int has_file = present(body, "training_file") != NULL;
    int has_rows = inline_rows(s, body, "examples") != NULL;
    if (has_file && has_rows) {
        gdfo_job_spec_report(c, "", "training_file", "invalid_value",
                             "training_file and task.examples: want exactly one of them");
    } else if (!has_file && !has_rows) {
        gdfo_job_spec_report(c, "", "training_file", "missing_field",
                             "training_file: a file id is required, or task.examples");
    }
    if (present(body, "validation_file") && inline_rows(s, body, "validation_examples")) {
        gdfo_job_spec_report(
            c, "", "validation_file", "invalid_value",
            "validation_file and task.validation_examples: want at most one of them");
    }
}

enum gdfo_status gdfo_job_spec_parse(struct gdfo_job_spec **out, const struct gdfo_json *body,
                                     gdfo_job_spec_fault fault, void *ctx, struct gdfo_error *err)
{
    struct gdfo_job_spec_check c = {fault, ctx, 0};
    struct gdfo_job_spec *s;
    enum gdfo_status status = GDFO_STATUS_OK;
    if (gdfo_json_type(body) != GDFO_JSON_OBJECT) {
        gdfo_job_spec_report(&c, "", "", "invalid_value", "the body must be a JSON object");
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "the body must be a JSON object");
    }
    s = gdfo_mem_array(1, sizeof *s);
    if (!s) {
        return gdfo_error_no_memory(err, "job spec");
    }
    parse_head(s, body, &c);
    status = gdfo_job_spec_parse_method(s, gdfo_job_spec_object(&c, body, "", "method"), &c, err);
    if (status == GDFO_STATUS_OK) {
        check_sources(s, body, &c);
    }
    if (status == GDFO_STATUS_OK && c.n_faults > 0) {
        status = gdfo_error_set(err, GDFO_STATUS_INVALID, "%zu faults in the job", c.n_faults);
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_job_spec_destroy(s);
        return status;
    }
    *out = s;
    return GDFO_STATUS_OK;
}

void gdfo_job_spec_destroy(struct gdfo_job_spec *s)
{
    if (s) {
        if (s->has_task) {
            gdfo_task_spec_deinit(&s->task);
        }
        gdfo_mem_free(s->options);
        gdfo_mem_free(s);
    }
}

const struct gdfo_job_spec_head *gdfo_job_spec_head(const struct gdfo_job_spec *spec)
{
    return &spec->head;
}

const struct gdfo_task_spec *gdfo_job_spec_task(const struct gdfo_job_spec *s)
{
    return &s->task;
}

void gdfo_job_spec_settle(struct gdfo_job_spec *spec, int64_t seed, const char *training_file,
                          const char *validation_file)
{
    spec->head.seed = seed;
    spec->head.has_seed = 1;
    if (training_file) {
        (void)snprintf(spec->head.training_file, sizeof spec->head.training_file, "%s",
                       training_file);
    }
    if (validation_file) {
        (void)snprintf(spec->head.validation_file, sizeof spec->head.validation_file, "%s",
                       validation_file);
    }
}

/* ---- and back ----------------------------------------------------------------------------------
 */

static void put_text(struct gdfo_json_writer *w, const char *key, const char *s)
{
    gdfo_json_put_str(w, key, s[0] ? s : NULL);
}

void gdfo_job_spec_write(const struct gdfo_job_spec *s, struct gdfo_json_writer *w)
{
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "model", s->head.model);
    put_text(w, "training_file", s->head.training_file);
    put_text(w, "validation_file", s->head.validation_file);
    gdfo_json_put_int(w, "seed", s->head.seed);
    put_text(w, "suffix", s->head.suffix);
    put_text(w, "name", s->head.name);
    gdfo_json_open(w, "metadata", '{');
    for (int i = 0; i < s->head.n_metadata; i++) {
        gdfo_json_put_str(w, s->head.metadata[i].key, s->head.metadata[i].value);
    }
    gdfo_json_close(w, '}');
    gdfo_json_open(w, "hyperparameters", '{');
    for (size_t i = 0; i < 3; i++) {
        gdfo_json_put_raw(w, openai_names[i], s->openai_hyper[i]);
    }
    gdfo_json_close(w, '}');
    gdfo_job_spec_write_method(s, w, "method");
    gdfo_json_close(w, '}');
}
