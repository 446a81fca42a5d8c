#ifndef GDFO_CLIENT_CLI_BENCH_WIRE_H
#define GDFO_CLIENT_CLI_BENCH_WIRE_H

#include "client/cli/bench/bench.h"

/*
 * One request, into cli->reply. While the daemon is away (no connection, or 502 and 503) it is sent
 * again with a growing pause, for ten minutes; before the first answer of all it is not. is_once: a
 * lost connection is told to the caller instead (LOST), who must look whether it was done.
 */
enum gdfo_bench_sent { GDFO_BENCH_SENT, GDFO_BENCH_LOST, GDFO_BENCH_OVER };
enum gdfo_bench_sent gdfo_bench_send(struct gdfo_bench *b, const struct gdfo_request *request,
                                     int is_once, struct gdfo_error *err);

/* GET path as JSON; 0, or the exit code of a failure, which is told. */
int gdfo_bench_get(struct gdfo_bench *b, const char *path, struct gdfo_json **out);

/* "422 not_supported: words" of cli->reply. */
void gdfo_bench_refusal(const struct gdfo_bench *b, char *out, size_t size);

#endif
