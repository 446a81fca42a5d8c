#include "server/job/job_remotes.h"

#include "common/clk.h"
#include "common/log.h"
#include "common/mem.h"

#include <stdio.h>
#include <string.h>

#define REMOTES_MAX 32
#define LIST_MAX    16
#define LIST_BYTES  2048

struct gdfo_remotes {
    struct gdfo_net *net;
    struct gdfo_remotes_spec specs[REMOTES_MAX];
    struct gdfo_remotes_entry entries[REMOTES_MAX];
    size_t n;
};

enum gdfo_status gdfo_remotes_create(struct gdfo_remotes **out, struct gdfo_error *err)
{
    struct gdfo_remotes *rs = gdfo_mem_array(1, sizeof *rs);
    const struct gdfo_net_setup setup = {.clk = gdfo_clk_system(),
                                         .seed = (uint64_t)gdfo_clk_wall_ms(gdfo_clk_system())};
    enum gdfo_status status;
    if (!rs) {
        return gdfo_error_no_memory(err, "teachers");
    }
    status = gdfo_net_create(&rs->net, &setup, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_mem_free(rs);
        return status;
    }
    *out = rs;
    return GDFO_STATUS_OK;
}

void gdfo_remotes_destroy(struct gdfo_remotes *rs)
{
    if (rs) {
        for (size_t i = 0; i < rs->n; i++) {
            gdfo_remote_destroy(rs->entries[i].remote);
        }
        gdfo_net_destroy(rs->net);
        gdfo_mem_free(rs);
    }
}

/* ---- texts of the configuration -------------------------------------------------------------- */

struct list {
    char bytes[LIST_BYTES];
    const char *items[LIST_MAX];
    size_t n;
};

static enum gdfo_status cut(struct list *l, const char *key, const char *text,
                            struct gdfo_error *err)
{
    char *rest = NULL;
    memset(l, 0, sizeof *l);
    if (strlen(text) >= sizeof l->bytes) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "%s: at most %d bytes", key, LIST_BYTES - 1);
    }
    (void)snprintf(l->bytes, sizeof l->bytes, "%s", text);
    for (char *word = strtok_r(l->bytes, ", \t", &rest); word;
         word = strtok_r(NULL, ", \t", &rest)) {
        if (l->n == LIST_MAX) {
            return gdfo_error_set(err, GDFO_STATUS_LIMIT, "%s: at most %d of them", key, LIST_MAX);
        }
        l->items[l->n++] = word;
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status open_peer(struct gdfo_remotes *rs, const struct gdfo_remotes_spec *spec,
                                  struct gdfo_net_peer **out, struct gdfo_error *err)
{
    struct list urls;
    struct list cidrs;
    struct gdfo_net_peer_spec peer = {.name = spec->name,
                                      .base_urls = urls.items,
                                      .allow_cidrs = cidrs.items,
                                      .secret = spec->secret,
                                      .ca_file = spec->ca_file[0] ? spec->ca_file : NULL,
                                      .timeout_ms = spec->timeout_ms,
                                      .max_inflight = (uint32_t)spec->max_inflight,
                                      .requests_per_minute = spec->requests_per_minute,
                                      .tokens_per_minute = spec->tokens_per_minute};
    enum gdfo_status status = cut(&urls, "base_url", spec->base_url, err);
    if (status == GDFO_STATUS_OK && urls.n == 0) {
        status =
            gdfo_error_set(err, GDFO_STATUS_INVALID, "base_url is missing: https://host[:port]");
    }
    if (status == GDFO_STATUS_OK) {
        status = cut(&cidrs, "allow_cidrs", spec->allow_cidrs, err);
    }
    if (status == GDFO_STATUS_OK) {
        peer.n_base_urls = urls.n;
        peer.n_allow_cidrs = cidrs.n;
        status = gdfo_net_peer_open(out, rs->net, &peer, err);
    }
    return status;
}

enum gdfo_status gdfo_remotes_add(struct gdfo_remotes *rs, const struct gdfo_remotes_spec *spec,
                                  struct gdfo_error *err)
{
    struct gdfo_remotes_entry *e = &rs->entries[rs->n];
    struct gdfo_remote_spec remote = {.name = spec->name,
                                      .adapter = spec->adapter,
                                      .model = spec->model,
                                      .options = spec->options};
    enum gdfo_status status;
    if (rs->n == REMOTES_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "more than %d teachers over HTTP",
                              REMOTES_MAX);
    }
    status = open_peer(rs, spec, &remote.peer, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_remote_create(&e->remote, &remote, err);
    }
    if (status != GDFO_STATUS_OK) {
        return gdfo_error_prefix(err, "teacher %s", spec->name);
    }
    rs->specs[rs->n] = *spec;
    rs->specs[rs->n].secret = NULL; /* in the net's locked memory now */
    e->spec = &rs->specs[rs->n];
    e->name = spec->name;
    e->local = spec->local;
    rs->n++;
    return GDFO_STATUS_OK;
}

