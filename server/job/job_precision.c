#include "server/job/job_precision.h"

#include "common/clk.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/job/job_memory.h"
#include "server/job/job_run.h"
#include "server/store/store_precision.h"
#include "server/tune/faithful.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PROBE   "probe2" /* another probe is another measurement */
#define MIXTURE ";2"     /* which products are in int8: other ones are another teacher */
#define WAIT_MS 200      /* between two looks at the stop flag */

/* The fastest first. */
static const enum gdfo_precision reduced[] = {GDFO_PRECISION_INT8, GDFO_PRECISION_BF16};
#define N_REDUCED (sizeof reduced / sizeof reduced[0])

static const char *setting_name(int setting)
{
    return setting == GDFO_PRECISION_AUTO ? "auto"
                                          : gdfo_precision_name((enum gdfo_precision)setting);
}

void gdfo_job_precision_engine(enum gdfo_precision p, char out[GDFO_PRECISION_ENGINE_BYTES])
{
    (void)snprintf(out, GDFO_PRECISION_ENGINE_BYTES, GDFO_VERSION "/" PROBE ";%s",
                   gdfo_precision_kernels(p));
}

void gdfo_job_precision_fingerprint(const struct gdfo_model_entry *e, enum gdfo_precision precision,
                                    unsigned char out[GDFO_SHA256_BYTES])
{
    const char *mixture = precision == GDFO_PRECISION_INT8 ? MIXTURE : "";
    char text[GDFO_PRECISION_ENGINE_BYTES + 128];
    int n = snprintf(text, sizeof text, "%s;%s;%s%s", e->sha256, gdfo_precision_name(precision),
                     gdfo_precision_kernels(precision), mixture);
    gdfo_sha256(text, (size_t)n, out);
}

void gdfo_job_precisions_available(char *out, size_t n)
{
    size_t at = 0;
    out[0] = '\0';
    for (int p = 0; p < GDFO_PRECISION_COUNT && at < n; p++) {
        if (gdfo_precision_is_available((enum gdfo_precision)p)) {
            at += (size_t)snprintf(out + at, n - at, "%s%s", at > 0 ? ", " : "",
                                   gdfo_precision_name((enum gdfo_precision)p));
        }
    }
}

/* ---- what is known -------------------------------------------------------------------------- */

static struct gdfo_models_want want_of(const struct gdfo_job_deps *deps,
                                       const struct gdfo_model_entry *e, enum gdfo_precision p)
{
    return (struct gdfo_models_want){.teacher = e->name,
                                     .precision = p,
                                     .work_bytes =
                                         gdfo_job_teacher_bytes(deps->models, deps->pool, e)};
}

static int is_candidate(const struct gdfo_models *models, const struct gdfo_model_entry *e,
                        enum gdfo_precision p)
{
    const struct gdfo_models_want want = {.teacher = e->name, .precision = p};
    struct gdfo_error err = {0};
    return gdfo_precision_is_available(p) && gdfo_models_bytes(e, p) > 0 &&
           gdfo_models_fits(models, &want, &err) == GDFO_STATUS_OK;
}

static enum gdfo_status look_up(struct gdfo_store *store, const struct gdfo_model_entry *e,
                                enum gdfo_precision p, struct gdfo_store_precision *row)
{
    char engine[GDFO_PRECISION_ENGINE_BYTES];
    const struct gdfo_store_precision_key key = {e->sha256, engine};
    struct gdfo_error err = {0};
    gdfo_job_precision_engine(p, engine);
    return gdfo_store_precision_get(store, &key, gdfo_precision_name(p), row, &err);
}

static int is_good(const struct gdfo_store_precision *row)
{
    const struct gdfo_faithful f = {row->lp_max, row->lp_mean, row->agreement, row->tau};
    return gdfo_faithful_is_good(&f);
}

