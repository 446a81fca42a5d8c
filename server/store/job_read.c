#include "common/mem.h"
#include "server/store/job_priv.h"

#include <string.h>

static const char *const statuses[GDFO_JOB_STATUS_END] = {
    [GDFO_JOB_VALIDATING_FILES] = "validating_files",
    [GDFO_JOB_QUEUED] = "queued",
    [GDFO_JOB_RUNNING] = "running",
    [GDFO_JOB_PAUSING] = "pausing",
    [GDFO_JOB_PAUSED] = "paused",
    [GDFO_JOB_CANCELLING] = "cancelling",
    [GDFO_JOB_SUCCEEDED] = "succeeded",
    [GDFO_JOB_FAILED] = "failed",
    [GDFO_JOB_CANCELLED] = "cancelled",
};

const char *gdfo_job_status_name(enum gdfo_job_status status)
{
    return statuses[status];
}

int gdfo_job_status_is_live(enum gdfo_job_status status)
{
    return status < GDFO_JOB_SUCCEEDED;
}

enum gdfo_job_status gdfo_job_status_get(struct gdfo_query *q)
{
    /* the CHECK of the column knows the same words */
    return (enum gdfo_job_status)(gdfo_query_get_word(q, statuses, GDFO_JOB_STATUS_END) %
                                  GDFO_JOB_STATUS_END);
}

void gdfo_store_job_deinit(struct gdfo_store_job *job)
{
    for (size_t i = 0; i < job->n_metadata; i++) {
        gdfo_mem_free(job->metadata[i].key);
        gdfo_mem_free(job->metadata[i].value);
    }
    gdfo_mem_free(job->metadata);
    gdfo_mem_free(job->spec);
    job->metadata = NULL;
    job->n_metadata = 0;
    job->spec = NULL;
}

static void read_spend(struct gdfo_query *q, struct gdfo_store_spend *spend)
{
    spend->evals = gdfo_query_get_int(q);
    spend->queries = gdfo_query_get_int(q);
    spend->dev_queries = gdfo_query_get_int(q);
    spend->cached = gdfo_query_get_int(q);
    spend->calls = gdfo_query_get_int(q);
    spend->tokens_in = gdfo_query_get_int(q);
    spend->tokens_out = gdfo_query_get_int(q);
    spend->usd_micros = gdfo_query_get_int(q);
    spend->unknown_calls = gdfo_query_get_int(q);
}

static void read_request(struct gdfo_query *q, struct gdfo_store_job *job)
{
    job->rev = gdfo_query_get_int(q);
    job->priority = gdfo_query_get_int(q);
    job->seed = gdfo_query_get_int(q);
    gdfo_query_get_text(q, job->name, sizeof job->name);
    gdfo_query_get_text(q, job->suffix, sizeof job->suffix);
    gdfo_query_get_text(q, job->student, sizeof job->student);
    job->spec = gdfo_query_dup_text(q);
    gdfo_query_get_text(q, job->code_version, sizeof job->code_version);
    gdfo_query_get_text(q, job->machine_class, sizeof job->machine_class);
    gdfo_query_get_text(q, job->fine_tuned_model, sizeof job->fine_tuned_model);
}

static void read_outcome(struct gdfo_query *q, struct gdfo_store_job *job)
{
    job->generation = gdfo_query_get_int(q);
    job->has_best = !gdfo_query_is_null(q);
    job->best_metric = gdfo_query_get_real(q);
    job->best_step = gdfo_query_get_int(q);
    job->best_queries = gdfo_query_get_int(q);
    read_spend(q, &job->spend);
    job->recoveries = gdfo_query_get_int(q);
    gdfo_query_get_text(q, job->err_code, sizeof job->err_code);
    gdfo_query_get_text(q, job->err_message, sizeof job->err_message);
    gdfo_query_get_text(q, job->err_param, sizeof job->err_param);
    job->created_at = gdfo_query_get_int(q);
    job->updated_at = gdfo_query_get_int(q);
    job->started_at = gdfo_query_get_int(q);
    job->finished_at = gdfo_query_get_int(q);
    job->archived_at = gdfo_query_get_int(q);
    gdfo_query_get_text(q, job->precision, sizeof job->precision);
}

