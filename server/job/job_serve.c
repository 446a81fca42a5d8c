#include "server/job/job_serve.h"

#include "common/clk.h"
#include "common/lock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/job/job_memory.h"
#include "server/job/job_precision.h"
#include "server/job/job_serve_priv.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define IDLE_MS        60000
#define ROOM_MS        1000                /* patience for memory that others hold */
#define HELD_BYTES_MAX ((size_t)256 << 20) /* of all requests that wait */
#define TEXT_BYTES_MAX                                                                             \
    ((size_t)16 << 20)     /* that a teacher keeps, with four times as much of ids                 \
                            */
#define TEXT_BYTES_EACH 64 /* of any text, beside its bytes */

struct served {
    char name[128];
    struct gdfo_serve_model about; /* under the lock */
    /* the serving thread's */
    int is_settled;
    enum gdfo_precision precision;
    struct gdfo_models_hold hold;
    struct gdfo_teacher *teacher; /* NULL: not loaded, or given back */
    size_t n_text_bytes;          /* shown to the teacher, which never forgets a text */
};

struct gdfo_serve {
    struct gdfo_job_deps deps;
    int64_t idle_ms;
    size_t text_bytes_max;
    struct served *models; /* [GDFO_SERVE_MODELS_MAX] */
    size_t n_models;
    atomic_int stop;
    struct gdfo_thread *thread;
    struct gdfo_lock *lock; /* guards what follows, and about of every model */
    struct gdfo_cond *changed;
    struct gdfo_serve_ask **ring; /* [n_queue] */
    unsigned n_queue, first, n_waiting;
    size_t n_bytes;
    int is_stopping, has_ended;
};

/* ---- models ---------------------------------------------------------------------------------- */

static void give_back(struct gdfo_serve *s, struct served *m)
{
    gdfo_teacher_close(m->teacher);
    m->teacher = NULL;
    m->n_text_bytes = 0;
    gdfo_models_release(s->deps.models, &m->hold);
}

static void set_state(struct gdfo_serve *s, struct served *m, enum gdfo_status status,
                      const struct gdfo_error *err)
{
    char quoted[4 * GDFO_ERROR_TEXT_MAX];
    char name[600];
    enum gdfo_serve_state before;
    {
        GDFO_LOCK_SCOPE(s->lock);
        before = m->about.state;
        m->about.state =
            status == GDFO_STATUS_OK ? GDFO_SERVE_STATE_READY : GDFO_SERVE_STATE_FAILED;
        m->about.precision = m->precision;
        if (status == GDFO_STATUS_OK) {
            m->about.max_positions = gdfo_teacher_caps(m->teacher)->max_positions;
        } else {
            m->about.why = *err;
        }
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_log(GDFO_LOG_ERROR, "serve", "ev=not_served model=%s why=%s",
                 gdfo_log_quote(m->name, name, (int)sizeof name),
                 gdfo_log_quote(err->text, quoted, (int)sizeof quoted));
    } else if (before != GDFO_SERVE_STATE_READY) {
        gdfo_log(GDFO_LOG_INFO, "serve", "ev=served model=%s precision=%s",
                 gdfo_log_quote(m->name, name, (int)sizeof name),
                 gdfo_precision_name(m->precision));
    }
}

static enum gdfo_status settle(struct gdfo_serve *s, struct served *m, struct gdfo_error *err)
{
    const struct gdfo_precision_ask ask = {.deps = &s->deps, .model = m->name, .stop = &s->stop};
    enum gdfo_status status =
        m->is_settled ? GDFO_STATUS_OK : gdfo_job_precision_settle(&ask, &m->precision, err);
    m->is_settled = status == GDFO_STATUS_OK;
    return status;
}

static enum gdfo_status acquire(struct gdfo_serve *s, struct served *m, struct gdfo_error *err)
{
    const struct gdfo_models_want want = {
        .teacher = m->name,
        .precision = m->precision,
        .work_bytes = gdfo_job_teacher_bytes(s->deps.models, s->deps.pool, m->about.entry)};
    enum gdfo_status status = gdfo_models_acquire(s->deps.models, &want, &m->hold, err);
    if (status == GDFO_STATUS_BUSY && !atomic_load(&s->stop)) {
        gdfo_models_wait(s->deps.models, ROOM_MS);
        status = gdfo_models_acquire(s->deps.models, &want, &m->hold, err);
    }
    return status;
}

