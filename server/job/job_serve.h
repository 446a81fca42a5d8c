#ifndef GDFO_SERVER_JOB_JOB_SERVE_H
#define GDFO_SERVER_JOB_JOB_SERVE_H

#include "server/job/job_models.h"
#include "server/teacher/teacher.h"

/*
 * The daemon's own models, served to others (teachers.md 3.2): a queue, and one thread that asks an
 * embedded teacher for each model, so that a job which calls its own daemon never waits for a
 * worker that waits for it. The compute pool is the jobs': its items interleave (adr/0005). A
 * served model is loaded at start, kept with its cached texts while it is asked, and given back
 * after a minute without requests; until then it counts against --memory. Answers are those of
 * gdfo_teacher_run, bit for bit.
 *
 *   gdfo_serve_start(&serve, &(struct gdfo_serve_setup){&deps, "local", 64, 0, 0}, &err);
 *   gdfo_serve_submit(serve, &ask, &err);          ask.done is called on the serving thread
 *   gdfo_serve_drain(serve, 8000);                 what waits is answered: the daemon is stopping
 *   gdfo_serve_stop(serve);
 *
 * start, drain and stop: owner thread only; the rest: any thread.
 */
struct gdfo_serve;
struct gdfo_job_deps;

#define GDFO_SERVE_MODELS_MAX 16
#define GDFO_SERVE_QUEUE      64 /* requests that wait, unless told otherwise */

struct gdfo_serve_setup {
    const struct gdfo_job_deps *deps; /* what it points to is borrowed until stop */
    const char *names;                /* of models, by commas */
    unsigned n_queue;                 /* requests that may wait */
    int64_t idle_ms;       /* without requests before models are given back; 0 = a minute */
    size_t text_bytes_max; /* seen, before a teacher starts afresh; 0 = 16 MiB */
};

/* NOT_FOUND names the models there are; UNSUPPORTED: a model that cannot answer as the contract
 * wants it. Returns before the models are loaded. */
GDFO_MUST_USE enum gdfo_status gdfo_serve_start(struct gdfo_serve **out,
                                                const struct gdfo_serve_setup *setup,
                                                struct gdfo_error *err);
/* Takes nothing more, asks the request under way to end at its next block and answers those that
 * wait with CANCELLED. 0 when the thread had not ended after ms: it still uses all that was
 * borrowed. NULL is fine. */
GDFO_MUST_USE int gdfo_serve_drain(struct gdfo_serve *s, int64_t ms);
void gdfo_serve_stop(struct gdfo_serve *s); /* the same without an end to its patience; frees s */

enum gdfo_serve_state {
    GDFO_SERVE_STATE_LOADING,
    GDFO_SERVE_STATE_READY, /* has been loaded; given back or not */
    GDFO_SERVE_STATE_FAILED
};

struct gdfo_serve_model {
    const struct gdfo_model_entry *entry; /* under its served name; lives as long as the models */
    enum gdfo_serve_state state;
    enum gdfo_precision precision; /* READY */
    uint32_t max_positions;        /* READY: of a whole input */
    struct gdfo_error why;         /* FAILED */
};

/* Model number index of the served; 0 past the last. */
int gdfo_serve_at(const struct gdfo_serve *s, size_t index, struct gdfo_serve_model *out);
int gdfo_serve_find(const struct gdfo_serve *s, const char *name, struct gdfo_serve_model *out);

struct gdfo_serve_answer { /* borrowed until done returns; NULL when not asked */
    const float *lp;       /* [n_prompts][n_examples][n_labels] */
    const float *hidden;   /* [n_prompts][n_examples][d_model] */
    const float *logits;   /* [n_prompts][n_examples][vocab] */
    /* [n_examples], over all prompts: positions as they would be billed, and of these, those whose
       keys and values were shared */
    const int32_t *tokens_used, *tokens_cached;
    uint32_t n_truncated; /* texts cut to the context */
};

struct gdfo_serve_ask { /* borrowed until done is called */
    const char *model;  /* a served name */
    const float *rows;  /* [n_prompts][n_prompt_tokens][d_model] */
    uint32_t n_prompts, n_prompt_tokens, d_model;
    enum gdfo_position position;
    const struct gdfo_text *bodies; /* [n_examples] */
    uint32_t n_examples;
    struct gdfo_text cue;
    const int32_t *label_ids; /* [n_labels] next-token ids; NULL: no lp wanted */
    uint32_t n_labels;
    const struct gdfo_label_ids *said; /* [n_examples]; NULL: none (struct gdfo_score_req) */
    int want_hidden, want_logits;
    size_t n_bytes; /* that the request holds while it waits */
    /* Called once, on the serving thread. answer is NULL unless status is OK. */
    void (*done)(void *ctx, enum gdfo_status status, const struct gdfo_serve_answer *answer,
                 const struct gdfo_error *err);
    void *ctx;
};

/* NOT_FOUND; INVALID: an id outside the vocabulary, rows of another width; BUSY: the queue is
 * full; CANCELLED: stopping. On failure done is not called. */
GDFO_MUST_USE enum gdfo_status gdfo_serve_submit(struct gdfo_serve *s, struct gdfo_serve_ask *ask,
                                                 struct gdfo_error *err);

#endif