/* In the order of JOB_SELECT (query.c). */
static enum gdfo_status read_job(struct gdfo_query *q, void *row, struct gdfo_error *err)
{
    struct gdfo_store_job *job = row;
    job->jid = gdfo_query_get_int(q);
    job->pid = gdfo_query_get_int(q);
    job->uid = gdfo_query_get_int(q);
    job->tch = gdfo_query_get_int(q);
    job->training_fid = gdfo_query_get_int(q);
    job->validation_fid = gdfo_query_get_int(q);
    gdfo_query_get_text(q, job->id, sizeof job->id);
    gdfo_query_get_text(q, job->training_file, sizeof job->training_file);
    gdfo_query_get_text(q, job->validation_file, sizeof job->validation_file);
    gdfo_query_get_text(q, job->project_id, sizeof job->project_id);
    gdfo_query_get_text(q, job->project, sizeof job->project);
    gdfo_query_get_text(q, job->user, sizeof job->user);
    gdfo_query_get_text(q, job->teacher, sizeof job->teacher);
    gdfo_query_get_text(q, job->method, sizeof job->method);
    job->status = gdfo_job_status_get(q);
    gdfo_query_get_text(q, job->reason, sizeof job->reason);
    read_request(q, job);
    read_outcome(q, job);
    return job->spec ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "reading a job");
}

static void drop_job(void *row)
{
    gdfo_store_job_deinit(row);
}

static enum gdfo_status read_pair(struct gdfo_query *q, void *row, struct gdfo_error *err)
{
    struct gdfo_store_pair *pair = row;
    pair->key = gdfo_query_dup_text(q);
    pair->value = gdfo_query_dup_text(q);
    return pair->key && pair->value ? GDFO_STATUS_OK
                                    : gdfo_error_no_memory(err, "reading metadata");
}

static void drop_pair(void *row)
{
    struct gdfo_store_pair *pair = row;
    gdfo_mem_free(pair->key);
    gdfo_mem_free(pair->value);
}

static enum gdfo_status read_id(struct gdfo_query *q, void *row, struct gdfo_error *err)
{
    (void)err;
    gdfo_query_get_text(q, row, GDFO_STORE_ID_BYTES);
    return GDFO_STATUS_OK;
}

/* What stands in other tables. On failure the job is still whole enough for deinit. */
static enum gdfo_status read_rest(struct gdfo_db *db, struct gdfo_store_job *job,
                                  struct gdfo_error *err)
{
    struct gdfo_store_pair pairs[GDFO_STORE_METADATA_MAX];
    const struct gdfo_rows metadata = {pairs, sizeof *pairs, GDFO_STORE_METADATA_MAX, read_pair,
                                       drop_pair};
    const struct gdfo_rows results = {job->result_files, GDFO_STORE_ID_BYTES,
                                      GDFO_STORE_RESULTS_MAX, read_id, NULL};
    int has_more;
    size_t n = 0;
    struct gdfo_query q = gdfo_query(db, GDFO_SQL_RESULTS);
    enum gdfo_status status;
    gdfo_query_int(&q, job->jid);
    status = gdfo_query_rows(&q, &results, &job->n_results, &has_more, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, GDFO_SQL_METADATA);
        gdfo_query_int(&q, job->jid);
        status = gdfo_query_rows(&q, &metadata, &n, &has_more, err);
    }
    if (status != GDFO_STATUS_OK || n == 0) {
        return status;
    }
    job->metadata = gdfo_mem_dup(pairs, n * sizeof *pairs);
    if (!job->metadata) {
        while (n > 0) {
            drop_pair(&pairs[--n]);
        }
        return gdfo_error_no_memory(err, "reading metadata");
    }
    job->n_metadata = n;
    return status;
}

static enum gdfo_status read_all_rest(struct gdfo_db *db, struct gdfo_store_job *jobs, size_t n,
                                      struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; i < n && status == GDFO_STATUS_OK; i++) {
        status = read_rest(db, &jobs[i], err);
    }
    for (size_t i = 0; i < n && status != GDFO_STATUS_OK; i++) {
        gdfo_store_job_deinit(&jobs[i]);
    }
    return status;
}

enum gdfo_status gdfo_job_row(struct gdfo_db *db, struct gdfo_query *q, struct gdfo_store_job *out,
                              struct gdfo_error *err)
{
    const struct gdfo_rows row = {out, sizeof *out, 1, read_job, drop_job};
    enum gdfo_status status = gdfo_query_only(q, &row, "job", err);
    return status == GDFO_STATUS_OK ? read_all_rest(db, out, 1, err) : status;
}

enum gdfo_status gdfo_job_row_of(struct gdfo_db *db, int64_t jid, struct gdfo_store_job *out,
                                 struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(db, GDFO_SQL_JOB_OF_JID);
    gdfo_query_int(&q, jid);
    return gdfo_job_row(db, &q, out, err);
}

enum gdfo_status gdfo_store_job_get(struct gdfo_store *s, int64_t pid, const char *id,
                                    struct gdfo_store_job *out, struct gdfo_error *err)
{
    struct gdfo_db *db;
    struct gdfo_query q;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, GDFO_SQL_JOB_GET);
        gdfo_query_int(&q, pid);
        gdfo_query_text(&q, id);
        status = gdfo_job_row(db, &q, out, err);
        gdfo_read_end(s, db);
    }
    return status;
}