static enum gdfo_status open_teacher(struct gdfo_serve *s, struct served *m, struct gdfo_error *err)
{
    const struct gdfo_teacher_env env = {.model = m->hold.teacher,
                                         .model_sha256 = m->about.entry->sha256,
                                         .pool = s->deps.pool,
                                         .kv_max_bytes = gdfo_job_kv_bytes(s->deps.models)};
    gdfo_teacher_close(m->teacher);
    m->teacher = NULL;
    m->n_text_bytes = 0;
    return gdfo_teacher_open(&m->teacher, "embedded", &env, err);
}

/* Loaded afterwards. BUSY and CANCELLED say nothing about the model; every other failure does. */
static enum gdfo_status load(struct gdfo_serve *s, struct served *m, struct gdfo_error *err)
{
    enum gdfo_status status = settle(s, m, err);
    if (status == GDFO_STATUS_OK && !m->hold.teacher) {
        status = acquire(s, m, err);
    }
    if (status == GDFO_STATUS_OK && (!m->teacher || m->n_text_bytes > s->text_bytes_max)) {
        status = open_teacher(s, m, err);
        if (status != GDFO_STATUS_OK) {
            give_back(s, m);
        }
    }
    if (status != GDFO_STATUS_BUSY && status != GDFO_STATUS_CANCELLED) {
        set_state(s, m, status, err);
    }
    return status;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static struct served *find(const struct gdfo_serve *s, const char *name)
{
    for (size_t i = 0; i < s->n_models; i++) {
        if (strcmp(s->models[i].name, name) == 0) {
            return &s->models[i];
        }
    }
    return NULL;
}

static size_t text_bytes(const struct gdfo_serve_ask *ask)
{
    size_t n = 0;
    for (uint32_t b = 0; b < ask->n_examples; b++) {
        n += ask->bodies[b].n + TEXT_BYTES_EACH;
    }
    return n;
}

static void serve_one(struct gdfo_serve *s, struct gdfo_serve_ask *ask)
{
    struct served *m = find(s, ask->model);
    struct gdfo_serve_work work = {.ask = ask, .stop = &s->stop};
    struct gdfo_error err = {0};
    enum gdfo_status status = atomic_load(&s->stop) ? gdfo_error_set(&err, GDFO_STATUS_CANCELLED,
                                                                     "the daemon is stopping")
                                                    : load(s, m, &err);
    gdfo_log(GDFO_LOG_DEBUG, "serve", "ev=taken n_prompts=%" PRIu32 " n_examples=%" PRIu32,
             ask->n_prompts, ask->n_examples);
    if (status == GDFO_STATUS_OK) {
        m->n_text_bytes += text_bytes(ask);
        status = gdfo_serve_work_run(&work, m->teacher, &err);
    }
    ask->done(ask->ctx, status, status == GDFO_STATUS_OK ? &work.answer : NULL, &err);
    gdfo_serve_work_deinit(&work);
}

static void give_all_back(struct gdfo_serve *s)
{
    for (size_t i = 0; i < s->n_models; i++) {
        give_back(s, &s->models[i]);
    }
}

/* The next request; NULL when it is time to end. With none for a while, models go back. */
static struct gdfo_serve_ask *take(struct gdfo_serve *s)
{
    struct gdfo_serve_ask *ask = NULL;
    int is_idle = 0;
    gdfo_lock_acquire(s->lock);
    while (s->n_waiting == 0 && !s->is_stopping) {
        if (is_idle) {
            gdfo_cond_wait(s->changed, s->lock);
        } else if (!gdfo_cond_wait_ms(s->changed, s->lock, s->idle_ms) && s->n_waiting == 0) {
            is_idle = 1;
            gdfo_lock_release(s->lock);
            give_all_back(s);
            gdfo_lock_acquire(s->lock);
        }
    }
    if (s->n_waiting > 0) {
        ask = s->ring[s->first];
        s->first = (s->first + 1) % s->n_queue;
        s->n_waiting--;
        s->n_bytes -= ask->n_bytes;
    }
    gdfo_lock_release(s->lock);
    return ask;
}

static void *run(void *arg)
{
    struct gdfo_serve *s = arg;
    struct gdfo_serve_ask *ask;
    for (size_t i = 0; i < s->n_models; i++) {
        struct gdfo_error err = {0};
        GDFO_IGNORE(load(s, &s->models[i], &err)); /* every request tries again, and says why */
    }
    while ((ask = take(s)) != NULL) {
        serve_one(s, ask);
    }
    give_all_back(s);
    gdfo_lock_acquire(s->lock);
    s->has_ended = 1;
    gdfo_cond_broadcast(s->changed);
    gdfo_lock_release(s->lock);
    return NULL;
}

/* ---- start and stop ---------------------------------------------------------------------------
 */

static enum gdfo_status check_model(const struct gdfo_model_entry *e, const char *name,
                                    const struct gdfo_models *models, struct gdfo_error *err)
{
    if (!e) {
        return gdfo_error_set(
            err, GDFO_STATUS_NOT_FOUND,
            "'%.100s' is not in the models folder (%zu there); want off, or names "
            "as GET /v1/students lists them, by commas",
            name, gdfo_models_count(models));
    }
    if (e->config.is_masked) {
        return gdfo_error_set(
            err, GDFO_STATUS_UNSUPPORTED,
            "'%.100s' is a masked language model: it answers at a mask inside the "
            "text, which gdfo-scorer/1 has no place for; want a causal one",
            name);
    }
    if (!e->has_tokenizer) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "'%.100s' has no tokenizer, and requests bring text; put its "
                              "tokenizer.json beside it, or take a GGUF file",
                              name);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status add_model(struct gdfo_serve *s, const char *name, size_t n,
                                  struct gdfo_error *err)
{
    struct served *m = &s->models[s->n_models];
    enum gdfo_status status;
    if (s->n_models == GDFO_SERVE_MODELS_MAX || n >= sizeof m->name) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "more than %d models, or a name longer than %zu bytes",
                              GDFO_SERVE_MODELS_MAX, sizeof m->name - 1);
    }
    memcpy(m->name, name, n);
    if (find(s, m->name)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "'%.100s' is named twice", m->name);
    }
    m->about.entry = gdfo_models_find(s->deps.models, m->name);
    status = check_model(m->about.entry, m->name, s->deps.models, err);
    s->n_models += status == GDFO_STATUS_OK;
    return status;
}