int gdfo_job_precision_known(struct gdfo_store *store, const struct gdfo_models *models,
                             const struct gdfo_model_entry *e, enum gdfo_precision *out)
{
    int setting = gdfo_models_setup_of(models)->precision;
    if (setting != GDFO_PRECISION_AUTO) {
        *out = gdfo_models_setting_for(models, e);
        return 1;
    }
    for (size_t i = 0; i < N_REDUCED; i++) {
        struct gdfo_store_precision row;
        if (!is_candidate(models, e, reduced[i])) {
            continue;
        }
        if (look_up(store, e, reduced[i], &row) != GDFO_STATUS_OK) {
            return 0;
        }
        if (is_good(&row)) {
            *out = reduced[i];
            return 1;
        }
    }
    *out = GDFO_PRECISION_F32;
    return 1;
}

/* ---- measuring ------------------------------------------------------------------------------ */

struct answers {
    float *lp; /* [GDFO_FAITHFUL_FLOATS] */
    int64_t ms;
};

static int is_stopped(const struct gdfo_precision_ask *ask)
{
    return ask->stop && atomic_load_explicit(ask->stop, memory_order_acquire) != 0;
}

static enum gdfo_status stopped(struct gdfo_error *err)
{
    return gdfo_error_set(err, GDFO_STATUS_CANCELLED, "asked to stop");
}

static enum gdfo_status acquire(const struct gdfo_precision_ask *ask,
                                const struct gdfo_models_want *want, struct gdfo_models_hold *hold,
                                struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_models_acquire(ask->deps->models, want, hold, err);
    while (status == GDFO_STATUS_BUSY) {
        if (is_stopped(ask)) {
            return stopped(err);
        }
        gdfo_models_wait(ask->deps->models, WAIT_MS);
        status = gdfo_models_acquire(ask->deps->models, want, hold, err);
    }
    return status;
}

static enum gdfo_status answer(const struct gdfo_precision_ask *ask,
                               const struct gdfo_model_entry *e, enum gdfo_precision p,
                               struct answers *out, struct gdfo_error *err)
{
    const struct gdfo_models_want want = want_of(ask->deps, e, p);
    struct gdfo_models_hold hold = {.teacher = NULL};
    struct gdfo_teacher *teacher = NULL;
    struct gdfo_teacher_env env = {.pool = ask->deps->pool,
                                   .model_sha256 = e->sha256,
                                   .kv_max_bytes = gdfo_job_kv_bytes(ask->deps->models)};
    enum gdfo_status status = acquire(ask, &want, &hold, err);
    int64_t began = gdfo_clk_monotonic_ms(gdfo_clk_system());
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    env.model = hold.teacher;
    status = gdfo_teacher_open(&teacher, "embedded", &env, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_faithful_probe(teacher, hold.teacher, ask->stop, out->lp, err);
    }
    out->ms = gdfo_clk_monotonic_ms(gdfo_clk_system()) - began;
    gdfo_teacher_close(teacher);
    gdfo_models_release(ask->deps->models, &hold);
    return status;
}

/* Only answers that are no numbers speak about the precision, and are kept for good. Everything
 * else (a stop, memory, the file) speaks about the daemon of today. */
static int is_final(enum gdfo_status status)
{
    return status != GDFO_STATUS_OK && status != GDFO_STATUS_UPSTREAM;
}

static void log_row(const struct gdfo_model_entry *e, const struct gdfo_store_precision *row)
{
    char quoted[300];
    gdfo_log(GDFO_LOG_INFO, "precision",
             "ev=measured model=%s precision=%s lp_max=%.4g lp_mean=%.4g agreement=%.4f tau=%.4f "
             "faithful=%d ms=%lld",
             gdfo_log_quote(e->name, quoted, (int)sizeof quoted), row->precision, row->lp_max,
             row->lp_mean, row->agreement, row->tau, is_good(row), (long long)row->ms);
}

static enum gdfo_status judge(const struct answers *reference, const struct answers *other,
                              enum gdfo_status answered, enum gdfo_precision p,
                              struct gdfo_store_precision *row, struct gdfo_error *err)
{
    struct gdfo_faithful f = {(double)NAN, (double)NAN, (double)NAN, (double)NAN};
    enum gdfo_status status = GDFO_STATUS_OK;
    if (answered == GDFO_STATUS_OK) { /* else: it gave no numbers that could be compared */
        status = gdfo_faithful_probe_compare(reference->lp, other->lp, &f, err);
    }
    *row = (struct gdfo_store_precision){.lp_max = f.lp_max,
                                         .lp_mean = f.lp_mean,
                                         .agreement = f.agreement,
                                         .tau = f.tau,
                                         .ms = other->ms};
    (void)snprintf(row->precision, sizeof row->precision, "%s", gdfo_precision_name(p));
    return status;
}

