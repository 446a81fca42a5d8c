/*
 * DESIGN. Workers share one lock and one condition variable. A worker takes, in this order: a
 * waiting prediction, a job whose files want validating, the oldest queued job. The janitor does
 * the same but takes no jobs, so that predictions and file checks never wait for a job to end, and
 * keeps the store tidy. Running jobs stand in the seats of their workers with a stop flag each;
 * asking a job to pause or cancel sets that flag after the row says pausing or cancelling, so that
 * a crash in between ends the same way.
 */
#include "server/sched/sched.h"

#include "common/clk.h"
#include "common/lock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/job/job_predict.h"
#include "server/job/job_run.h"
#include "server/store/store_job.h"
#include "server/store/store_sched.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define WORKERS_MAX      256
#define PREDICTIONS_MAX  64
#define IDLE_LOOK_MS     1000 /* a look at the table even without a wake-up */
#define TEACHER_REST_S   30   /* of a job that its teacher did not answer: as the breaker rests */
#define MAINTAIN_MS      5000
#define LOOKS_MAX        4 /* a job moves by itself a few times at most in a row */
#define ANSWER_MAX_BYTES ((size_t)16 << 20)

struct seat {
    struct gdfo_sched *sched;
    struct gdfo_thread *thread;
    int is_janitor;
    int64_t jid;     /* the job it runs, 0 for none; with the lock held */
    atomic_int stop; /* enum gdfo_job_stop */
};

struct gdfo_sched {
    struct gdfo_job_deps deps;
    struct gdfo_remotes *remotes; /* those of deps, whose rows are written at start */
    struct gdfo_lock *lock;
    struct gdfo_cond *changed;
    struct gdfo_predict *predictions[PREDICTIONS_MAX]; /* ring */
    size_t first_prediction, n_predictions;
    int64_t validating_jid; /* a file check under way, 0 for none */
    int64_t maintained_ms;  /* the janitor's own */
    int is_stopping;
    int64_t stop_ms;
    unsigned n_ended;   /* threads that are done */
    uint64_t n_changes; /* so that a change between a look and a rest is not slept through */
    unsigned n_seats;   /* threads started: the janitor, then the workers */
    struct seat seats[];
};

/* With the lock held. */
static void changed(struct gdfo_sched *s)
{
    s->n_changes++;
    gdfo_cond_broadcast(s->changed);
}

/* ---- predictions --------------------------------------------------------------------------------
 */

static struct gdfo_predict *take_prediction(struct gdfo_sched *s)
{
    struct gdfo_predict *p = NULL;
    if (s->n_predictions > 0) {
        p = s->predictions[s->first_prediction];
        s->first_prediction = (s->first_prediction + 1) % PREDICTIONS_MAX;
        s->n_predictions--;
    }
    return p;
}

static enum gdfo_status predict(const struct gdfo_sched *s, const struct gdfo_predict *p,
                                struct gdfo_buf *json, struct gdfo_error *err)
{
    struct gdfo_job_predict request = {
        .model = p->model, .want_scores = p->want_scores, .n_inputs = p->n_inputs};
    struct gdfo_job_input *inputs;
    enum gdfo_status status;
    if (!gdfo_variant_parse(p->variant[0] ? p->variant : "tuned", &request.variant)) {
        return gdfo_error_set(
            err, GDFO_STATUS_INVALID,
            "variant \"%s\": want tuned, tuned_alone, tuned_no_head, manual or calibrated",
            p->variant);
    }
    inputs = gdfo_mem_array(p->n_inputs, sizeof *inputs);
    if (!inputs) {
        return gdfo_error_no_memory(err, "inputs");
    }
    for (size_t i = 0; i < p->n_inputs; i++) {
        inputs[i] = (struct gdfo_job_input){p->inputs[i].text_a, p->inputs[i].text_b};
    }
    request.inputs = inputs;
    status = gdfo_job_predict(&s->deps, &request, json, err);
    gdfo_mem_free(inputs);
    return status;
}

static void serve_prediction(const struct gdfo_sched *s, struct gdfo_predict *p)
{
    struct gdfo_buf json;
    struct gdfo_error err = {0};
    enum gdfo_status status;
    gdfo_buf_init(&json, ANSWER_MAX_BYTES);
    status = predict(s, p, &json, &err);
    p->done(p->ctx, status, &json, &err);
    gdfo_buf_deinit(&json);
}