static enum gdfo_status add_models(struct gdfo_serve *s, const char *names, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (const char *p = names + strspn(names, " ,"); *p && status == GDFO_STATUS_OK;
         p += strspn(p, " ,")) {
        size_t n = strcspn(p, " ,");
        status = add_model(s, p, n, err);
        p += n;
    }
    if (status == GDFO_STATUS_OK && s->n_models == 0) {
        status = gdfo_error_set(err, GDFO_STATUS_INVALID, "no model is named; want off, or names");
    }
    return status;
}

static void destroy(struct gdfo_serve *s)
{
    gdfo_lock_destroy(s->lock);
    gdfo_cond_destroy(s->changed);
    gdfo_mem_free(s->ring);
    gdfo_mem_free(s->models);
    gdfo_mem_free(s);
}

enum gdfo_status gdfo_serve_start(struct gdfo_serve **out, const struct gdfo_serve_setup *setup,
                                  struct gdfo_error *err)
{
    struct gdfo_serve *s = gdfo_mem_array(1, sizeof *s);
    enum gdfo_status status;
    if (!s) {
        return gdfo_error_no_memory(err, "serving models");
    }
    s->deps = *setup->deps;
    s->n_queue = setup->n_queue;
    s->idle_ms = setup->idle_ms > 0 ? setup->idle_ms : IDLE_MS;
    s->text_bytes_max = setup->text_bytes_max > 0 ? setup->text_bytes_max : TEXT_BYTES_MAX;
    s->lock = gdfo_lock_create();
    s->changed = gdfo_cond_create();
    s->ring = gdfo_mem_array((size_t)setup->n_queue + 1, sizeof(struct gdfo_serve_ask *));
    s->models = gdfo_mem_array(GDFO_SERVE_MODELS_MAX, sizeof *s->models);
    status = s->models ? add_models(s, setup->names, err) : GDFO_STATUS_OK;
    if (status == GDFO_STATUS_OK && s->lock && s->changed && s->ring && s->models) {
        s->thread = gdfo_thread_start("serve", run, s);
    }
    if (!s->thread) {
        destroy(s);
        return status != GDFO_STATUS_OK ? status : gdfo_error_no_memory(err, "serving models");
    }
    *out = s;
    return GDFO_STATUS_OK;
}

