#include "server/teacher/remote.h"

#include "common/lock.h"
#include "common/mem.h"
#include "server/teacher/remote_priv.h"

#include <stdio.h>
#include <string.h>

#define BODY_MAX_DEFAULT ((size_t)8 << 20)
#define PROBE_STEPS_MAX  64 /* of one probe: an adapter that never ends is a bug */

struct gdfo_remote {
    const struct gdfo_remote_ops *ops;
    struct gdfo_net_peer *peer;
    char name[128], model[160];
    void *options;
    size_t max_body_bytes;
    struct gdfo_lock *lock; /* of what follows */
    int has_profile;
    struct gdfo_remote_profile profile;
};

static enum gdfo_status no_adapter(const char *name, struct gdfo_error *err)
{
    char known[200] = "";
    size_t n = 0;
    for (size_t i = 0; gdfo_remote_adapter(i) && n < sizeof known; i++) {
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i > 0 ? ", " : "",
                              gdfo_remote_adapter(i)->name);
    }
    return gdfo_error_set(err, GDFO_STATUS_NOT_FOUND,
                          "teacher adapter \"%.64s\": this build has embedded, %s", name, known);
}

static enum gdfo_status take_options(struct gdfo_remote *r, const struct gdfo_remote_option *o,
                                     struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    r->options = gdfo_mem_array(1, r->ops->options_bytes);
    if (!r->options) {
        return gdfo_error_no_memory(err, "teacher");
    }
    gdfo_opt_defaults(r->ops->options, r->options);
    for (; status == GDFO_STATUS_OK && o && o->name; o++) {
        status = gdfo_opt_set_text(r->ops->options, r->options, o->name, o->value, err);
    }
    return status;
}

enum gdfo_status gdfo_remote_create(struct gdfo_remote **out, const struct gdfo_remote_spec *spec,
                                    struct gdfo_error *err)
{
    struct gdfo_remote *r = gdfo_mem_array(1, sizeof *r);
    enum gdfo_status status = GDFO_STATUS_OK;
    if (!r) {
        gdfo_net_peer_close(spec->peer);
        return gdfo_error_no_memory(err, "teacher");
    }
    r->peer = spec->peer;
    r->ops = gdfo_remote_find(spec->adapter);
    r->lock = gdfo_lock_create();
    r->max_body_bytes = spec->max_body_bytes ? spec->max_body_bytes : BODY_MAX_DEFAULT;
    (void)snprintf(r->name, sizeof r->name, "%s", spec->name);
    (void)snprintf(r->model, sizeof r->model, "%s", spec->model);
    if (!r->lock) {
        status = gdfo_error_no_memory(err, "teacher");
    } else if (!r->ops) {
        status = no_adapter(spec->adapter, err);
    } else {
        status = take_options(r, spec->options, err);
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_remote_destroy(r);
        return status;
    }
    *out = r;
    return GDFO_STATUS_OK;
}

void gdfo_remote_destroy(struct gdfo_remote *r)
{
    if (r) {
        gdfo_net_peer_close(r->peer);
        gdfo_lock_destroy(r->lock);
        gdfo_mem_free(r->options);
        gdfo_mem_free(r);
    }
}

/* ---- probe ----------------------------------------------------------------------------------- */

struct probe_step {
    const struct gdfo_remote_ops *ops;
    const struct gdfo_remote_setup *setup;
    uint32_t step;
    struct gdfo_remote_profile *profile;
    enum gdfo_status status;
    struct gdfo_error error;
};

/* Every answer that the adapter may read ends the call: whether it is good is the adapter's word.
 */
static enum gdfo_net_verdict judge_probe(void *ctx, const struct gdfo_net_answer *answer,
                                         struct gdfo_error *err)
{
    struct probe_step *p = ctx;
    struct gdfo_remote_view v;
    (void)err;
    gdfo_remote_view_init(&v, answer);
    p->status = p->ops->probe_decode(p->setup, p->step, &v.answer, p->profile, &p->error);
    return GDFO_NET_OK;
}

static enum gdfo_status ask_once(struct gdfo_remote *r, struct probe_step *p,
                                 const struct gdfo_net_control *control, int *is_done,
                                 struct gdfo_error *err)
{
    struct gdfo_remote_sending sending;
    enum gdfo_status status;
    gdfo_remote_sending_init(&sending, r->max_body_bytes);
    status = p->ops->probe_encode(p->setup, p->step, &sending.exchange, is_done, err);
    if (status == GDFO_STATUS_OK && !*is_done) {
        status = gdfo_remote_sending_ready(&sending, err);
    }
    if (status == GDFO_STATUS_OK && !*is_done) {
        sending.call.judge = judge_probe;
        sending.call.judges_all = 1;
        sending.call.ctx = p;
        status = gdfo_net_send(r->peer, &sending.call, 1, control, err);
        if (status == GDFO_STATUS_OK && p->status != GDFO_STATUS_OK) {
            *err = p->error;
            status = p->status;
        }
    }
    gdfo_remote_sending_deinit(&sending);
    return status;
}