enum gdfo_status gdfo_sched_predict(struct gdfo_sched *s, struct gdfo_predict *p,
                                    struct gdfo_error *err)
{
    GDFO_LOCK_SCOPE(s->lock);
    if (s->is_stopping) {
        return gdfo_error_set(err, GDFO_STATUS_CANCELLED, "the daemon is stopping");
    }
    if (s->n_predictions == PREDICTIONS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_BUSY,
                              "%d predictions wait already: try again in a moment",
                              PREDICTIONS_MAX);
    }
    s->predictions[(s->first_prediction + s->n_predictions) % PREDICTIONS_MAX] = p;
    s->n_predictions++;
    changed(s);
    return GDFO_STATUS_OK;
}

/* ---- work ---------------------------------------------------------------------------------------
 */

static void log_failure(const char *what, const struct gdfo_error *err)
{
    char quoted[600];
    gdfo_log(GDFO_LOG_ERROR, "sched", "ev=%s why=%s", what,
             gdfo_log_quote(err->text, quoted, (int)sizeof quoted));
}

/* With the lock held for the bookkeeping only. 1 when a job's files were checked. */
static int validate_one(struct gdfo_sched *s)
{
    struct gdfo_store_job job = {0};
    struct gdfo_error err = {0};
    int found = 0;
    gdfo_lock_acquire(s->lock);
    if (s->validating_jid != 0) { /* one at a time: two workers must not check the same files */
        gdfo_lock_release(s->lock);
        return 0;
    }
    s->validating_jid = -1;
    gdfo_lock_release(s->lock);
    if (gdfo_store_job_next(s->deps.store, GDFO_JOB_VALIDATING_FILES, 0, &job, &found, &err) !=
        GDFO_STATUS_OK) {
        log_failure("queue_unreadable", &err);
        found = 0;
    }
    if (found) {
        found = gdfo_job_validate(&s->deps, &job);
        gdfo_store_job_deinit(&job);
    }
    gdfo_lock_acquire(s->lock);
    s->validating_jid = 0;
    if (found) { /* else two idle workers would wake each other for ever */
        changed(s);
    }
    gdfo_lock_release(s->lock);
    return found;
}

static int run_one(struct gdfo_sched *s, struct seat *seat)
{
    struct gdfo_store_job job = {0};
    struct gdfo_error err = {0};
    int found = 0;
    enum gdfo_status status = GDFO_STATUS_OK;
    gdfo_lock_acquire(s->lock);
    if (!s->is_stopping) { /* claimed with the lock held, so that no move can fall between claim and
                              seat */
        status = gdfo_store_job_claim(s->deps.store, &job, &found, &err);
        seat->jid = found ? job.jid : 0;
        atomic_store_explicit(&seat->stop, GDFO_JOB_STOP_NONE, memory_order_release);
    }
    gdfo_lock_release(s->lock);
    if (status != GDFO_STATUS_OK) {
        log_failure("claim_failed", &err);
    }
    if (!found) {
        return 0;
    }
    gdfo_job_run(&s->deps, &job, &seat->stop);
    gdfo_lock_acquire(s->lock);
    seat->jid = 0;
    changed(s);
    gdfo_lock_release(s->lock);
    gdfo_store_job_deinit(&job);
    return 1;
}

static struct seat *seat_of(struct gdfo_sched *s, int64_t jid)
{
    for (unsigned i = 0; i < s->n_seats; i++) {
        if (s->seats[i].jid == jid) {
            return &s->seats[i];
        }
    }
    return NULL;
}

/* Whether what paused a job is gone, or may be: a teacher is asked again after its rest. */
static int may_go_on(const struct gdfo_store_job *job, int is_short)
{
    const int64_t now = gdfo_clk_wall_ms(gdfo_clk_system()) / 1000;
    return strcmp(job->reason, "disk_full") == 0
               ? !is_short
               : strcmp(job->reason, "teacher_down") == 0 && !is_short &&
                     now - job->updated_at >= TEACHER_REST_S;
}

/* Paused by a full disk or a silent teacher; or a job whose last words met one: its row says that
 * it runs, and nobody runs it. With the lock held, so that nobody claims or asks between look and
 * move. */
