#ifndef GDFO_CLIENT_CLI_BENCH_RESULTS_H
#define GDFO_CLIENT_CLI_BENCH_RESULTS_H

#include "client/cli/bench/plan.h"

/*
 * What came out of each cell: the file results.json beside the report, written whole and atomically
 * after every change, so that a crash of client or daemon costs at most the cell under way. A
 * number that nobody said is NAN here and null there.
 */
#define GDFO_BENCH_JOB_BYTES  64
#define GDFO_BENCH_WHY_BYTES  256
#define GDFO_BENCH_HEX_BYTES  65
#define GDFO_BENCH_TEST_BYTES 96

enum gdfo_bench_state {
    GDFO_BENCH_STATE_NONE,      /* not run yet */
    GDFO_BENCH_STATE_SUBMITTED, /* the daemon has it: `job` */
    GDFO_BENCH_STATE_DONE,
    GDFO_BENCH_STATE_FAILED /* refused, failed or cancelled: `why` */
};
const char *gdfo_bench_state_name(enum gdfo_bench_state state);

struct gdfo_bench_score { /* of one variant on the test file */
    char variant[GDFO_BENCH_NAME_BYTES];
    double accuracy, loss; /* loss: mean cross-entropy of the true label, in nats */
    int64_t n;
    char test[GDFO_BENCH_TEST_BYTES]; /* which rows: the test file's hash and how many of it */
    char why[GDFO_BENCH_WHY_BYTES];   /* "" or why there are no numbers */
};

/* How a metric of the job ran, by its points: first, last and the mean of all. */
struct gdfo_bench_course {
    double first, last, mean;
};

struct gdfo_bench_result {
    char key[GDFO_BENCH_KEY_BYTES];
    char digest[GDFO_BENCH_HEX_BYTES]; /* of everything that makes the cell: data, spec, seed */
    enum gdfo_bench_state state;
    char job[GDFO_BENCH_JOB_BYTES];
    char why[GDFO_BENCH_WHY_BYTES];
    double evals, queries, dev_queries, calls, tokens; /* spent; tokens in and out */
    double seconds, student_seconds;                   /* of running, as the daemon says */
    double dev;                                        /* the best dev metric */
    struct gdfo_bench_course cosine, tau;              /* student against teacher */
    struct gdfo_bench_score scores[GDFO_BENCH_VARIANTS_MAX];
    size_t n_scores;
};

/* A prompt that no tuning touched, of one model, task and seed. */
struct gdfo_bench_baseline {
    char key[GDFO_BENCH_KEY_BYTES];    /* model/task/s1 */
    char digest[GDFO_BENCH_HEX_BYTES]; /* of the cell whose job was asked */
    char job[GDFO_BENCH_JOB_BYTES];    /* whose plain parts were asked */
    struct gdfo_bench_score score;
};

struct gdfo_bench_results {
    struct gdfo_bench_result *rows;
    size_t n, cap;
    struct gdfo_bench_baseline *baselines;
    size_t n_baselines, cap_baselines;
};

void gdfo_bench_results_init(struct gdfo_bench_results *r);
void gdfo_bench_results_deinit(struct gdfo_bench_results *r);

/* Reads path; a file that is not there is no results yet. FORMAT when it is not ours. */
GDFO_MUST_USE enum gdfo_status gdfo_bench_results_load(struct gdfo_bench_results *r,
                                                       const char *path, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_bench_results_save(const struct gdfo_bench_results *r,
                                                       const char *plan, const char *path,
                                                       struct gdfo_error *err);

/* The row of a key, NULL when there is none. Borrowed until the next row is added. */
struct gdfo_bench_result *gdfo_bench_results_find(const struct gdfo_bench_results *r,
                                                  const char *key);
/* The row of a key, emptied, made when there is none; NULL when out of memory. */
struct gdfo_bench_result *gdfo_bench_results_put(struct gdfo_bench_results *r, const char *key,
                                                 const char *digest);
struct gdfo_bench_baseline *gdfo_bench_results_baseline(const struct gdfo_bench_results *r,
                                                        const char *key, const char *variant);
struct gdfo_bench_baseline *gdfo_bench_results_put_baseline(struct gdfo_bench_results *r,
                                                            const char *key, const char *variant);
/* The score of a variant, NULL when the cell has none. */
const struct gdfo_bench_score *gdfo_bench_result_score(const struct gdfo_bench_result *row,
                                                       const char *variant);

#endif