static void ask_to_stop(struct gdfo_serve *s)
{
    s->is_stopping = 1;
    atomic_store(&s->stop, 1);
    gdfo_cond_broadcast(s->changed);
}

int gdfo_serve_drain(struct gdfo_serve *s, int64_t ms)
{
    const struct gdfo_clk *clk = gdfo_clk_system();
    const int64_t end_ms = gdfo_clk_monotonic_ms(clk) + ms;
    int64_t left_ms = ms;
    if (!s) {
        return 1;
    }
    GDFO_LOCK_SCOPE(s->lock);
    ask_to_stop(s);
    while (!s->has_ended && left_ms > 0) {
        GDFO_IGNORE(gdfo_cond_wait_ms(s->changed, s->lock, left_ms));
        left_ms = end_ms - gdfo_clk_monotonic_ms(clk);
    }
    return s->has_ended;
}

void gdfo_serve_stop(struct gdfo_serve *s)
{
    if (!s) {
        return;
    }
    gdfo_lock_acquire(s->lock);
    ask_to_stop(s);
    gdfo_lock_release(s->lock);
    gdfo_thread_join(s->thread);
    destroy(s);
}

/* ---- asking ---------------------------------------------------------------------------------- */

int gdfo_serve_at(const struct gdfo_serve *s, size_t index, struct gdfo_serve_model *out)
{
    if (index >= s->n_models) {
        return 0;
    }
    GDFO_LOCK_SCOPE(s->lock);
    *out = s->models[index].about;
    return 1;
}

int gdfo_serve_find(const struct gdfo_serve *s, const char *name, struct gdfo_serve_model *out)
{
    const struct served *m = find(s, name);
    return m && gdfo_serve_at(s, (size_t)(m - s->models), out);
}

static enum gdfo_status check_id(int32_t id, uint32_t vocab, const char *what,
                                 struct gdfo_error *err)
{
    return id >= 0 && (uint32_t)id < vocab
               ? GDFO_STATUS_OK
               : gdfo_error_set(err, GDFO_STATUS_INVALID,
                                "%s has token %" PRId32 "; this model's ids are 0..%" PRIu32, what,
                                id, vocab - 1);
}

static enum gdfo_status check_ask(const struct gdfo_serve_ask *ask,
                                  const struct gdfo_model_entry *e, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    if (ask->d_model != e->d_model) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "soft_prompt has rows of width %" PRIu32
                              "; this model wants %" PRIu32,
                              ask->d_model, e->d_model);
    }
    for (uint32_t i = 0; i < ask->n_labels && status == GDFO_STATUS_OK; i++) {
        status = check_id(ask->label_ids[i], e->vocab, "label_ids", err);
    }
    for (uint32_t b = 0; ask->said && b < ask->n_examples; b++) {
        for (uint32_t i = 0; i < ask->said[b].n_ids && status == GDFO_STATUS_OK; i++) {
            status = check_id(ask->said[b].ids[i], e->vocab, "label_prefix_ids", err);
        }
    }
    return status;
}

enum gdfo_status gdfo_serve_submit(struct gdfo_serve *s, struct gdfo_serve_ask *ask,
                                   struct gdfo_error *err)
{
    const struct served *m = find(s, ask->model);
    enum gdfo_status status;
    if (!m) {
        return gdfo_error_set(err, GDFO_STATUS_NOT_FOUND,
                              "model '%.100s' is not served; serve.models names those that are",
                              ask->model);
    }
    status = check_ask(ask, m->about.entry, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    GDFO_LOCK_SCOPE(s->lock);
    if (s->is_stopping) {
        return gdfo_error_set(err, GDFO_STATUS_CANCELLED, "the daemon is stopping");
    }
    if (s->n_waiting >= s->n_queue || ask->n_bytes > HELD_BYTES_MAX - s->n_bytes) {
        return gdfo_error_set(err, GDFO_STATUS_BUSY,
                              "%u requests with %zu MiB wait already, of at most %u and %zu MiB: "
                              "try again in a moment",
                              s->n_waiting, s->n_bytes >> 20, s->n_queue, HELD_BYTES_MAX >> 20);
    }
    s->ring[(s->first + s->n_waiting++) % s->n_queue] = ask;
    s->n_bytes += ask->n_bytes;
    gdfo_cond_broadcast(s->changed);
    gdfo_log(GDFO_LOG_DEBUG, "serve", "ev=queued n_waiting=%u", s->n_waiting);
    return GDFO_STATUS_OK;
}
