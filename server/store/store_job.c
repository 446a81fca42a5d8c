#include "server/store/store_job.h"

#include "common/hash.h"
#include "server/store/job_priv.h"

#include <string.h>

static const char *const units[GDFO_STORE_CAPS_MAX] = {"evals",      "queries",    "tokens_in",
                                                       "tokens_out", "usd_micros", "wall_ms"};

static enum gdfo_status check_text(const char *what, const char *s, size_t max,
                                   struct gdfo_error *err)
{
    size_t n = s ? strlen(s) : 0;
    return n < max ? GDFO_STATUS_OK
                   : gdfo_error_set(err, GDFO_STATUS_LIMIT, "%s has %zu bytes; at most %zu", what,
                                    n, max - 1);
}

/* What would not come back whole from the struct it is read into. */
static enum gdfo_status check_new(const struct gdfo_store_job_new *job, struct gdfo_error *err)
{
    const struct gdfo_store_job *read = NULL;
    const struct {
        const char *what, *text;
        size_t max;
    } texts[] = {{"name", job->name, sizeof read->name},
                 {"suffix", job->suffix, sizeof read->suffix},
                 {"student", job->student, sizeof read->student},
                 {"code version", job->code_version, sizeof read->code_version},
                 {"machine class", job->machine_class, sizeof read->machine_class}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        enum gdfo_status status = check_text(texts[i].what, texts[i].text, texts[i].max, err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
    }
    if (job->n_metadata > GDFO_STORE_METADATA_MAX || job->n_caps > GDFO_STORE_CAPS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "%zu metadata pairs, %zu caps; at most %d, %d", job->n_metadata,
                              job->n_caps, GDFO_STORE_METADATA_MAX, GDFO_STORE_CAPS_MAX);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status insert_row(struct gdfo_store *s, const struct gdfo_store_actor *who,
                                   const struct gdfo_store_job_new *job, const char *id,
                                   struct gdfo_error *err)
{
    unsigned char spec_sha256[GDFO_SHA256_BYTES];
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_JOB_ADD);
    gdfo_sha256(job->spec, strlen(job->spec), spec_sha256);
    gdfo_query_text(&q, id);
    gdfo_query_int(&q, who->pid);
    gdfo_query_int(&q, who->uid);
    gdfo_query_int(&q, job->tch);
    gdfo_query_int(&q, job->training_fid);
    gdfo_query_opt_int(&q, job->validation_fid);
    gdfo_query_text(&q, job->method);
    gdfo_query_int(&q, job->priority);
    gdfo_query_int(&q, job->seed);
    gdfo_query_opt_text(&q, job->name);
    gdfo_query_opt_text(&q, job->suffix);
    gdfo_query_text(&q, job->spec);
    gdfo_query_blob(&q, spec_sha256, sizeof spec_sha256);
    gdfo_query_opt_text(&q, job->student);
    gdfo_query_blob(&q, job->student_sha256, GDFO_SHA256_BYTES);
    gdfo_query_text(&q, job->code_version);
    gdfo_query_opt_text(&q, job->machine_class);
    gdfo_query_int(&q, gdfo_store_now(s));
    return gdfo_query_run(&q, err);
}

static enum gdfo_status insert_metadata(struct gdfo_store *s, int64_t jid,
                                        const struct gdfo_store_pair *pair, struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_METADATA_ADD);
    gdfo_query_int(&q, jid);
    gdfo_query_text(&q, pair->key);
    gdfo_query_text(&q, pair->value);
    return gdfo_query_run(&q, err);
}

static enum gdfo_status insert_cap(struct gdfo_store *s, int64_t jid,
                                   const struct gdfo_store_cap *cap, struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_BUDGET_ADD);
    gdfo_query_int(&q, jid);
    gdfo_query_text(&q, units[cap->unit]);
    gdfo_query_int(&q, cap->cap);
    return gdfo_query_run(&q, err);
}