static enum gdfo_status go_on(struct gdfo_sched *s, const struct gdfo_store_job *job,
                              struct gdfo_error *err)
{
    int is_short = gdfo_store_is_short(s->deps.store);
    struct gdfo_store_move m = gdfo_job_stopped_move(job->status, is_short);
    if (job->status == GDFO_JOB_PAUSED ? !may_go_on(job, is_short) : seat_of(s, job->jid) != NULL) {
        return GDFO_STATUS_OK;
    }
    if (m.to == GDFO_JOB_QUEUED) {
        m.reason = job->status == GDFO_JOB_PAUSED ? NULL : "recovering";
    }
    return gdfo_store_job_set_state(s->deps.store, job->jid, &m, NULL, NULL, err);
}

/* What a full disk or a silent teacher stopped goes on by itself. */
static void go_on_all(struct gdfo_sched *s, enum gdfo_job_status state)
{
    struct gdfo_error err = {0};
    struct gdfo_store_job job = {0};
    int64_t after = 0;
    int found = 0;
    enum gdfo_status status;
    GDFO_LOCK_SCOPE(s->lock);
    do {
        status = gdfo_store_job_next(s->deps.store, state, after, &job, &found, &err);
        if (status == GDFO_STATUS_OK && found) {
            after = job.jid;
            status = go_on(s, &job, &err);
            gdfo_store_job_deinit(&job);
        }
    } while (status == GDFO_STATUS_OK && found);
    /* In conflict: its worker moved it. Full: next time. */
    if (status != GDFO_STATUS_OK && status != GDFO_STATUS_CONFLICT && status != GDFO_STATUS_FULL) {
        log_failure("not_gone_on", &err);
    }
}

static void look_after_jobs(struct gdfo_sched *s)
{
    static const enum gdfo_job_status states[] = {GDFO_JOB_PAUSED, GDFO_JOB_RUNNING,
                                                  GDFO_JOB_PAUSING, GDFO_JOB_CANCELLING};
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        go_on_all(s, states[i]);
    }
    gdfo_sched_wake(s);
}

static void maintain(struct gdfo_sched *s)
{
    struct gdfo_error err = {0};
    int64_t now = gdfo_clk_monotonic_ms(gdfo_clk_system());
    if (now - s->maintained_ms < MAINTAIN_MS) {
        return;
    }
    s->maintained_ms = now;
    if (gdfo_store_maintain(s->deps.store, &err) != GDFO_STATUS_OK) {
        log_failure("maintenance_failed", &err);
        return;
    }
    look_after_jobs(s);
}

/* Until something changes that was not seen yet, or it is time to look anyway. */
static void rest(struct gdfo_sched *s, uint64_t seen)
{
    GDFO_LOCK_SCOPE(s->lock);
    if (s->n_changes == seen) {
        GDFO_IGNORE(gdfo_cond_wait_ms(s->changed, s->lock, IDLE_LOOK_MS));
    }
}

static void serve_until_stopped(struct gdfo_sched *s, struct seat *seat)
{
    for (;;) {
        struct gdfo_predict *p;
        int is_stopping;
        uint64_t seen;
        gdfo_lock_acquire(s->lock);
        seen = s->n_changes;
        p = take_prediction(s);
        is_stopping = s->is_stopping;
        gdfo_lock_release(s->lock);
        if (p) {
            serve_prediction(s, p);
        } else if (is_stopping) {
            return;
        } else if (seat->is_janitor) {
            maintain(s);
            if (!validate_one(s)) {
                rest(s, seen);
            }
        } else if (!validate_one(s) && !run_one(s, seat)) {
            rest(s, seen);
        }
    }
}

static void *serve(void *arg)
{
    struct seat *seat = arg;
    struct gdfo_sched *s = seat->sched;
    serve_until_stopped(s, seat);
    gdfo_lock_acquire(s->lock);
    s->n_ended++;
    changed(s);
    gdfo_lock_release(s->lock);
    return NULL;
}

/* ---- moves asked for from outside
 * ---------------------------------------------------------------- */

struct request { /* what a caller wants of a job, by the state it is in */
    const char *verb;
    enum gdfo_job_status waiting_to; /* for a job that no worker has */
    enum gdfo_job_status running_to;
    enum gdfo_job_stop stop;
    unsigned already; /* bit set of states in which it is done already */
    unsigned waiting; /* states that move at once */
    unsigned running; /* states that move through running_to */
};

#define BIT(state) (1u << (state))

