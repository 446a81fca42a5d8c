#ifndef GDFO_CLIENT_CLI_BENCH_SCORE_H
#define GDFO_CLIENT_CLI_BENCH_SCORE_H

#include "client/cli/bench/bench.h"

/*
 * Labels the test file with a variant of a job's prompt, unless predictions/ has it from before,
 * and scores it. A refusal of the daemon is in out->why; 0, or the exit code of a failure.
 */
int gdfo_bench_score(struct gdfo_bench *b, const struct gdfo_bench_cell *c, const char *key,
                     const char *job, const char *variant, struct gdfo_bench_score *out);

/* Accuracy and loss of lines {"label","predicted","lp":{...}}; the first line is a header. */
void gdfo_bench_score_lines(const char *text, size_t n, struct gdfo_bench_score *out);

#endif