static enum gdfo_status insert_job(struct gdfo_store *s, const struct gdfo_store_actor *who,
                                   const struct gdfo_store_job_new *job, int64_t *jid,
                                   struct gdfo_error *err)
{
    char id[GDFO_STORE_ID_BYTES];
    struct gdfo_audit audit = {"job.create", id, NULL};
    enum gdfo_status status;
    gdfo_store_id(s, "ftjob-", id);
    status = insert_row(s, who, job, id, err);
    *jid = gdfo_db_last_rowid(&s->writer);
    for (size_t i = 0; i < job->n_metadata && status == GDFO_STATUS_OK; i++) {
        status = insert_metadata(s, *jid, &job->metadata[i], err);
    }
    for (size_t i = 0; i < job->n_caps && status == GDFO_STATUS_OK; i++) {
        status = insert_cap(s, *jid, &job->caps[i], err);
    }
    for (size_t i = 0; i < job->n_events && status == GDFO_STATUS_OK; i++) {
        status = gdfo_event_row(s, *jid, &job->events[i], NULL, err);
    }
    return status == GDFO_STATUS_OK ? gdfo_audit_add(s, who, &audit, err) : status;
}

enum gdfo_status gdfo_store_job_create(struct gdfo_store *s, const struct gdfo_store_actor *who,
                                       const struct gdfo_store_job_new *job,
                                       struct gdfo_store_job *out, struct gdfo_error *err)
{
    struct gdfo_store_job made = {0};
    int64_t jid = 0;
    enum gdfo_status status = check_new(job, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_tx_begin(s, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = insert_job(s, who, job, &jid, err);
    if (status == GDFO_STATUS_OK && out) {
        status = gdfo_job_row_of(&s->writer, jid, &made, err);
    }
    status = gdfo_tx_end(s, status, err);
    if (status == GDFO_STATUS_OK && out) {
        *out = made;
    } else {
        gdfo_store_job_deinit(&made);
    }
    return status;
}

enum gdfo_status gdfo_store_job_set_run(struct gdfo_store *s, int64_t jid,
                                        const struct gdfo_store_run *run, struct gdfo_error *err)
{
    const struct gdfo_store_job *read = NULL;
    struct gdfo_query q;
    enum gdfo_status status = check_text("student", run->student, sizeof read->student, err);
    if (status == GDFO_STATUS_OK) {
        status = check_text("machine class", run->machine_class, sizeof read->machine_class, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_tx_begin(s, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    q = gdfo_query(&s->writer, GDFO_SQL_JOB_SET_RUN);
    gdfo_query_int(&q, jid);
    gdfo_query_opt_text(&q, run->student);
    gdfo_query_blob(&q, run->student_sha256, GDFO_SHA256_BYTES);
    gdfo_query_opt_text(&q, run->machine_class);
    gdfo_query_opt_text(&q, run->precision);
    return gdfo_tx_end(s, gdfo_query_run(&q, err), err);
}

static enum gdfo_status read_cap(struct gdfo_query *q, void *row, struct gdfo_error *err)
{
    struct gdfo_store_cap *cap = row;
    (void)err;
    cap->unit = (enum gdfo_store_unit)(gdfo_query_get_word(q, units, GDFO_STORE_CAPS_MAX) %
                                       GDFO_STORE_CAPS_MAX);
    cap->cap = gdfo_query_get_int(q);
    cap->held = gdfo_query_get_int(q);
    cap->used = gdfo_query_get_int(q);
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_store_job_caps(struct gdfo_store *s, int64_t jid,
                                     struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX], size_t *n,
                                     struct gdfo_error *err)
{
    const struct gdfo_rows rows = {caps, sizeof *caps, GDFO_STORE_CAPS_MAX, read_cap, NULL};
    struct gdfo_db *db;
    struct gdfo_query q;
    int has_more;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, GDFO_SQL_BUDGET_LIST);
        gdfo_query_int(&q, jid);
        status = gdfo_query_rows(&q, &rows, n, &has_more, err);
        gdfo_read_end(s, db);
    }
    return status;
}