/* With the lock held. *has_moved: the job moved by itself between look and move. */
static enum gdfo_status ask_once(struct gdfo_sched *s, const struct gdfo_store_job *job,
                                 const struct request *r, int *has_moved, struct gdfo_error *err)
{
    struct gdfo_store_move m = {.reason = "user"};
    struct seat *seat = seat_of(s, job->jid);
    int is_running = (r->running & BIT(job->status)) != 0;
    enum gdfo_status status;
    if (r->already & BIT(job->status)) {
        return GDFO_STATUS_OK;
    }
    if (((r->waiting | r->running) & BIT(job->status)) == 0) {
        return gdfo_error_set(err, GDFO_STATUS_CONFLICT, "%s is %s: it cannot be %s", job->id,
                              gdfo_job_status_name(job->status), r->verb);
    }
    m.to = is_running ? r->running_to : r->waiting_to;
    m.reason = m.to == GDFO_JOB_QUEUED ? NULL : "user";
    status = gdfo_store_job_set_state(s->deps.store, job->jid, &m, NULL, NULL, err);
    *has_moved = status == GDFO_STATUS_CONFLICT;
    if (status == GDFO_STATUS_OK && seat && is_running) {
        atomic_store_explicit(&seat->stop, (int)r->stop, memory_order_release);
    }
    return status;
}

static enum gdfo_status ask(struct gdfo_sched *s, const char *id, const struct request *r,
                            struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    int has_moved = 1;
    GDFO_LOCK_SCOPE(s->lock);
    for (int i = 0; has_moved && i < LOOKS_MAX; i++) {
        struct gdfo_store_job job = {0};
        has_moved = 0;
        status = gdfo_store_job_get(s->deps.store, GDFO_STORE_LOCAL_PID, id, &job, err);
        if (status == GDFO_STATUS_OK) {
            status = ask_once(s, &job, r, &has_moved, err);
            gdfo_store_job_deinit(&job);
        }
    }
    changed(s);
    return status;
}

enum gdfo_status gdfo_sched_pause(struct gdfo_sched *s, const char *job_id, struct gdfo_error *err)
{
    static const struct request r = {.verb = "paused",
                                     .waiting_to = GDFO_JOB_PAUSED,
                                     .running_to = GDFO_JOB_PAUSING,
                                     .stop = GDFO_JOB_STOP_PAUSE,
                                     .already = BIT(GDFO_JOB_PAUSING) | BIT(GDFO_JOB_PAUSED),
                                     .waiting = BIT(GDFO_JOB_QUEUED),
                                     .running = BIT(GDFO_JOB_RUNNING)};
    return ask(s, job_id, &r, err);
}

enum gdfo_status gdfo_sched_resume(struct gdfo_sched *s, const char *job_id, struct gdfo_error *err)
{
    static const struct request r = {.verb = "resumed",
                                     .waiting_to = GDFO_JOB_QUEUED,
                                     .already = BIT(GDFO_JOB_QUEUED) | BIT(GDFO_JOB_RUNNING),
                                     .waiting = BIT(GDFO_JOB_PAUSED)};
    return ask(s, job_id, &r, err);
}

enum gdfo_status gdfo_sched_cancel(struct gdfo_sched *s, const char *job_id, struct gdfo_error *err)
{
    static const struct request r = {.verb = "cancelled",
                                     .waiting_to = GDFO_JOB_CANCELLED,
                                     .running_to = GDFO_JOB_CANCELLING,
                                     .stop = GDFO_JOB_STOP_CANCEL,
                                     .already = BIT(GDFO_JOB_CANCELLING) | BIT(GDFO_JOB_CANCELLED),
                                     .waiting = BIT(GDFO_JOB_QUEUED) | BIT(GDFO_JOB_PAUSED) |
                                                BIT(GDFO_JOB_VALIDATING_FILES),
                                     .running = BIT(GDFO_JOB_RUNNING) | BIT(GDFO_JOB_PAUSING)};
    return ask(s, job_id, &r, err);
}

/* ---- life ---------------------------------------------------------------------------------------
 */

void gdfo_sched_wake(struct gdfo_sched *s)
{
    GDFO_LOCK_SCOPE(s->lock);
    changed(s);
}

