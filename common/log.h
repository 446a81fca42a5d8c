#ifndef GDFO_COMMON_LOG_H
#define GDFO_COMMON_LOG_H

#include "common/error.h"

/*
 * One event a line on stderr: lvl=info mod=sched job=ftjob-8f2c ev=claimed attempt=2. The format
 * holds key=value pairs only; a value that came from outside goes through gdfo_log_quote, so that
 * no input can forge a line. Never a text, prompt, key or upstream body. Any thread.
 */
enum gdfo_log_level { GDFO_LOG_DEBUG, GDFO_LOG_INFO, GDFO_LOG_WARN, GDFO_LOG_ERROR, GDFO_LOG_OFF };

void gdfo_log_set_level(enum gdfo_log_level level);
int gdfo_log_parse_level(const char *name, enum gdfo_log_level *out); /* 1 on success */
void gdfo_log_set_json(int on);

/* The id that every line of this thread carries ("job=...", "req=..."); NULL or "" for none. */
void gdfo_log_context(const char *key, const char *id);

/* fmt starts with ev=NAME. */
GDFO_PRINTF(3, 4) void gdfo_log(enum gdfo_log_level level, const char *mod, const char *fmt, ...);

/* Escapes s into out: always quoted, control characters and quotes as \xNN; cut with "..." when too
 * long. */
const char *gdfo_log_quote(const char *s, char *out, int out_bytes);

#endif