enum gdfo_status gdfo_remote_probe(struct gdfo_remote *r, const struct gdfo_remote_probing *probing,
                                   struct gdfo_error *err)
{
    struct gdfo_remote_profile profile = {.soft = GDFO_SOFT_NONE};
    const struct gdfo_remote_setup setup = {r->options, r->model, &profile, probing->local};
    const struct gdfo_net_control control = gdfo_remote_control(probing->cancel);
    struct probe_step p = {.ops = r->ops, .setup = &setup, .profile = &profile};
    enum gdfo_status status = GDFO_STATUS_OK;
    int is_done = 0;
    for (; status == GDFO_STATUS_OK && !is_done; p.step++) {
        status = p.step < PROBE_STEPS_MAX
                     ? ask_once(r, &p, &control, &is_done, err)
                     : gdfo_error_set(err, GDFO_STATUS_UPSTREAM, "the probe does not end");
    }
    if (status != GDFO_STATUS_OK) {
        return gdfo_error_prefix(err, "teacher %s", r->name);
    }
    GDFO_LOCK_SCOPE(r->lock);
    r->profile = profile;
    r->has_profile = 1;
    return GDFO_STATUS_OK;
}

int gdfo_remote_profile(struct gdfo_remote *r, struct gdfo_remote_profile *out)
{
    GDFO_LOCK_SCOPE(r->lock);
    *out = r->profile;
    return r->has_profile;
}

/* ---- for people and for the fingerprint ------------------------------------------------------ */

static const char *grid_name(enum gdfo_grid grid)
{
    static const char *const names[] = {"f32", "f16", "bf16"};
    return names[grid];
}

void gdfo_remote_write_json(struct gdfo_remote *r, struct gdfo_json_writer *w)
{
    static const char *const softs[] = {"none", "whole", "spliced"};
    static const char *const scores[] = {"unknown", "hard", "top-k", "labels", "logits"};
    struct gdfo_remote_profile p;
    if (!gdfo_remote_profile(r, &p)) {
        return;
    }
    gdfo_json_put_str(w, "soft", softs[p.soft]);
    gdfo_json_put_int(w, "d_model", p.d_model);
    gdfo_json_put_str(w, "score", scores[p.score]);
    gdfo_json_put_bool(w, "hidden", p.has_hidden);
    gdfo_json_put_str(w, "grid", grid_name(p.grid));
    gdfo_json_put_int(w, "max_labels", p.max_ids);
    gdfo_json_put_int(w, "max_positions", p.max_positions);
    gdfo_json_put_int(w, "max_prompts_per_call", p.max_prompts);
    gdfo_json_put_int(w, "max_examples_per_call", p.max_examples);
    gdfo_json_put_str(w, "server", p.server);
    gdfo_json_put_str(w, "model", p.model);
    gdfo_json_put_bool(w, "bos_before_soft", p.bos_before_soft);
    gdfo_json_put_str(w, "layout_sha256", p.layout[0] ? p.layout : NULL);
}

void gdfo_remote_identity(struct gdfo_remote *r, char *out, size_t cap)
{
    struct gdfo_remote_profile p;
    GDFO_IGNORE(gdfo_remote_profile(r, &p));
    (void)snprintf(out, cap, "%s;model=%s;server=%s;grid=%s;route=%d;layout=%s", r->ops->name,
                   p.model[0] ? p.model : r->model, p.server, grid_name(p.grid), p.route, p.layout);
}

const char *gdfo_remote_name(const struct gdfo_remote *r)
{
    return r->name;
}

struct gdfo_net_peer *gdfo_remote_peer(struct gdfo_remote *r)
{
    return r->peer;
}

const struct gdfo_remote_ops *gdfo_remote_ops_of(const struct gdfo_remote *r)
{
    return r->ops;
}

const void *gdfo_remote_options_of(const struct gdfo_remote *r)
{
    return r->options;
}

const char *gdfo_remote_model_of(const struct gdfo_remote *r)
{
    return r->model;
}

size_t gdfo_remote_max_body(const struct gdfo_remote *r)
{
    return r->max_body_bytes;
}