static enum gdfo_status keep(const struct gdfo_precision_ask *ask, const struct gdfo_model_entry *e,
                             const enum gdfo_precision *which,
                             const struct gdfo_store_precision *rows, size_t n,
                             struct gdfo_error *err)
{
    char engines[GDFO_PRECISION_COUNT][GDFO_PRECISION_ENGINE_BYTES];
    struct gdfo_store_precision_key keys[GDFO_PRECISION_COUNT];
    for (size_t i = 0; i < n; i++) {
        gdfo_job_precision_engine(which[i], engines[i]);
        keys[i] = (struct gdfo_store_precision_key){e->sha256, engines[i]};
        log_row(e, &rows[i]);
    }
    return gdfo_store_precision_put(ask->deps->store, keys, rows, n, err);
}

static enum gdfo_status measure_all(const struct gdfo_precision_ask *ask,
                                    const struct gdfo_model_entry *e, struct answers *reference,
                                    struct answers *other, struct gdfo_error *err)
{
    enum gdfo_precision which[GDFO_PRECISION_COUNT] = {GDFO_PRECISION_F32};
    struct gdfo_store_precision rows[GDFO_PRECISION_COUNT];
    size_t n = 1;
    enum gdfo_status status = answer(ask, e, GDFO_PRECISION_F32, reference, err);
    if (status == GDFO_STATUS_OK) {
        status = judge(reference, reference, GDFO_STATUS_OK, GDFO_PRECISION_F32, &rows[0], err);
    }
    for (size_t i = 0; status == GDFO_STATUS_OK && i < N_REDUCED; i++) {
        enum gdfo_status answered;
        if (!is_candidate(ask->deps->models, e, reduced[i])) {
            continue;
        }
        answered = answer(ask, e, reduced[i], other, err);
        status = is_final(answered) ? answered
                                    : judge(reference, other, answered, reduced[i], &rows[n], err);
        which[n++] = reduced[i];
    }
    return status == GDFO_STATUS_OK ? keep(ask, e, which, rows, n, err) : status;
}

static enum gdfo_status measure(const struct gdfo_precision_ask *ask,
                                const struct gdfo_model_entry *e, struct gdfo_error *err)
{
    struct answers reference = {gdfo_mem_array(GDFO_FAITHFUL_FLOATS, sizeof(float)), 0};
    struct answers other = {gdfo_mem_array(GDFO_FAITHFUL_FLOATS, sizeof(float)), 0};
    enum gdfo_status status = reference.lp && other.lp
                                  ? measure_all(ask, e, &reference, &other, err)
                                  : gdfo_error_no_memory(err, "comparing precisions");
    gdfo_mem_free(reference.lp);
    gdfo_mem_free(other.lp);
    return status;
}

/* Waits until it may measure, or somebody else has; *is_mine: measure_end is the caller's. */
static enum gdfo_status take_turn(const struct gdfo_precision_ask *ask,
                                  const struct gdfo_model_entry *e, int *is_mine,
                                  enum gdfo_precision *out, struct gdfo_error *err)
{
    *is_mine = 0;
    for (;;) {
        if (is_stopped(ask)) {
            return stopped(err);
        }
        *is_mine = gdfo_models_measure_begin(ask->deps->models);
        if (gdfo_job_precision_known(ask->deps->store, ask->deps->models, e, out)) {
            if (*is_mine) {
                gdfo_models_measure_end(ask->deps->models);
            }
            *is_mine = 0;
            return GDFO_STATUS_OK;
        }
        if (*is_mine) {
            return GDFO_STATUS_OK;
        }
        gdfo_models_wait(ask->deps->models, WAIT_MS);
    }
}

