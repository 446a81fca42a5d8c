#ifndef GDFO_CLIENT_CLI_BENCH_BENCH_H
#define GDFO_CLIENT_CLI_BENCH_BENCH_H

#include "client/cli/bench/plan.h"
#include "client/cli/bench/results.h"
#include "client/cli/cli.h"

/*
 * `gdfo bench`: the cells of a plan as jobs of the daemon, their prompts on the test files, and a
 * report. Thin: everything that costs is asked by the daemon's own routes, and what is kept is kept
 * in three places that each suffice to go on after a crash: the daemon's jobs (metadata bench and
 * cell), results.json, and predictions/.
 *
 *   plan.c, plan_grid.c  what to run          files.c    the data, hashed
 *   cells.c              one cell as a job    wire.c     requests that ride over restarts
 *   run.c                the loop             score.c    predictions, accuracy, loss
 *   results.c            what came out        grid.c, stats.c, doc.c, plot.c, report*.c  the report
 */
enum gdfo_bench_file { GDFO_BENCH_TRAIN, GDFO_BENCH_DEV, GDFO_BENCH_TEST, GDFO_BENCH_FILES };

struct gdfo_bench_data {                                 /* of one task */
    char sha256[GDFO_BENCH_FILES][GDFO_BENCH_HEX_BYTES]; /* "" for a dev file that is not named */
    char ids[GDFO_BENCH_FILES][64];                      /* at the daemon; "" until uploaded */
    size_t n_train, n_test, n_asked;                     /* rows; n_asked of the test file's */
    char test[GDFO_BENCH_TEST_BYTES];                    /* names the rows that are asked */
};

struct gdfo_bench_known { /* a job that the daemon has of this plan */
    char digest[GDFO_BENCH_HEX_BYTES];
    char job[GDFO_BENCH_JOB_BYTES];
};

struct gdfo_bench {
    struct gdfo_cli *cli;
    const struct gdfo_bench_plan *plan;
    struct gdfo_bench_data data[GDFO_BENCH_TASKS_MAX];
    struct gdfo_bench_results results;
    char (*digests)[GDFO_BENCH_HEX_BYTES]; /* of each cell; NULL: the data was not looked at */
    char folder[GDFO_BENCH_PATH_BYTES];
    int is_connected; /* the daemon has answered once: from then on it is waited for */
    int is_retry;     /* failed cells run again */
    struct gdfo_bench_known *known;
    size_t n_known, cap_known;
};

/* ---- files.c ---- */

/* Hashes and counts the files of every task; a fault each for what cannot be used. The number of
 * faults. */
size_t gdfo_bench_files_read(struct gdfo_bench *b, gdfo_bench_fault fault, void *ctx);

/* 1 for the test rows that are asked: all, or a draw of n_asked with a fixed seed, in file order.
 * Call once a row, from the first on. */
struct gdfo_bench_draw {
    uint64_t counter;
    size_t n_left, n_wanted;
};
struct gdfo_bench_draw gdfo_bench_draw(const struct gdfo_bench_data *data);
int gdfo_bench_draw_next(struct gdfo_bench_draw *d);

/* ---- cells.c ---- */

/* The cell's digest: everything that its outcome follows from. */
GDFO_MUST_USE enum gdfo_status gdfo_bench_cell_digest(const struct gdfo_bench *b,
                                                      const struct gdfo_bench_cell *c,
                                                      char out[GDFO_BENCH_HEX_BYTES],
                                                      struct gdfo_error *err);
/* The create body, with the ids of uploaded files. */
GDFO_MUST_USE enum gdfo_status gdfo_bench_cell_body(const struct gdfo_bench *b,
                                                    const struct gdfo_bench_cell *c,
                                                    const char *digest, struct gdfo_buf *out,
                                                    struct gdfo_error *err);
/* model/task/s1, the place of its baselines. */
void gdfo_bench_baseline_key(const struct gdfo_bench_plan *plan, const struct gdfo_bench_cell *c,
                             char out[GDFO_BENCH_KEY_BYTES]);

/* ---- run.c ---- */

/* Runs every cell that is not done. 0, or an exit code; a failed cell is no failure of the run. */
int gdfo_bench_run(struct gdfo_bench *b);

/* ---- report.c ---- */

/* Writes report.html, report.md, results.csv and differences.csv from the results. */
int gdfo_bench_report(struct gdfo_bench *b);

#endif