const struct gdfo_remotes_entry *gdfo_remotes_find(const struct gdfo_remotes *rs, const char *name)
{
    for (size_t i = 0; rs && i < rs->n; i++) {
        if (strcmp(rs->entries[i].name, name) == 0) {
            return &rs->entries[i];
        }
    }
    return NULL;
}

const char *gdfo_remotes_local(const struct gdfo_remotes *rs, const struct gdfo_store_teacher *row)
{
    const struct gdfo_remotes_entry *e;
    if (strcmp(row->adapter, "embedded") == 0) {
        return row->model;
    }
    e = gdfo_remotes_find(rs, row->name);
    return e ? e->local : "";
}

/* ---- rows in the store ----------------------------------------------------------------------- */

static struct gdfo_store_teacher_new row_of(const struct gdfo_remotes_entry *e)
{
    return (struct gdfo_store_teacher_new){.name = e->name,
                                           .adapter = e->spec->adapter,
                                           .model = e->spec->model,
                                           .max_inflight = e->spec->max_inflight,
                                           .is_idempotent = e->spec->is_idempotent};
}

enum gdfo_status gdfo_remotes_register(struct gdfo_remotes *rs, struct gdfo_store *store,
                                       struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; rs && status == GDFO_STATUS_OK && i < rs->n; i++) {
        const struct gdfo_store_teacher_new t = row_of(&rs->entries[i]);
        status = gdfo_store_teacher_upsert(store, &t, NULL, err);
    }
    return status;
}

static enum gdfo_status keep(const struct gdfo_remotes_entry *e, struct gdfo_store *store,
                             struct gdfo_error *err)
{
    struct gdfo_store_teacher_new t = row_of(e);
    unsigned char fingerprint[GDFO_SHA256_BYTES];
    char identity[512];
    struct gdfo_buf caps;
    struct gdfo_json_writer w;
    enum gdfo_status status;
    gdfo_buf_init(&caps, 4096);
    w = gdfo_json_writer(&caps);
    gdfo_json_open(&w, NULL, '{');
    gdfo_remote_write_json(e->remote, &w);
    gdfo_json_close(&w, '}');
    gdfo_remote_identity(e->remote, identity, sizeof identity);
    gdfo_sha256(identity, strlen(identity), fingerprint);
    t.capabilities = caps.data;
    t.fingerprint = fingerprint;
    status = gdfo_buf_ok(&caps) ? gdfo_store_teacher_upsert(store, &t, NULL, err)
                                : gdfo_error_no_memory(err, "capabilities");
    gdfo_buf_deinit(&caps);
    return status;
}

enum gdfo_status gdfo_remotes_ready(const struct gdfo_remotes_entry *e,
                                    const struct gdfo_remotes_ask *ask, struct gdfo_error *err)
{
    struct gdfo_remote_profile profile;
    const struct gdfo_remote_probing probing = {ask->local, ask->cancel};
    enum gdfo_status status;
    if (!ask->is_new && gdfo_remote_profile(e->remote, &profile)) {
        return GDFO_STATUS_OK;
    }
    status = gdfo_remote_probe(e->remote, &probing, err);
    if (status == GDFO_STATUS_OK) {
        status = keep(e, ask->store, err);
    }
    if (status == GDFO_STATUS_OK) {
        gdfo_log(GDFO_LOG_INFO, "teacher", "ev=probed name=%s", e->name);
    }
    return status;
}
