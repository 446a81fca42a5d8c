/* The loop over cells: submit, wait, score, keep. Everything that is on file is not done again. */
#include "client/cli/bench/score.h"
#include "client/cli/bench/wire.h"
#include "client/cli/follow.h"
#include "client/cli/render.h"
#include "client/cli/upload.h"
#include "common/clk.h"
#include "common/json_write.h"
#include "common/mem.h"
#include "common/ulid.h"

#include <math.h>
#include <string.h>

#define SLOTS_MAX      64
#define PERIOD_MIN_MS  20 /* between polls: short at first, for tiny jobs */
#define PERIOD_MAX_MS  1000
#define BODY_MAX_BYTES ((size_t)1 << 20)
#define PATH_BYTES     256
#define CURVE_POINTS   1500

struct slot {
    size_t cell;
    char job[GDFO_BENCH_JOB_BYTES];
    char status[32]; /* the last one seen */
};

struct run {
    struct gdfo_bench *b;
    struct slot slots[SLOTS_MAX];
    size_t n_slots, next;
    char results_path[GDFO_BENCH_PATH_BYTES + 16];
};

/* What came of a step of the loop. */
enum step { STEP_DONE, STEP_WAIT, STEP_CODE };

static int save(struct run *r)
{
    struct gdfo_error err = {0};
    if (gdfo_bench_results_save(&r->b->results, r->b->plan->name, r->results_path, &err) !=
        GDFO_STATUS_OK) {
        return gdfo_cli_fail_as(r->b->cli, GDFO_EXIT_FAILED, "%s", err.text);
    }
    return 0;
}

static int no_memory(struct run *r)
{
    return gdfo_cli_fail_as(r->b->cli, GDFO_EXIT_FAILED, "out of memory");
}

static const char *digest_of(const struct run *r, size_t cell)
{
    return r->b->digests[cell];
}

/* The row of a cell as it is planned now, NULL when there is none. */
static struct gdfo_bench_result *row_of(const struct run *r, size_t cell)
{
    struct gdfo_bench_result *row =
        gdfo_bench_results_find(&r->b->results, r->b->plan->cells[cell].key);
    return row && strcmp(row->digest, digest_of(r, cell)) == 0 ? row : NULL;
}

/* ---- jobs that the daemon has ---- */

static int add_known(struct run *r, const char *digest, const char *job)
{
    struct gdfo_bench *b = r->b;
    void *known = b->known;
    if (!gdfo_mem_grow(&known, &b->cap_known, b->n_known + 1, sizeof *b->known)) {
        return no_memory(r);
    }
    b->known = known;
    (void)snprintf(b->known[b->n_known].digest, GDFO_BENCH_HEX_BYTES, "%s", digest);
    (void)snprintf(b->known[b->n_known].job, GDFO_BENCH_JOB_BYTES, "%s", job);
    b->n_known++;
    return 0;
}

static int take_known(struct run *r, const struct gdfo_json *list, char last[PATH_BYTES / 2])
{
    const struct gdfo_json *data = gdfo_cli_at(list, "data");
    int has_more = 0, code = 0;
    *last = '\0';
    for (const struct gdfo_json *j = data ? gdfo_json_first(data) : NULL; j && !code;
         j = gdfo_json_next(j)) {
        const char *id = gdfo_cli_text_at(j, "id"), *status = gdfo_cli_text_at(j, "status");
        const char *bench = gdfo_cli_text_at(j, "metadata.bench");
        const char *digest = gdfo_cli_text_at(j, "metadata.cell");
        int is_lost = status && gdfo_follow_exit_of(status) > GDFO_EXIT_DONE;
        if (!id || !gdfo_client_is_id(id)) {
            continue;
        }
        (void)snprintf(last, PATH_BYTES / 2, "%s", id);
        if (bench && digest && strcmp(bench, r->b->plan->name) == 0 &&
            !(is_lost && r->b->is_retry)) {
            code = add_known(r, digest, id);
        }
    }
    if (!gdfo_cli_at(list, "has_more") ||
        !gdfo_json_bool(gdfo_cli_at(list, "has_more"), &has_more) || !has_more) {
        *last = '\0';
    }
    return code;
}