static enum gdfo_status settle_auto(const struct gdfo_precision_ask *ask,
                                    const struct gdfo_model_entry *e, enum gdfo_precision *out,
                                    struct gdfo_error *err)
{
    char quoted[600];
    int is_mine;
    enum gdfo_status status;
    if (ask->say) {
        ask->say(ask->ctx, "measuring once how faithful this model is in reduced precision; the "
                           "job begins after it");
    }
    status = take_turn(ask, e, &is_mine, out, err);
    if (!is_mine) {
        return status;
    }
    *out = GDFO_PRECISION_F32;
    status = measure(ask, e, err);
    gdfo_models_measure_end(ask->deps->models);
    if (status == GDFO_STATUS_OK) {
        (void)gdfo_job_precision_known(ask->deps->store, ask->deps->models, e, out);
        status = gdfo_job_register_teachers_of(ask->deps->store, ask->deps->models, e->sha256, err);
    } else if (!is_final(status) && status != GDFO_STATUS_FULL) {
        gdfo_log(GDFO_LOG_WARN, "precision", "ev=not_measured precision=f32 why=%s",
                 gdfo_log_quote(err->text, quoted, (int)sizeof quoted));
        status = GDFO_STATUS_OK; /* the reference needs no proof */
    }
    gdfo_log(GDFO_LOG_INFO, "precision", "ev=chosen model=%s precision=%s",
             gdfo_log_quote(e->name, quoted, (int)sizeof quoted), gdfo_precision_name(*out));
    return status;
}

enum gdfo_status gdfo_job_precision_settle(const struct gdfo_precision_ask *ask,
                                           enum gdfo_precision *out, struct gdfo_error *err)
{
    const struct gdfo_model_entry *e = gdfo_models_find(ask->deps->models, ask->model);
    if (!e) {
        return gdfo_error_set(err, GDFO_STATUS_NOT_FOUND,
                              "model \"%s\" is not in the models folder (%zu there)", ask->model,
                              gdfo_models_count(ask->deps->models));
    }
    if (gdfo_job_precision_known(ask->deps->store, ask->deps->models, e, out)) {
        return gdfo_precision_check(*out, err);
    }
    return settle_auto(ask, e, out, err);
}

/* ---- showing -------------------------------------------------------------------------------- */

static void put_number(struct gdfo_json_writer *w, const char *key, double v)
{
    if (isfinite(v)) {
        gdfo_json_put_num(w, key, v);
    } else {
        gdfo_json_put_null(w, key);
    }
}

static void write_row(const struct gdfo_store_precision *row, struct gdfo_json_writer *w)
{
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "precision", row->precision);
    put_number(w, "lp_max", row->lp_max);
    put_number(w, "lp_mean", row->lp_mean);
    put_number(w, "agreement", row->agreement);
    put_number(w, "tau", row->tau);
    gdfo_json_put_bool(w, "faithful", is_good(row));
    gdfo_json_put_num(w, "seconds", (double)row->ms / 1000);
    gdfo_json_put_int(w, "measured_at", row->measured_at);
    gdfo_json_close(w, '}');
}

void gdfo_job_precision_write(struct gdfo_store *store, const struct gdfo_models *models,
                              const char *model, struct gdfo_json_writer *w)
{
    const struct gdfo_model_entry *e = gdfo_models_find(models, model);
    enum gdfo_precision in_use = GDFO_PRECISION_F32;
    if (!e) {
        gdfo_json_put_null(w, "precision");
        return;
    }
    gdfo_json_open(w, "precision", '{');
    gdfo_json_put_str(w, "setting", setting_name(gdfo_models_setup_of(models)->precision));
    gdfo_json_put_str(
        w, "in_use",
        gdfo_job_precision_known(store, models, e, &in_use) ? gdfo_precision_name(in_use) : NULL);
    gdfo_json_open(w, "available", '[');
    for (int p = 0; p < GDFO_PRECISION_COUNT; p++) {
        if (gdfo_precision_is_available((enum gdfo_precision)p)) {
            gdfo_json_put_str(w, NULL, gdfo_precision_name((enum gdfo_precision)p));
        }
    }
    gdfo_json_close(w, ']');
    gdfo_json_open(w, "measured", '[');
    for (int p = 0; p < GDFO_PRECISION_COUNT; p++) {
        struct gdfo_store_precision row;
        if (look_up(store, e, (enum gdfo_precision)p, &row) == GDFO_STATUS_OK) {
            write_row(&row, w);
        }
    }
    gdfo_json_close(w, ']');
    gdfo_json_close(w, '}');
}