static enum gdfo_status recover(struct gdfo_sched *s, struct gdfo_error *err)
{
    struct gdfo_store_recovery found = {0};
    enum gdfo_status status = gdfo_store_recover(s->deps.store, &found, err);
    if (status == GDFO_STATUS_OK) {
        gdfo_log(GDFO_LOG_INFO, "sched",
                 "ev=recovered requeued=%lld paused=%lld cancelled=%lld unknown_calls=%lld",
                 (long long)found.requeued, (long long)found.paused, (long long)found.cancelled,
                 (long long)found.unknown_calls);
        status = gdfo_job_register_teachers(s->deps.store, s->deps.models, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_remotes_register(s->remotes, s->deps.store, err);
    }
    return status;
}

static void end(struct gdfo_sched *s)
{
    gdfo_cond_destroy(s->changed);
    gdfo_lock_destroy(s->lock);
    gdfo_mem_free(s);
}

static enum gdfo_status start_threads(struct gdfo_sched *s, unsigned n, struct gdfo_error *err)
{
    for (unsigned i = 0; i < n; i++) {
        struct seat *seat = &s->seats[i];
        seat->sched = s;
        seat->is_janitor = i == 0;
        /* With the lock held: a worker must not claim a job before its seat counts, or the janitor
         * takes that job for one that nobody runs. */
        gdfo_lock_acquire(s->lock);
        seat->thread = gdfo_thread_start(i == 0 ? "janitor" : "worker", serve, seat);
        s->n_seats = seat->thread ? i + 1 : i;
        gdfo_lock_release(s->lock);
        if (!seat->thread) {
            return gdfo_error_set(err, GDFO_STATUS_NO_MEMORY, "cannot start thread %u of %u", i, n);
        }
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_sched_start(struct gdfo_sched **out, struct gdfo_store *store,
                                  struct gdfo_models *models, struct gdfo_pool *pool,
                                  const struct gdfo_sched_config *config, struct gdfo_error *err)
{
    struct gdfo_sched *s;
    enum gdfo_status status;
    if (config->n_workers < 1 || config->n_workers > WORKERS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "sched.workers %u: want 1..%d",
                              config->n_workers, WORKERS_MAX);
    }
    s = gdfo_mem_array(1, sizeof *s + ((size_t)config->n_workers + 1) * sizeof s->seats[0]);
    if (!s) {
        return gdfo_error_no_memory(err, "scheduler");
    }
    s->deps = (struct gdfo_job_deps){store, models, pool, gdfo_clk_system(), config->remotes};
    s->remotes = config->remotes;
    s->stop_ms = config->stop_ms;
    s->lock = gdfo_lock_create();
    s->changed = gdfo_cond_create();
    status = s->lock && s->changed ? recover(s, err) : gdfo_error_no_memory(err, "scheduler");
    if (status != GDFO_STATUS_OK) {
        end(s);
        return status;
    }
    status = start_threads(s, config->n_workers + 1, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_sched_stop(s);
        return status;
    }
    *out = s;
    return GDFO_STATUS_OK;
}

/* With the lock held. */
static void ask_all_to_stop(struct gdfo_sched *s)
{
    s->is_stopping = 1;
    for (unsigned i = 0; i < s->n_seats; i++) {
        int none = GDFO_JOB_STOP_NONE; /* a job that pauses or cancels already keeps its errand */
        (void)atomic_compare_exchange_strong(&s->seats[i].stop, &none, (int)GDFO_JOB_STOP_DRAIN);
    }
    changed(s);
}

int gdfo_sched_drain(struct gdfo_sched *s)
{
    const struct gdfo_clk *clk = gdfo_clk_system();
    const int64_t end_ms = gdfo_clk_monotonic_ms(clk) + s->stop_ms;
    int64_t left_ms = s->stop_ms;
    GDFO_LOCK_SCOPE(s->lock);
    ask_all_to_stop(s);
    while (s->n_ended < s->n_seats && left_ms > 0) {
        GDFO_IGNORE(gdfo_cond_wait_ms(s->changed, s->lock, left_ms));
        left_ms = end_ms - gdfo_clk_monotonic_ms(clk);
    }
    return s->n_ended == s->n_seats;
}

void gdfo_sched_stop(struct gdfo_sched *s)
{
    if (!s) {
        return;
    }
    gdfo_lock_acquire(s->lock);
    ask_all_to_stop(s);
    gdfo_lock_release(s->lock);
    for (unsigned i = 0; i < s->n_seats; i++) {
        gdfo_thread_join(s->seats[i].thread);
    }
    end(s);
}