/* Every job of this plan, newest first. */
static int list_known(struct run *r)
{
    char path[PATH_BYTES], last[PATH_BYTES / 2] = "";
    int code = 0, is_first = 1;
    r->b->n_known = 0;
    while (!code && (is_first || *last)) {
        struct gdfo_json *list = NULL;
        (void)snprintf(path, sizeof path, "/v1/fine_tuning/jobs?limit=100%s%s",
                       *last ? "&after=" : "", last);
        code = gdfo_bench_get(r->b, path, &list);
        code = code ? code : take_known(r, list, last);
        gdfo_json_destroy(list);
        is_first = 0;
    }
    return code;
}

static const char *find_known(const struct run *r, const char *digest)
{
    for (size_t i = 0; i < r->b->n_known; i++) {
        if (strcmp(r->b->known[i].digest, digest) == 0) {
            return r->b->known[i].job;
        }
    }
    return NULL;
}

/* ---- telling ---- */

static int is_scored(const struct run *r, const struct gdfo_bench_cell *c,
                     const struct gdfo_bench_result *row, const char *variant)
{
    const struct gdfo_bench_score *s = gdfo_bench_result_score(row, variant);
    return s && strcmp(s->test, r->b->data[c->task].test) == 0 && (s->n > 0 || !r->b->is_retry);
}

/* 1 when nothing is left to do for the cell. */
static int is_complete(const struct run *r, size_t cell)
{
    const struct gdfo_bench_cell *c = &r->b->plan->cells[cell];
    const struct gdfo_bench_method *m = &r->b->plan->methods[c->method];
    const struct gdfo_bench_result *row = row_of(r, cell);
    if (!row || row->state != GDFO_BENCH_STATE_DONE) {
        return row && row->state == GDFO_BENCH_STATE_FAILED && !r->b->is_retry;
    }
    for (size_t i = 0; i < m->n_variants; i++) {
        if (!is_scored(r, c, row, m->variants[i])) {
            return 0;
        }
    }
    return 1;
}

static size_t count_complete(const struct run *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->b->plan->n_cells; i++) {
        const struct gdfo_bench_result *row = row_of(r, i);
        n += row && (row->state == GDFO_BENCH_STATE_FAILED || is_complete(r, i));
    }
    return n;
}

static void tell_json(const struct run *r, const struct gdfo_bench_result *row)
{
    struct gdfo_buf text;
    struct gdfo_json_writer w;
    gdfo_buf_init(&text, 8192);
    w = gdfo_json_writer(&text);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "object", "bench.cell");
    gdfo_json_put_str(&w, "key", row->key);
    gdfo_json_put_str(&w, "status", gdfo_bench_state_name(row->state));
    gdfo_json_put_str(&w, "job", row->job[0] ? row->job : NULL);
    gdfo_json_put_str(&w, "why", row->why[0] ? row->why : NULL);
    gdfo_json_put_num(&w, "accuracy", row->n_scores ? row->scores[0].accuracy : (double)NAN);
    gdfo_json_put_num(&w, "loss", row->n_scores ? row->scores[0].loss : (double)NAN);
    gdfo_json_put_int(&w, "n_done", (int64_t)count_complete(r));
    gdfo_json_put_int(&w, "n_cells", (int64_t)r->b->plan->n_cells);
    gdfo_json_close(&w, '}');
    if (gdfo_buf_ok(&text)) {
        (void)fprintf(r->b->cli->out, "%s\n", text.data);
        (void)fflush(r->b->cli->out);
    }
    gdfo_buf_deinit(&text);
}

static void tell(const struct run *r, const struct gdfo_bench_result *row)
{
    FILE *out = r->b->cli->out;
    if (r->b->cli->is_json) {
        tell_json(r, row);
        return;
    }
    if (row->state == GDFO_BENCH_STATE_SUBMITTED) {
        return;
    }
    (void)fprintf(out, "%zu/%zu\t%s\t%s", count_complete(r), r->b->plan->n_cells, row->key,
                  gdfo_bench_state_name(row->state));
    if (row->state == GDFO_BENCH_STATE_FAILED) {
        (void)fprintf(out, "\t%s", row->why);
    } else if (row->n_scores > 0) {
        (void)fprintf(out, "\taccuracy %.3f\tloss %.3f\t%.0f calls\t%.0f s",
                      row->scores[0].accuracy, row->scores[0].loss, row->evals, row->seconds);
    }
    (void)fputc('\n', out);
    (void)fflush(out);
}

