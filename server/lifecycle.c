#include "server/lifecycle.h"

#include "common/clk.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/ulid.h"
#include "server/edge.h"
#include "server/job/job_precision.h"
#include "server/job/job_serve.h"
#include "server/num/gemm.h"
#include "server/num/pool.h"
#include "server/sched/sched.h"
#include "server/teachers.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define NOFILE_WANTED 8192 /* service.md 8.4, M2 */
#define CORES_MAX     256

struct gdfo_lifecycle {
    const struct gdfo_config *config;
    struct gdfo_store *store;
    struct gdfo_pool *pool;
    struct gdfo_models *models;
    struct gdfo_remotes *remotes; /* NULL: no teacher over HTTP */
    struct gdfo_serve *serve;     /* NULL: off */
    struct gdfo_sched *sched;
    struct gdfo_edge *edge;
    struct gdfo_http_deps deps;
    struct gdfo_http_socket socket;
    struct gdfo_http *http;
    int is_abandoned; /* stop.seconds were over before the workers had ended */
    char url[160];
};

/* ---- store ---------------------------------------------------------------------------------- */

/* Who this data folder is: made once, kept for ever. */
static enum gdfo_status name_instance(struct gdfo_store *s, struct gdfo_error *err)
{
    char id[GDFO_STORE_ID_BYTES];
    enum gdfo_status status = gdfo_store_meta_get(s, "instance_id", id, sizeof id, err);
    if (status == GDFO_STATUS_NOT_FOUND) {
        gdfo_ulid(id, gdfo_clk_wall_ms(gdfo_clk_system()));
        status = gdfo_store_meta_set(s, "instance_id", id, err);
        if (status == GDFO_STATUS_OK) {
            status = gdfo_store_meta_set(s, "created_by", "gdfod " GDFO_VERSION, err);
        }
    }
    return status;
}

static enum gdfo_status start_store(struct gdfo_lifecycle *l, struct gdfo_error *err)
{
    const struct gdfo_store_options options = {.dir = l->config->data_dir,
                                               .ballast_bytes = l->config->ballast_mib << 20};
    enum gdfo_status status = gdfo_store_open(&l->store, &options, err);
    return status == GDFO_STATUS_OK ? name_instance(l->store, err) : status;
}

static void stop_store(struct gdfo_lifecycle *l)
{
    char now[24];
    if (!l->store) {
        return;
    }
    GDFO_IGNORE(snprintf(now, sizeof now, "%" PRId64, gdfo_clk_wall_ms(gdfo_clk_system()) / 1000));
    GDFO_IGNORE(gdfo_store_meta_set(l->store, "last_clean_stop_at", now, NULL));
    gdfo_store_close(l->store);
}

/* ---- pool and models ------------------------------------------------------------------------ */

static enum gdfo_status start_pool(struct gdfo_lifecycle *l, struct gdfo_error *err)
{
    long n = (long)l->config->compute_threads;
    if (n == 0) {
        n = sysconf(_SC_NPROCESSORS_ONLN);
    }
    n = n < 1 ? 1 : n > CORES_MAX ? CORES_MAX : n;
    gdfo_gemm_init(); /* the pool's tiles are the only threads that compute */
    return gdfo_pool_create(&l->pool, (unsigned)n, err);
}

static void stop_pool(struct gdfo_lifecycle *l)
{
    gdfo_pool_destroy(l->pool);
}

/* One line at start says what the processor can, and another what it cannot. */
static enum gdfo_status check_precision(const struct gdfo_config *c, struct gdfo_error *err)
{
    char available[64];
    enum gdfo_status status = GDFO_STATUS_OK;
    gdfo_job_precisions_available(available, sizeof available);
    if (c->precision != GDFO_PRECISION_AUTO) {
        status = gdfo_precision_check((enum gdfo_precision)c->precision, err);
    }
    if (status != GDFO_STATUS_OK) {
        return gdfo_error_set(err, status,
                              "this processor cannot compute in %s; available here: %s",
                              gdfo_precision_name((enum gdfo_precision)c->precision), available);
    }
    gdfo_log(GDFO_LOG_INFO, "main", "ev=engine precision=%s available=\"%s\" memory=%" PRIu64,
             c->precision == GDFO_PRECISION_AUTO
                 ? "auto"
                 : gdfo_precision_kernels((enum gdfo_precision)c->precision),
             available, c->memory_bytes);
    return status;
}

static enum gdfo_status start_precision(struct gdfo_lifecycle *l, struct gdfo_error *err)
{
    return check_precision(l->config, err);
}

static void stop_precision(struct gdfo_lifecycle *l)
{
    (void)l;
}