enum gdfo_status gdfo_store_job_of_jid(struct gdfo_store *s, int64_t jid,
                                       struct gdfo_store_job *out, struct gdfo_error *err)
{
    struct gdfo_db *db;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_job_row_of(db, jid, out, err);
        gdfo_read_end(s, db);
    }
    return status;
}

enum gdfo_status gdfo_store_job_list(struct gdfo_store *s,
                                     const struct gdfo_store_job_filter *filter,
                                     const struct gdfo_store_page *page, struct gdfo_store_job *out,
                                     size_t *n, int *has_more, struct gdfo_error *err)
{
    const struct gdfo_rows rows = {out, sizeof *out, page->limit, read_job, drop_job};
    struct gdfo_db *db;
    struct gdfo_query q;
    int64_t key;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_page_key(db, page, GDFO_SQL_JOB_KEY, filter->pid, &key, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, page->is_ascending ? GDFO_SQL_JOB_LIST_UP : GDFO_SQL_JOB_LIST);
        gdfo_query_int(&q, filter->pid);
        gdfo_query_opt_text(&q, filter->has_status ? statuses[filter->status] : NULL);
        gdfo_query_int(&q, key);
        gdfo_query_int(&q, (int64_t)page->limit + 1);
        status = gdfo_query_rows(&q, &rows, n, has_more, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = read_all_rest(db, out, *n, err);
    }
    gdfo_read_end(s, db);
    return status;
}

enum gdfo_status gdfo_store_job_next(struct gdfo_store *s, enum gdfo_job_status wanted,
                                     int64_t after_jid, struct gdfo_store_job *out, int *found,
                                     struct gdfo_error *err)
{
    struct gdfo_store_job job;
    const struct gdfo_rows rows = {&job, sizeof job, 1, read_job, drop_job};
    struct gdfo_db *db;
    struct gdfo_query q;
    int has_more;
    size_t n = 0;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    q = gdfo_query(db, GDFO_SQL_JOB_NEXT);
    gdfo_query_text(&q, statuses[wanted]);
    gdfo_query_int(&q, after_jid);
    status = gdfo_query_rows(&q, &rows, &n, &has_more, err);
    if (status == GDFO_STATUS_OK) {
        status = read_all_rest(db, &job, n, err);
    }
    gdfo_read_end(s, db);
    if (status == GDFO_STATUS_OK) {
        *found = (int)n;
        if (n > 0) {
            *out = job;
        }
    }
    return status;
}

enum gdfo_status gdfo_store_job_counts(struct gdfo_store *s, int64_t counts[GDFO_JOB_STATUS_END],
                                       struct gdfo_error *err)
{
    struct gdfo_db *db;
    struct gdfo_query q;
    int64_t found[GDFO_JOB_STATUS_END] = {0};
    int has_row = 0;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    q = gdfo_query(db, GDFO_SQL_JOB_COUNTS);
    status = gdfo_query_row(&q, &has_row, err);
    while (status == GDFO_STATUS_OK && has_row) {
        enum gdfo_job_status one = gdfo_job_status_get(&q);
        found[one] = gdfo_query_get_int(&q);
        status = gdfo_query_row(&q, &has_row, err);
    }
    gdfo_read_end(s, db);
    if (status == GDFO_STATUS_OK) {
        memcpy(counts, found, sizeof found);
    }
    return status;
}

/* The one number that a statement says of a job; 0 where it finds none. */
struct number { /* a row's, or what stands for none */
    enum gdfo_sql sql;
    int64_t fallback;
};

static enum gdfo_status read_number(struct gdfo_store *s, struct number what, int64_t jid,
                                    int64_t *out, struct gdfo_error *err)
{
    struct gdfo_db *db;
    struct gdfo_query q;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, what.sql);
        gdfo_query_int(&q, jid);
        status = gdfo_query_one_int(&q, what.fallback, out, err);
        gdfo_read_end(s, db);
    }
    return status;
}

enum gdfo_status gdfo_store_job_queue_position(struct gdfo_store *s, int64_t jid, int64_t *out,
                                               struct gdfo_error *err)
{
    return read_number(s, (struct number){GDFO_SQL_JOB_POSITION, 0}, jid, out, err);
}

enum gdfo_status gdfo_store_job_first_call(struct gdfo_store *s, int64_t jid, int64_t *out,
                                           struct gdfo_error *err)
{
    return read_number(s, (struct number){GDFO_SQL_CALL_FIRST_MS, 0}, jid, out, err);
}

enum gdfo_status gdfo_store_job_last_epoch(struct gdfo_store *s, int64_t jid, int64_t *out,
                                           struct gdfo_error *err)
{
    return read_number(s, (struct number){GDFO_SQL_CALL_LAST_EPOCH, -1}, jid, out, err);
}
