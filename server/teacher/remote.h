#ifndef GDFO_SERVER_TEACHER_REMOTE_H
#define GDFO_SERVER_TEACHER_REMOTE_H

#include "common/json_write.h"
#include "server/net/net.h"
#include "server/teacher/exchange.h"

/*
 * A registered teacher over HTTP: an adapter, its options, the way to its server and what a probe
 * found there. One for all jobs; a job's own teacher is opened on it (gdfo_teacher_env.remote).
 *
 *   gdfo_remote_create(&r, &spec, err);
 *   gdfo_remote_probe(r, &probe, err);             before the first teacher is opened on it
 *   env.remote = r; gdfo_teacher_open(&teacher, spec.adapter, &env, err);
 *
 * Any thread. The profile is that of the last good probe.
 */
struct gdfo_remote;

struct gdfo_remote_spec {
    const char *name;            /* of the teacher, for messages */
    const char *adapter, *model; /* model: as its server names it */
    /* Of the adapter's own table, text by text; the last pair's name is NULL. */
    const struct gdfo_remote_option {
        const char *name, *value;
    } * options;
    struct gdfo_net_peer *peer; /* owned from here on, also on failure */
    size_t max_body_bytes;      /* 0 = 8 MiB */
};

/* NOT_FOUND names the adapters there are; INVALID an option that is wrong. */
GDFO_MUST_USE enum gdfo_status gdfo_remote_create(struct gdfo_remote **out,
                                                  const struct gdfo_remote_spec *spec,
                                                  struct gdfo_error *err);
void gdfo_remote_destroy(struct gdfo_remote *r); /* after every teacher on it; NULL is fine */

struct gdfo_remote_probing {
    const struct gdfo_model *local; /* as gdfo_remote_setup.local; NULL: none */
    const atomic_int *cancel;       /* set: the probe ends soon; NULL: never */
};

/* Asks the server what it can. A probe that fails leaves the profile of the one before. */
GDFO_MUST_USE enum gdfo_status gdfo_remote_probe(struct gdfo_remote *r,
                                                 const struct gdfo_remote_probing *probing,
                                                 struct gdfo_error *err);
/* 1 and a copy of the profile, once a probe was good. */
int gdfo_remote_profile(struct gdfo_remote *r, struct gdfo_remote_profile *out);

/* What the profile says, for people: members of the object that is open in w. */
void gdfo_remote_write_json(struct gdfo_remote *r, struct gdfo_json_writer *w);

/* Adapter, model, version, grid and layout as one line: changes when answers may. */
void gdfo_remote_identity(struct gdfo_remote *r, char *out, size_t cap);

const char *gdfo_remote_name(const struct gdfo_remote *r);
struct gdfo_net_peer *gdfo_remote_peer(struct gdfo_remote *r);
const struct gdfo_remote_ops *gdfo_remote_ops_of(const struct gdfo_remote *r);
const void *gdfo_remote_options_of(const struct gdfo_remote *r);
const char *gdfo_remote_model_of(const struct gdfo_remote *r);
size_t gdfo_remote_max_body(const struct gdfo_remote *r);

#endif