static enum gdfo_status start_models(struct gdfo_lifecycle *l, struct gdfo_error *err)
{
    const struct gdfo_config *c = l->config;
    const struct gdfo_models_setup setup = {c->precision, c->memory_bytes, l->pool};
    enum gdfo_status status = gdfo_models_create(&l->models, c->models_dir, err);
    if (status == GDFO_STATUS_OK) {
        gdfo_models_set_up(l->models, &setup);
    }
    for (size_t i = 0; i < c->n_teachers && status == GDFO_STATUS_OK; i++) {
        if (strcmp(c->teachers[i].adapter, "embedded") != 0) {
            continue;
        }
        status = gdfo_models_alias(l->models, c->teachers[i].name, c->teachers[i].model, err);
    }
    for (size_t i = 0; i < c->n_students && status == GDFO_STATUS_OK; i++) {
        status = gdfo_models_alias(l->models, c->students[i].name, c->students[i].file, err);
    }
    if (status == GDFO_STATUS_OK) {
        gdfo_log(GDFO_LOG_INFO, "models", "ev=listed n=%zu", gdfo_models_count(l->models));
    }
    return status;
}

static void stop_models(struct gdfo_lifecycle *l)
{
    gdfo_models_destroy(l->models);
}

static enum gdfo_status start_teachers(struct gdfo_lifecycle *l, struct gdfo_error *err)
{
    return gdfo_teachers_create(&l->remotes, l->config, l->models, err);
}

static void stop_teachers(struct gdfo_lifecycle *l)
{
    gdfo_remotes_destroy(l->remotes);
}

/* A name that is no model is known before any job is touched. */
static enum gdfo_status start_serve(struct gdfo_lifecycle *l, struct gdfo_error *err)
{
    const struct gdfo_job_deps deps = {l->store, l->models, l->pool, gdfo_clk_system(), l->remotes};
    const struct gdfo_serve_setup setup = {.deps = &deps,
                                           .names = l->config->serve_models,
                                           .n_queue = (unsigned)l->config->serve_queue};
    if (strcmp(l->config->serve_models, "off") == 0 || !l->config->serve_models[0]) {
        return GDFO_STATUS_OK;
    }
    return gdfo_serve_start(&l->serve, &setup, err);
}

static void stop_serve(struct gdfo_lifecycle *l)
{
    gdfo_serve_stop(l->serve);
}

/* ---- scheduler and REST edge ---------------------------------------------------------------- */

static enum gdfo_status start_sched(struct gdfo_lifecycle *l, struct gdfo_error *err)
{
    const struct gdfo_sched_config config = {.n_workers = (unsigned)l->config->sched_workers,
                                             .stop_ms = l->config->stop_seconds * 1000,
                                             .remotes = l->remotes};
    return gdfo_sched_start(&l->sched, l->store, l->models, l->pool, &config, err);
}

static void stop_sched(struct gdfo_lifecycle *l)
{
    gdfo_sched_stop(l->sched);
}

static enum gdfo_status start_edge(struct gdfo_lifecycle *l, struct gdfo_error *err)
{
    l->edge = gdfo_edge_create(l->store, l->sched, l->models, l->pool, l->remotes);
    if (!l->edge) {
        return gdfo_error_no_memory(err, "wiring the REST edge");
    }
    l->deps = gdfo_edge_deps(l->edge);
    l->deps.serve = l->serve;
    return GDFO_STATUS_OK;
}

static void stop_edge(struct gdfo_lifecycle *l)
{
    gdfo_edge_destroy(l->edge);
}

static struct gdfo_http_config http_config(struct gdfo_lifecycle *l)
{
    const struct gdfo_config *c = l->config;
    struct gdfo_http_config http = gdfo_http_config_default();
    http.bind = c->http_bind;
    http.port = (unsigned)c->http_port;
    http.n_threads = (unsigned)c->http_threads;
    http.hosts = c->http_hosts[0] ? c->http_hosts : NULL;
    http.socket = &l->socket;
    return http;
}

/* Before any job is touched: an address in use is no reason to begin. */
static enum gdfo_status start_listening(struct gdfo_lifecycle *l, struct gdfo_error *err)
{
    const struct gdfo_http_config http = http_config(l);
    return gdfo_http_bind(&http, &l->socket, err);
}

static void stop_listening(struct gdfo_lifecycle *l)
{
    gdfo_http_unbind(&l->socket);
}