/* ---- an ended job ---- */

static void take_course(const struct gdfo_json *series, struct gdfo_bench_course *out)
{
    const struct gdfo_json *y = series ? gdfo_cli_at(series, "y") : NULL;
    double sum = 0.0, v;
    size_t n = 0;
    for (const struct gdfo_json *p = y ? gdfo_json_first(y) : NULL; p; p = gdfo_json_next(p)) {
        if (gdfo_json_number(p, &v)) {
            out->first = n ? out->first : v;
            out->last = v;
            sum += v;
            n++;
        }
    }
    out->mean = n ? sum / (double)n : (double)NAN;
}

/* Curves that a method may have: how well the student follows, and its share of the time. */
static int take_metrics(struct run *r, struct gdfo_bench_result *row)
{
    char path[PATH_BYTES];
    struct gdfo_json *metrics = NULL;
    struct gdfo_bench_course seconds = {(double)NAN, (double)NAN, (double)NAN};
    int code;
    (void)snprintf(path, sizeof path,
                   "/v1/fine_tuning/jobs/%s/metrics?names=cosine_student,tau_student,"
                   "student_seconds&points=%d",
                   row->job, CURVE_POINTS);
    code = gdfo_bench_get(r->b, path, &metrics);
    if (!code) {
        take_course(gdfo_cli_at(metrics, "series.cosine_student"), &row->cosine);
        take_course(gdfo_cli_at(metrics, "series.tau_student"), &row->tau);
        take_course(gdfo_cli_at(metrics, "series.student_seconds"), &seconds);
        row->student_seconds = seconds.last; /* counted up over the run */
    }
    gdfo_json_destroy(metrics);
    return code;
}

static void take_spend(const struct gdfo_json *job, struct gdfo_bench_result *row)
{
    row->evals = gdfo_cli_number_at(job, "spend.evals");
    row->queries = gdfo_cli_number_at(job, "spend.queries");
    row->dev_queries = gdfo_cli_number_at(job, "spend.dev_queries");
    row->calls = gdfo_cli_number_at(job, "spend.calls");
    row->tokens =
        gdfo_cli_number_at(job, "spend.tokens_in") + gdfo_cli_number_at(job, "spend.tokens_out");
    row->seconds = gdfo_cli_number_at(job, "finished_at") - gdfo_cli_number_at(job, "started_at");
    row->dev = gdfo_cli_number_at(job, "best.value");
}

static int take_job(struct run *r, const struct gdfo_json *job, struct gdfo_bench_result *row)
{
    const char *status = gdfo_cli_text_at(job, "status");
    const char *code = gdfo_cli_text_at(job, "error.code");
    const char *words = gdfo_cli_text_at(job, "error.message");
    const char *reason = gdfo_cli_text_at(job, "reason");
    take_spend(job, row);
    if (status && strcmp(status, "succeeded") == 0) {
        row->state = GDFO_BENCH_STATE_DONE;
        return take_metrics(r, row);
    }
    row->state = GDFO_BENCH_STATE_FAILED;
    (void)snprintf(row->why, sizeof row->why, "job %s: %.40s%s%.180s", status ? status : "?",
                   code     ? code
                   : reason ? reason
                            : "no reason given",
                   words ? ": " : "", words ? words : "");
    gdfo_cli_clean(row->why);
    return 0;
}

/* ---- scores ---- */

static int is_current_digest(const struct run *r, const char *digest)
{
    for (size_t i = 0; i < r->b->plan->n_cells; i++) {
        if (strcmp(r->b->digests[i], digest) == 0) {
            return 1;
        }
    }
    return 0;
}

