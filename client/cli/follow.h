#ifndef GDFO_CLIENT_CLI_FOLLOW_H
#define GDFO_CLIENT_CLI_FOLLOW_H

#include "client/cli/cli.h"

/*
 * Follows one job until it ends, riding over restarts of the daemon: polls the job and the events
 * after the last one seen, and when the connection is lost tries again with a growing pause. What
 * is shown is the hooks' business.
 */
struct gdfo_follow {
    struct gdfo_cli *cli;
    const char *id;
    const char *until;   /* stop at this status too; NULL: only at an end */
    int64_t after_seq;   /* events already seen */
    int64_t period_ms;   /* between polls */
    int64_t timeout_ms;  /* 0: none */
    int64_t patience_ms; /* how long the daemon may be away */
    int wants_events;
    void *ctx;
    void (*on_event)(void *ctx, const struct gdfo_json *event); /* may be NULL */
    void (*on_job)(void *ctx, const struct gdfo_json *job);     /* every poll; may be NULL */
    void (*on_lost)(void *ctx, const char *words);              /* NULL words: back again */
};

/* The exit code: by the job's end, or 11, 130, 7, ... Failures are told; a job's end is not, see
 * gdfo_follow_tell_end. status: the last one seen. */
int gdfo_follow_run(struct gdfo_follow *f, char status[32]);

/* Exit code of an ended job; -1 while it is live. */
int gdfo_follow_exit_of(const char *status);

/* Sets after_seq to just before the last n events, so that a watcher sees some history. */
int gdfo_follow_rewind(struct gdfo_follow *f, int n);

/* watch.c: the shared body of `job watch` and `job run`: live view or plain lines, and the words
 * at the end. after_seq < 0: begin with the last few events. */
int gdfo_watch(struct gdfo_cli *cli, const char *id, int64_t after_seq);

#endif