static enum gdfo_status start_http(struct gdfo_lifecycle *l, struct gdfo_error *err)
{
    const struct gdfo_config *c = l->config;
    const struct gdfo_http_config http = http_config(l);
    int is_v6 = strchr(c->http_bind, ':') != NULL;
    enum gdfo_status status = gdfo_http_start(&l->http, &http, &l->deps, err);
    if (status == GDFO_STATUS_OK) {
        GDFO_IGNORE(snprintf(l->url, sizeof l->url, is_v6 ? "http://[%s]:%u" : "http://%s:%u",
                             c->http_bind, gdfo_http_port(l->http)));
    }
    return status;
}

static int64_t now_ms(void)
{
    return gdfo_clk_monotonic_ms(gdfo_clk_system());
}

/* Accepts no more, lets the scheduler and then the server of models answer what is parked, then
 * closes what is open; unless they take longer than they are given. */
static void stop_http(struct gdfo_lifecycle *l)
{
    const int64_t end_ms = now_ms() + l->config->stop_seconds * 1000;
    if (!l->http) {
        return;
    }
    gdfo_http_quiesce(l->http);
    gdfo_edge_close(l->edge);
    if (!gdfo_sched_drain(l->sched) || !gdfo_serve_drain(l->serve, end_ms - now_ms())) {
        l->is_abandoned = 1;
        return;
    }
    gdfo_sched_stop(l->sched);
    l->sched = NULL;
    gdfo_http_stop(l->http);
}

/* ---- the order ------------------------------------------------------------------------------ */

static const struct part {
    const char *name;
    enum gdfo_status (*start)(struct gdfo_lifecycle *l, struct gdfo_error *err);
    void (*stop)(
        struct gdfo_lifecycle *l); /* NULL members are fine, and what a failed start left */
    enum gdfo_exit failed;
} parts[] = {
    {"data.dir", start_store, stop_store, GDFO_EXIT_DATA},
    {"http", start_listening, stop_listening, GDFO_EXIT_USAGE},
    {"compute.threads", start_pool, stop_pool, GDFO_EXIT_USAGE},
    {"engine.precision", start_precision, stop_precision, GDFO_EXIT_USAGE},
    {"models.dir", start_models, stop_models, GDFO_EXIT_USAGE},
    {"teachers", start_teachers, stop_teachers, GDFO_EXIT_USAGE},
    {"serve.models", start_serve, stop_serve, GDFO_EXIT_USAGE},
    {"scheduler", start_sched, stop_sched, GDFO_EXIT_RUNNING},
    {"edge", start_edge, stop_edge, GDFO_EXIT_RUNNING},
    {"http", start_http, stop_http, GDFO_EXIT_RUNNING},
};
#define N_PARTS (sizeof parts / sizeof parts[0])

/* The first n parts, last one first. 0 when one could not be. */
static int stop_parts(struct gdfo_lifecycle *l, size_t n)
{
    while (n > 0 && !l->is_abandoned) {
        parts[--n].stop(l);
    }
    if (l->is_abandoned) {
        return 0;
    }
    gdfo_mem_free(l);
    return 1;
}

static enum gdfo_exit exit_of(const struct part *part, enum gdfo_status status)
{
    if (status == GDFO_STATUS_NO_MEMORY) {
        return GDFO_EXIT_RUNNING;
    }
    return part->start == start_listening && status == GDFO_STATUS_BUSY ? GDFO_EXIT_ADDRESS
                                                                        : part->failed;
}

static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < NOFILE_WANTED) {
        limit.rlim_cur = limit.rlim_max < NOFILE_WANTED ? limit.rlim_max : NOFILE_WANTED;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* fewer connections, then */
    }
}

enum gdfo_exit gdfo_lifecycle_start(struct gdfo_lifecycle **out, const struct gdfo_config *config,
                                    struct gdfo_error *err)
{
    struct gdfo_lifecycle *l = gdfo_mem_array(1, sizeof *l);
    if (!l) {
        GDFO_IGNORE(gdfo_error_no_memory(err, "starting"));
        return GDFO_EXIT_RUNNING;
    }
    raise_descriptors();
    l->config = config;
    l->socket.fd = -1;
    for (size_t i = 0; i < N_PARTS; i++) {
        enum gdfo_status status = parts[i].start(l, err);
        if (status != GDFO_STATUS_OK) {
            GDFO_IGNORE(gdfo_error_prefix(err, "%s", parts[i].name));
            (void)stop_parts(l, i + 1); /* nobody was served, so the last part can be stopped */
            return exit_of(&parts[i], status);
        }
    }
    *out = l;
    return GDFO_EXIT_STOPPED;
}

const char *gdfo_lifecycle_url(const struct gdfo_lifecycle *l)
{
    return l->url;
}

int gdfo_lifecycle_stop(struct gdfo_lifecycle *l)
{
    return stop_parts(l, N_PARTS);
}