/* The plain parts of this cell's job stand for all cells of its task and seed. */
static int score_baselines(struct run *r, size_t cell, const char *job)
{
    struct gdfo_bench *b = r->b;
    const struct gdfo_bench_cell *c = &b->plan->cells[cell];
    char key[GDFO_BENCH_KEY_BYTES];
    int code = 0;
    gdfo_bench_baseline_key(b->plan, c, key);
    for (size_t i = 0; i < b->plan->n_baselines && !code; i++) {
        struct gdfo_bench_baseline *have =
            gdfo_bench_results_baseline(&b->results, key, b->plan->baselines[i]);
        struct gdfo_bench_score score;
        if (have && have->score.n > 0 && is_current_digest(r, have->digest) &&
            strcmp(have->score.test, b->data[c->task].test) == 0) {
            continue;
        }
        code = gdfo_bench_score(b, c, key, job, b->plan->baselines[i], &score);
        if (code) {
            return code;
        }
        have = gdfo_bench_results_put_baseline(&b->results, key, b->plan->baselines[i]);
        if (!have) {
            return no_memory(r);
        }
        have->score = score;
        (void)snprintf(have->digest, sizeof have->digest, "%s", b->digests[cell]);
        (void)snprintf(have->job, sizeof have->job, "%s", job);
        code = save(r);
    }
    return code;
}

static void put_score(struct gdfo_bench_result *row, const struct gdfo_bench_score *score)
{
    for (size_t i = 0; i < row->n_scores; i++) {
        if (strcmp(row->scores[i].variant, score->variant) == 0) {
            row->scores[i] = *score;
            return;
        }
    }
    if (row->n_scores < GDFO_BENCH_VARIANTS_MAX) {
        row->scores[row->n_scores++] = *score;
    }
}

/* Scores what is not scored yet of a done cell, and its baselines. */
static int score_cell(struct run *r, size_t cell)
{
    const struct gdfo_bench_cell *c = &r->b->plan->cells[cell];
    const struct gdfo_bench_method *m = &r->b->plan->methods[c->method];
    struct gdfo_bench_result *row = row_of(r, cell);
    int code = 0;
    for (size_t i = 0; i < m->n_variants && !code; i++) {
        struct gdfo_bench_score score;
        if (is_scored(r, c, row, m->variants[i])) {
            continue;
        }
        code = gdfo_bench_score(r->b, c, row->key, row->job, m->variants[i], &score);
        if (!code) {
            put_score(row, &score);
            code = save(r);
        }
    }
    code = code ? code : score_baselines(r, cell, row->job);
    if (!code) {
        tell(r, row);
    }
    return code;
}

/* ---- submitting ---- */

static int occupy(struct run *r, size_t cell, const char *job)
{
    struct gdfo_bench_result *row = row_of(r, cell);
    struct slot *s = &r->slots[r->n_slots++];
    int code = 0;
    if (!row || row->state != GDFO_BENCH_STATE_SUBMITTED || strcmp(row->job, job) != 0) {
        row =
            gdfo_bench_results_put(&r->b->results, r->b->plan->cells[cell].key, digest_of(r, cell));
        if (!row) {
            return no_memory(r);
        }
        row->state = GDFO_BENCH_STATE_SUBMITTED;
        (void)snprintf(row->job, sizeof row->job, "%s", job);
        code = save(r);
        tell(r, row);
    }
    *s = (struct slot){.cell = cell};
    (void)snprintf(s->job, sizeof s->job, "%s", job);
    return code;
}

/* The daemon will not have it: the cell's row says so, and the others go on. */
static int refused(struct run *r, size_t cell)
{
    struct gdfo_bench_result *row =
        gdfo_bench_results_put(&r->b->results, r->b->plan->cells[cell].key, digest_of(r, cell));
    if (!row) {
        return no_memory(r);
    }
    row->state = GDFO_BENCH_STATE_FAILED;
    gdfo_bench_refusal(r->b, row->why, sizeof row->why);
    gdfo_cli_clean(row->why);
    tell(r, row);
    return save(r);
}

static int take_created(struct run *r, size_t cell)
{
    struct gdfo_error err = {0};
    struct gdfo_json *job = NULL;
    const char *id;
    int code;
    if (r->b->cli->reply.http >= 300) {
        return refused(r, cell);
    }
    code = gdfo_cli_check_json(r->b->cli, GDFO_STATUS_OK, &job, &err);
    if (code) {
        return code;
    }
    id = gdfo_cli_text_at(job, "id");
    code = id && gdfo_client_is_id(id)
               ? occupy(r, cell, id)
               : gdfo_cli_fail_as(r->b->cli, GDFO_EXIT_FAILED, "the job that was made has no id");
    gdfo_json_destroy(job);
    return code;
}

/* A lost answer may have been a job: it is looked for before the body is sent again. */
static int create(struct run *r, size_t cell, const struct gdfo_buf *body)
{
    char key[GDFO_ULID_BYTES];
    struct gdfo_error err = {0};
    const struct gdfo_request request = {.method = "POST",
                                         .path = "/v1/fine_tuning/jobs",
                                         .body = body->data,
                                         .n_body = body->len,
                                         .key = key};
    gdfo_ulid(key, gdfo_clk_wall_ms(gdfo_clk_system()));
    for (;;) {
        enum gdfo_bench_sent sent = gdfo_bench_send(r->b, &request, 1, &err);
        int code = 0;
        if (sent == GDFO_BENCH_SENT) {
            return take_created(r, cell);
        }
        if (sent == GDFO_BENCH_OVER) {
            return err.status == GDFO_STATUS_CANCELLED ? GDFO_EXIT_INTERRUPTED
                                                       : gdfo_cli_fail(r->b->cli, &err);
        }
        code = list_known(r);
        if (code || find_known(r, digest_of(r, cell))) {
            return code ? code : occupy(r, cell, find_known(r, digest_of(r, cell)));
        }
    }
}

static int submit(struct run *r, size_t cell)
{
    struct gdfo_bench *b = r->b;
    struct gdfo_error err = {0};
    struct gdfo_buf body;
    int code;
    gdfo_buf_init(&body, BODY_MAX_BYTES);
    code = gdfo_bench_cell_body(b, &b->plan->cells[cell], digest_of(r, cell), &body, &err) ==
                   GDFO_STATUS_OK
               ? create(r, cell, &body)
               : gdfo_cli_fail_as(b->cli, GDFO_EXIT_USAGE, "%s", err.text);
    gdfo_buf_deinit(&body);
    return code;
}

/* Takes up one cell: scores it, waits for its job, or makes one. */
static int begin(struct run *r, size_t cell)
{
    struct gdfo_bench_result *row = row_of(r, cell);
    const char *known = find_known(r, digest_of(r, cell));
    if (is_complete(r, cell)) {
        const struct gdfo_bench_result *done = row;
        return done->state == GDFO_BENCH_STATE_DONE ? score_baselines(r, cell, done->job) : 0;
    }
    if (row && row->state == GDFO_BENCH_STATE_DONE) {
        return score_cell(r, cell);
    }
    if (row && row->state == GDFO_BENCH_STATE_SUBMITTED) {
        char job[GDFO_BENCH_JOB_BYTES];
        memcpy(job, row->job, sizeof job);
        return occupy(r, cell, job);
    }
    return known ? occupy(r, cell, known) : submit(r, cell);
}

/* ---- waiting ---- */

static void tell_pause(const struct run *r, struct slot *s, const struct gdfo_json *job)
{
    const char *status = gdfo_cli_text_at(job, "status"), *reason = gdfo_cli_text_at(job, "reason");
    status = status ? status : "?";
    if (strcmp(status, "paused") == 0 && strcmp(s->status, "paused") != 0) {
        (void)fprintf(r->b->cli->err, "%s is paused (%s); waiting: gdfo job resume %s\n", s->job,
                      reason ? reason : "?", s->job);
    }
    (void)snprintf(s->status, sizeof s->status, "%s", status);
}

/* One look at a slot's job. STEP_DONE: it ended, and its row says how. */
static enum step look(struct run *r, struct slot *s, int *code)
{
    struct gdfo_bench *b = r->b;
    struct gdfo_error err = {0};
    struct gdfo_json *job = NULL;
    char path[PATH_BYTES];
    const struct gdfo_request request = {.method = "GET", .path = path};
    enum gdfo_bench_sent sent;
    (void)snprintf(path, sizeof path, "/v1/fine_tuning/jobs/%s", s->job);
    sent = gdfo_bench_send(b, &request, 0, &err);
    if (sent != GDFO_BENCH_SENT) {
        *code = err.status == GDFO_STATUS_CANCELLED ? GDFO_EXIT_INTERRUPTED
                                                    : gdfo_cli_fail(b->cli, &err);
        return STEP_CODE;
    }
    if (b->cli->reply.http == 404) { /* another daemon, or an emptied one: it is made anew */
        struct gdfo_bench_result *row = row_of(r, s->cell);
        row->state = GDFO_BENCH_STATE_NONE;
        (void)fprintf(b->cli->err, "%s: the daemon does not know %s; submitting it again\n",
                      row->key, s->job);
        return STEP_DONE;
    }
    *code = gdfo_cli_check_json(b->cli, GDFO_STATUS_OK, &job, &err);
    if (*code) {
        return STEP_CODE;
    }
    tell_pause(r, s, job);
    if (gdfo_follow_exit_of(s->status) < 0) {
        gdfo_json_destroy(job);
        return STEP_WAIT;
    }
    *code = take_job(r, job, row_of(r, s->cell));
    gdfo_json_destroy(job);
    *code = *code ? *code : save(r);
    return *code ? STEP_CODE : STEP_DONE;
}

static int close_slot(struct run *r, size_t at)
{
    size_t cell = r->slots[at].cell;
    const struct gdfo_bench_result *row = row_of(r, cell);
    r->slots[at] = r->slots[--r->n_slots];
    if (row->state == GDFO_BENCH_STATE_DONE) {
        return score_cell(r, cell);
    }
    if (row->state == GDFO_BENCH_STATE_NONE) {
        return submit(r, cell);
    }
    tell(r, row);
    return 0;
}

/* One round over the slots; *n_ended of them ended. */
static int poll(struct run *r, size_t *n_ended)
{
    int code = 0;
    *n_ended = 0;
    for (size_t i = 0; i < r->n_slots && !code;) {
        enum step step = look(r, &r->slots[i], &code);
        if (step == STEP_DONE) {
            code = close_slot(r, i);
            (*n_ended)++;
        } else {
            i++;
        }
    }
    return code;
}

/* ---- the run ---- */

static int upload(struct run *r)
{
    const struct gdfo_bench_plan *p = r->b->plan;
    int code = 0;
    for (size_t i = 0; i < p->n_tasks && !code; i++) {
        struct gdfo_bench_data *data = &r->b->data[i];
        code = gdfo_upload_once(r->b->cli, p->tasks[i].train, data->ids[GDFO_BENCH_TRAIN]);
        if (!code && p->tasks[i].dev[0]) {
            code = gdfo_upload_once(r->b->cli, p->tasks[i].dev, data->ids[GDFO_BENCH_DEV]);
        }
    }
    return code;
}

static int loop(struct run *r)
{
    const struct gdfo_bench_plan *p = r->b->plan;
    int64_t period_ms = PERIOD_MIN_MS;
    int code = 0;
    while (!code && (r->next < p->n_cells || r->n_slots > 0)) {
        size_t n_ended = 0;
        while (!code && r->next < p->n_cells && r->n_slots < (size_t)p->n_concurrent) {
            code = begin(r, r->next++);
        }
        code = code ? code : poll(r, &n_ended);
        if (!code && gdfo_cli_is_interrupted(r->b->cli)) {
            code = GDFO_EXIT_INTERRUPTED;
        }
        period_ms = n_ended ? PERIOD_MIN_MS : period_ms + period_ms / 4;
        period_ms = period_ms > PERIOD_MAX_MS ? PERIOD_MAX_MS : period_ms;
        if (!code && r->n_slots > 0 && n_ended == 0) {
            (void)gdfo_clk_sleep(period_ms, r->b->cli->cancel);
        }
    }
    return code;
}

int gdfo_bench_run(struct gdfo_bench *b)
{
    struct run *r = gdfo_mem_array(1, sizeof *r);
    int code;
    if (!r) {
        return gdfo_cli_fail_as(b->cli, GDFO_EXIT_FAILED, "out of memory");
    }
    r->b = b;
    (void)snprintf(r->results_path, sizeof r->results_path, "%s/results.json", b->folder);
    code = list_known(r);
    code = code ? code : upload(r);
    code = code ? code : loop(r);
    if (code == GDFO_EXIT_INTERRUPTED) {
        (void)fprintf(b->cli->err,
                      "\n%zu job%s under way go on; the same command goes on from here\n",
                      r->n_slots, r->n_slots == 1 ? "" : "s");
    }
    gdfo_mem_free(r);
    return code;
}
